# SPDX-License-Identifier: Apache-2.0
"""Mappings that hold no descriptor, as C, R and Julia make them.

mmap.mmap() duplicates its descriptor and so keeps the file open: it can show nothing of what a mapping alone does.
"""
from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

MAP_FAILED = ctypes.c_void_p(-1).value


class Pages:
    """open, mmap, close: the pages are all that is left. Stays mapped until close()."""

    def __init__(self, path: str | Path, writable_size: int = 0) -> None:
        """writable_size: the file gets this size and is mapped for writing; 0: the whole file, for reading."""
        fd = os.open(path, os.O_RDWR if writable_size else os.O_RDONLY)
        try:
            if writable_size:
                os.ftruncate(fd, writable_size)
            self.size = writable_size or os.fstat(fd).st_size
            protection = mmap.PROT_READ | mmap.PROT_WRITE if writable_size else mmap.PROT_READ
            self.address: int = _libc.mmap(None, self.size, protection, mmap.MAP_SHARED, fd, 0)
            if self.address == MAP_FAILED:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
        finally:
            os.close(fd)

    @classmethod
    def of(cls, fd: int, size: int) -> "Pages":
        """Of an open file, whatever its size is."""
        pages = cls.__new__(cls)
        pages.size = size
        pages.address = _libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
        if pages.address == MAP_FAILED:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return pages

    def load(self) -> bytes:
        return ctypes.string_at(self.address, self.size)

    def store(self, content: bytes) -> None:
        """From the beginning."""
        assert len(content) <= self.size
        ctypes.memmove(self.address, content, len(content))

    def touch_beyond(self) -> None:
        """A store to each byte of the last page behind the size."""
        ctypes.memset(self.address + self.size, 1, -self.size % mmap.PAGESIZE)

    def touch(self) -> None:
        """A store to each page."""
        for offset in range(0, self.size, mmap.PAGESIZE):
            ctypes.memset(self.address + offset, 1, 1)

    def close(self) -> None:
        _libc.munmap(self.address, self.size)
