# SPDX-License-Identifier: Apache-2.0
"""Exact conversion of what a function returned to one of the types of a slot, and of what comes from there.

Nothing is rounded, cut or guessed: a value that none of float32, float64, int32, int64, uint8 and bool holds exactly is
an error that names it. bool travels as R's logical: int32, marked in the record.
"""
from __future__ import annotations

from typing import Any, Iterator, NamedTuple, Union

import numpy as np

from pyrmap.layout import RECORD_NDIM_MAX
from pyrmap.record import CODES, DTYPES, LOGICAL_NA, Array, Extent, Shape, length_of

_FLOAT32 = np.dtype("<f4")
_FLOAT64 = np.dtype("<f8")
_INT32 = np.dtype("<i4")
_INT64 = np.dtype("<i8")
_UINT8 = np.dtype("u1")
_INT64_MAX = 2**63 - 1

# Keyed by kind and item size, so that big-endian arrays are found too. uint64 fits if its values do.
_TARGETS: dict[tuple[str, int], np.dtype[Any]] = {
    ("b", 1): _INT32,
    ("i", 1): _INT32,
    ("i", 2): _INT32,
    ("i", 4): _INT32,
    ("i", 8): _INT64,
    ("u", 1): _UINT8,
    ("u", 2): _INT32,
    ("u", 4): _INT64,
    ("u", 8): _INT64,
    ("f", 2): _FLOAT32,
    ("f", 4): _FLOAT32,
    ("f", 8): _FLOAT64,
}

_TOO_BIG = "does not fit int64, the largest integer type that a slot has"

# A transposing copy in tiles of this many rows and columns stays in the cache.
_TILE = 64
_TILED_FROM = 1 << 18


class Value(NamedTuple):
    """A checked value: `array` holds it in the type it came in, `extent` is what it becomes in the slot."""

    array: Array
    extent: Extent

    def fill(self, target: Array) -> None:
        """Copies, converts and transposes into target, which has the extent's type, shape and order."""
        array = self.array.reshape(target.shape)
        transposes = array.ndim == 2 and array.flags.c_contiguous != target.flags.c_contiguous
        if not transposes or array.size < _TILED_FROM:
            np.copyto(target, array, casting="same_kind")
            return
        for row in range(0, array.shape[0], _TILE):
            for column in range(0, array.shape[1], _TILE):
                tile = (slice(row, row + _TILE), slice(column, column + _TILE))
                np.copyto(target[tile], array[tile], casting="same_kind")

    def pieces(self) -> Iterator[tuple[int, memoryview]]:
        """The bytes as they go into the slot, each part with its place."""
        yield 0, self.memory()

    def memory(self) -> memoryview:
        """The value's bytes as they go into the slot; copies only if the array is not laid out so already."""
        array = self.array
        extent = self.extent
        if not extent.size:
            return memoryview(b"")
        laid_out = array.flags.f_contiguous if extent.order == "F" else array.flags.c_contiguous
        if array.dtype != extent.dtype or not laid_out:
            array = np.empty(extent.array_shape, extent.dtype, "F" if extent.order == "F" else "C")
            self.fill(array)
        return memoryview(array.reshape(-1, order="A")).cast("B")  # type: ignore[arg-type]


def describe(value: object) -> str:
    """A value's type in words."""
    if isinstance(value, (np.ndarray, np.generic)):
        return f"{'an array' if isinstance(value, np.ndarray) else 'a scalar'} of {value.dtype}"
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def check_dtype(dtype: object) -> np.dtype[Any]:
    """One of the five types, from anything that names one to NumPy; TypeError for any other."""
    wanted = np.dtype(dtype)  # type: ignore[call-overload]
    if wanted not in CODES:
        names = ", ".join(known.name for known in DTYPES.values())
        raise TypeError(f"a slot cannot hold {wanted}; it holds {names}")
    return DTYPES[CODES[wanted]]


def check_shape(shape: Union[int, Shape]) -> Shape:
    """A shape as a tuple of 1 to 4 extents; ValueError otherwise. () counts as one element."""
    extents = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    extents = tuple(int(extent) for extent in extents) or (1,)
    if len(extents) > RECORD_NDIM_MAX:
        raise ValueError(f"{len(extents)} dimensions: a slot holds at most {RECORD_NDIM_MAX}")
    if min(extents) < 0:
        raise ValueError(f"negative dimension in {extents}")
    return extents


def extent_of(shape: Shape, dtype: np.dtype[Any], order: str, logical: bool = False) -> Extent:
    """The extent of an array; fewer than two dimensions are a plain vector."""
    if order not in ("C", "F"):
        raise ValueError(f"order is 'C' or 'F', not {order!r}")
    if len(shape) < 2:
        return Extent(dtype, (), length_of(shape), "C", logical)
    return Extent(dtype, shape, length_of(shape), order, logical)


def from_logical(array: Array) -> Array:
    """A logical array as NumPy has it: bool; float64 with NaN if a value is missing. ValueError if it is not logical."""
    if not array.size or (array.min() >= 0 and array.max() <= 1):
        return array.astype(np.bool_)
    missing = array == LOGICAL_NA
    if np.any((array > 1) | (array < 0) & ~missing):
        raise ValueError("the record says that this array is logical, but it holds other numbers than 0, 1 and R's NA")
    values = array.astype(_FLOAT64)
    values[missing] = np.nan
    return values


def to_value(value: object, prefer: str) -> Value:
    """Checks a value that is one array of numbers, or becomes one: values.is_plain() is true of it.

    prefer: "C" or "F", the order for an array that would have to be copied anyway; an array that is contiguous in
    column-major order keeps it. TypeError for what has no exact counterpart, ValueError for more than four dimensions.
    """
    array = value if type(value) is np.ndarray else _to_array(value)
    target = _TARGETS.get((array.dtype.kind, array.dtype.itemsize))
    if target is None:
        raise TypeError(f"{describe(array)} has no exact counterpart in a slot: convert it with .astype(float)")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size and int(array.max()) > _INT64_MAX:
        raise TypeError(f"{array.max()} {_TOO_BIG}")
    if array.ndim > RECORD_NDIM_MAX:
        raise ValueError(f"an array of {array.ndim} dimensions: a slot holds at most {RECORD_NDIM_MAX}")
    order = prefer
    if array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous:
        order = "F"
    return Value(array, extent_of(array.shape, target, order, array.dtype.kind == "b"))


def _to_array(value: object) -> Array:
    """A number, or a list of numbers, as an array. NumPy rounds integers among floats, and those beyond int64: we refuse both."""
    try:
        array: Array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"cannot make one array of this {describe(value)}: {error}") from None
    if array.dtype.kind not in "fO":
        return array
    for path, leaf in _leaves(value):
        number = leaf.item() if isinstance(leaf, (np.generic, np.ndarray)) else leaf
        if not isinstance(number, int):
            continue
        where = f"element {path}, " if path else ""
        if not -_INT64_MAX - 1 <= number <= _INT64_MAX:
            raise TypeError(f"{where}{number} {_TOO_BIG}")
        if int(float(number)) != number:
            raise TypeError(f"{where}{number} is an integer among floats that float64 cannot hold exactly")
    return array


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, (list, tuple)):
        for index, element in enumerate(value):
            yield from _leaves(element, f"{path}[{index}]")
    else:
        yield path, value
