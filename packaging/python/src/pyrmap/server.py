# SPDX-License-Identifier: Apache-2.0
"""The warm server behind R's run_python(): python3 -m pyrmap.server.

It reads commands, one JSON object a line, from descriptor 0; what scripts print goes to 1 and 2:

    {"run": SLOT}               run the next round of SLOT in a process of its own, as SLOT/task says
    {"run": SLOT, "task": {}}   the same, with the task in the command
    {"cancel": SLOT}            kill the worker of SLOT
    {"forget": SLOT}            SLOT is gone: close what is kept open of it
    {"preload": [MODULE]}       import modules now, so that later runs find them loaded

Every run is a fork of this process, which has NumPy loaded and runs no user code; one child waits forked. End of file
kills all children and ends the server. `run` may come before the input is published: the worker waits for it. Exit status: 0, or 3 if
NumPy is missing.
"""
from __future__ import annotations

import os
import sys

# `python3 -m` puts the working directory first, and a json.py that lies there would be imported.
if sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

import atexit
import ctypes
import gc
import importlib
import io
import json
import select
import signal
import threading
from typing import TYPE_CHECKING, Any, NoReturn, Optional

if TYPE_CHECKING:
    from pyrmap.slot import Handles

EXIT_NO_NUMPY = 3
PRELOAD_VARIABLE = "PYRMAP_PRELOAD"

# Threads do not survive a fork, and many workers share the cores.
_POOL_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
                   "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS")

_KEPT_SLOTS = 32
_PR_SET_PDEATHSIG = 1


class Child:
    """A forked process: idle until a command is written to it, then the worker of one slot."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self.pipe = pipe
        self.pidfd = os.pidfd_open(pid)
        self.slot = ""

    def assign(self, slot: str, command: bytes) -> None:
        """Hands over the command. BrokenPipeError if the child is dead."""
        self.slot = slot
        try:
            offset = 0
            while offset < len(command):
                offset += os.write(self.pipe, command[offset:])
        finally:
            os.close(self.pipe)
            self.pipe = -1

    def kill(self) -> None:
        """Ends it and all that it started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def reap(self) -> None:
        """Waits for its end and closes what belonged to it."""
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        if self.pipe >= 0:
            os.close(self.pipe)


