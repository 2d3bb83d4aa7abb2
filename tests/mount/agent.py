# SPDX-License-Identifier: Apache-2.0
"""Another process, of any user, that does what a test tells it: the other party of an exchange.

The test holds an Agent; this file, run as a program, is the process itself.
"""
from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Sequence

from daemon import as_user

PRELUDE = """
import errno, fcntl, mmap, os, select, signal, struct, sys
from pages import Pages

def interrupted(*_):
    raise InterruptedError(errno.EINTR, "a signal")

signal.signal(signal.SIGUSR1, interrupted)
"""


class Agent:
    """run() waits for the outcome; start() and result() let it be parked meanwhile.

    Names persist from one command to the next. An OSError there is the same OSError here.
    """

    def __init__(self, user: str | None = None, groups: str = "", front: Sequence[str] = ()) -> None:
        """front: a command line that runs the rest."""
        argv = [sys.executable, "-S", "-u", __file__]
        if user is not None:
            argv = as_user(user) + argv
        if groups:
            argv = [word if word != "--clear-groups" else f"--groups={groups}" for word in argv]
        argv = [*front, *argv]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
                                        start_new_session=True)
        self.pid = self.process.pid
        self.pending = False
        self.run("0")

    def start(self, source: str, **names: Any) -> None:
        """names: what the source may use; a Path arrives as str."""
        assert self.process.stdin is not None and not self.pending
        command = {"source": source, "names": {name: plain(value) for name, value in names.items()}}
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        self.pending = True

    def answered(self, seconds: float = 0) -> bool:
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def result(self, seconds: float = 20) -> Any:
        assert self.process.stdout is not None and self.pending
        assert self.answered(seconds), f"the agent's call is not done within {seconds:g} s"
        self.pending = False
        answer = json.loads(self.process.stdout.readline() or '{"error": "the agent is gone"}')
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def run(self, source: str, seconds: float = 20, **names: Any) -> Any:
        """The value of an expression, or None after statements."""
        self.start(source, **names)
        return self.result(seconds)

    def interrupt(self) -> None:
        os.kill(self.pid, signal.SIGUSR1)

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        self.process.kill()
        self.process.wait(20)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def plain(value: Any) -> Any:
    return {"bytes": value.decode("latin-1")} if isinstance(value, bytes) else \
        str(value) if isinstance(value, Path) else value


def serve() -> None:
    """One line of JSON in, one line out, until the input ends."""
    names: dict[str, Any] = {}
    exec(PRELUDE, names)
    for line in sys.stdin:
        command = json.loads(line)
        for name, value in command["names"].items():
            names[name] = value["bytes"].encode("latin-1") if isinstance(value, dict) else value
        try:
            try:
                code = compile(command["source"], "<test>", "eval")
            except SyntaxError:
                code = compile(command["source"], "<test>", "exec")
            value = eval(code, names)
            answer = {"value": value.decode("latin-1") if isinstance(value, bytes) else value}
        except OSError as error:
            answer = {"errno": error.errno}
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer, default=repr), flush=True)


if __name__ == "__main__":
    serve()
