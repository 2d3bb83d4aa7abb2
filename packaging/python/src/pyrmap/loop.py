# SPDX-License-Identifier: Apache-2.0
"""The worker of one slot: it waits for an input, does what the slot's `task` says, publishes, and waits again.

It is bound to the slot for as long as it lives, so that its death fails the round, and it ends when the slot is gone.
Between runs the process is brought back to what it was (pyrmap.restoring); what was loaded stays. Where that would be
wrong, because the file of a module has changed, the process becomes a new one: exec keeps its pid, its pipes and its
place in `worker`, and the round is still there to be taken.
"""
from __future__ import annotations

import errno
import faulthandler
import gc
import importlib
import io
import os
import sys
from typing import NamedTuple, NoReturn, Optional

from pyrmap import ending, forked, leftovers, process, run, threads, warned
from pyrmap.errors import death_text, failure_text, refused
from pyrmap.handles import Handles
from pyrmap.imports import Imports, now_ns
from pyrmap.layout import RECORD_FLAG_INPUT
from pyrmap.record import unpack_state, unpack_task_change
from pyrmap.restoring import Start
from pyrmap.scripts import Scripts
from pyrmap.slot import Slot, flush_output
from pyrmap.texts import ERROR_MAX, TASK_MAX, shorten, write_text
from pyrmap.turn import ROUND_VARIABLE, SLOT_VARIABLE, last_ended
from pyrmap.waiting import Deadline

# The errors of a request when the slot or its mount is gone.
_ENDS = (errno.ENOENT, errno.ESTALE, errno.ENODEV, errno.ENOTCONN, errno.ECONNABORTED)

# `python3 -m` would put the working directory first, and import what lies there.
_AGAIN = "import runpy, sys; sys.path[:] = filter(None, sys.path); runpy.run_module({!r}, run_name='__main__', alter_sys=True)"
_AGAIN_VARIABLE = "PYRMAP_AGAIN"

_FOR_EVER = Deadline(None)


