# SPDX-License-Identifier: Apache-2.0
"""What stays open of a slot from round to round."""
from __future__ import annotations

import errno
import os

from pyrmap import mapping
from pyrmap.collecting import with_room
from pyrmap.errors import not_a_slot, refused
from pyrmap.waiting import RecordFile, data_path


class Handles:
    """The slot's directory, the record and `worker`: a round then opens data.bin and result.bin at most."""

    __slots__ = ("directory", "path", "record", "worker")

    def __init__(self, path: str) -> None:
        """path: the slot's directory. NotASlot, or SlotError if it may not be opened."""
        self.path = os.path.abspath(path)
        self.directory = self.worker = -1
        try:
            path_of_data = data_path(os.path.dirname(self.path))
            self.directory = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.record = RecordFile(self.directory, path_of_data)
        except OSError as error:
            if self.directory >= 0:
                os.close(self.directory)
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise not_a_slot(path) from None
            raise refused(error, "open the record", self.path) from error

    def open(self, name: str, flags: int) -> int:
        """Opens a file of the slot; a removed slot is ENOENT even if there is a new one of the same name."""
        return with_room(lambda: os.open(name, flags | os.O_CLOEXEC, dir_fd=self.directory))

    def pages(self, name: str, fd: int, flags: int) -> int:
        """A new descriptor by which data.bin or result.bin, open as fd with these flags, is mapped: of the pages themselves where
        there is a link to them."""
        if self.record.links:
            try:
                return self.open(name.replace(".bin", ".mem"), flags)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.ENOENT):
                    raise
        return os.dup(fd)

    def map(self, name: str, fd: int, length: int, flags: int = mapping.SHARED) -> mapping.Mapping:
        """Of data.bin or result.bin, open as fd: for writing if it is SHARED."""
        pages = self.pages(name, fd, os.O_RDWR if flags == mapping.SHARED else os.O_RDONLY)
        try:
            return with_room(lambda: mapping.Mapping(pages, length, mapping.READ_WRITE, flags))
        finally:
            os.close(pages)

    def bind_worker(self, who: bytes = b"self") -> None:
        """Names this process as the one that computes: should it die, the round fails and nobody waits for it."""
        if self.worker < 0:
            self.worker = self.open("worker", os.O_WRONLY)
        os.pwrite(self.worker, who, 0)

    def close(self) -> None:
        """Idempotent."""
        self.record.close()
        for fd in (self.directory, self.worker):
            if fd >= 0:
                os.close(fd)
        self.directory = self.worker = -1
