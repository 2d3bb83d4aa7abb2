# SPDX-License-Identifier: Apache-2.0
"""Mappings of slot files that arrays keep alive.

Python's own mmap object is no use here: it duplicates the descriptor, which keeps the slot's file open (so that
publishing is refused), and asks for the file's size, which is a request to the filesystem.
"""
from __future__ import annotations

import ctypes
import mmap
import os
import threading
from typing import Any, Callable, Iterable, NamedTuple, Optional

import numpy as np

from pyrmap.record import Array, Extent

READ = mmap.PROT_READ
READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE

_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
_MAP_POPULATE = 0x8000

SHARED = mmap.MAP_SHARED
# A store copies its page first. The kernel reserves no memory for that: an input is seldom changed, and may be as large as
# the machine's memory.
COPY_ON_WRITE = mmap.MAP_PRIVATE | _MAP_NORESERVE

# Below this a private copy is cheaper than asking the filesystem for another handle.
COPY_LIMIT = 1 << 20

# A few processors keep the memory busy; below so many bytes a thread costs more than it saves.
_PARTS_MAX = 4
_PART_LEAST = 4 << 20

_HUGE_PAGE = 2 << 20

# Of an entry in /proc/PID/pagemap: the page is in memory or in swap; it is a file's.
_PRESENT = np.uint64(3 << 62)
_OF_FILE = np.uint64(1 << 61)
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_munmap = _libc.munmap
_munmap.restype = ctypes.c_int
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def _map(address: int | None, length: int, protection: int, flags: int, fd: int) -> int:
    result = _mmap(address, length, protection, flags, fd, 0)
    if result is None or result == _MAP_FAILED:
        error = ctypes.get_errno()
        raise OSError(error, f"mmap of {length} bytes: {os.strerror(error)}")
    return int(result)


class Origin(NamedTuple):
    """What a published array was mapped from."""

    path: str  # of the slot
    name: str  # data.bin or result.bin
    inode: int  # of the segment


