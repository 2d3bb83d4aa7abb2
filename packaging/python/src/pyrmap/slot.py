# SPDX-License-Identifier: Apache-2.0
"""Slot: one exchange, step by step, from either side.

The producer writes an input and takes the result, the worker takes the input and writes the result:

    producer                          worker
    slot.produce(x); slot.publish()   slot.wait()
    slot.wait()                       y = f(slot.input())
    y = slot.result()                 slot.publish(y)

Arrays that a slot hands out are mapped from its files. An input or a result is mapped copy-on-write: reading it copies
nothing, and a program that changes it (`x += 1`) changes its own copy of the pages, never what others see. It stays
valid for as long as it is referenced, through later rounds and the removal of the slot; an array that is to be filled
is writable until it is published.
"""
from __future__ import annotations

import ctypes
import errno
import os
import sys
import warnings
import weakref
from types import TracebackType
from typing import Any, Callable, NamedTuple, Optional, Union, overload

import numpy as np

from pyrmap import convert, mapping, threads, values
from pyrmap.collecting import with_room
from pyrmap.errors import GONE, NotASlot, RoundCancelled, RoundFailed, SlotError, failure_text, not_a_slot, refused
from pyrmap.layout import (RECORD_FLAG_FAILED, RECORD_FLAG_INPUT, RECORD_FLAG_NONE, RECORD_FLAG_RESULT,
                           RECORD_ORDER_INPUT_F)
from pyrmap.record import Array, Extent, Record, Shape, input_extent, input_step, pack_flag, result_extent, result_step
from pyrmap.texts import ERROR_MAX, read_text, shorten, write_text
from pyrmap.waiting import Deadline, RecordFile, uses_passthrough

SLOT_VARIABLE = "PYRMAP_SLOT"

# Set for a script that is run in one round of that slot, and inherited by what it starts: none of it takes part in another.
ROUND_VARIABLE = "PYRMAP_ROUND"

_DATA = "data.bin"
_RESULT = "result.bin"

# pwrite(2) writes at most 2 GiB less a page in one call.
_PIECE = 1 << 30

# From so many bytes on several processors copy an array faster than one.
_LARGE = 1 << 26

_NOTHING = object()
_flush_c_streams = ctypes.CDLL(None).fflush


class Handles:
    """What stays open of a slot from round to round: its directory, the record and `worker`.

    A worker keeps them, and its children inherit them: a round then opens only data.bin and result.bin.
    """

    __slots__ = ("directory", "path", "record", "worker")

    def __init__(self, path: str) -> None:
        """path: the slot's directory. NotASlot, or SlotError if it may not be opened."""
        self.path = os.path.abspath(path)
        self.worker = -1
        self.directory = -1
        root = os.path.dirname(self.path)
        try:
            passthrough = uses_passthrough(root)
            self.directory = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            fd = os.open("metadata.bin", os.O_RDWR | os.O_CLOEXEC, dir_fd=self.directory)
        except OSError as error:
            if self.directory >= 0:
                os.close(self.directory)
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise not_a_slot(path) from None
            raise refused(error, "open metadata.bin", self.path) from error
        self.record = RecordFile(fd, passthrough)

    @classmethod
    def adopt(cls, path: str, fds: list[int], passthrough: bool) -> Handles:
        """Handles that another process has opened: descriptors of the directory, metadata.bin and `worker`."""
        handles = cls.__new__(cls)
        handles.path = path
        handles.directory, metadata, handles.worker = fds
        handles.record = RecordFile(metadata, passthrough)
        return handles

    def open(self, name: str, flags: int) -> int:
        """Opens a file of the slot; a removed slot is ENOENT even if there is a new one of the same name."""
        return with_room(lambda: os.open(name, flags | os.O_CLOEXEC, dir_fd=self.directory))

    def bind_worker(self, who: bytes = b"self") -> None:
        """Names this process as the one that computes: should it die, the round fails and nobody waits for it."""
        self.open_worker()
        os.pwrite(self.worker, who, 0)

    def open_worker(self) -> None:
        """Opens `worker`, for bind_worker(). Idempotent."""
        if self.worker < 0:
            self.worker = self.open("worker", os.O_WRONLY)

    def close(self) -> None:
        """Idempotent."""
        self.record.close()
        for fd in (self.directory, self.worker):
            if fd >= 0:
                os.close(fd)
        self.directory = self.worker = -1


