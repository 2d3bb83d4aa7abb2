# SPDX-License-Identifier: Apache-2.0
"""Slot: one exchange, step by step, from either side.

The producer writes an input and takes the result, the worker takes the input and writes the result:

    producer                          worker
    slot.produce(x); slot.publish()   slot.wait()
    slot.wait()                       y = f(slot.input())
    y = slot.result()                 slot.publish(y)

Small arrays travel with the record, in one write, and are copied. Others are mapped from the slot's files: an input or a
result copy-on-write, so that reading it copies nothing, and a program that changes it (`x += 1`) changes its own copy of
the pages, never what others see. Each stays valid for as long as it is referenced, through later rounds and the removal of
the slot; an array that is to be filled is writable until it is published.
"""
from __future__ import annotations

import ctypes
import errno
import os
import sys
from types import TracebackType
from typing import Any, Callable, Optional, Union, overload

import numpy as np

from pyrmap import convert, mapping, references, values
from pyrmap.errors import GONE, NotASlot, RoundCancelled, RoundFailed, SlotError, failure_text, not_a_slot, refused
from pyrmap.handles import Handles
from pyrmap.layout import (RECORD_FLAG_FAILED, RECORD_FLAG_INPUT, RECORD_FLAG_NONE, RECORD_FLAG_RESULT,
                           RECORD_ORDER_INPUT_F, RECORD_SIZE, RECORD_TAKE_INPUT, RECORD_TAKE_RESULT, RECORD_VERSION_GONE)
from pyrmap.record import (Array, Extent, Record, Shape, input_extent, input_step, pack_flag, result_extent, result_step, unpack,
                           unpack_state)
from pyrmap.staging import Stage
from pyrmap.texts import ERROR_MAX, read_text, shorten, write_text
from pyrmap.turn import ROUND_VARIABLE, SLOT_VARIABLE, Turn, begin_round, round_of_run
from pyrmap.values import copied, inline_result
from pyrmap.waiting import Deadline

# A wait without an end that lasts longer is one of those that metadata.txt shows.
_UNSEEN_SECONDS = 0.1

# Up to this many bytes one read costs less than opening, mapping and closing a file.
_TAKE_MAX = 128 << 10

_NOTHING = object()
_flush_c_streams = ctypes.CDLL(None).fflush


