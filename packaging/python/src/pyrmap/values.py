# SPDX-License-Identifier: Apache-2.0
"""What goes into a slot and what comes from there: one array of numbers as it is, everything else as a bundle.

What bundles need is loaded with the first of them.
"""
from __future__ import annotations

from typing import Any, NamedTuple, Optional, Union

import numpy as np

from pyrmap import convert
from pyrmap.layout import RECORD_INLINE_MAX, RECORD_SIZE
from pyrmap.record import Array, Extent, Record, result_extent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrmap import packing, unchanged

    Outgoing = Union[convert.Value, packing.Value]


class Taken(NamedTuple):
    """What a slot held. args and kwargs go with x into the call, over those of the task: see arguments_of()."""

    x: Any
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    kinds: frozenset[str] = frozenset()  # types that go back as they came: see pyrmap.packing
    order: str = "C"  # of its arrays of several dimensions, or of those that its producer would like best
    texts: tuple[unchanged.Text, ...] = ()  # of a bundle, for those that go back

    def arguments_of(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a task with those of the bundle laid over them."""
        merged = args + [None] * (len(self.args) - len(args))
        for index, value in enumerate(self.args):
            if value is not KEPT:
                merged[index] = value
        return merged, {**kwargs, **self.kwargs}


# Stands in args for an argument that the task has.
KEPT = object()


def outgoing(value: object, order: str, taken: Taken = Taken(None)) -> Outgoing:
    """Checks a value that is to go into a slot; TypeError or ValueError that names what cannot.

    order: "C" or "F", for an array that would have to be copied anyway. taken: the input of the round.
    """
    if is_plain(value):
        return convert.to_value(value, order)
    from pyrmap import packing

    return packing.to_value(value, order, taken.kinds, taken.texts)


def incoming(array: Array, extent: Extent) -> Taken:
    """What an array in a slot stands for. ValueError if it is not what the record says."""
    if extent.bundle:
        from pyrmap import unpacking

        return unpacking.read(array)
    if extent.logical:
        return Taken(convert.from_logical(array), [], {}, frozenset(), extent.order)
    kinds = _KINDS.get(extent.dtype, frozenset())
    return Taken(array, [], {}, kinds, extent.order)


def inline_result(page: bytes, record: Record) -> Optional[Taken]:
    """The result in a page that the record is the beginning of, copied; None if it does not stand there."""
    extent = result_extent(record)
    return copied(page, extent, RECORD_SIZE + RECORD_INLINE_MAX) if record.result_inline == extent.size else None


def copied(content: bytes, extent: Extent, offset: int = RECORD_SIZE) -> Taken:
    """The array that stands in these bytes; behind a record if nothing else is said."""
    if not extent.size:
        return incoming(np.empty(extent.array_shape, extent.dtype), extent)
    array = np.frombuffer(content, extent.dtype, extent.length, offset).copy()
    return incoming(array.reshape(extent.shape, order="F" if extent.order == "F" else "C") if extent.shape else array, extent)


_KINDS = {np.dtype("u1"): frozenset(("raw",)), np.dtype("<i8"): frozenset(("integer64",))}


def is_plain(value: object) -> bool:
    """Whether a value is one array of numbers, or a list that NumPy makes one of."""
    kind = type(value)
    if kind is np.ndarray or isinstance(value, np.generic):
        return value.dtype.kind in "biuf"  # type: ignore[attr-defined]
    if isinstance(value, (bool, int, float)):
        return True
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return all(map(is_number, value)) or isinstance(value, list) and _are_rows(value)
    if kind.__module__.partition(".")[0] in ("pandas", "scipy", "pyrmap"):
        return False
    return hasattr(value, "__array__") and is_plain(np.asarray(value)) and not isinstance(value, np.ma.MaskedArray)


def is_number(value: object) -> bool:
    """Whether a value is one number."""
    return isinstance(value, (bool, int, float)) or (
        isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0 and value.dtype.kind in "biuf")


def _are_rows(value: object) -> bool:
    """Whether it is a number, or a list or tuple of such of equal length."""
    if is_number(value):
        return True
    if not isinstance(value, (list, tuple)) or hasattr(value, "_fields"):
        return False
    lengths = {len(row) if isinstance(row, (list, tuple)) else -1 for row in value}
    return len(lengths) <= 1 and all(map(_are_rows, value))
