# SPDX-License-Identifier: Apache-2.0
"""Which run a thread belongs to, in a process that runs one after another.

A thread that outlives its run must not take part in a later one, nor must what it starts.
"""
from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import Optional

_rounds: weakref.WeakKeyDictionary[threading.Thread, int] = weakref.WeakKeyDictionary()
# The round that the main thread runs.
_now: Optional[int] = None
_forking: Optional[int] = None
_start = threading.Thread.start


def watch() -> None:
    """From now on each thread belongs to the run that starts it. Called once, before the first run."""
    setattr(threading.Thread, "start", _start_in_run)
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def begin(round_: int) -> None:
    """The main thread begins to run a round."""
    global _now
    _now = round_


def round_here() -> Optional[int]:
    """The round that the calling thread belongs to; None if that is not known."""
    thread = threading.current_thread()
    return _now if thread is threading.main_thread() else _rounds.get(thread)


def join(round_: int) -> None:
    """Waits for the threads of a run for which the end of a program would wait."""
    while True:
        left = [thread for thread, own in list(_rounds.items())
                if own == round_ and not thread.daemon and thread.is_alive() and thread is not threading.current_thread()]
        if not left:
            return
        _end_pools(left)
        for thread in left:
            thread.join()


def _start_in_run(thread: threading.Thread) -> None:
    own = round_here()
    if own is not None:
        _rounds[thread] = own
    _start(thread)


def _before_fork() -> None:
    global _forking
    _forking = round_here()


def _after_fork() -> None:
    # In the child the thread that forked is the main thread.
    global _now
    _now = _forking


def _end_pools(threads: list[threading.Thread]) -> None:
    """Tells executors that no more work will come: their threads would wait for it for ever."""
    pools = sys.modules.get("concurrent.futures.thread")
    for thread in threads:
        if pools is not None and thread in pools._threads_queues and hasattr(thread, "_args"):
            executor = thread._args[0]()
            if executor is not None:
                executor.shutdown(wait=False)