class Mapping:
    """The first `length` bytes of a file; unmapped when the last array over it is gone.

    fd: borrowed, may be closed at once. length: bytes, at least 1. protection: READ or READ_WRITE (the
    descriptor must allow it). flags: SHARED, or COPY_ON_WRITE, which may be written through a descriptor that may only
    read, and never changes the file. OSError if the kernel refuses.
    """

    __slots__ = ("__weakref__", "address", "length", "origin", "protection")

    def __init__(self, fd: int, length: int, protection: int, flags: int = SHARED) -> None:
        self.length = length
        self.protection = protection
        self.origin: Optional[Origin] = None
        self.address = 0
        if protection == READ_WRITE and flags == SHARED:
            # It will be filled: one call is many times as fast as a fault for each of its pages.
            flags |= _MAP_POPULATE
        if length < _HUGE_PAGE:
            self.address = _map(None, length, protection, flags, fd)
            return
        # The kernel does not place a FUSE file on a huge page boundary, and then gives it no huge pages.
        reserved = _map(None, length + _HUGE_PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
        start = -(-reserved // _HUGE_PAGE) * _HUGE_PAGE
        end = -(-(start + length) // mmap.PAGESIZE) * mmap.PAGESIZE
        reserved_end = reserved + -(-(length + _HUGE_PAGE) // mmap.PAGESIZE) * mmap.PAGESIZE
        try:
            self.address = _map(start, length, protection, flags | _MAP_FIXED, fd)
        except OSError:
            _munmap(reserved, reserved_end - reserved)
            raise
        if start > reserved:
            _munmap(reserved, start - reserved)
        if reserved_end > end:
            _munmap(end, reserved_end - end)

    # The default is still there when the interpreter ends and has cleared the module's names.
    def __del__(self, unmap: Callable[[int, int], int] = _munmap) -> None:
        if self.address:
            unmap(self.address, self.length)

    def array(self, extent: Extent) -> Array:
        """A NumPy array over the mapping, which it keeps alive; read-only if the mapping is."""
        return np.asarray(_Window(self, extent))

    def view(self) -> memoryview:
        """The mapping's bytes. The caller keeps the mapping alive for as long as it uses them."""
        # ctypes makes it writable, and a store would be a fault: the pages may be read-only. We only read through it.
        return memoryview((ctypes.c_char * self.length).from_address(self.address)).cast("B")

    def is_changed(self) -> bool:
        """Whether a store has put a private page in the place of one of the file's."""
        first, last = self.address // mmap.PAGESIZE, -(-(self.address + self.length) // mmap.PAGESIZE)
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            entries = np.frombuffer(os.pread(pagemap.fileno(), 8 * (last - first), 8 * first), np.uint64)
        if len(entries) < last - first:
            return True
        return bool(np.any(((entries & _PRESENT) != 0) & ((entries & _OF_FILE) == 0)))

    def detach(self) -> None:
        """Lets go of the file, so that it can be published, while arrays over the mapping still exist.

        Up to COPY_LIMIT bytes they keep their values, as private memory. Above it they read as zeros until
        attach() shows them the published file; no other thread may look at them in between. Private memory stays
        writable: a view that NumPy still holds for writable must not crash the program.
        """
        if self.length <= COPY_LIMIT:
            self.make_private()
        else:
            self._forget()

    def make_private(self) -> None:
        """Lets go of the file; arrays over the mapping keep their values, as private memory, whatever that costs."""
        values = ctypes.string_at(self.address, self.length)
        self._forget()
        ctypes.memmove(self.address, values, self.length)

    def _forget(self) -> None:
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED | _MAP_NORESERVE
        _map(self.address, self.length, READ_WRITE, private, -1)

    def attach(self, fd: int, size: int) -> None:
        """Shows the first size bytes of the file again after detach(); later stores stay private.

        fd: read-only. size: at most the length of the mapping and of the file; nothing to do if it is 0.
        """
        if size:
            _map(self.address, size, READ_WRITE, mmap.MAP_PRIVATE | _MAP_FIXED, fd)


class _Window:
    """What np.asarray() needs to know of a mapping; NumPy keeps it as the array's base."""

    __slots__ = ("__array_interface__", "mapping")

    def __init__(self, mapping: Mapping, extent: Extent) -> None:
        self.mapping = mapping
        shape = extent.array_shape
        strides = None
        if extent.order == "F" and len(shape) > 1:
            step = extent.dtype.itemsize
            steps = []
            for length in shape:
                steps.append(step)
                step *= length
            strides = tuple(steps)
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "data": (mapping.address, mapping.protection == READ),
            "shape": shape,
            "typestr": extent.dtype.str,
            "strides": strides,
        }


def store(fd: int, size: int, pieces: Iterable[tuple[int, memoryview]]) -> None:
    """Copies bytes to their places in a file of that size, which is mapped once for all of them."""
    target = Mapping(fd, size, READ_WRITE).array(Extent(np.dtype(np.uint8), (), size, "C"))
    for offset, piece in pieces:
        _copy(target[offset:offset + len(piece)], np.frombuffer(piece, np.uint8) if len(piece) else np.empty(0, np.uint8))


def _copy(target: Array, source: Array) -> None:
    """On several processors if there is much of it."""
    parts = min(len(os.sched_getaffinity(0)), _PARTS_MAX) if len(source) >= _PART_LEAST else 1
    size = -(-len(source) // parts)
    helpers = []
    for begin in range(size, len(source), size):
        piece = slice(begin, begin + size)
        helper = threading.Thread(target=np.copyto, args=(target[piece], source[piece]))
        try:
            helper.start()
            helpers.append(helper)
        except RuntimeError:
            # This user may have no more threads.
            np.copyto(target[piece], source[piece])
    np.copyto(target[:size], source[:size])
    for helper in helpers:
        helper.join()


def overlaps(array: Array, memory: Mapping) -> bool:
    """Whether an array has any byte in a mapping, as far as its bounds tell."""
    low, high = np.lib.array_utils.byte_bounds(array) if hasattr(np.lib, "array_utils") else np.byte_bounds(array)
    return bool(low < memory.address + memory.length and memory.address < high)


def mapping_of(array: Array) -> Optional[Mapping]:
    """The mapping that an array, or what it is a view of, lies in; None for one that lies elsewhere."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base.mapping if isinstance(base, _Window) else None


def address_of(array: Array) -> int:
    """Where the first element of an array lies in memory."""
    address: int = array.__array_interface__["data"][0]
    return address
