# SPDX-License-Identifier: Apache-2.0
"""A Frame as an Arrow C stream, which polars, pyarrow, duckdb and others take without a copy.

https://arrow.apache.org/docs/format/CStreamInterface.html says how. A stream gives one batch. Columns of numbers are
not copied: their buffers are the arrays, which are kept until the consumer releases the last of them. _alive keeps what
a structure that we handed out points to. Its key is the structure's private_data, because a consumer may move the structure.
"""
from __future__ import annotations

import ctypes
import errno
import itertools
from typing import Any, NamedTuple, Optional, Sequence

import numpy as np

from pyrmap.bundle import join_texts
from pyrmap.record import Array

_ORDERED, _NULLABLE = 1, 2
_POINTER = ctypes.c_void_p

# Arrow's format by NumPy's kind and item size.
_NUMBERS = {("f", 2): "e", ("f", 4): "f", ("f", 8): "g", ("i", 1): "c", ("i", 2): "s", ("i", 4): "i", ("i", 8): "l",
            ("u", 1): "C", ("u", 2): "S", ("u", 4): "I", ("u", 8): "L"}
_TIMES = {"s": "s", "ms": "m", "us": "u", "ns": "n"}
# Units that Arrow has not, and finer ones that it has.
_FINER = {"M": {"Y": "D", "M": "D", "W": "D", "h": "s", "m": "s"}, "m": {"W": "s", "D": "s", "h": "s", "m": "s"}}


class Column(NamedTuple):
    """One column as Arrow has it."""

    format: str
    length: int
    missing: Optional[Array]  # bool; None: no value is missing
    buffers: Sequence[Array]  # behind the bitmap of missing values
    dictionary: Optional[Column] = None
    ordered: bool = False


def column_of(values: Any, name: str, zone: Optional[str] = None) -> Column:
    """A column of a Frame. zone: of moments. TypeError that names one that Arrow has not."""
    if hasattr(values, "levels"):
        codes = np.ascontiguousarray(values.codes, np.int32)
        return Column("i", len(codes), _if_any(codes < 0), [codes], _text(values.levels, name), values.ordered)
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None  # type: ignore[no-untyped-call]
    array = np.ascontiguousarray(values)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    kind = array.dtype.kind
    if kind in "OU":
        return _text(array.tolist(), name)
    if kind in "Mm":
        return _time(array, name, zone)
    if kind == "b":
        return Column("b", len(array), _if_any(mask), [np.packbits(array, bitorder="little")])
    code = _NUMBERS.get((kind, array.itemsize))
    if code is None:
        remedy = ": give its .real and .imag" if kind == "c" else ""
        raise TypeError(f"column {name!r} is of {array.dtype}, which Arrow has not{remedy}")
    if code == "g" and mask is None:
        mask = _is_na(array)
    return Column(code, len(array), _if_any(mask), [array])


def _if_any(missing: Optional[Array]) -> Optional[Array]:
    return missing if missing is not None and missing.any() else None


def _is_na(array: Array) -> Array:
    """Which values are R's NA. It is one NaN among many, and the others are values in Arrow as well."""
    missing: Array = np.isnan(array)
    if missing.any():
        missing &= (array.view("u8") & 0xFFFFFFFF) == 1954
    return missing


def _text(values: Sequence[Any], name: str) -> Column:
    missing = np.fromiter((item is None for item in values), bool, len(values))
    for item in values:
        if item is not None and not isinstance(item, str):
            raise TypeError(f"column {name!r} is of objects ({type(item).__qualname__}), which Arrow has not: only text and None")
    try:
        data, offsets = join_texts(["" if item is None else item for item in values])
    except UnicodeEncodeError:
        raise TypeError(f"column {name!r} holds text that is not valid") from None
    return Column("U", len(values), _if_any(missing), [offsets, np.frombuffer(data, np.uint8)])


