# SPDX-License-Identifier: Apache-2.0
"""The worker of one slot: it waits for an input, does what the slot's `task` says, publishes, and waits again.

It is bound to the slot for as long as it lives, so that its death fails the round, and it ends when the slot is gone.
Between runs the process is brought back to what it was (pyrmap.restoring); what was loaded stays. Where that would be
wrong, because the file of a module has changed, the process becomes a new one: exec keeps its pid, its pipes and its
place in `worker`, and the round is still there to be taken.
"""
from __future__ import annotations

import atexit
import errno
import faulthandler
import gc
import importlib
import io
import os
import select
import signal
import sys
import traceback
from typing import NamedTuple, NoReturn, Optional

from pyrmap import ending, leftovers, process, run, threads, warned
from pyrmap.errors import death_text, failure_text, refused
from pyrmap.imports import Imports, now_ns
from pyrmap.layout import RECORD_FLAG_INPUT
from pyrmap.restoring import Start
from pyrmap.scripts import Scripts
from pyrmap.slot import ROUND_VARIABLE, SLOT_VARIABLE, Handles, Slot, flush_output
from pyrmap.texts import ERROR_MAX, TASK_MAX, encode, shorten
from pyrmap.waiting import Deadline

# What a request says when the slot or its mount is gone.
_ENDS = (errno.ENOENT, errno.ESTALE, errno.ENODEV, errno.ENOTCONN, errno.ECONNABORTED)

_TRACE_MAX = 32768

# `python3 -m` would put the working directory first, and import what lies there.
_AGAIN = "import runpy, sys; sys.path[:] = filter(None, sys.path); runpy.run_module({!r}, run_name='__main__', alter_sys=True)"
_AGAIN_VARIABLE = "PYRMAP_AGAIN"

# How long a run's process may take to end before the next round's wait begins.
_REAP_SECONDS = 0.05

# What a child says when its run is over.
_ENDED, _UNENDED = b"e", b"u"
# And that no code of the script is left to run.
_CLEAN = b"c"


class Command(NamedTuple):
    """What a worker is started with."""

    slot: str
    module: str  # what python3 -m runs, to begin again
    arguments: list[str]
    isolation: str = "session"
    preload: tuple[str, ...] = ()
    task: Optional[run.Task] = None  # None: what `task` says, each time
    warnings_fd: Optional[int] = None  # None: warnings go to standard error


class _Child(NamedTuple):
    """A process that runs, or has run, one round."""

    pid: int
    pidfd: int
    ended: int  # a pipe: a byte comes when the round is over