class Slot:
    """One slot of a mount.

    path: the slot's directory; None: what the environment variable PYRMAP_SLOT says. The slot must exist;
    Slot.create() makes one. NotASlot if there is none. A Slot is used by one thread at a time.

    As a context manager it closes its handles at the end; an exception that leaves the block fails the round if this
    program has taken its input, so that nobody waits for a result that never comes.
    """

    def __init__(self, path: Union[str, os.PathLike[str], None] = None) -> None:
        if path is None:
            path = os.environ.get(SLOT_VARIABLE)
            if not path:
                raise NotASlot(errno.ENOENT, f"no slot: set {SLOT_VARIABLE}=/mnt/pyrmap/JOB, or call the function "
                                             "with an array")
        handles = Handles(os.fspath(path))
        self._begin(handles, round_of_run(handles.path))

    def _begin(self, handles: Handles, only: Optional[int]) -> None:
        self._handles = handles
        self.turn = Turn(handles, only)
        self._data = Stage(handles, "data.bin")
        self._result = Stage(handles, "result.bin", self.turn)
        self._input: Optional[values.Taken] = None
        # What the input was read from: a record and the input behind it, or the descriptor of data.bin.
        self._source: Union[bytes, int] = -1
        # The page with the input that is to be taken, if the caller has it already.
        self._page: Optional[bytes] = None
        self._named = False
        self._kept = False
        # A process that a run starts does not bind itself: the round is the worker's, and may outlive the process.
        self._bound = only is not None
        self._produced = False
        self._asked: Optional[int] = None

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

    @classmethod
    def of_worker(cls, handles: Handles, page: bytes) -> Slot:
        """For a process that is the slot's worker already, and runs one round after another.

        page: of a round with an input; this process, and all that it starts, takes part in no other. The handles are the caller's.
        """
        round_ = unpack_state(page)[2]
        begin_round(handles.path, round_)
        slot = cls.__new__(cls)
        slot._begin(handles, round_)
        slot._page = page
        return slot

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
        return unpack(self._handles.record.head())

    @property
    def finished(self) -> bool:
        """True unless this program has taken an input and neither published a result nor failed."""
        return self.turn.taken is None

    # -- the producer's side ------------------------------------------------------------------------------------

    @overload
    def produce(self, array: object) -> None: ...

    @overload
    def produce(self, *, shape: Union[int, Shape], dtype: object = ..., order: str = ...) -> Array: ...

    def produce(self, array: object = None, *, shape: Union[int, Shape, None] = None,
                dtype: object = np.float64, order: str = "C") -> Optional[Array]:
        """Makes an input; publish() makes it the worker's turn.

        array: copied, with exact conversion (TypeError for what has none). Or shape, dtype and order: returns a
        writable array of zeros mapped from data.bin, to be filled in place; it belongs to the slot and becomes
        read-only when it is published. That, and a large array, begins the round at once; a small one begins it when it
        is published. SlotBusy if the slot's last round is not over.
        """
        if (array is None) == (shape is None):
            raise TypeError("produce() takes an array, or a shape")
        self._produced = False
        if shape is not None:
            return self._data.map(convert.extent_of(convert.check_shape(shape), convert.check_dtype(dtype), order))
        value = values.outgoing(array, order)
        self._data.give_up()
        if self._may_begin():
            self._data.store(value)
        else:
            # The filesystem says why not.
            self._data.write(value)
        return None

    def result(self, timeout: Optional[float] = None) -> Any:
        """The result, as an array of this program's own, copied or mapped copy-on-write from result.bin, or what a bundle of them
        is; waits for it.

        timeout: seconds; None: for ever. TimeoutError, RoundFailed with the text of `error`, RoundCancelled. SlotError
        if produce() was not followed by publish().
        """
        self._check_published()
        deadline = Deadline(timeout)
        # Only an open that waits learns that the round of another program was cancelled.
        parked = timeout is None and not self._produced
        while True:
            if not parked:
                page = self._wait_result(deadline)
                record = unpack(page)
                # At the end of a chain the filesystem has to see that the result is taken.
                inline = inline_result(page, record) if self._produced else None
                if inline is not None:
                    return inline.x
                extent = result_extent(record)
                if extent.size <= _TAKE_MAX:
                    image = self._take(RECORD_TAKE_RESULT, record, extent)
                    if image is not None:
                        return copied(image, extent).x
                    continue
            try:
                fd = self._handles.open(self._result.name, os.O_RDONLY | (0 if parked else os.O_NONBLOCK))
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    continue
                raise self._round_ended(error) from None
            try:
                record = self.record
                if record.flag == RECORD_FLAG_RESULT:
                    return self._map_read(self._result.name, fd, result_extent(record)).x
            finally:
                os.close(fd)

    def cancel(self) -> None:
        """Ends the round: input and result are dropped, waiting clients get ECANCELED. SlotBusy while a worker computes."""
        self._data.drop()
        self._drop_result()
        try:
            self._handles.record.write(pack_flag(RECORD_FLAG_NONE))
        except OSError as error:
            raise refused(error, "cancel the round", self.path) from error
        self._forget_round()
        self._produced = False

    # -- the worker's side --------------------------------------------------------------------------------------

    def input(self, timeout: Optional[float] = None) -> Any:
        """The input of this round, as an array of this program's own, copied or mapped copy-on-write from data.bin, or what a
        bundle of them is; waits for it.

        Also names this process as the round's worker. The same array again until the round is published or failed, with
        what the program changed in it.
        timeout: seconds; None: for ever. TimeoutError. RoundCancelled if the slot is removed meanwhile. SlotError if this
        object's own produce() was not followed by publish().
        """
        self._check_published()
        if self.turn.taken is None:
            self._take_input(timeout)
        return self.input_again() if self._input is None else self._input.x

    def arguments(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a call with input(): these, and over them what came in one bundle with it."""
        return (args, kwargs) if self._input is None else self._input.arguments_of(args, kwargs)

    def input_again(self) -> Any:
        """input(), as it was published: without what the program has changed in it meanwhile."""
        taken = self.turn.taken
        if taken is None:
            return self.input()
        if isinstance(self._source, int):
            self._input = self._map_read(self._data.name, self._source, input_extent(taken))
        else:
            self._input = copied(self._source, input_extent(taken))
        return self._input.x

    def bind(self) -> None:
        """Names this process as the slot's worker before there is an input; input() does it too, once it has one.

        Should this process die with an input published and no result, the round fails. SlotError if it is refused.
        """
        try:
            self._handles.bind_worker(b"self once")
        except OSError as error:
            raise refused(error, "become the worker", self.path) from error
        self._bound = self._named = True

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

    def run_one_round(self) -> None:
        """This process, and all that it starts, takes part in one round: the next that comes."""
        os.environ[SLOT_VARIABLE] = self.path
        self.turn.single = True
        if self.turn.only is None:
            os.environ.pop(ROUND_VARIABLE, None)

    def leave(self) -> None:
        """Gives up the round that this object is about, for good; the handles stay as they are."""
        self.turn.leave()
        self._drop_result()
        self._forget_round()

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
        self._kept = False
        return self._result.map(extent)

    def open_result(self, shape: Union[int, Shape], dtype: object = np.float64, order: Optional[str] = None) -> Array:
        """For a process that the worker has started: the array that empty_result() of the same arguments made there.

        Each process writes its part; what one has written, the others see. Drop the array when that is done: publishing
        waits a moment until all have let go of it, and is SlotBusy then. ValueError if the array is of another size,
        SlotBusy for a process that is no child of the worker, and before empty_result().
        """
        extent = convert.extent_of(convert.check_shape(shape), convert.check_dtype(dtype), order or self._order())
        if not extent.size:
            return np.empty(extent.array_shape, extent.dtype)
        try:
            fd = self._handles.open(self._result.name, os.O_RDWR)
        except OSError as error:
            raise refused(error, "open the result", self.path) from error
        try:
            size = os.fstat(fd).st_size
            if size != extent.size:
                raise ValueError(f"the result has {size} bytes, and {extent.size} are asked for: give open_result() the "
                                 "arguments that empty_result() had")
            return self._handles.map(self._result.name, fd, extent.size).array(extent)
        finally:
            os.close(fd)

    def keep(self, value: object) -> None:
        """Stores what a worker's function returned; publish() without a value hands it over.

        value: as for publish(). A later one of the same round replaces it.
        """
        self.turn.check()
        self._result.store(self._outgoing(value))
        del value
        self._result.finish()
        self._kept = True

    @property
    def keeps(self) -> bool:
        """Whether keep() has a result here that is still to be published."""
        return self._kept

    def fail(self, message: str) -> None:
        """Fails the round: the producer gets RoundFailed with this text (at most 64 KiB of it)."""
        self._drop_result()
        self.turn.check()
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
        if self._data:
            if value is not _NOTHING:
                raise TypeError("the input is already written: publish() takes a value only from a worker")
            self._data.publish(input_step, "the input")
            self._produced = True
            self._asked = None
            return
        if value is not _NOTHING:
            self._result.store(self._outgoing(value))
        # The caller's array may hang on this reference alone: without it the mapping is gone before the step.
        del value
        if not self._result:
            raise SlotError(errno.EPROTO, f"nothing to publish in {self.path}: a producer calls produce() first, "
                                          "a worker gives its result")
        flush_output()
        self._result.publish(self._result_step, "the result")
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
        self._data.drop()
        self._drop_result()
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

    def _may_begin(self) -> bool:
        """Whether a round can begin, as far as the page says."""
        try:
            flag, version, _, _ = unpack_state(self._handles.record.head())
        except OSError:
            return False
        return flag != RECORD_FLAG_INPUT and version != RECORD_VERSION_GONE

    def _outgoing(self, value: object) -> values.Outgoing:
        return values.outgoing(value, self._order(), self._input or values.Taken(None))

    def _order(self) -> str:
        if self._input is not None:
            return self._input.order
        record = self.turn.taken or self.record
        return "F" if record.order & RECORD_ORDER_INPUT_F else "C"

    def _wait(self, ready: Callable[[int, int], bool], deadline: Deadline) -> bytes:
        try:
            return self._handles.record.wait(ready, deadline)
        except TimeoutError:
            raise
        except OSError as error:
            if error.errno in GONE:
                raise self._removed() from None
            raise refused(error, "wait for a change", self.path) from error

    def _wait_input(self, deadline: Deadline) -> bytes:
        """Waits for an input, that of the round that this program is about if there is one. The page then."""
        wanted = self.turn.wanted

        # A failed round is not over, unless we failed it: its input may be published once more.
        def ready(flag: int, round_: int) -> bool:
            if self.turn.over:
                return True
            if wanted is None or round_ == wanted:
                return flag == RECORD_FLAG_INPUT or (flag == RECORD_FLAG_RESULT and wanted is not None)
            return round_ > wanted

        page = self._wait(ready, deadline)
        self.turn.check_over()
        flag, _, round_, _ = unpack_state(page)
        if flag != RECORD_FLAG_INPUT or wanted not in (None, round_):
            raise RoundCancelled(f"round {wanted} in {self.path} is over")
        return page

    def _check_published(self) -> None:
        """Nobody can answer an input that is not published: a program that waits then would wait for itself."""
        if self._data:
            raise SlotError(errno.EPROTO, f"the input in {self.path} is written, but not published: call publish() "
                                          "before you wait")

    def _removed(self) -> RoundCancelled:
        return RoundCancelled(f"{self.path} was removed")

    def _wait_result(self, deadline: Deadline) -> bytes:
        def ready(flag: int, round_: int) -> bool:
            if not self._produced:
                # This program has sent no input: that there is none is nothing new.
                return flag in (RECORD_FLAG_RESULT, RECORD_FLAG_FAILED)
            if self._asked is None:
                self._asked = round_
            return flag != RECORD_FLAG_INPUT or round_ != self._asked

        page = self._wait(ready, deadline)
        flag, _, round_, _ = unpack_state(page)
        if flag == RECORD_FLAG_FAILED:
            raise self._round_ended(OSError(errno.EIO, os.strerror(errno.EIO)))
        if flag != RECORD_FLAG_RESULT or self._produced and round_ != self._asked:
            raise self._round_ended(OSError(errno.ECANCELED, os.strerror(errno.ECANCELED)))
        return page

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

    def _take_input(self, timeout: Optional[float]) -> None:
        """Waits for a round, keeps its input open if it does not stand in the page, and names this process as its worker."""
        deadline = Deadline(timeout)
        parks = timeout is None
        while True:
            try:
                page, self._page = self._page or self._wait_input(Deadline(_UNSEEN_SECONDS) if parks else deadline), None
            except TimeoutError:
                if not parks:
                    raise
                parks = False
                self._park()
                continue
            record = unpack(page)
            extent = input_extent(record)
            if extent.size <= _TAKE_MAX:
                # It stands in the page, or else the filesystem gives it to us.
                image = page if record.input_inline == extent.size else self._take(RECORD_TAKE_INPUT, record, extent)
                if image is None:
                    continue
                source: Union[bytes, int] = image
                break
            try:
                source = self._handles.open(self._data.name, os.O_RDONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno in GONE:
                    raise self._removed() from None
                if error.errno not in (errno.ECANCELED, errno.EIO, errno.EAGAIN):
                    raise refused(error, "open the input", self.path) from error
                continue
            # Since the page was read another round may have begun.
            now = self.record
            if (now.flag, now.round) == (RECORD_FLAG_INPUT, record.round) and _holds(source, extent):
                break
            os.close(source)
        if not self._bound:
            try:
                self.bind()
            except SlotError:
                if isinstance(source, int):
                    os.close(source)
                raise
        self._source, self._input = source, None
        self.turn.take(record)

    def _take(self, offset: int, record: Record, extent: Extent) -> Optional[bytes]:
        """The record and the array behind it, in one request. None if the slot is not any more as this record says."""
        try:
            image = self._handles.record.take(offset, extent.size)
        except OSError as error:
            if error.errno in GONE:
                raise self._removed() from None
            if error.errno not in (errno.EAGAIN, errno.EIO):
                raise refused(error, "read the array", self.path) from error
            return None
        now = unpack(image)
        is_same = (now.flag, now.round) == (record.flag, record.round)
        return image if is_same and len(image) == RECORD_SIZE + extent.size else None

    def _park(self) -> None:
        """Has the filesystem wait for an input that is not there yet, so that metadata.txt shows this process as waiting."""
        try:
            os.close(self._handles.open(self._data.name, os.O_RDONLY))
        except OSError as error:
            if error.errno not in (*GONE, errno.ECANCELED, errno.EIO, errno.EAGAIN):
                raise refused(error, "wait for the input", self.path) from error

    def _map_read(self, name: str, fd: int, extent: Extent) -> values.Taken:
        if not extent.size:
            return values.incoming(np.empty(extent.array_shape, extent.dtype), extent)
        memory = self._handles.map(name, fd, extent.size, mapping.COPY_ON_WRITE)
        if extent.size >= references.LEAST:
            memory.origin = mapping.Origin(self.path, name, os.fstat(fd).st_ino)
            references.enable()
        return values.incoming(memory.array(extent), extent)

    def _result_step(self, extent: Extent) -> bytes:
        return result_step(self.turn.check(), extent)

    def _drop_result(self) -> None:
        self._result.drop()
        self._kept = False

    def _end_round(self) -> None:
        self.turn.end()
        self._forget_round()

    def _forget_round(self) -> None:
        self._input = self.turn.taken = None
        self._bound = self._kept = False
        if isinstance(self._source, int) and self._source >= 0:
            os.close(self._source)
        self._source = -1


def _holds(fd: int, extent: Extent) -> bool:
    """Whether the file is as long as the record says: a mapping of a shorter one would end in SIGBUS."""
    return not extent.size or len(os.pread(fd, 1, extent.size - 1)) == 1


def flush_output() -> None:
    """Brings what was printed, by Python or by C, to where it goes; a missing or closed stream is not an error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue
    _flush_c_streams(None)