class Server:
    """The loop over commands and children."""

    def __init__(self) -> None:
        from pyrmap import rehearsal, scripts

        self.cache = scripts.ScriptCache()
        self.rehearse = rehearsal.rehearse
        for _ in range(rehearsal.TIMES_TO_ADAPT):
            self.rehearse(self.cache)
        self.kept: dict[str, Handles] = {}
        self.idle: Optional[Child] = None
        self.children: dict[int, Child] = {}
        self.poll = select.poll()
        self.partial = b""

    def serve(self) -> None:
        """Returns at the end of file of the commands, when no child is left."""
        self.poll.register(0, select.POLLIN)
        self.idle = self._fork()
        open_ended = True
        while open_ended:
            events = dict(self.poll.poll())
            commands = events.pop(0, 0)
            # The dead first: a child that a command starts may get the descriptor of one that is buried.
            for fd in events:
                self._bury(self.children[fd])
            if commands:
                open_ended = not commands & select.POLLHUP and self._read_commands()
        for child in self.children.values():
            child.kill()
        for child in self.children.values():
            child.reap()

    def _read_commands(self) -> bool:
        data = os.read(0, 65536)
        *lines, self.partial = (self.partial + data).split(b"\n")
        for line in lines:
            try:
                self._obey(json.loads(line), line)
            except (ValueError, TypeError, KeyError) as error:
                complain(f"bad command {line[:200]!r}: {error}")
        return bool(data)

    def _obey(self, command: Any, line: bytes) -> None:
        if "run" in command:
            self._run(str(command["run"]), command.get("task"), line)
        elif "cancel" in command:
            for child in self.children.values():
                if child.slot == command["cancel"]:
                    child.kill()
        elif "forget" in command:
            handles = self.kept.pop(command["forget"], None)
            if handles is not None:
                handles.close()
        elif "preload" in command:
            preload([str(module) for module in command["preload"]])
            self._renew_idle()
        else:
            raise KeyError("it has none of run, cancel, forget and preload")

    def _run(self, slot: str, task: Any, line: bytes) -> None:
        assigned = False
        while not assigned:
            child = self.idle if self.idle is not None else self._fork()
            self.idle = None
            try:
                child.assign(slot, line)
                assigned = True
            except BrokenPipeError:
                self._bury(child)
        self._prepare(slot, task)
        self.idle = self._fork()

    def _prepare(self, slot: str, task: Any) -> None:
        """Opens and compiles what the next run of this slot will probably need; its child inherits it."""
        from pyrmap.slot import Handles

        handles = self.kept.pop(slot, None)
        try:
            self.kept[slot] = handles if handles is not None else Handles(slot)
            if isinstance(task, dict):
                self.cache.load(os.path.abspath(task["script"]))
        except Exception:
            # Whatever it is, the worker meets it too and reports it.
            return
        while len(self.kept) > _KEPT_SLOTS:
            self.kept.pop(next(iter(self.kept))).close()

    def _renew_idle(self) -> None:
        if self.idle is not None:
            self.idle.kill()
        self.idle = self._fork()

    def _bury(self, child: Child) -> None:
        self.poll.unregister(child.pidfd)
        del self.children[child.pidfd]
        if child is self.idle:
            self.idle = None
        # Processes that it left behind go with it.
        child.kill()
        child.reap()

    def _fork(self) -> Child:
        command, pipe = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(pipe)
            self._be_child(parent, command)
        os.close(command)
        try:
            os.setpgid(pid, pid)
        except (PermissionError, ProcessLookupError):
            pass
        child = Child(pid, pipe)
        self.children[child.pidfd] = child
        self.poll.register(child.pidfd, select.POLLIN)
        return child

    def _be_child(self, parent: int, command: int) -> NoReturn:
        status = 1
        try:
            os.setpgid(0, 0)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(status)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
            gc.enable()
            # Every child would draw the same numbers: NumPy seeded its generator when it was loaded.
            sys.modules["numpy"].random.seed()
            self.rehearse(self.cache)
            line = _read_all(command)
            if line:
                status = self._work(json.loads(line))
        finally:
            os._exit(status)

    def _work(self, command: dict[str, Any]) -> int:
        from pyrmap import slot as slot_module
        from pyrmap import worker

        slot = command["run"]
        text = worker.run(slot, command.get("task"), self.cache, self.kept.get(slot))
        # What an ordinary end of the interpreter does for a script, without taking the interpreter apart.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        slot_module.flush_output()
        return 1 if text else 0


def _read_all(fd: int) -> bytes:
    pieces = []
    while piece := os.read(fd, 65536):
        pieces.append(piece)
    os.close(fd)
    return b"".join(pieces)


def complain(text: str) -> None:
    """Says what is wrong with the server itself, where R shows it."""
    print(f"pyrmap.server: {text}", file=sys.stderr, flush=True)


def preload(modules: list[str]) -> None:
    """Imports modules; one that cannot be imported is reported and left to the script that needs it."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            complain(f"cannot preload {module}: {type(error).__name__}: {error}")
    gc.collect()
    # Objects that the collector leaves alone stay shared with the children.
    gc.freeze()


def main() -> int:
    """Runs until the end of file of the commands."""
    for variable in _POOL_VARIABLES:
        os.environ.setdefault(variable, "1")
    # Ctrl-C in a terminal reaches the whole foreground group; R decides what to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        importlib.import_module("numpy")
    except ImportError as error:
        complain(f"NumPy is missing for {sys.executable} ({error}): install it (apt install python3-numpy, "
                 "or pip install numpy), or choose another Python")
        return EXIT_NO_NUMPY
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    gc.disable()
    wanted = os.environ.get(PRELOAD_VARIABLE, "").split(",")
    preload(["pyrmap.rehearsal", *(name.strip() for name in wanted if name.strip())])
    server = Server()
    gc.freeze()
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