class Loop:
    """A worker. Made once, in a process that has run nothing."""

    def __init__(self, command: Command) -> None:
        """OSError if the slot cannot be opened, or bound."""
        self.command = command
        self.handles = Handles(command.slot)
        try:
            self.handles.bind_worker()
        except OSError as error:
            raise refused(error, "become the worker", self.handles.path) from error
        self.task_file = self.handles.open("task", os.O_RDONLY) if command.task is None else -1
        self.text = ""
        self.task = command.task
        self.unended: Optional[int] = None
        self.child: Optional[_Child] = None
        self.clean = False
        self.ending: list[_Child] = []
        self.has_run = False
        self.trace = -1
        self.scripts = Scripts()
        self.imports = Imports()
        os.environ[SLOT_VARIABLE] = self.handles.path
        os.environ.pop(ROUND_VARIABLE, None)
        # Whether this process was a worker before.
        self.again = os.environ.pop(_AGAIN_VARIABLE, None) is not None
        if command.warnings_fd is not None:
            warned.send(command.warnings_fd)
        leftovers.adopt()
        for module in command.preload:
            _preload(module)
        threads.watch()
        ending.watch()
        self.begun = now_ns()
        self.imports.note(self.begun)
        self.start = Start()
        # What is loaded now stays: the collector need not look at it, and a fork need not copy it.
        gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Returns when the slot is gone. KeyboardInterrupt while it waits, or in a run."""
        while (round_ := self._wait()) is not None:
            self._take(round_)

    def load(self) -> str:
        """Loads the function of a task that is always the same. Why that is impossible, or ""."""
        assert self.task is not None
        try:
            run.load(self.task, self.scripts)
        except Exception as error:
            return failure_text(error, self.handles.path)
        finally:
            self.start.restore()
            self.imports.note(self.begun)
        return ""

    def _wait(self) -> Optional[int]:
        """Waits for a round with an input that was not taken yet. None: the slot is gone."""
        wait = self.handles.record.wait
        try:
            if self.child is not None:
                try:
                    return wait(self._is_new, Deadline(_REAP_SECONDS))[1]
                except TimeoutError:
                    self._reap(os.WNOHANG)
            return wait(self._is_new, Deadline(None))[1]
        except OSError as error:
            if error.errno in _ENDS:
                return None
            raise

    def _is_new(self, flag: int, round_: int) -> bool:
        if flag == RECORD_FLAG_INPUT and round_ == self.unended:
            return False
        self.unended = None
        return flag == RECORD_FLAG_INPUT

    def _take(self, round_: int) -> None:
        order = run.Run(self.handles.path, None, round_)
        isolation = self.command.isolation
        directory = None
        try:
            task = self._read_task()
            order = order._replace(task=task)
            directory = task.directory
            isolation = task.isolation or isolation
        except Exception as error:
            order = order._replace(failure=failure_text(error, self.handles.path))
        self._end_leftovers()
        if self.imports.stale(directory) or isolation == "process" and self.has_run:
            self._begin_again()
        ended = self._fork(order) if isolation == "process" else self._run_here(order)
        self.unended = None if ended else round_

    def _end_leftovers(self) -> None:
        """Nothing of an earlier run may see the next one."""
        clean = self.child is not None and self.clean
        if self.child is not None and clean:
            # It is on its way out, and runs no code of a script any more.
            self.ending.append(self.child)
            self.child = None
        elif self.child is not None:
            signal.pidfd_send_signal(self.child.pidfd, signal.SIGKILL)
            self._reap(0)
        self.ending = [child for child in self.ending if not _has_ended(child, os.WNOHANG)]
        if not clean:
            leftovers.end({child.pid for child in self.ending})

    def _read_task(self) -> run.Task:
        """The task as `task` says it now. ValueError, TypeError, OSError."""
        if self.task_file >= 0:
            text = os.pread(self.task_file, TASK_MAX + 1, 0).decode("utf-8", "replace")
            if text != self.text or self.task is None:
                self.task = None
                content = run.task_of(text, self.handles.path)
                task = run.parse_task(content)
                self.text = text
                # A file that is named may say something else the next time.
                self.task = task if "\"file\"" not in text else None
                return task
        assert self.task is not None
        return self.task

    def _run_here(self, order: run.Run) -> bool:
        """Whether the round was brought to its end. KeyboardInterrupt if that was it."""
        assert order.round is not None
        round_ = order.round
        self.has_run = True
        self.begun = now_ns()
        threads.begin(round_)
        try:
            text = run.run(order, self.handles, run.Hooks(finish=lambda: ending.finish(round_), bind=Slot.owned), self.scripts)
        finally:
            process.leave_slot()
            ending.forget()
            self.start.restore((ROUND_VARIABLE,))
            self.imports.note(self.begun)
        if text.startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt
        return self._ended_by_us(round_)

    def _ended_by_us(self, round_: int) -> bool:
        return Slot.last_ended.get(self.handles.path) == round_

    def _begin_again(self) -> NoReturn:
        """Becomes a new process that has imported nothing, with the round still to be taken."""
        flush_output()
        os.environ.pop(ROUND_VARIABLE, None)
        os.environ[_AGAIN_VARIABLE] = "1"
        if self.command.warnings_fd is not None:
            os.set_inheritable(self.command.warnings_fd, True)
        os.execv(sys.executable, [sys.executable, "-c", _AGAIN.format(self.command.module), *self.command.arguments])

    # -- isolation "process" ------------------------------------------------------------------------------------

    def _fork(self, order: run.Run) -> bool:
        """Has a child run the round; returns when the round is over. Whether it was brought to its end."""
        if self.trace < 0:
            self.trace = os.memfd_create("pyrmap-trace")
        os.ftruncate(self.trace, 0)
        flush_output()
        # Every child would draw the same numbers.
        self.start.generators.seed()
        parent = os.getpid()
        ended, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._be_child(order, parent, told)
        os.close(told)
        self.child = _Child(pid, os.pidfd_open(pid), ended)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(self.child.pidfd, select.POLLIN)
        if dict(poll.poll()).get(ended, 0) & select.POLLIN:
            said = os.read(ended, 2)
            self.clean = _CLEAN in said
            return _ENDED in said
        self._tell_death(order)
        return True

    def _be_child(self, order: run.Run, parent: int, told: int) -> NoReturn:
        status = 1
        assert order.round is not None
        round_ = order.round
        try:
            leftovers.die_with_parent(parent)
            os.lseek(self.trace, 0, os.SEEK_SET)
            faulthandler.enable(self.trace)
            threads.begin(round_)
            callbacks = atexit._ncallbacks()

            def finish() -> None:
                ending.finish(round_)
                run.finish()

            text = run.run(order, self.handles, run.Hooks(finish=finish, bind=Slot.owned), self.scripts)
            clean = not run.goes_on() and atexit._ncallbacks() <= callbacks
            os.write(told, (_ENDED if self._ended_by_us(round_) else _UNENDED) + (_CLEAN if clean else b""))
            if not clean:
                # What is left to do should not compete with the next run.
                os.nice(19)
                finish()
            status = 1 if text else 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _tell_death(self, order: run.Run) -> None:
        """Fails the round of a child that died, and says of what: the filesystem watches this process."""
        assert self.child is not None and order.round is not None
        pid = self.child.pid
        status = self._reap(0)
        leftovers.end()
        if self.handles.record.read_state() != (RECORD_FLAG_INPUT, order.round):
            return
        trace = os.pread(self.trace, _TRACE_MAX, 0).decode("utf-8", "replace")
        text = death_text(pid, order.round, status, trace)
        fd = self.handles.open("error", os.O_WRONLY)
        try:
            os.write(fd, encode(shorten(text, ERROR_MAX)))
        finally:
            os.close(fd)

    def _reap(self, options: int) -> int:
        """Waits for the child's end, as waitpid(2) does. Its status."""
        assert self.child is not None
        status = _has_ended(self.child, options)
        if status:
            self.child = None
        return status[0] if status else 0


def _has_ended(child: _Child, options: int) -> Optional[tuple[int]]:
    """Its status as from waitpid(2), and its descriptors are closed then; None if it has not."""
    pid, status = os.waitpid(child.pid, options)
    if not pid:
        return None
    os.close(child.pidfd)
    os.close(child.ended)
    return (status,)


def _preload(module: str) -> None:
    """Imports a module; one that cannot be imported is reported, and left to the script that needs it."""
    try:
        importlib.import_module(module)
    except Exception as error:
        print(f"pyrmap: cannot preload {module}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def work(command: Command) -> int:
    """Serves a slot until it is gone. The exit status: 0; 1 if the slot cannot be served."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    faulthandler.enable()
    try:
        loop = Loop(command)
        if command.task is not None and command.isolation == "session" and not loop.again:
            text = loop.load()
            if text:
                sys.stderr.write(text)
                return 1
        if command.task is not None and not loop.again:
            print(f"pyrmap: {loop.handles.path} is served; Ctrl-C ends it", file=sys.stderr)
        loop.serve()
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        if error.errno in _ENDS and not os.path.exists(command.slot):
            return 0
        print(f"pyrmap: {error}", file=sys.stderr)
        return 1
    return 0
