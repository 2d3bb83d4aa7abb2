# SPDX-License-Identifier: Apache-2.0
"""metadata.bin: reading the record, writing a step, and waiting for a change."""
from __future__ import annotations

import ctypes
import errno
import os
import platform
import select
import time
from typing import Callable, Optional

from pyrmap import mapping
from pyrmap.layout import RECORD_OFFSETS, RECORD_SIZE, RECORD_VERSION_GONE
from pyrmap.record import Record, unpack, unpack_change
from pyrmap.texts import read_text

_FUTEX_CALLS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "loongarch64": 98, "ppc64le": 221}
_FUTEX = _FUTEX_CALLS.get(platform.machine())
_FUTEX_WAIT = 0

# A signal that arrives just before the futex call is noticed after at most this many seconds.
_CHUNK = 1.0


class _Timespec(ctypes.Structure):
    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]


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


def uses_passthrough(root: str) -> bool:
    """Whether mappings below the mount at root are the daemon's own pages. OSError if nothing is mounted there."""
    for line in read_text(os.path.join(root, ".pyrmap", "status")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "data path":
            return value.strip().startswith("passthrough")
    return False


class RecordFile:
    """An open metadata.bin.

    On the passthrough path the record is mapped: reading it costs nothing, and waiting is a futex on its
    `change`. A mapping on the page-cache path may lag, so there it is read(2) and poll(2).
    """

    __slots__ = ("_mapping", "_page", "_poll", "fd", "passthrough")

    def __init__(self, fd: int, passthrough: bool) -> None:
        """Takes over the descriptor, which must be open for reading and writing."""
        self.fd = fd
        self.passthrough = passthrough
        self._mapping: Optional[mapping.Mapping] = None
        self._page: Optional[memoryview] = None
        self._poll: Optional[select.poll] = None
        if passthrough and _FUTEX is not None:
            self._mapping = mapping.Mapping(fd, RECORD_SIZE, mapping.READ)
            self._page = self._mapping.view()
        else:
            self._poll = select.poll()
            self._poll.register(fd, select.POLLIN)

    def close(self) -> None:
        """Idempotent."""
        self._page = None
        self._mapping = None
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def read(self) -> Record:
        """The record at one moment."""
        if self._page is None:
            return unpack(os.pread(self.fd, RECORD_SIZE, 0))
        while True:
            # A sequence lock, as fs/protocol/record.h says: odd while the filesystem changes the page.
            change = unpack_change(self._page)
            copy = bytes(self._page)
            if not change & 1 and change == unpack_change(self._page):
                return unpack(copy)
            os.sched_yield()

    def write(self, step: bytes) -> None:
        """One step of the handshake. OSError if it is refused."""
        os.pwrite(self.fd, step, 0)

    def read_round(self) -> int:
        """The round now."""
        return self.read().round

    def read_state(self) -> tuple[int, int]:
        """Flag and round at one moment, asked of the daemon. OSError if the slot is gone."""
        record = unpack(os.pread(self.fd, RECORD_SIZE, 0))
        return record.flag, record.round

    def wait(self, ready: Callable[[int, int], bool], deadline: Deadline) -> tuple[int, int]:
        """Waits until ready(flag, round) and returns both. TimeoutError; OSError if the slot is gone; Ctrl-C works."""
        while True:
            # A change that comes after this read ends the wait.
            record = self.read()
            if record.version == RECORD_VERSION_GONE:
                # Nobody changes this page any more. The read fails, and says why.
                os.pread(self.fd, RECORD_SIZE, 0)
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            if ready(record.flag, record.round):
                return record.flag, record.round
            left = deadline.left()
            if self._poll is not None:
                self._poll.poll(left * 1000)
            elif not self._futex_wait(record.change, left):
                # Nothing came for a while: does the slot still exist?
                os.pread(self.fd, RECORD_SIZE, 0)

    def _futex_wait(self, change: int, seconds: float) -> bool:
        """Whether there may have been a change."""
        assert self._mapping is not None and _FUTEX is not None
        whole = int(seconds)
        limit = _Timespec(whole, int((seconds - whole) * 1e9))
        # Woken, interrupted, or changed already: the caller looks again in every case. Python runs
        # its signal handlers, hence KeyboardInterrupt, as soon as the call is back.
        result = _syscall(_FUTEX, self._mapping.address + RECORD_OFFSETS["change"], _FUTEX_WAIT, change,
                          ctypes.byref(limit), None, 0)
        return bool(result == 0) or ctypes.get_errno() != errno.ETIMEDOUT
