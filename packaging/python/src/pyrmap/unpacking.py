# SPDX-License-Identifier: Apache-2.0
"""From a bundle to Python values: lists and dicts of arrays that are views of the mapped bundle, tables, text.

pandas is imported if there is a table to be made, and the machine has it; without it a table is a pyrmap.Frame. What a
node says was written by another process: each part is checked, and a fault is a BundleError.
"""
from __future__ import annotations

import functools
import math
from importlib.util import find_spec
from typing import Any, Callable, NamedTuple, Optional, Sequence, Union

import numpy as np

from pyrmap import convert, packing, unchanged
from pyrmap.bundle import DEPTH_MAX, Bundle, BundleError, is_count, split_texts
from pyrmap.frame import Factor, Frame
from pyrmap.record import LOGICAL_NA, Array
from pyrmap.values import KEPT, Taken

Node = dict[str, Any]

_SECONDS = {"secs": 1, "mins": 60, "hours": 3600, "days": 86400, "weeks": 604800}
# R's NA as a quiet NaN: arithmetic with it raises no floating point exception.
_QUIET_NA = np.array([0x7FF80000000007A2], "<u8").view("<f8")[0]
_NAT = np.iinfo(np.int64).min


def read(data: Array) -> Taken:
    """The values in a bundle. data: its bytes, as an array of uint8, which may be mapped. BundleError."""
    reader = _Reader(Bundle(data))
    root = reader.bundle.root
    if root is None:
        return Taken({name: reader.bundle.array(name).reshape(tensor.shape) for name, tensor in reader.bundle.tensors.items()},
                     [], {}, frozenset(), "C")
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    if isinstance(root, dict) and root.get("kind") == "call":
        positional, named = root.get("args", []), root.get("kwargs", {})
        if not isinstance(positional, list) or not isinstance(named, dict):
            raise BundleError("the arguments in the bundle are no list and no object")
        args = [KEPT if node is None else reader.value(node, 1) for node in positional]
        kwargs = {name: reader.value(node, 1) for name, node in named.items()}
        root = root.get("x")
    value = reader.value(root, 0)
    return Taken(value, args, kwargs, frozenset(reader.kinds), "C" if reader.row_major else "F", tuple(reader.texts))


