# SPDX-License-Identifier: Apache-2.0
"""Processes that a run has left behind: they end before the next run begins."""
from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from typing import Collection

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def adopt() -> None:
    """From now on a process whose parent ends becomes a child of this one, if this one started it, directly or not."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """This process is killed when its parent ends; at once if that is no longer the one with this pid."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def end(spared: Collection[int] = ()) -> None:
    """Kills all children but the spared ones, and their children, who become ours as their parents end."""
    while not _is_childless():
        trackers = _trackers()
        left = [pid for pid in _children() if pid not in trackers and pid not in spared]
        if not left:
            return
        for pid in left:
            _kill(pid)


def _kill(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # A thread of the run may have waited for it, and then the number may be another process's: we ask whether it is ours.
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except (ChildProcessError, ProcessLookupError):
        return
    finally:
        os.close(pidfd)


def is_alone() -> bool:
    """Whether this process has neither children nor threads that might have some."""
    return threading.active_count() == 1 and _is_childless()


def _is_childless() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _children() -> list[int]:
    pids: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
                pids += map(int, file.read().split())
        except FileNotFoundError:
            # The thread has ended. Another thread has its children now, and we find them the next time.
            continue
    return pids


def _trackers() -> set[int]:
    """Python's own helpers. They run no code of a script, and without them nobody would remove shared memory."""
    trackers = (getattr(module, "_resource_tracker", None) for name, module in list(sys.modules.items())
                if name.endswith("resource_tracker"))
    return {pid for tracker in trackers if (pid := getattr(tracker, "_pid", None))}