def _time(array: Array, name: str, zone: Optional[str]) -> Column:
    kind = array.dtype.kind
    unit = np.datetime_data(array.dtype)[0]
    finer = _FINER[kind].get(unit, unit)
    missing = _if_any(np.isnat(array))
    if (finer, kind) == ("D", "M"):
        days = array.astype("M8[D]").view("<i8")
        if np.any(np.abs(days[~np.isnat(array)]) > 2**31 - 1):
            raise TypeError(f"column {name!r} holds dates that Arrow's 32-bit days do not reach")
        return Column("tdD", len(array), missing, [days.astype(np.int32)])
    if finer not in _TIMES:
        raise TypeError(f"column {name!r} is of {array.dtype}, which Arrow has not: convert it with .astype('{kind}8[ns]')")
    stored = array.astype(f"{kind}8[{finer}]", copy=False).view("<i8")
    return Column(f"ts{_TIMES[finer]}:{zone or ''}" if kind == "M" else f"tD{_TIMES[finer]}", len(array), missing, [stored])


# -- the structures ---------------------------------------------------------------------------------------------------

class _Schema(ctypes.Structure):
    pass


class _Array(ctypes.Structure):
    pass


class _Stream(ctypes.Structure):
    _fields_ = [("get_schema", _POINTER), ("get_next", _POINTER), ("get_last_error", _POINTER), ("release", _POINTER),
                ("private_data", _POINTER)]


_Schema._fields_ = [("format", ctypes.c_char_p), ("name", ctypes.c_char_p), ("metadata", ctypes.c_char_p),
                    ("flags", ctypes.c_int64), ("n_children", ctypes.c_int64),
                    ("children", ctypes.POINTER(ctypes.POINTER(_Schema))), ("dictionary", ctypes.POINTER(_Schema)),
                    ("release", _POINTER), ("private_data", _POINTER)]
_Array._fields_ = [("length", ctypes.c_int64), ("null_count", ctypes.c_int64), ("offset", ctypes.c_int64),
                   ("n_buffers", ctypes.c_int64), ("n_children", ctypes.c_int64), ("buffers", ctypes.POINTER(_POINTER)),
                   ("children", ctypes.POINTER(ctypes.POINTER(_Array))), ("dictionary", ctypes.POINTER(_Array)),
                   ("release", _POINTER), ("private_data", _POINTER)]

_numbers = itertools.count(1)
_alive: dict[int, Any] = {}


def _keep(what: object) -> int:
    key = next(_numbers)
    _alive[key] = what
    return key


def _release(structure: Any) -> None:
    """Releases a structure and those below it that the consumer has not moved away."""
    below = [structure.children[index].contents for index in range(structure.n_children)]
    if structure.dictionary:
        below.append(structure.dictionary.contents)
    for one in below:
        if one.release:
            _release(one)
    structure.release = None
    _alive.pop(structure.private_data, None)


_release_schema = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Schema))(lambda schema: _release(schema.contents))
_release_array = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))(lambda array: _release(array.contents))


def _address(function: Any) -> Optional[int]:
    return ctypes.cast(function, _POINTER).value


def _tie(structure: Any, children: Sequence[Any], dictionary: Any, release: Any, *kept: object) -> Any:
    """Puts a structure together with those below it; it keeps all of them until it is released."""
    kind = type(structure)
    pointers = (ctypes.POINTER(kind) * len(children))(*map(ctypes.pointer, children))
    structure.n_children = len(children)
    structure.children = ctypes.cast(pointers, ctypes.POINTER(ctypes.POINTER(kind)))
    if dictionary is not None:
        structure.dictionary = ctypes.pointer(dictionary)
    structure.release = _address(release)
    structure.private_data = _keep((structure, pointers, children, dictionary, kept))
    return structure


def _schema(column: Column, name: str) -> _Schema:
    dictionary = None if column.dictionary is None else _schema(column.dictionary, "")
    schema = _Schema(format=column.format.encode(), name=name.encode("utf-8", "replace"),
                     flags=_NULLABLE | (_ORDERED if column.ordered else 0))
    return _tie(schema, [], dictionary, _release_schema)  # type: ignore[no-any-return]


