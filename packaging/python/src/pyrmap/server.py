# SPDX-License-Identifier: Apache-2.0
"""The warm server behind R's run_python(): python3 -m pyrmap.server.

It reads commands, one JSON object a line, from descriptor 0; what scripts print goes to 1 and 2:

    {"run": SLOT}               run the next round of SLOT in a process of its own, as SLOT/task says
    {"run": SLOT, "task": {}, "round": N, "errors": MARK}
                                the same, with the task in the command; for this round only; failures are published
                                as results: a uint8 vector of MARK, SLOT and the text, one a line. Later stages
                                that have the same mark pass them on
    {"cancel": SLOT}            kill the worker of SLOT, drop the runs that wait for it
    {"forget": SLOT}            SLOT is gone: close what is kept open of it
    {"preload": [MODULE]}       import modules now, so that later runs find them loaded

Every run is a fork of this process, which has NumPy loaded and runs no user code; one child waits forked. End of file
kills all children and ends the server. `run` may come before the input is published: the worker waits for it. A slot
has one worker at a time, further runs wait for its end. If descriptor 0 is a socket it also tells news, one JSON object a
line:

    {"died": SLOT, "round": N, "status": S}
                                a worker of a run with "errors" died, S as from waitpid(2)
    {"goes on": SLOT, "round": N}
                                told before the round's outcome: the script has left a thread or a child process running,
                                which could take part in a later round. Whoever has other slots should use one

Exit status: 0, or 3 if NumPy is missing.
"""
from __future__ import annotations

import os
import sys

# `python3 -m` puts the working directory first, and a json.py that lies there would be imported.
if sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

import atexit
import ctypes
import faulthandler
import gc
import importlib
import io
import json
import select
import signal
import socket
import struct
import traceback
from typing import TYPE_CHECKING, Any, NoReturn, Optional

if TYPE_CHECKING:
    from pyrmap.slot import Handles
    from pyrmap.run import Run

EXIT_NO_NUMPY = 3
PRELOAD_VARIABLE = "PYRMAP_PRELOAD"

# Threads do not survive a fork, and many workers share the cores.
_POOL_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
                   "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS")

_KEPT_SLOTS = 32
_TRACE_MAX = 32768
_LENGTH = struct.Struct("<Q")

# What a child tells before its round is over: whether code of a script may still run afterwards. Without either, it died.
_SETTLED = b"s"
_CLEAN = b"c"

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl

# Children that wait, and how long (ms) the commands must pause before one is made: a fork takes longer than a
# small run, and would compete with it.
_IDLE_CHILDREN = 8
_PAUSE = 3


class Child:
    """A forked process: idle until a command is written to it, then the worker of one slot."""

    def __init__(self, pid: int, channel: socket.socket, trace: int) -> None:
        """trace: a file to which faulthandler writes in the child."""
        self.pid = pid
        self.trace = trace
        self.channel = channel
        self.pidfd = os.pidfd_open(pid)
        self.order: Optional[Run] = None
        self.cancelled = False
        self.told = b""

    def assign(self, order: Run, message: bytes, fds: list[int]) -> None:
        """Hands over a run. BrokenPipeError if the child is dead."""
        self.order = order
        message = _LENGTH.pack(len(message)) + message
        sent = socket.send_fds(self.channel, [message], fds) if fds else 0
        # The child may be gone as soon as it has all of it: an empty send would then fail.
        if sent < len(message):
            self.channel.sendall(message[sent:])

    def hear(self) -> bytes:
        """What it has told so far."""
        try:
            self.told += self.channel.recv(16, socket.MSG_DONTWAIT)
        except OSError:
            pass
        return self.told

    def kill(self) -> None:
        """Ends it and all that it started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def reap(self) -> tuple[int, str]:
        """Waits for its end and closes what belonged to it. The status of waitpid(2), and faulthandler's traceback."""
        _, status = os.waitpid(self.pid, 0)
        trace = os.pread(self.trace, _TRACE_MAX, 0).decode("utf-8", "replace") if status else ""
        os.close(self.trace)
        os.close(self.pidfd)
        self.channel.close()
        return status, trace


