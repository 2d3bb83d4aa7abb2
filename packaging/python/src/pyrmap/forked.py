# SPDX-License-Identifier: Apache-2.0
"""Isolation "process": each run has a process, forked before its round is known, that waits for the round itself.

The worker only watches. It lets one child at a time wait, when nothing is left of the run before; and it forks the next
one meanwhile, so that a round waits for no fork. Of a child that dies it fails the round, and says of what it died.
"""
from __future__ import annotations

import atexit
import faulthandler
import os
import select
import signal
import struct
import traceback
from typing import Callable, NamedTuple, NoReturn, Optional

from pyrmap import leftovers

_TRACE_MAX = 32768

# A child says when its run is over whether it brought the round to its end, and whether no code of the script is left.
ENDED, UNENDED, CLEAN = b"e", b"u", b"c"
# Or it has run nothing, and says why: the worker is to take the round, or the slot is gone.
YOURS, GONE = b"y", b"g"

# The worker tells it a round that is not new: it waits for any other.
_GO = struct.Struct("<Q")


class Child(NamedTuple):
    """A process that waits for a round, runs it, or has run it."""

    pid: int
    pidfd: int
    pipe: int  # both ways
    trace: int  # what faulthandler wrote, behind the number of the round that was taken

    def go(self, unended: int) -> None:
        """Lets it wait for a round, other than this one."""
        try:
            os.write(self.pipe, _GO.pack(unended))
        except BrokenPipeError:
            # It has died, as await_end() will find.
            return

    def await_end(self) -> bytes:
        """What it says at the end of its round; b"" if it has died."""
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        poll.register(self.pidfd, select.POLLIN)
        try:
            said = os.read(self.pipe, 2) if any(fd == self.pipe for fd, _ in poll.poll()) else b""
        except ConnectionResetError:
            said = b""
        if not said:
            poll.unregister(self.pipe)
            poll.poll()
        return said

    def taken(self) -> tuple[int, str]:
        """The round that it has taken, or 0, and where it was when a signal killed it."""
        text = os.pread(self.trace, _GO.size + _TRACE_MAX, 0)
        round_ = _GO.unpack_from(text)[0] if len(text) >= _GO.size else 0
        return round_, text[_GO.size:].decode("utf-8", "replace")

    def kill(self) -> int:
        """Its status as from waitpid(2), of a child that has ended already, too."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        status = self.reap(0)
        assert status is not None
        return status

    def reap(self, options: int = os.WNOHANG) -> Optional[int]:
        """Its status as from waitpid(2); None if it has not ended. Its descriptors are closed then."""
        pid, status = os.waitpid(self.pid, options)
        if not pid:
            return None
        for fd in (self.pidfd, self.pipe, self.trace):
            os.close(fd)
        return status


class Told:
    """The child's end of the pipe, and of the trace."""

    def __init__(self, pipe: int, trace: int) -> None:
        self._pipe = pipe
        self._trace = trace
        self._exits = atexit._ncallbacks()
        os.lseek(trace, _GO.size, os.SEEK_SET)
        faulthandler.enable(trace)

    def await_go(self) -> int:
        """Waits until the worker lets this process wait for a round. The round that is not new."""
        number: int = _GO.unpack(os.read(self._pipe, _GO.size))[0]
        return number

    def takes(self, round_: int) -> None:
        """This process has a round from now on."""
        os.pwrite(self._trace, _GO.pack(round_), 0)

    def is_clean(self) -> bool:
        """Whether no code of a script can run any more, in a thread, a child or at the end of this process."""
        return atexit._ncallbacks() <= self._exits and leftovers.is_alone()

    def say(self, words: bytes) -> None:
        """For await_end()."""
        os.write(self._pipe, words)


def fork(live: Callable[[Told], int]) -> Child:
    """A child that does live() and ends with the status that it returns."""
    parent = os.getpid()
    import socket

    ours, theirs = (end.detach() for end in socket.socketpair())
    trace = os.memfd_create("pyrmap-trace")
    pid = os.fork()
    if pid == 0:
        _be_child(live, Told(theirs, trace), parent)
    os.close(theirs)
    return Child(pid, os.pidfd_open(pid), ours, trace)


def _be_child(live: Callable[[Told], int], told: Told, parent: int) -> NoReturn:
    status = 1
    try:
        leftovers.die_with_parent(parent)
        # What its run starts becomes a child of this process, and of the worker when this process has ended.
        leftovers.adopt()
        status = live(told)
    except KeyboardInterrupt:
        # The whole group gets it, so the parent ends as well.
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