class _Reader:
    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.kinds: set[str] = set()
        self.row_major = False
        self.used: set[str] = set()
        self.texts: list[unchanged.Text] = []

    def value(self, node: object, depth: int) -> Any:
        """What a node stands for, outside of tables."""
        if depth > DEPTH_MAX:
            raise BundleError("the values in the bundle are nested too deep")
        kind = node.get("kind") if isinstance(node, dict) else None
        make = self._KINDS.get(kind) if isinstance(kind, str) else None
        if make is None:
            raise BundleError(f"the bundle has a value of kind {kind!r}, which this version does not know")
        return make(self, node, depth)

    def null(self, _: Node, __: int) -> None:
        return None

    def members(self, node: Node, depth: int) -> Any:
        items, names = _items(node)
        values = [self.value(item, depth + 1) for item in items]
        if names is None:
            return tuple(values) if node.get("class") == "tuple" else values
        content = dict(zip(names, values))
        if len(content) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise BundleError(f"the list has two members of the name {twice!r}: a dict has each key once" if twice else
                              "the list has several members without a name: name all of them, or none")
        return content

    def array(self, node: Node, _: int) -> Any:
        array = self.vector(node)
        if isinstance(array, Factor):
            return _categorical(array)
        if isinstance(array, _Masked):
            array = array.floats()
        if node.get("type") == "raw" and node.get("scalar") is True:
            return array.tobytes()
        if node.get("type") == "character" and array.shape == (1,) and "names" not in node:
            return array[0]
        if node.get("scalar") is True and array.shape == (1,):
            return array[0] if array.dtype.kind in "mM" else array.item()
        return array

    def vector(self, node: Node) -> Any:
        """The array of a node, in its shape; or a Factor, or a _Masked one with missing values that NumPy's type has not."""
        kind = node.get("type")
        make = self._TYPES.get(kind) if isinstance(kind, str) else None
        if make is None:
            raise BundleError(f"the bundle has an array of type {kind!r}, which this version does not know")
        return make(self, node)

    # -- tables and matrices ------------------------------------------------------------------------------------

    def frame(self, node: Node, _: int) -> Any:
        items, names = _items(node)
        rows = node.get("rows")
        if names is None or not is_count(rows):
            raise BundleError("the table in the bundle has no names, or no number of rows")
        assert isinstance(rows, int)
        columns = [self._column(item, name, rows) for item, name in zip(items, names)]
        row_names = None
        if node.get("row_names") is not None:
            row_names = self.vector(_as_node(node["row_names"]))
            if not isinstance(row_names, np.ndarray) or row_names.shape != (rows,):
                raise BundleError("the row names of the table are as many as it has rows")
        if find_spec("pandas") is None:
            return _our_frame(names, columns, rows, row_names)
        return _data_frame(names, columns, rows, row_names)

    def _column(self, item: object, name: str, rows: int) -> Any:
        node = _as_node(item)
        if node.get("kind") != "array":
            raise BundleError(f"column {name!r} of the table is {node.get('kind')!r}: columns are vectors; pass it beside the table")
        column = self.vector(node)
        shape = column.codes.shape if isinstance(column, Factor) else column.values.shape if isinstance(column, _Masked) else column.shape
        if shape != (rows,):
            raise BundleError(f"column {name!r} of the table has the shape {shape}, and the table {rows} rows")
        if node.get("type") == "posixct" and isinstance(node.get("zone"), str) and node.get("naive") is not True:
            return _Zoned(column, node["zone"])
        return column

    def sparse(self, node: Node, _: int) -> Any:
        shape = node.get("shape")
        if node.get("format") != "csc" or not isinstance(shape, list) or len(shape) != 2 or not all(map(is_count, shape)):
            raise BundleError("the sparse matrix in the bundle has no shape, or is not stored by columns")
        data, indices, indptr = (self.vector(_as_node(node.get(key))) for key in ("data", "indices", "indptr"))
        parts = (data, indices, indptr)
        if not all(isinstance(part, np.ndarray) and part.ndim == 1 for part in parts) or len(indptr) != shape[1] + 1:
            raise BundleError("the parts of the sparse matrix do not fit each other")
        if find_spec("scipy") is None:
            return {"data": data, "indices": indices, "indptr": indptr, "shape": tuple(shape)}
        from scipy.sparse import csc_matrix  # type: ignore[import]

        try:
            matrix = csc_matrix((data, indices, indptr), shape=tuple(shape), copy=False)
            matrix.check_format(full_check=True)
        except ValueError as error:
            raise BundleError(f"the sparse matrix in the bundle is none: {error}") from None
        return matrix

    # -- arrays by type -----------------------------------------------------------------------------------------

    def tensor(self, node: Node, *dtypes: str, last: int = 0, key: str = "tensor") -> Array:
        """The tensor of a node in the node's shape. last: an axis behind those. dtypes: what it may be; none: any."""
        name = node.get(key)
        if not isinstance(name, str) or name not in self.bundle.tensors:
            raise BundleError(f"there is no tensor {name!r} in the bundle")
        if name in self.used:
            # A small header could stand for any number of large values.
            raise BundleError(f"tensor {name!r} is used twice")
        self.used.add(name)
        flat = self.bundle.array(name)
        if dtypes and flat.dtype not in map(np.dtype, dtypes):
            raise BundleError(f"tensor {name!r} is of {flat.dtype}; its type has {' or '.join(dtypes)}")
        dim = node.get("dim") if key == "tensor" else None
        if dim is None:
            return flat.reshape(-1, last) if last else flat
        if not isinstance(dim, list) or not 0 < len(dim) < DEPTH_MAX or not all(map(is_count, dim)):
            raise BundleError(f"tensor {name!r} has no valid dim")
        if node.get("type") == "character":
            return flat
        if math.prod(dim) * (last or 1) != flat.size:
            raise BundleError(f"tensor {name!r} has {flat.size} values, its dim says {dim}")
        return self._shaped(flat, dim, node, last)

    def _shaped(self, flat: Array, dim: list[int], node: Node, last: int = 0) -> Array:
        rest = (last,) if last else ()
        if node.get("order") == "C":
            self.row_major = True
            return flat.reshape(*dim, *rest)
        reversed_ = flat.reshape(*dim[::-1], *rest)
        return reversed_.transpose(*range(len(dim))[::-1], *range(len(dim), len(dim) + len(rest)))

    def double(self, node: Node) -> Array:
        return self.tensor(node, "<f8")

    def float32(self, node: Node) -> Array:
        return self.tensor(node, "<f4")

    def number(self, node: Node) -> Array:
        return self.tensor(node)

    def raw(self, node: Node) -> Array:
        self.kinds.add(packing.RAW)
        return self.tensor(node, "u1")

    def integer64(self, node: Node) -> Array:
        self.kinds.add(packing.INTEGER64)
        return self.tensor(node, "<i8")

    def integer(self, node: Node) -> Union[Array, _Masked]:
        array = self.tensor(node, "<i4")
        missing = array == LOGICAL_NA if node.get("na") is True else None
        return array if missing is None or not missing.any() else _Masked(array, missing)

    def logical(self, node: Node) -> Union[Array, _Masked]:
        array = self.tensor(node, "?", "<i4")
        if array.dtype == np.bool_:
            if array.size and array.view("u1").max() > 1:
                raise BundleError("a logical array in the bundle holds other bytes than 0 and 1")
            return array
        missing = array == LOGICAL_NA
        try:
            # Only that it is one.
            convert.from_logical(array)
        except ValueError as error:
            raise BundleError(str(error)) from None
        values = array == 1
        return _Masked(values, missing) if missing.any() else values

    def complex(self, node: Node) -> Array:
        parts = self.tensor(node, "<f8", last=2)
        return parts.view("<c16")[..., 0]

    def character(self, node: Node) -> Array:
        data, offsets = self.tensor(node, "u1"), self.tensor(node, "<i8", key="offsets")
        if not offsets.size or offsets[0] != 0 or offsets[-1] != data.size or np.any(offsets[1:] < offsets[:-1]):
            raise BundleError("the offsets of text in the bundle do not ascend from its first byte to its last")
        strings = np.empty(len(offsets) - 1, object)
        try:
            texts = split_texts(data, offsets)
        except UnicodeDecodeError:
            raise BundleError(f"text in the bundle ({node.get('tensor')}) is not UTF-8") from None
        strings[:] = texts
        missing = None
        if node.get("na") is not None:
            missing = self.tensor(node, "u1", key="na")
            if missing.shape != strings.shape:
                raise BundleError("the missing values of text in the bundle are as many as its values")
            strings[missing != 0] = None
        if len(strings) >= unchanged.LEAST:
            self.texts.append(unchanged.Text(strings, texts, data, offsets, missing))
        dim = node.get("dim")
        if dim is None:
            return strings
        if math.prod(dim) != strings.size:
            raise BundleError(f"text in the bundle has {strings.size} values, its dim says {dim}")
        return self._shaped(strings, dim, node)

    def factor(self, node: Node) -> Factor:
        codes = self.tensor(node, "<i4")
        levels = self.vector(_as_node(node.get("levels")))
        if not isinstance(levels, np.ndarray) or levels.dtype != object or levels.ndim != 1:
            raise BundleError("a factor in the bundle has no levels of text")
        missing = codes == LOGICAL_NA
        if np.any((codes < 1) & ~missing) or np.any(codes > len(levels)):
            raise BundleError("a factor in the bundle has codes that stand for no level")
        return Factor(np.where(missing, -1, codes - 1).astype(np.int32), levels.tolist(), node.get("ordered") is True)

    def date(self, node: Node) -> Array:
        self.kinds.add(packing.DATE)
        numbers = self.tensor(node, "<f8", "<i4")
        missing = numbers == LOGICAL_NA if numbers.dtype == np.int32 else ~np.isfinite(numbers)
        days: Array = np.floor(np.where(missing, 0, numbers)).astype("<i8").view("<M8[D]")
        days[missing] = np.datetime64("NaT")
        return days

    def posixct(self, node: Node) -> Array:
        zone = node.get("zone")
        if zone is not None and not isinstance(zone, str):
            raise BundleError("a time in the bundle has a zone that is no text")
        self.kinds.add(packing.LOCAL if zone is None else f"zone:{zone}")
        return self._ns(node, 1).view("<M8[ns]")

    def difftime(self, node: Node) -> Array:
        units = node.get("units", "secs")
        if not isinstance(units, str) or units not in _SECONDS:
            raise BundleError(f"a difference of times in the bundle is in {units!r}")
        self.kinds.add(f"difftime:{units}")
        return self._ns(node, _SECONDS[units]).view("<m8[ns]")

    def _ns(self, node: Node, seconds: int) -> Array:
        """int64 nanoseconds as NumPy has them, from those, or from doubles in a unit of so many seconds."""
        if node.get("unit") == "ns":
            return self.tensor(node, "<i8")
        numbers = self.tensor(node, "<f8", "<i4")
        missing = numbers == LOGICAL_NA if numbers.dtype == np.int32 else ~np.isfinite(numbers)
        whole = np.where(missing, 0.0, numbers) * seconds
        if np.any(np.abs(whole) >= 2.0**63 / 1e9):
            raise BundleError(f"times in the bundle ({node.get('tensor')}) are beyond the years 1678 to 2262, which datetime64[ns] reaches")
        floor = np.floor(whole)
        exact: Array = floor.astype("<i8") * 1_000_000_000 + np.rint((whole - floor) * 1e9).astype("<i8")
        exact[missing] = _NAT
        return exact

    _KINDS: dict[str, Callable[..., Any]] = {"null": null, "list": members, "array": array, "frame": frame, "sparse": sparse}
    _TYPES: dict[str, Callable[..., Any]] = {
        "double": double, "float32": float32, "number": number, "raw": raw, "integer64": integer64, "integer": integer,
        "logical": logical, "complex": complex, "character": character, "factor": factor, "date": date, "posixct": posixct,
        "difftime": difftime}


