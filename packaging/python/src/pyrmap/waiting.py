# SPDX-License-Identifier: Apache-2.0
"""metadata.bin and metadata.mem: reading the record, writing a step, and waiting for a change."""
from __future__ import annotations

import ctypes
import errno
import os
import select
import time
from typing import Callable, Optional

from pyrmap import mapping
from pyrmap.layout import RECORD_OFFSETS, RECORD_PAGE_SIZE, RECORD_SIZE, RECORD_VERSION_GONE
from pyrmap.record import unpack_state
from pyrmap.texts import read_text

_FUTEX_CALLS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "loongarch64": 98, "ppc64le": 221}
_FUTEX = _FUTEX_CALLS.get(os.uname().machine)
_FUTEX_WAIT = 0

# Before we sleep we look for so many seconds: in a loop of small exchanges the next step is there by then, and to be woken takes
# as long as to make it.
_LOOK = 0.0002

# A signal that arrives just before the futex call is noticed after at most this many seconds.
_CHUNK = 1.0


class _Timespec(ctypes.Structure):
    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]


_SECOND = _Timespec(int(_CHUNK), 0)

_CHANGE = RECORD_OFFSETS["change"] // 4
_INLINE = slice(RECORD_OFFSETS["input_inline"], RECORD_OFFSETS["task_change"])

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32,
                     ctypes.POINTER(_Timespec), ctypes.c_void_p, ctypes.c_uint32)


class Deadline:
    """The end of a wait. timeout: seconds; None: none."""

    __slots__ = ("end",)

    def __init__(self, timeout: Optional[float]) -> None:
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"a timeout is a number of seconds, not {timeout!r}")
        self.end = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float:
        """Seconds that a single wait may take; TimeoutError if there are none left."""
        if self.end is None:
            return _CHUNK
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out waiting for the slot")
        return min(left, _CHUNK)


def data_path(root: str) -> str:
    """How the mount at root shows the daemon's pages, as its status says: "passthrough", "links", or neither. OSError if nothing
    is mounted there."""
    for line in read_text(os.path.join(root, ".pyrmap", "status")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "data path":
            return value.split()[0]
    return ""


class RecordFile:
    """metadata.bin, open, and metadata.mem, where the record and small arrays are read.

    Where the page is live it is mapped: reading it costs nothing, and waiting is a futex on its `change`. A mapping of the
    kernel's page cache may lag, so there it is read(2) and poll(2).
    """

    __slots__ = ("_mapping", "_page", "_poll", "_words", "fd", "links", "page_fd", "passthrough")

    def __init__(self, directory: int, path: str) -> None:
        """directory: the slot's, a descriptor. path: the mount's data_path(). OSError."""
        self.passthrough = path == "passthrough"
        self.fd = os.open("metadata.bin", os.O_RDWR | os.O_CLOEXEC, dir_fd=directory)
        self._poll: Optional[select.poll] = None
        try:
            # It stays open: the filesystem brings a page up to date only while somebody has it open.
            try:
                self.page_fd = os.open("metadata.mem", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
            except PermissionError:
                # A link may lead where this process may not go, as into another user namespace.
                self.page_fd = os.open(".metadata.mem", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
            # A link leads out of the mount, to the page itself. A process that may not go there gets a file of the mount.
            self.links = os.fstat(self.page_fd).st_dev != os.fstat(directory).st_dev
            live = _FUTEX is not None and (self.passthrough or self.links)
            self._mapping = mapping.Mapping(self.page_fd, RECORD_PAGE_SIZE, mapping.READ) if live else None
        except OSError:
            os.close(self.fd)
            raise
        self._page = self._mapping.view() if self._mapping is not None else None
        self._words = self._page.cast("I") if self._page is not None else None
        if not live:
            self._poll = select.poll()
            self._poll.register(self.fd, select.POLLIN)

    def close(self) -> None:
        """Idempotent."""
        self._words = self._page = self._mapping = None
        if self.fd >= 0:
            os.close(self.fd)
            os.close(self.page_fd)
        self.fd = self.page_fd = -1

    def ask(self) -> bytes:
        """The record as the daemon has it. OSError if the slot is gone."""
        return os.pread(self.fd, RECORD_SIZE, 0)

    def page(self) -> bytes:
        """The page at one moment: the record, and behind it the arrays that stand there, if any does."""
        if self._page is None or self._words is None:
            # poll(2) reports changes since this read, not since a read of the page.
            head = self.ask()
            return os.pread(self.page_fd, RECORD_PAGE_SIZE, 0) if any(head[_INLINE]) else head
        while True:
            # A sequence lock, as fs/protocol/record.h says: odd while the filesystem changes the page.
            change = self._words[_CHANGE]
            copy = bytes(self._page)
            if not change & 1 and change == self._words[_CHANGE]:
                return copy
            os.sched_yield()

    def head(self) -> bytes:
        """The record at one moment."""
        return self.ask() if self._page is None else self.page()

    def take(self, offset: int, size: int) -> bytes:
        """The record and, behind it, an array of that many bytes, in one request that stands for an open and a close of its file.

        offset: RECORD_TAKE_INPUT or RECORD_TAKE_RESULT. OSError as that open would give it with O_NONBLOCK.
        """
        return os.pread(self.fd, RECORD_SIZE + size, offset)

    def write(self, step: bytes, offset: int = 0) -> None:
        """One step of the handshake, with the array behind the record if there is one. OSError if it is refused.

        offset: RECORD_STEP_OF_ROUND has it refused, with ECANCELED, unless the slot is in the record's round.
        """
        os.pwrite(self.fd, step, offset)

    def wait(self, ready: Callable[[int, int], bool], deadline: Deadline) -> bytes:
        """Waits until ready(flag, round). The page of that moment. TimeoutError; OSError if the slot is gone; Ctrl-C works."""
        while True:
            # We read before we sleep: a change that comes in between ends the sleep at once.
            page = self.page()
            flag, version, round_, change = unpack_state(page)
            if version == RECORD_VERSION_GONE:
                # Nobody changes this page any more. Reading the record fails, and its error says why.
                self.ask()
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            if ready(flag, round_):
                return page
            left = deadline.left()
            if self._poll is not None:
                self._poll.poll(left * 1000)
            elif not self._changes_soon(change):
                self._sleep(change, left)

    def _changes_soon(self, change: int) -> bool:
        """Whether `change` has another value soon. Between two looks others get the processor."""
        words = self._words
        assert words is not None
        end = time.monotonic() + _LOOK
        while words[_CHANGE] == change:
            if time.monotonic() > end:
                return False
            os.sched_yield()
        return True

    def _sleep(self, change: int, seconds: float) -> None:
        """Returns when there may have been a change."""
        assert self._mapping is not None and _FUTEX is not None
        limit = _SECOND if seconds == _CHUNK else _Timespec(int(seconds), int(seconds % 1 * 1e9))
        # We ignore how the call ended: the caller looks again in any case. Python runs its signal handlers, and
        # raises KeyboardInterrupt, when the call is back.
        _syscall(_FUTEX, self._mapping.address + RECORD_OFFSETS["change"], _FUTEX_WAIT, change, ctypes.byref(limit), None, 0)