class _Pending(NamedTuple):
    """A file that is being filled, and the array over it that empty_result() or produce() handed out, if any."""

    fd: int  # -1: the file is complete, and closed
    extent: Extent
    mapped: Optional[weakref.ReferenceType[mapping.Mapping]] = None
    array: Optional[weakref.ReferenceType[Array]] = None


class Slot:
    """One slot of a mount.

    path: the slot's directory; None: what the environment variable PYRMAP_SLOT says. The slot must exist;
    Slot.create() makes one. NotASlot if there is none. A Slot is used by one thread at a time.

    As a context manager it closes its handles at the end; an exception that leaves the block fails the round if this
    program has taken its input, so that nobody waits for a result in vain.
    """

    # The round of each slot that this process has brought to its end, through whichever object, where it was limited to one.
    last_ended: dict[str, int] = {}

    def __init__(self, path: Union[str, os.PathLike[str], None] = None, handles: Optional[Handles] = None) -> None:
        if path is None:
            path = os.environ.get(SLOT_VARIABLE)
            if not path:
                raise NotASlot(errno.ENOENT, f"no slot: set {SLOT_VARIABLE}=/mnt/pyrmap/JOB, or call the function "
                                             "with an array")
        self._inherited = handles is not None
        self._handles = handles if handles is not None else Handles(os.fspath(path))
        self._read_fds: list[int] = []
        self._input: Optional[values.Taken] = None
        self._taken: Optional[Record] = None
        # The only round that this object is about.
        self._only = _round_of_run(self._handles.path)
        self._single = False
        self._left = False
        self._named = False
        self._kept = False
        # What a run starts may end before the round does, which is the worker's.
        self._bound = self._only is not None
        self._pending: dict[str, _Pending] = {}
        self._produced = False

    @classmethod
    def create(cls, path: Union[str, os.PathLike[str]]) -> Slot:
        """Makes a slot (mkdir) and opens it. FileExistsError if there is one already."""
        try:
            os.mkdir(path)
        except FileExistsError:
            raise
        except OSError as error:
            raise not_a_slot(os.fspath(path)) from error
        return cls(path)

    # -- what the slot says -------------------------------------------------------------------------------------

    def own(self) -> None:
        """Names this process as the slot's owner: the slot is removed when the process ends. SlotError if it is refused."""
        try:
            write_text("self", "owner", self._handles.directory)
        except OSError as error:
            raise refused(error, "become the owner", self.path) from error

    @property
    def path(self) -> str:
        """The slot's directory."""
        return self._handles.path

    @property
    def record(self) -> Record:
        """The record now. SlotError if the slot is gone."""
        return self._handles.record.read()

    @property
    def finished(self) -> bool:
        """True unless this program has taken an input and neither published a result nor failed."""
        return self._taken is None

    # -- the producer's side ------------------------------------------------------------------------------------

    @overload
    def produce(self, array: object) -> None: ...

    @overload
    def produce(self, *, shape: Union[int, Shape], dtype: object = ..., order: str = ...) -> Array: ...

    def produce(self, array: object = None, *, shape: Union[int, Shape, None] = None,
                dtype: object = np.float64, order: str = "C") -> Optional[Array]:
        """Begins a round and fills data.bin; publish() makes it the worker's turn.

        array: copied, with exact conversion (TypeError for what has none). Or shape, dtype and order: returns a
        writable array of zeros mapped from data.bin, to be filled in place; it belongs to the slot and becomes
        read-only when it is published. SlotBusy if the slot's last round is not over.
        """
        if (array is None) == (shape is None):
            raise TypeError("produce() takes an array, or a shape")
        again = self._start_over(_DATA)
        self._produced = False
        if shape is not None:
            extent = convert.extent_of(convert.check_shape(shape), convert.check_dtype(dtype), order)
            return self._map_new(_DATA, extent, again)
        self._copy_new(_DATA, values.outgoing(array, order))
        return None

    def result(self, timeout: Optional[float] = None) -> Any:
        """The result, as an array mapped copy-on-write from result.bin, or what a bundle of them is; waits for it.

        timeout: seconds; None: for ever. TimeoutError, RoundFailed with the text of `error`, RoundCancelled. SlotError
        if produce() was not followed by publish().
        """
        self._check_published()
        deadline = Deadline(timeout)
        flags = os.O_RDONLY | (0 if timeout is None else os.O_NONBLOCK)
        while True:
            if timeout is not None:
                self._wait_result(deadline)
            try:
                fd = self._handles.open(_RESULT, flags)
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    continue
                raise self._round_ended(error) from None
            try:
                record = self.record
                if record.flag == RECORD_FLAG_RESULT:
                    return self._map_read(fd, result_extent(record)).x
            finally:
                os.close(fd)

    def cancel(self) -> None:
        """Ends the round: input and result are dropped, who waits gets ECANCELED. SlotBusy while a worker computes."""
        self._abandon(_DATA)
        self._abandon(_RESULT)
        self._step(pack_flag(RECORD_FLAG_NONE), "cancel the round")
        self._forget_round()
        self._produced = False

    # -- the worker's side --------------------------------------------------------------------------------------

    def input(self, timeout: Optional[float] = None) -> Any:
        """The input of this round, as an array mapped copy-on-write from data.bin, or what a bundle of them is; waits for it.

        Also names this process as the round's worker. The same array again until the round is published or failed, with
        what the program changed in it.
        timeout: seconds; None: for ever. TimeoutError. RoundCancelled if the slot is removed meanwhile. SlotError if this
        object's own produce() was not followed by publish().
        """
        self._check_published()
        if self._input is None:
            fd, record = self._open_input(timeout)
            self._read_fds.append(fd)
            self._input = self._map_read(fd, input_extent(record))
            self._taken = record
            if self._single and self._only is None:
                self._only = record.round
                os.environ[ROUND_VARIABLE] = str(record.round)
        return self._input.x

    def arguments(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a call with input(): these, and over them what came in one bundle with it."""
        return (args, kwargs) if self._input is None else self._input.arguments_of(args, kwargs)

    def input_again(self) -> Any:
        """input(), as it was published: without what the program has changed in it meanwhile."""
        if self._taken is None or not self._read_fds:
            return self.input()
        self._input = self._map_read(self._read_fds[0], input_extent(self._taken))
        return self._input.x

    def bind(self) -> None:
        """Names this process as the slot's worker before there is an input; input() does it too, once it has one.

        Should this process die with an input published and no result, the round fails. SlotError if it is refused.
        """
        try:
            try:
                self._handles.bind_worker(b"self once")
            except OSError as error:
                if error.errno not in GONE or not self._inherited:
                    raise
                # There may be a new slot of the same name.
                self._handles = Handles(self.path)
                self._handles.bind_worker(b"self once")
        except OSError as error:
            raise refused(error, "become the worker", self.path) from error
        self._inherited = False
        self._bound = self._named = True

    def watched(self) -> None:
        """Instead of bind(): the process that opened the slot sees to it that the round fails when this one dies."""
        if self._inherited:
            try:
                self._handles.record.read_state()
            except OSError:
                # It may be another slot of the same name, of which that process knows nothing.
                self.bind()
        self._bound = True

    def unbind(self) -> None:
        """Undoes bind(): the coming round does not depend on this process. Nothing happens if the slot is gone."""
        if not self._named:
            return
        self._bound = self._named = False
        try:
            os.unlink("worker", dir_fd=self._handles.directory)
        except OSError as error:
            if error.errno not in GONE:
                raise refused(error, "give up being the worker", self.path) from error

    def expect(self, round_: int) -> None:
        """From now on input() and a worker's wait(), publish() and fail() are about this round: RoundCancelled if it
        is over."""
        self._only = round_

    def run_one_round(self, round_: Optional[int]) -> None:
        """This process, and all that it starts, takes part in one round: this one, or None for the next that comes."""
        os.environ[SLOT_VARIABLE] = self.path
        self._single = True
        if round_ is not None:
            self._only = round_
            os.environ[ROUND_VARIABLE] = str(round_)
        elif self._only is None:
            os.environ.pop(ROUND_VARIABLE, None)

    def owned(self) -> None:
        """Instead of bind(): this process is the slot's worker already, and runs one round after another."""
        # A failed round may be published again.
        Slot.last_ended.pop(self.path, None)
        self._inherited = False
        self._bound = True

    def leave(self) -> None:
        """Gives up the round that this object is about, for good; the handles stay as they are."""
        self._left = True
        self._abandon(_RESULT)
        self._forget_round()

    def check_thread(self) -> None:
        """RoundCancelled in a thread that was started in another round."""
        own = threads.round_here()
        if own is not None and self._only is not None and own != self._only:
            raise RoundCancelled(f"round {own} in {self.path} is over")

    def empty_result(self, shape: Union[int, Shape], dtype: object = np.float64,
                     order: Optional[str] = None) -> Array:
        """A writable array of zeros mapped from result.bin; publishing it copies nothing.

        shape: 1 to 4 extents. dtype: one of the five types; or bool, which is an ordinary array: it is converted when it
        is published. order: "C", "F", or None: as the input. The array belongs to the slot and becomes read-only when
        it is published. SlotBusy if there is no input, or another process writes the result.
        """
        if order is None:
            order = self._order()
        if np.dtype(dtype) == np.bool_:  # type: ignore[call-overload]
            return np.zeros(convert.check_shape(shape), np.bool_, "F" if order == "F" else "C")
        extent = convert.extent_of(convert.check_shape(shape), convert.check_dtype(dtype), order)
        return self._map_new(_RESULT, extent, self._start_over(_RESULT))

    def keep(self, value: object) -> None:
        """Stores what a worker's function returned; publish() without a value hands it over.

        value: as for publish(). A later one of the same round replaces it.
        """
        self._check_round()
        self._store_result(value)
        del value
        pending = self._pending[_RESULT]
        if pending.fd >= 0 and (pending.mapped is None or pending.mapped() is None):
            # A child that is forked from now on has no part in the file: it would keep it from being published.
            if pending.mapped is not None:
                os.ftruncate(pending.fd, pending.extent.size)
            os.close(pending.fd)
            self._pending[_RESULT] = _Pending(-1, pending.extent)
        self._kept = True

    @property
    def keeps(self) -> bool:
        """Whether keep() has a result here that is still to be published."""
        return self._kept

    def fail(self, message: str) -> None:
        """Fails the round: the producer gets RoundFailed with this text (at most 64 KiB of it)."""
        self._abandon(_RESULT)
        self._check_round()
        try:
            write_text(shorten(message or "failed", ERROR_MAX), "error", self._handles.directory)
        except OSError as error:
            if error.errno in GONE:
                raise self._removed() from None
            raise refused(error, "fail the round", self.path) from error
        self._end_round()

    # -- both ---------------------------------------------------------------------------------------------------

    def publish(self, value: object = _NOTHING) -> None:
        """Hands over what was written: the producer its input, the worker its result.

        value, for a worker only: what the function returned. The array of empty_result(), or the beginning of it, is
        published without a copy; anything else is converted exactly and copied once. Output written with print() is
        flushed before. SlotError if the filesystem refuses; the round is then as it was.
        """
        if _DATA in self._pending:
            if value is not _NOTHING:
                raise TypeError("the input is already written: publish() takes a value only from a worker")
            self._publish_pending(_DATA)
            self._produced = True
            return
        if value is not _NOTHING:
            self._store_result(value)
        # The caller's array may hang on this reference alone: without it the mapping is gone before the step.
        del value
        if _RESULT not in self._pending:
            raise SlotError(errno.EPROTO, f"nothing to publish in {self.path}: a producer calls produce() first, "
                                          "a worker gives its result")
        flush_output()
        self._publish_pending(_RESULT)
        self._end_round()

    def wait(self, timeout: Optional[float] = None) -> None:
        """Waits until it is this program's turn: for the result after publishing an input, else for an input.

        timeout: seconds; None: for ever. TimeoutError, RoundFailed, RoundCancelled. Ctrl-C ends it. SlotError if
        produce() was not followed by publish().
        """
        self._check_published()
        deadline = Deadline(timeout)
        if self._produced:
            self._wait_result(deadline)
        else:
            self._wait_input(deadline)

    def close(self) -> None:
        """Closes the slot's handles; arrays that were taken from it stay valid. Idempotent."""
        self._abandon(_DATA)
        self._abandon(_RESULT)
        self._forget_round()
        self._handles.close()

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        if error is not None and not self.finished:
            try:
                self.fail(failure_text(error, self.path))
            except SlotError as second:
                print(f"pyrmap: {second}", file=sys.stderr)
        self.close()

    # -- how ----------------------------------------------------------------------------------------------------

    def _order(self) -> str:
        if self._input is not None:
            return self._input.order
        record = self._taken if self._taken is not None else self.record
        return "F" if record.order & RECORD_ORDER_INPUT_F else "C"

    def _step(self, step: bytes, action: str) -> None:
        try:
            self._handles.record.write(step)
        except OSError as error:
            raise refused(error, action, self.path) from error

    def _wait(self, ready: Callable[[int, int], bool], deadline: Deadline) -> tuple[int, int]:
        try:
            return self._handles.record.wait(ready, deadline)
        except TimeoutError:
            raise
        except OSError as error:
            if error.errno in GONE:
                raise self._removed() from None
            raise refused(error, "wait for a change", self.path) from error

    def _wait_input(self, deadline: Deadline) -> int:
        """Waits for an input, that of the round that this program is about if there is one. The round."""
        wanted = self._wanted()

        # A failed round is not over, unless we failed it: its input may be published once more.
        def ready(flag: int, round_: int) -> bool:
            if self.over:
                return True
            if wanted is None or round_ == wanted:
                return flag == RECORD_FLAG_INPUT or (flag == RECORD_FLAG_RESULT and wanted is not None)
            return round_ > wanted

        while True:
            flag, round_ = self._wait(ready, deadline)
            if flag == RECORD_FLAG_INPUT and wanted in (None, round_) and not self.over:
                return round_
            # In the page the flag of the last round may stand beside the number of the next for a moment.
            if ready(*self._handles.record.read_state()):
                raise RoundCancelled(f"round {wanted} in {self.path} is over")

    def _wanted(self) -> Optional[int]:
        return self._taken.round if self._taken is not None else self._only

    @property
    def over(self) -> bool:
        """Whether this process itself has ended the only round that this object is about."""
        return self._left or self._only is not None and Slot.last_ended.get(self.path) == self._only

    def _check_published(self) -> None:
        """Nobody can answer an input that is not published: a program that waits then would wait for itself."""
        if _DATA in self._pending:
            raise SlotError(errno.EPROTO, f"the input in {self.path} is written, but not published: call publish() "
                                          "before you wait")

    def _removed(self) -> RoundCancelled:
        return RoundCancelled(f"{self.path} was removed")

    def _wait_result(self, deadline: Deadline) -> None:
        # Without an input of this program's own, no input is no news.
        ends = (RECORD_FLAG_RESULT, RECORD_FLAG_FAILED, *((RECORD_FLAG_NONE,) if self._produced else ()))
        flag, _ = self._wait(lambda flag, _: flag in ends, deadline)
        if flag != RECORD_FLAG_RESULT:
            code = errno.EIO if flag == RECORD_FLAG_FAILED else errno.ECANCELED
            raise self._round_ended(OSError(code, os.strerror(code)))

    def _round_ended(self, error: OSError) -> Exception:
        """What it means that a result cannot be had."""
        if error.errno == errno.EIO:
            try:
                return RoundFailed(read_text("error", self._handles.directory) or "the round failed without a text")
            except OSError as second:
                return refused(second, "read the error", self.path)
        if error.errno == errno.ECANCELED:
            return RoundCancelled(f"the round in {self.path} was cancelled")
        return refused(error, "open the result", self.path)

    def _open_input(self, timeout: Optional[float]) -> tuple[int, Record]:
        """Opens data.bin of a published round and names this process as its worker.

        With no time limit the open itself waits, in the daemon: one request. It may find an earlier round's data: the
        round before and after the open tells.
        """
        deadline = Deadline(timeout)
        parked = timeout is None and (self._only is None or self._only == self._handles.record.read_round())
        parked = parked and not self.over
        while True:
            round_ = self._handles.record.read_round() if parked else self._wait_input(deadline)
            try:
                fd = self._handles.open(_DATA, os.O_RDONLY | (0 if parked else os.O_NONBLOCK))
            except OSError as error:
                if error.errno in GONE:
                    raise self._removed() from None
                if error.errno not in (errno.ECANCELED, errno.EIO, errno.EAGAIN):
                    raise refused(error, "open the input", self.path) from error
            else:
                record = self.record
                if record.flag == RECORD_FLAG_INPUT and record.round == round_ and _holds(fd, input_extent(record)):
                    return self._own(fd), record
                os.close(fd)
            parked = False

    def _own(self, fd: int) -> int:
        """Makes this process the worker of the round whose input fd is."""
        if not self._bound:
            try:
                self.bind()
            except SlotError:
                os.close(fd)
                raise
        return fd

    def _map_read(self, fd: int, extent: Extent) -> values.Taken:
        if not extent.size:
            return values.incoming(np.empty(extent.array_shape, extent.dtype), extent)
        memory = with_room(lambda: mapping.Mapping(fd, extent.size, mapping.READ_WRITE, mapping.COPY_ON_WRITE))
        return values.incoming(memory.array(extent), extent)

    def _open_new(self, name: str) -> int:
        if name == _RESULT:
            self._check_round()
        try:
            fd = self._handles.open(name, os.O_RDWR)
        except OSError as error:
            raise refused(error, f"open {name} for writing", self.path) from error
        # Only now is it sure: no other round can begin while the file of this one is open for writing.
        if name == _RESULT and self._only is not None and self._handles.record.read_round() != self._only:
            os.close(fd)
            raise RoundCancelled(f"round {self._only} in {self.path} is over")
        return fd

    def _check_round(self) -> None:
        """A worker whose round was cancelled, or is over, must not give its result, or its failure, to the next one."""
        if self.over:
            raise RoundCancelled(f"round {self._only} in {self.path} is over")
        wanted = self._wanted()
        if wanted is not None and self._handles.record.read_round() != wanted:
            raise RoundCancelled(f"round {wanted} in {self.path} was cancelled")

    def _map_new(self, name: str, extent: Extent, again: bool) -> Array:
        """again: the file may hold what an earlier call of this round wrote."""
        fd = self._open_new(name)
        self._pending[name] = _Pending(fd, extent)
        try:
            if again:
                os.ftruncate(fd, 0)
            with_room(lambda: os.ftruncate(fd, extent.size))
            if not extent.size:
                return np.empty(extent.array_shape, extent.dtype)
            memory = with_room(lambda: mapping.Mapping(fd, extent.size, mapping.READ_WRITE))
        except OSError as error:
            self._abandon(name)
            raise refused(error, f"reserve {extent.size} bytes for {name}", self.path) from error
        array = memory.array(extent)
        self._pending[name] = _Pending(fd, extent, weakref.ref(memory), weakref.ref(array))
        return array

    def _copy_new(self, name: str, value: values.Outgoing) -> None:
        """Writes a value into a file of the slot that is or is now opened for writing."""
        pending = self._pending.pop(name, None)
        fd = self._open_new(name) if pending is None or pending.fd < 0 else pending.fd
        self._pending[name] = _Pending(fd, value.extent)
        try:
            large = value.extent.size >= _LARGE and self._handles.record.passthrough
            if large or pending is not None:
                with_room(lambda: os.ftruncate(fd, value.extent.size))
            for offset, piece in value.pieces():
                store = mapping.store if large and len(piece) >= mapping.COPY_LIMIT else _write_all
                with_room(lambda: store(fd, piece, offset))
        except OSError as error:
            self._abandon(name)
            raise refused(error, f"write {value.extent.size} bytes to {name}", self.path) from error

    def _store_result(self, value: object) -> None:
        """Brings what a worker returned into result.bin."""
        pending = self._pending.get(_RESULT)
        memory = pending.mapped() if pending is not None and pending.mapped is not None else None
        checked = values.outgoing(value, self._order(), self._input or values.Taken(None))
        if pending is None or memory is None:
            self._copy_new(_RESULT, checked)
            return
        if not isinstance(checked, convert.Value):
            memory.make_private()
            self._copy_new(_RESULT, checked)
            return
        array = checked.array
        extent = convert.extent_of(array.shape, checked.extent.dtype,
                                   "C" if array.flags.c_contiguous else "F")
        if (mapping.address_of(array) == memory.address and array.nbytes <= memory.length
                and array.dtype == extent.dtype and array.flags.forc):
            self._pending[_RESULT] = pending._replace(extent=extent)
            return
        if mapping.overlaps(array, memory):
            checked = checked._replace(array=array.copy(order="K"))
        # The file becomes something else under an array that is mapped from it.
        memory.make_private()
        self._copy_new(_RESULT, checked)

    def _publish_pending(self, name: str) -> None:
        """Lets go of the file and takes the step. A refused step leaves the round as it was, without the file."""
        fd, extent, mapped, handed_out = self._pending.pop(name)
        memory = mapped() if mapped is not None else None
        array = handed_out() if handed_out is not None else None
        if array is not None:
            array.flags.writeable = False
        try:
            # Detached first: a mapping that reaches beyond the end of its file is a SIGBUS.
            if memory is not None:
                memory.detach()
            if mapped is not None:
                os.ftruncate(fd, extent.size)
        finally:
            if fd >= 0:
                os.close(fd)
        record = self.record
        is_input = name == _DATA
        if not is_input and record.round != (self._wanted() or record.round):
            raise RoundCancelled(f"round {self._wanted()} in {self.path} is over")
        step = input_step(record, extent) if is_input else result_step(record, extent)
        try:
            self._write_step(name, step, extent)
        except OSError as error:
            raise refused(error, f"publish {'the input' if is_input else 'the result'}", self.path) from error
        if memory is not None and memory.length > mapping.COPY_LIMIT:
            self._attach(name, memory, extent)

    def _write_step(self, name: str, step: bytes, extent: Extent) -> None:
        """One write; a file that an earlier attempt of the round left longer is cut, and the step tried again."""
        try:
            self._handles.record.write(step)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fd = self._handles.open(name, os.O_RDWR)
            try:
                if os.fstat(fd).st_size <= extent.size:
                    raise
                os.ftruncate(fd, extent.size)
            finally:
                os.close(fd)
            self._handles.record.write(step)

    def _attach(self, name: str, memory: mapping.Mapping, extent: Extent) -> None:
        """Shows the published file to arrays that the program still holds."""
        try:
            fd = self._handles.open(name, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            warnings.warn(f"an array of {self.path} reads as zeros now: it was published, and the next round began",
                          RuntimeWarning, stacklevel=4)
            return
        try:
            memory.attach(fd, extent.size)
        finally:
            os.close(fd)

    def _abandon(self, name: str) -> None:
        """Closes a file that was being filled; what was written stays in it until the round is over."""
        pending = self._pending.pop(name, None)
        if name == _RESULT:
            self._kept = False
        if pending is not None and pending.fd >= 0:
            os.close(pending.fd)

    def _start_over(self, name: str) -> bool:
        """Gives up what was written so far. Whether there was any; an array over it keeps its values."""
        pending = self._pending.get(name)
        memory = pending.mapped() if pending is not None and pending.mapped is not None else None
        if memory is not None:
            memory.make_private()
        self._abandon(name)
        return pending is not None

    def _end_round(self) -> None:
        if self._only is not None:
            Slot.last_ended[self.path] = self._only
        self._forget_round()

    def _forget_round(self) -> None:
        self._input = None
        self._taken = None
        self._bound = self._kept = False
        for fd in self._read_fds:
            os.close(fd)
        self._read_fds.clear()


def _round_of_run(path: str) -> Optional[int]:
    """The round that this process was started to take part in, if path is that round's slot."""
    number = os.environ.get(ROUND_VARIABLE, "")
    if not number.isdecimal() or os.path.abspath(os.environ.get(SLOT_VARIABLE) or ".") != path:
        return None
    own = threads.round_here()
    return int(number) if own is None else own


def _holds(fd: int, extent: Extent) -> bool:
    """Whether the file is as long as the record says: a mapping of a shorter one would end in SIGBUS."""
    return not extent.size or len(os.pread(fd, 1, extent.size - 1)) == 1


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:done + _PIECE], offset + done)


def flush_output() -> None:
    """Brings what was printed, by Python or by C, to where it goes; a missing or closed stream is not an error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue
    _flush_c_streams(None)