class _Masked(NamedTuple):
    """Integers or bool, some of which are missing."""

    values: Array
    missing: Array

    def floats(self) -> Array:
        """What NumPy has for it: NaN, one that R tells from others when it comes back."""
        floats = self.values.astype("<f8")
        floats[self.missing] = _QUIET_NA
        return floats


class _Zoned(NamedTuple):
    """A column of moments that are shown in a zone."""

    values: Array
    zone: str


def _as_node(node: object) -> Node:
    if not isinstance(node, dict):
        raise BundleError("a part of a value in the bundle is missing")
    return node


def _items(node: Node) -> tuple[list[object], Optional[list[str]]]:
    items, names = node.get("items"), node.get("names")
    if not isinstance(items, list):
        raise BundleError("a list in the bundle has no items")
    if names is None:
        return items, None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) != len(items):
        raise BundleError("a list in the bundle has not one name for each of its items")
    return items, names


def _categorical(factor: Factor) -> Any:
    """pandas' counterpart, if the machine has it."""
    if find_spec("pandas") is None or factor.codes.ndim != 1:
        return factor
    import pandas  # type: ignore[import]

    levels = tuple(factor.levels)
    try:
        few = len(levels) <= _REMEMBERED_LEVELS
        dtype = _remembered_dtype(levels, factor.ordered) if few else _dtype_of(levels, factor.ordered)
        return pandas.Categorical.from_codes(factor.codes, dtype=dtype)
    except ValueError as error:
        raise BundleError(f"a factor in the bundle is none: {error}") from None


