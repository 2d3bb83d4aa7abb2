# SPDX-License-Identifier: Apache-2.0
"""The 128-byte record of a slot (metadata.bin), as fs/protocol/record.h defines it."""
from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple, Union

import numpy as np

from pyrmap.layout import (RECORD_BUNDLE, RECORD_DTYPE_SAME, RECORD_FLAG_INPUT, RECORD_FLAG_RESULT, RECORD_LENGTH_ALL,
                           RECORD_NDIM_MAX, RECORD_NUMPY, RECORD_OFFSETS, RECORD_ORDER_INPUT_F, RECORD_ORDER_INPUT_LOGICAL,
                           RECORD_ORDER_RESULT_F, RECORD_ORDER_RESULT_LOGICAL, RECORD_SIZE, RECORD_VERSION)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
else:
    # Importing numpy.typing takes a third as long as importing this package.
    Array = np.ndarray
Buffer = Union[bytes, bytearray, memoryview]
Shape = tuple[int, ...]

# R's missing value in an array that is logical; its other values are 0 and 1.
LOGICAL_NA = -2**31

DTYPES: dict[int, np.dtype[Any]] = {code: np.dtype(name) for code, name in RECORD_NUMPY.items()}
CODES: dict[np.dtype[Any], int] = {dtype: code for code, dtype in DTYPES.items()}

_BYTES = np.dtype("u1")

_FLAG = struct.Struct("<i")
_LAYOUT = struct.Struct("<iiqiiqQii4q4qIIHHI")
assert _LAYOUT.size == RECORD_SIZE
_STATE = struct.Struct("<ii24xQ76xI")
_TASK_CHANGE = struct.Struct("<I")
# The fields that publishing a result sets: dtype and length, ndim, shape and order.
_RESULT_TYPE, _RESULT_NDIM, _RESULT_SHAPE = struct.Struct("<iq"), struct.Struct("<i"), struct.Struct("<4qI")
_ORDER = RECORD_OFFSETS["order"]
_NO_SHAPE = (0,) * RECORD_NDIM_MAX


class Record(NamedTuple):
    """One snapshot of a slot's record. Lengths count elements; shapes hold ndim extents, () for a plain vector."""

    flag: int
    version: int
    input_length: int
    dtype: int
    result_dtype: int
    result_length: int
    round: int
    input_shape: Shape
    result_shape: Shape
    order: int
    change: int
    input_inline: int
    result_inline: int
    task_change: int


class Extent(NamedTuple):
    """What an array in a slot looks like: all that is needed to map it."""

    dtype: np.dtype[Any]
    shape: Shape  # () for a plain vector, else the dimensions
    length: int  # elements
    order: str  # "C" or "F", as in NumPy
    logical: bool = False  # int32 that holds 0, 1 or LOGICAL_NA
    bundle: bool = False  # uint8 that are a bundle's

    @property
    def code(self) -> int:
        """Its dtype in the record."""
        return RECORD_BUNDLE if self.bundle else CODES[self.dtype]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.length * self.dtype.itemsize

    @property
    def array_shape(self) -> Shape:
        """The shape of the NumPy array: a plain vector has one dimension."""
        return self.shape or (self.length,)


def unpack(buffer: Buffer) -> Record:
    """The record in the first 128 bytes of buffer."""
    (flag, version, input_length, dtype, result_dtype, result_length, round_, input_ndim, result_ndim,
     *shapes, order, change, input_inline, result_inline, task_change) = _LAYOUT.unpack_from(buffer)
    return Record(flag, version, input_length, dtype, result_dtype, result_length, round_,
                  tuple(shapes[:input_ndim]), tuple(shapes[4:4 + result_ndim]), order, change, input_inline, result_inline,
                  task_change)


def unpack_state(buffer: Buffer) -> tuple[int, int, int, int]:
    """Flag, version, round and change alone."""
    return _STATE.unpack_from(buffer)  # type: ignore[return-value]


def unpack_task_change(buffer: Buffer) -> int:
    """A number that changes whenever `task` is written."""
    change: int = _TASK_CHANGE.unpack_from(buffer, RECORD_OFFSETS["task_change"])[0]
    return change


def pack_flag(flag: int) -> bytes:
    """The first four bytes of a record: a step without any other change."""
    return _FLAG.pack(flag)


def _extent(dtype: int, shape: Shape, length: int, fortran: int, logical: int) -> Extent:
    if dtype == RECORD_BUNDLE:
        return Extent(_BYTES, (), length, "C", bundle=True)
    return Extent(DTYPES[dtype], shape, length, "F" if fortran else "C", bool(logical))


def input_extent(record: Record) -> Extent:
    """The input that a published record describes."""
    return _extent(record.dtype, record.input_shape, record.input_length, record.order & RECORD_ORDER_INPUT_F,
                   record.order & RECORD_ORDER_INPUT_LOGICAL)


def result_extent(record: Record) -> Extent:
    """The result that a record in DONE describes."""
    return _extent(record.result_dtype, record.result_shape, record.result_length, record.order & RECORD_ORDER_RESULT_F,
                   record.order & RECORD_ORDER_RESULT_LOGICAL)


def input_step(extent: Extent) -> bytes:
    """The record that publishes an input."""
    order = (RECORD_ORDER_INPUT_F if extent.order == "F" else 0) | (RECORD_ORDER_INPUT_LOGICAL if extent.logical else 0)
    return _LAYOUT.pack(RECORD_FLAG_INPUT, RECORD_VERSION, extent.length, extent.code, RECORD_DTYPE_SAME,
                        RECORD_LENGTH_ALL, 0, len(extent.shape), 0, *_padded(extent.shape), *_NO_SHAPE, order, 0, 0, 0, 0)


def result_step(current: Buffer, extent: Extent) -> bytes:
    """The record that publishes a result: current, the bytes of what it is now, with another result."""
    step = bytearray(current[:RECORD_SIZE])
    order = int.from_bytes(step[_ORDER:_ORDER + 4], "little") & (RECORD_ORDER_INPUT_F | RECORD_ORDER_INPUT_LOGICAL)
    order |= (RECORD_ORDER_RESULT_F if extent.order == "F" else 0) | (RECORD_ORDER_RESULT_LOGICAL if extent.logical else 0)
    _FLAG.pack_into(step, 0, RECORD_FLAG_RESULT)
    _RESULT_TYPE.pack_into(step, RECORD_OFFSETS["result_dtype"], extent.code, extent.length)
    _RESULT_NDIM.pack_into(step, RECORD_OFFSETS["result_ndim"], len(extent.shape))
    _RESULT_SHAPE.pack_into(step, RECORD_OFFSETS["result_shape"], *_padded(extent.shape), order)
    return bytes(step)


def _padded(shape: Shape) -> Shape:
    return shape + _NO_SHAPE[len(shape):]


def length_of(shape: Shape) -> int:
    """Elements of an array of that shape."""
    return math.prod(shape)