class Server:
    """The loop over commands and children."""

    def __init__(self) -> None:
        from pyrmap import rehearsal

        self.kept: dict[str, Handles] = {}
        self.workers: dict[str, Child] = {}
        self.waiting: dict[str, list[Run]] = {}
        self.idle: list[Child] = []
        self.children: dict[int, Child] = {}
        self.poll = select.poll()
        self.partial = b""
        # In each child the number stands for a file of that child.
        self.trace = os.memfd_create("pyrmap-trace")
        faulthandler.enable(self.trace)
        self.rehearse = rehearsal.rehearse
        self.rehearsed = json.dumps({"run": "/rehearsal", "round": 1, "task": rehearsal.TASK})
        for _ in range(rehearsal.TIMES_TO_ADAPT):
            self.rehearse()

    def serve(self) -> None:
        """Returns at the end of file of the commands, when no child is left."""
        self.poll.register(0, select.POLLIN)
        pause: Optional[int] = 0
        open_ended = True
        while open_ended:
            events = dict(self.poll.poll(pause))
            if not events:
                self.idle.append(self._fork())
                # The fork left every page of this process to be copied when it is next written to.
                self._message(order_of(json.loads(self.rehearsed)), True)
            commands = events.pop(0, 0)
            # The dead first: a child that is started may get the descriptor of one that is buried.
            for child in [self.children[fd] for fd in events]:
                if self.children.get(child.pidfd) is child:
                    self._bury(child)
            if commands:
                open_ended = not commands & select.POLLHUP and self._read_commands()
            if len(self.idle) >= _IDLE_CHILDREN:
                pause = None
            else:
                pause = _PAUSE if commands else 0 if pause == 0 else _PAUSE
        for child in self.children.values():
            child.kill()
        for child in self.children.values():
            child.reap()

    def _read_commands(self) -> bool:
        data = os.read(0, 65536)
        *lines, self.partial = (self.partial + data).split(b"\n")
        for line in lines:
            try:
                self._obey(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                complain(f"bad command {line[:200]!r}: {error}")
        return bool(data)

    def _obey(self, command: Any) -> None:
        if "run" in command:
            self._take(order_of(command))
        elif "cancel" in command:
            self.waiting.pop(command["cancel"], None)
            for child in self.children.values():
                if child.order is not None and child.order.slot == command["cancel"]:
                    child.cancelled = True
                    child.kill()
        elif "forget" in command:
            handles = self.kept.pop(command["forget"], None)
            if handles is not None:
                handles.close()
        elif "preload" in command:
            preload([str(module) for module in command["preload"]])
            # They were forked without the modules; the loop buries them.
            for child in self.idle:
                child.kill()
            self.idle.clear()
        else:
            raise KeyError("it has none of run, cancel, forget and preload")

    def _take(self, order: Run) -> None:
        """Starts a run, or has it wait for the worker that the slot has."""
        if order.slot in self.waiting or self._busy(order.slot):
            self.waiting.setdefault(order.slot, []).append(order)
        else:
            self._start(order)

    def _busy(self, slot: str) -> bool:
        """Whether a slot's worker may still do something in it. Once its round is over, and it has told that no code of a
        script is left to run, it cannot: the next run need not wait for the end of the process."""
        child = self.workers.get(slot)
        if child is None:
            return False
        if not child.hear().endswith(_CLEAN):
            return True
        handles = self.kept.get(slot)
        if handles is None or child.order is None or child.order.round is None:
            return True
        from pyrmap.layout import RECORD_FLAG_RESULT

        try:
            record = handles.record.read()
        except OSError:
            return True
        return not (record.round > child.order.round
                    or record.round == child.order.round and record.flag == RECORD_FLAG_RESULT)

    def _fail(self, child: Child, order: Run, status: int, trace: str) -> Optional[Run]:
        """Fails the round of a worker that died. If the round is still to come: a run that will do it.

        The filesystem would do it as well, but could not say of what the worker died.
        """
        from pyrmap.errors import death_text
        from pyrmap.layout import RECORD_FLAG_INPUT, RECORD_FLAG_NONE
        from pyrmap.slot import Handles
        from pyrmap.texts import ERROR_MAX, encode, shorten

        try:
            if order.slot not in self.kept:
                self.kept[order.slot] = Handles(order.slot)
            handles = self.kept[order.slot]
            record = handles.record.read()
        except OSError:
            return None
        round_ = record.round if order.round is None else order.round
        text = shorten(death_text(child.pid, round_, status, trace), ERROR_MAX)
        if record.round == round_ and record.flag == RECORD_FLAG_INPUT:
            try:
                fd = handles.open("error", os.O_WRONLY | os.O_NONBLOCK)
                try:
                    os.write(fd, encode(text))
                finally:
                    os.close(fd)
            except BlockingIOError:
                # A follower has not taken the last outcome. A child can wait until it has.
                return order._replace(failure=text, errors=None)
            except OSError:
                return None
            return None
        to_come = record.round < round_ or (record.round == round_ and record.flag == RECORD_FLAG_NONE)
        if not to_come or child.cancelled or order.round is None or order.errors is not None:
            return None
        return order._replace(failure=text)

    def _start(self, order: Run) -> None:
        slot = order.slot
        handles = self.kept.pop(slot, None)
        fds = []
        if handles is not None:
            self.kept[slot] = handles
            fds = [handles.directory, handles.record.fd, handles.worker]
        passthrough = handles is not None and handles.record.passthrough
        message = self._message(order, passthrough)
        assigned = False
        while not assigned:
            child = self.idle.pop(0) if self.idle else self._fork()
            try:
                child.assign(order, message, fds)
                assigned = True
            except BrokenPipeError:
                child.order = None
                self._bury(child)
        self.workers[slot] = child
        if handles is None:
            self._keep(slot)

    def _message(self, order: Run, passthrough: bool) -> bytes:
        return json.dumps([order, passthrough]).encode()

    def _keep(self, slot: str) -> None:
        """Opens what later runs of a slot need; if that fails the worker meets the same, and reports it."""
        from pyrmap.slot import Handles

        try:
            handles = Handles(slot)
        except OSError:
            return
        try:
            # Should this server die, its workers die with it.
            handles.bind_worker()
        except OSError:
            handles.close()
            return
        self.kept[slot] = handles
        while len(self.kept) > _KEPT_SLOTS:
            self.kept.pop(next(iter(self.kept))).close()

    def _bury(self, child: Child) -> None:
        self.poll.unregister(child.pidfd)
        del self.children[child.pidfd]
        if child in self.idle:
            self.idle.remove(child)
        # Processes that it left behind go with it.
        child.kill()
        settled = bool(child.hear())
        status, trace = child.reap()
        if child.order is None:
            return
        if child.order.errors is not None and status and not child.cancelled:
            tell(0, {"died": child.order.slot, "round": child.order.round, "status": status})
        slot = child.order.slot
        if self.workers.get(slot) is not child:
            return
        del self.workers[slot]
        failure = None
        if child.order.failure is None and (not settled or status and child.order.round is not None):
            failure = self._fail(child, child.order, status, trace)
        if failure is not None:
            self._start(failure)
        elif slot in self.waiting:
            following, *rest = self.waiting.pop(slot)
            if rest:
                self.waiting[slot] = rest
            self._start(following)

    def _fork(self) -> Child:
        channel, command = socket.socketpair()
        parent = os.getpid()
        # Every child would draw the same numbers. It could see to that itself, but has to copy each page that it touches.
        sys.modules["numpy"].random.seed()
        trace = os.memfd_create("pyrmap-trace")
        pid = os.fork()
        if pid == 0:
            os.dup2(trace, self.trace, inheritable=False)
            os.close(trace)
            channel.close()
            self._be_child(parent, command)
        command.close()
        try:
            os.setpgid(pid, pid)
        except (PermissionError, ProcessLookupError):
            pass
        child = Child(pid, channel, trace)
        self.children[child.pidfd] = child
        self.poll.register(child.pidfd, select.POLLIN)
        return child

    def _be_child(self, parent: int, channel: socket.socket) -> NoReturn:
        status = 1
        try:
            for other in self.children.values():
                other.channel.close()
            os.setpgid(0, 0)
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(status)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            news = os.dup(0)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
            gc.enable()
            if not select.select([channel], [], [], 0)[0]:
                self.rehearse()
            message, fds = _receive(channel)
            status = _work(message, fds, channel, news)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """What assign() sent. Not up to the end of file: a child that was forked meanwhile may hold the other end, too."""
    message, fds, _, _ = socket.recv_fds(channel, 65536, 3)
    while message and len(message) < _LENGTH.size + _LENGTH.unpack_from(message)[0]:
        message += channel.recv(65536)
    if not message:
        os._exit(0)
    return message[_LENGTH.size:], fds


def _work(message: bytes, fds: list[int], channel: socket.socket, news: int) -> int:
    """The life of a child from its command on. Returns its exit status."""
    from pyrmap import run, slot

    fields, passthrough = json.loads(message)
    order = run.Run(*fields)
    handles = slot.Handles.adopt(order.slot, fds, passthrough) if fds else None
    callbacks = atexit._ncallbacks()
    clean = False

    def settle() -> None:
        nonlocal clean
        goes_on = run.goes_on()
        clean = not goes_on and atexit._ncallbacks() <= callbacks
        if goes_on:
            tell(news, {"goes on": order.slot, "round": order.round})
        channel.sendall(_CLEAN if clean else _SETTLED)

    text = run.run(order, handles, run.Hooks(settle=settle, bind=slot.Slot.watched))
    if not clean:
        channel.sendall(_SETTLED)
        # What is left to do should not compete with the next run.
        os.nice(19)
        run.finish()
    return 1 if text else 0


def order_of(command: Any) -> Run:
    """A run from its command; TypeError if a field is not what it should be."""
    from pyrmap.run import Run

    order = Run(command["run"], command.get("task"), command.get("round"), command.get("errors"))
    if (not isinstance(order.slot, str) or not isinstance(order.round, (int, type(None)))
            or not isinstance(order.errors, (str, type(None)))):
        raise TypeError("run and errors are strings, round is a number")
    return order


def tell(fd: int, news: dict[str, object]) -> None:
    """Tells whoever sends the commands through fd, if that is possible both ways."""
    line = json.dumps(news) + "\n"
    try:
        commands = socket.socket(fileno=fd)
    except OSError:
        return
    try:
        commands.send(line.encode(), socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    except OSError:
        return
    finally:
        commands.detach()


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