def _dtype_of(levels: tuple[str, ...], ordered: bool) -> Any:
    import pandas

    return pandas.CategoricalDtype(levels, ordered)


# pandas takes longer for the type of a factor than for a short factor itself. Types do not change.
_remembered_dtype = functools.lru_cache(32)(_dtype_of)
_REMEMBERED_LEVELS = 100


def _our_frame(names: list[str], columns: list[Any], rows: int, row_names: Optional[Array]) -> Frame:
    zones = [column.zone if isinstance(column, _Zoned) else None for column in columns]
    plain = [column.floats() if isinstance(column, _Masked) else column.values if isinstance(column, _Zoned) else column
             for column in columns]
    return Frame._of(names, plain, zones, rows, row_names)


def _data_frame(names: list[str], columns: list[Any], rows: int, row_names: Optional[Array]) -> Any:
    import pandas

    # A name may be there twice. pandas takes long for an index: we let it make one, if we can.
    keys: Sequence[Any] = names if len(set(names)) == len(names) > 0 else range(len(names))
    made: dict[Any, Any] = {}
    for at, name, column in zip(keys, names, columns):
        if isinstance(column, Factor):
            made[at] = _categorical(column)
        elif isinstance(column, _Masked):
            make = pandas.arrays.BooleanArray if column.values.dtype == np.bool_ else pandas.arrays.IntegerArray
            made[at] = make(column.values, column.missing)
        elif isinstance(column, _Zoned):
            made[at] = _in_zone(pandas.Series(column.values, copy=False), column.zone, name).array
        else:
            made[at] = column
    index = pandas.RangeIndex(rows) if row_names is None else pandas.Index(row_names)
    frame = pandas.DataFrame(made, index=index, copy=False)
    if keys is not names:
        frame.columns = pandas.Index(names)
    return frame


def _in_zone(series: Any, zone: str, name: str) -> Any:
    try:
        return series.dt.tz_localize("UTC").dt.tz_convert(zone)
    except Exception as error:
        # pytz and zoneinfo have an exception each for a zone that the machine does not know.
        raise BundleError(f"column {name!r} is of the zone {zone!r}: {type(error).__name__}: {error}") from None
