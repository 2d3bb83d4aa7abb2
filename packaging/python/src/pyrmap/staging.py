# SPDX-License-Identifier: Apache-2.0
"""An array on its way into a slot: from the first byte to the step that publishes it.

A small one stays in memory, and is published in one write together with its record. Others are written to data.bin or
result.bin, or are that file, mapped, while the program fills them.
"""
from __future__ import annotations

import errno
import os
import time
import warnings
import weakref
from contextlib import suppress
from typing import Callable, NamedTuple, Optional

import numpy as np

from pyrmap import convert, mapping, values
from pyrmap.collecting import with_room
from pyrmap.errors import SlotError, refused
from pyrmap.handles import Handles
from pyrmap.layout import RECORD_FLAG_INPUT, RECORD_STEP_OF_ROUND
from pyrmap.record import Array, Extent, unpack_state
from pyrmap.turn import Turn

# Up to this many bytes one write costs less than opening, writing and closing a file.
SEND_MAX = 128 << 10

# pwrite(2) writes at most 2 GiB less a page in one call.
_PIECE = 1 << 30

# Seconds between the tries to publish what others still write.
_PAUSES = tuple(0.001 * 2**i for i in range(12))

# What is larger than one request is stored through a mapping where the pages are the filesystem's.
_MAP_LEAST = 1 << 20


class _Staged(NamedTuple):
    """The array as far as it is made."""

    extent: Extent
    fd: int = -1  # of the file; -1: it is complete, and closed, or there is none
    memory: Optional[bytes] = None  # of an array that has no file
    # The mapping of the file, and the array over it that the program got.
    mapped: Optional[weakref.ReferenceType[mapping.Mapping]] = None
    array: Optional[weakref.ReferenceType[Array]] = None
    reserved: int = 0  # bytes that the file got for the mapping

    def mapping(self) -> Optional[mapping.Mapping]:
        """None if the program has dropped it."""
        return self.mapped() if self.mapped is not None else None

    def cut(self) -> None:
        """Cuts the file where only the beginning of the mapped array is to be published."""
        if self.mapped is not None and self.reserved != self.extent.size:
            os.ftruncate(self.fd, self.extent.size)