class Command(NamedTuple):
    """What a worker is started with."""

    slot: str
    module: str  # what python3 -m runs, to begin again
    arguments: list[str]
    isolation: str = "session"
    preload: tuple[str, ...] = ()
    task: Optional[run.Task] = None  # None: what `task` says, each time
    warnings_fd: Optional[int] = None  # None: warnings go to standard error


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
        self.task = command.task
        self.task_change = -1
        # The round of a run that ended without ending its round; 0: none.
        self.unended = 0
        # Whether a child takes the next round.
        self.forks = command.isolation == "process"
        self.spare: Optional[forked.Child] = None
        # Children that are ending, and run no code of a script any more.
        self.leaving: list[forked.Child] = []
        self.has_run = False
        # Whether processes of an earlier run may be left.
        self.left = False
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
        # What is loaded now stays, so the collector need not look at it, and does not write to the pages that children share.
        gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Returns when the slot is gone. KeyboardInterrupt while it waits, or in a run."""
        while True:
            if self.forks:
                if not self._watch_child():
                    return
            else:
                page = self._wait()
                if page is None:
                    return
                self._take(page)

    def load(self) -> str:
        """Loads the function of a worker whose task never changes. Why that is impossible, or ""."""
        assert self.task is not None
        try:
            run.load(self.task, self.scripts)
        except Exception as error:
            return failure_text(error, self.handles.path)
        finally:
            self.start.restore()
            self.imports.note(self.begun)
        return ""

    def _wait(self) -> Optional[bytes]:
        """Waits for a round with an input that was not taken yet. Its page; None: the slot is gone."""
        try:
            return self.handles.record.wait(self._is_new, _FOR_EVER)
        except OSError as error:
            if error.errno in _ENDS:
                return None
            raise

    def _is_new(self, flag: int, round_: int) -> bool:
        if flag == RECORD_FLAG_INPUT and round_ == self.unended:
            return False
        self.unended = 0
        return flag == RECORD_FLAG_INPUT

    def _take(self, page: bytes) -> None:
        try:
            task = self._read_task(page)
        except Exception as error:
            run.fail(Slot.of_worker(self.handles, page), failure_text(error, self.handles.path))
            return
        if self.left:
            self._end_leftovers()
        if self.imports.stale(task.script) or self._is_isolated(task) and self.has_run:
            self._begin_again()
        elif self._is_isolated(task):
            self.forks = True
        else:
            self._run_here(task, page)

    def _is_isolated(self, task: run.Task) -> bool:
        return (task.isolation or self.command.isolation) == "process"

    def _read_task(self, page: bytes) -> run.Task:
        """The task as `task` says it now. ValueError, TypeError, OSError."""
        change = unpack_task_change(page)
        if self.task_file >= 0 and (self.task is None or change != self.task_change):
            self.task = None
            text = os.pread(self.task_file, TASK_MAX + 1, 0).decode("utf-8", "replace")
            task = run.parse_task(run.task_of(text, self.handles.path))
            # A file that is named may say something else the next time.
            if "\"file\"" in text:
                return task
            self.task, self.task_change = task, change
        assert self.task is not None
        return self.task

    def _run_here(self, task: run.Task, page: bytes) -> None:
        """KeyboardInterrupt if that ended the run."""
        round_ = unpack_state(page)[2]
        self.has_run = True
        self.begun = now_ns()
        threads.begin(round_)
        try:
            text = run.run(Slot.of_worker(self.handles, page), task, self.scripts, lambda: ending.finish(round_))
        finally:
            process.leave_slot()
            ending.forget()
            self.start.restore((ROUND_VARIABLE,))
            self.imports.note(self.begun)
            self.left = not leftovers.is_alone()
        if text.startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt
        self.unended = 0 if self._has_ended(round_) else round_

    def _has_ended(self, round_: int) -> bool:
        """Whether this process has brought a round to its end."""
        return last_ended(self.handles.path) == round_

    def _begin_again(self) -> NoReturn:
        """Becomes a new process that has imported nothing, with the round still to be taken."""
        flush_output()
        os.environ.pop(ROUND_VARIABLE, None)
        os.environ[_AGAIN_VARIABLE] = "1"
        if self.command.warnings_fd is not None:
            os.set_inheritable(self.command.warnings_fd, True)
        os.execv(sys.executable, [sys.executable, "-c", _AGAIN.format(self.command.module), *self.command.arguments])

    # -- isolation "process" ------------------------------------------------------------------------------------

    def _watch_child(self) -> bool:
        """Has a child take the next round; returns when that is over. False: the slot is gone."""
        child = self.spare or forked.fork(self._live)
        child.go(self.unended)
        self.unended = 0
        self.spare = forked.fork(self._live)
        said = child.await_end()
        if said in (forked.GONE, forked.YOURS):
            self.forks = False
            self.spare.kill()
            self.spare = None
            child.kill()
            return said == forked.YOURS
        if not said:
            self._tell_death(child)
        elif forked.CLEAN in said:
            self.leaving = [left for left in (*self.leaving, child) if left.reap() is None]
        else:
            # What the run has left behind may go on until the next round comes.
            self.unended = 0 if forked.ENDED in said else child.taken()[0]
            if self._wait() is None:
                return False
            child.kill()
            self._end_leftovers()
        return True

    def _live(self, told: forked.Told) -> int:
        """What a child does."""
        # Without this every child would draw the same numbers.
        self.start.generators.seed()
        self.unended = told.await_go()
        page = self._wait()
        if page is None:
            told.say(forked.GONE)
            return 0
        try:
            task = self._read_task(page)
            theirs = not self._is_isolated(task) or self.imports.stale(task.script)
        except Exception:
            theirs = True
        if theirs:
            told.say(forked.YOURS)
            return 0
        round_ = unpack_state(page)[2]
        told.takes(round_)
        threads.begin(round_)

        def finish() -> None:
            ending.finish(round_)
            run.finish()

        text = run.run(Slot.of_worker(self.handles, page), task, self.scripts, finish)
        clean = told.is_clean()
        told.say((forked.ENDED if self._has_ended(round_) else forked.UNENDED) + (forked.CLEAN if clean else b""))
        if not clean:
            # The rest of the work should not compete with the next run.
            os.nice(19)
            finish()
        return 1 if text else 0

    def _tell_death(self, child: forked.Child) -> None:
        """Fails the round of a child that died, and says of what. The filesystem would not: it watches this process."""
        round_, trace = child.taken()
        status = child.kill()
        self._end_leftovers()
        flag, _, now, _ = unpack_state(self.handles.record.ask())
        if flag == RECORD_FLAG_INPUT and now == round_:
            text = death_text(child.pid, round_, status, trace)
            write_text(shorten(text, ERROR_MAX), "error", self.handles.directory)

    def _end_leftovers(self) -> None:
        """Ends what is left of earlier runs: none of it may see the next one."""
        self.leaving = [child for child in self.leaving if child.reap() is None]
        leftovers.end({child.pid for child in (self.spare, *self.leaving) if child is not None})


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