def _array(column: Column) -> _Array:
    dictionary = None if column.dictionary is None else _array(column.dictionary)
    bitmap = None if column.missing is None else np.packbits(~column.missing, bitorder="little")
    buffers = (_POINTER * (len(column.buffers) + 1))(None if bitmap is None else bitmap.ctypes.data,
                                                     *(buffer.ctypes.data for buffer in column.buffers))
    array = _Array(length=column.length, null_count=0 if column.missing is None else int(column.missing.sum()),
                   n_buffers=len(buffers), buffers=buffers)
    return _tie(array, [], dictionary, _release_array, column, bitmap, buffers)  # type: ignore[no-any-return]


# -- the stream -------------------------------------------------------------------------------------------------------

class _Table:
    """What a stream stands for until it is released."""

    def __init__(self, names: Sequence[str], columns: Sequence[Column], rows: int) -> None:
        self.names, self.columns, self.rows = names, columns, rows
        self.given = False

    def schema(self) -> _Schema:
        """One struct whose members are the columns."""
        members = [_schema(column, name) for name, column in zip(self.names, self.columns)]
        return _tie(_Schema(format=b"+s", name=b""), members, None, _release_schema)  # type: ignore[no-any-return]

    def batch(self) -> _Array:
        """All rows, once; then the end, which is a released array."""
        if self.given:
            return _Array()
        self.given = True
        buffers = (_POINTER * 1)(None)
        array = _Array(length=self.rows, n_buffers=1, buffers=buffers)
        return _tie(array, [_array(column) for column in self.columns], None, _release_array, buffers)  # type: ignore[no-any-return]


def _give(stream: Any, target: int, make: Any) -> int:
    try:
        made = make(_alive[stream.contents.private_data])
        ctypes.memmove(target, ctypes.byref(made), ctypes.sizeof(made))
        return 0
    except MemoryError:
        return errno.ENOMEM


def _end(stream: Any) -> None:
    stream.contents.release = None
    _alive.pop(stream.contents.private_data, None)


_GIVE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), _POINTER)
_get_schema = _GIVE(lambda stream, target: _give(stream, target, _Table.schema))
_get_next = _GIVE(lambda stream, target: _give(stream, target, _Table.batch))
# There is never a text: only memory can run out, for everything else was checked before.
_get_last_error = ctypes.CFUNCTYPE(_POINTER, ctypes.POINTER(_Stream))(lambda stream: None)
_release_stream = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Stream))(_end)


# The structures in capsules, by the address of the capsule.
_capsules: dict[int, Any] = {}


def _forget(capsule: int) -> None:
    """Releases the structure of a capsule that goes, unless a consumer has moved it away."""
    structure, release = _capsules.pop(capsule)
    if structure.release:
        release(ctypes.pointer(structure))


_capsule_goes = ctypes.PYFUNCTYPE(None, _POINTER)(_forget)

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (_POINTER, ctypes.c_char_p, _POINTER)
_NAMES = {_Schema: ctypes.c_char_p(b"arrow_schema"), _Stream: ctypes.c_char_p(b"arrow_array_stream")}


def _capsule(structure: Any, release: Any) -> object:
    capsule = _new_capsule(ctypes.addressof(structure), _NAMES[type(structure)], _address(_capsule_goes))
    _capsules[id(capsule)] = structure, release
    return capsule


def schema_capsule(names: Sequence[str], columns: Sequence[Column]) -> object:
    """A PyCapsule of an ArrowSchema."""
    return _capsule(_Table(names, columns, 0).schema(), _release_schema)


def stream_capsule(names: Sequence[str], columns: Sequence[Column], rows: int) -> object:
    """A PyCapsule of an ArrowArrayStream of one batch."""
    stream = _Stream(_address(_get_schema), _address(_get_next), _address(_get_last_error), _address(_release_stream),
                     _keep(_Table(names, columns, rows)))
    return _capsule(stream, _release_stream)