class Stage:
    """One of the two arrays of a slot, as this program makes it.

    name: data.bin or result.bin. turn: what has to be checked before it is made, and published.
    """

    __slots__ = ("_handles", "_staged", "_turn", "name")

    def __init__(self, handles: Handles, name: str, turn: Optional[Turn] = None) -> None:
        self.name = name
        self._handles = handles
        self._turn = turn
        self._staged: Optional[_Staged] = None

    def __bool__(self) -> bool:
        return self._staged is not None

    def map(self, extent: Extent) -> Array:
        """A writable array of zeros over the file. It replaces what there was, which is the program's own from then on."""
        again = self._staged is not None
        self.give_up()
        fd = self._open()
        self._staged = _Staged(extent, fd)
        try:
            if again:
                os.ftruncate(fd, 0)
            with_room(lambda: os.ftruncate(fd, extent.size))
            if not extent.size:
                return np.empty(extent.array_shape, extent.dtype)
            memory = self._handles.map(self.name, fd, extent.size)
        except OSError as error:
            self.drop()
            raise self._refused(error, f"reserve {extent.size} bytes for {self.name}") from error
        array = memory.array(extent)
        self._staged = _Staged(extent, fd, None, weakref.ref(memory), weakref.ref(array), extent.size)
        return array

    def store(self, value: values.Outgoing) -> None:
        """Takes a value in place of what there was; a small one stays in memory if there is no file yet. The array of map(), or
        the beginning of it, is not copied."""
        memory = self._staged.mapping() if self._staged is not None else None
        if memory is not None and self._staged is not None:
            if isinstance(value, convert.Value):
                array, extent = value.array, value.extent
                laid_out = convert.extent_of(array.shape, extent.dtype, "C" if array.flags.c_contiguous else "F")
                if (mapping.address_of(array) == memory.address and array.nbytes <= memory.length
                        and array.dtype == laid_out.dtype and array.flags.forc):
                    self._staged = self._staged._replace(extent=laid_out)
                    return
                if mapping.overlaps(array, memory):
                    value = value._replace(array=array.copy(order="K"))
            # The file becomes something else under an array that is mapped from it.
            memory.make_private()
        if 0 < value.extent.size <= SEND_MAX and (self._staged is None or self._staged.memory is not None):
            self._staged = _Staged(value.extent, memory=b"".join(piece for _, piece in value.pieces()))
        else:
            self.write(value)

    def write(self, value: values.Outgoing) -> None:
        """Writes a value into the file, which is or is now opened for writing."""
        staged, self._staged = self._staged, None
        fd = self._open() if staged is None or staged.fd < 0 else staged.fd
        size = value.extent.size
        self._staged = _Staged(value.extent, fd)
        try:
            links = self._handles.record.links
            maps = size > _MAP_LEAST and (self._handles.record.passthrough or links)
            if maps or links or staged is not None:
                with_room(lambda: os.ftruncate(fd, size))
            pages = self._handles.pages(self.name, fd, os.O_RDWR)
            try:
                if maps:
                    with_room(lambda: mapping.store(pages, size, value.pieces()))
                for offset, piece in () if maps else value.pieces():
                    with_room(lambda: _write_all(pages, piece, offset))
            finally:
                os.close(pages)
        except OSError as error:
            self.drop()
            raise self._refused(error, f"write {size} bytes to {self.name}") from error

    def finish(self) -> None:
        """Closes the file if no array is mapped from it any more, so that a child that is forked from now on has no part in it."""
        staged = self._staged
        if staged is None or staged.fd < 0 or staged.mapping() is not None:
            return
        staged.cut()
        os.close(staged.fd)
        self._staged = _Staged(staged.extent)

    def publish(self, step_of: Callable[[Extent], bytes], what: str) -> None:
        """Lets go of the array and takes the step. A refused step leaves the round as it was, without the array."""
        staged, self._staged = self._staged, None
        assert staged is not None
        memory = staged.mapping()
        array = staged.array() if staged.array is not None else None
        if array is not None:
            array.flags.writeable = False
        try:
            # The mapping goes first: a load beyond the end of a file that was cut is a SIGBUS.
            if memory is not None:
                memory.detach()
            staged.cut()
        finally:
            if staged.fd >= 0:
                os.close(staged.fd)
        extent = staged.extent
        step = step_of(extent)
        try:
            if staged.memory is not None:
                image = step + staged.memory
                self._when_free(lambda: with_room(lambda: self._step(image)))
            else:
                self._when_free(lambda: self._write(step, extent))
        except OSError as error:
            raise self._refused(error, f"publish {what}") from error
        if memory is not None and memory.length > mapping.COPY_LIMIT:
            self._attach(memory, staged.extent)

    def drop(self) -> None:
        """Closes the file; what was written stays in it until the round is over."""
        staged, self._staged = self._staged, None
        if staged is not None and staged.fd >= 0:
            os.close(staged.fd)

    def give_up(self) -> None:
        """drop(); an array over the file keeps its values."""
        memory = self._staged.mapping() if self._staged is not None else None
        if memory is not None:
            memory.make_private()
        self.drop()

    def _open(self) -> int:
        if self._turn is not None:
            self._turn.check()
        try:
            fd = self._handles.open(self.name, os.O_RDWR)
        except OSError as error:
            raise self._refused(error, f"open {self.name} for writing") from error
        try:
            # We look again: only while the file is open for writing can no other round begin.
            if self._turn is not None:
                self._turn.check()
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _when_free(self, take: Callable[[], None]) -> None:
        """Takes the step that publishes. A result is waited for, a moment, where children of this process that wrote parts of it
        are still letting go of it: as long as its round is there, for the step would answer the next one as well."""
        turn = self._turn
        for pause in _PAUSES if turn is not None else ():
            try:
                return take()
            except OSError as error:
                if error.errno != errno.EBUSY or turn is None or unpack_state(turn.check())[0] != RECORD_FLAG_INPUT:
                    raise
            time.sleep(pause)
            turn.check()
        return take()

    def _write(self, step: bytes, extent: Extent) -> None:
        """One write; a file that an earlier attempt of the round left longer is cut, and the step tried again."""
        try:
            self._step(step)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fd = self._handles.open(self.name, os.O_RDWR)
            try:
                if os.fstat(fd).st_size <= extent.size:
                    raise
                os.ftruncate(fd, extent.size)
            finally:
                os.close(fd)
            self._step(step)

    def _step(self, step: bytes) -> None:
        # A result answers the round that its step was made for. Since we looked, that may have been cancelled, and the next have begun.
        self._handles.record.write(step, 0 if self._turn is None else RECORD_STEP_OF_ROUND)

    def _attach(self, memory: mapping.Mapping, extent: Extent) -> None:
        """Shows the published file to arrays that the program still holds."""
        try:
            fd = self._handles.open(self.name, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            warnings.warn(f"an array of {self._handles.path} reads as zeros now: it was published, and the next round began",
                          RuntimeWarning, stacklevel=4)
            return
        pages = self._handles.pages(self.name, fd, os.O_RDONLY)
        try:
            memory.attach(pages, extent.size)
        finally:
            os.close(pages)
            os.close(fd)

    def _refused(self, error: OSError, action: str) -> SlotError:
        """The exception to raise. RoundCancelled if the round is over: its steps are refused with whatever fits the next one."""
        if self._turn is not None:
            with suppress(OSError):  # the slot is gone
                self._turn.check()
        return refused(error, action, self._handles.path)


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:done + _PIECE], offset + done)
