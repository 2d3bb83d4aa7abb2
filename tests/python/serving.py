# SPDX-License-Identifier: Apache-2.0
"""Workers and scripts, as R and a shell start them."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Callable

import pyrmap

PACKAGE = str(Path(pyrmap.__file__).parent.parent)


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with the package under test on the path."""
    path = os.pathsep.join(filter(None, (PACKAGE, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **more}


def eventually(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Looks at a condition until it holds, and returns what it said."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.002)
    return value


def running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def children(pid: int) -> list[int]:
    """The children of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


class Program:
    """A program in Python; its output is collected as it arrives."""

    def __init__(self, command: list[str], variables: dict[str, str], stdin: int = subprocess.DEVNULL) -> None:
        self.process = subprocess.Popen([sys.executable, *command], stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=environment(**variables))
        assert self.process.stdout and self.process.stderr
        self._text = {1: b"", 2: b""}
        self._readers = [threading.Thread(target=self._collect, args=(number, stream), daemon=True)
                         for number, stream in ((1, self.process.stdout), (2, self.process.stderr))]
        for reader in self._readers:
            reader.start()

    def _collect(self, number: int, stream: IO[bytes]) -> None:
        while piece := os.read(stream.fileno(), 65536):
            self._text[number] += piece

    @property
    def output(self) -> str:
        """What has arrived on standard output so far."""
        return self._text[1].decode()

    @property
    def complaints(self) -> str:
        """What has arrived on standard error so far."""
        return self._text[2].decode()

    def collected(self) -> int:
        """The exit status, when it has ended and all of its output is there."""
        status = self.process.wait(20)
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return status


class Worker(Program):
    """python3 -m pyrmap.worker for one slot. Its parent is this process."""

    def __init__(self, job: Path, *options: str, **variables: str) -> None:
        super().__init__(["-m", "pyrmap.worker", str(job), "--parent", str(os.getpid()), *options], variables)

    def stop(self) -> int:
        """Ends it and its group, and returns its exit status."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            # It is gone, or has no group yet.
            self.process.kill()
        return self.collected()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


class Keeper:
    """Starts a worker when there is something to do and none is there, as R does; the tasks stand in `task`."""

    def __init__(self, job: Path, *options: str, **variables: str) -> None:
        self.job, self.options, self.variables = job, options, variables
        self.workers: list[Worker] = []

    @property
    def worker(self) -> Worker:
        """The one that is there now, or was last."""
        return self.workers[-1]

    @property
    def pid(self) -> int:
        """Its process."""
        return self.worker.process.pid

    @property
    def output(self) -> str:
        """What has arrived on their standard output so far."""
        return "".join(worker.output for worker in self.workers)

    @property
    def complaints(self) -> str:
        """What has arrived on their standard error so far."""
        return "".join(worker.complaints for worker in self.workers)

    def run(self, job: Path | None, script: Path | str | None, function: str | None = None, *args: object,
            **more: object) -> None:
        """Writes the task of the next rounds: a script, or a function of it, with arguments."""
        assert job is None or job == self.job
        task: dict[str, object] = {"script": script and str(script), "function": function, "args": list(args), **more}
        (self.job / "task").write_text(json.dumps({key: value for key, value in task.items() if value is not None}))
        if not self.workers or self.worker.process.poll() is not None:
            self.workers.append(Worker(self.job, *self.options, **self.variables))

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self.workers:
            worker.stop()
