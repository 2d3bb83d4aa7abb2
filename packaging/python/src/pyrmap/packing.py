# SPDX-License-Identifier: Apache-2.0
"""From a Python value to a bundle: the table of what each type becomes.

Numbers are copied once, into the segment. What has no counterpart is a TypeError that names the member and the remedy.
"""
from __future__ import annotations

import datetime
from collections.abc import Mapping, Set
from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence

import numpy as np

from pyrmap import bundle, convert, unchanged
from pyrmap.frame import Factor, Frame
from pyrmap.record import LOGICAL_NA, Array, Extent, Shape
from pyrmap.values import is_number, is_plain

Node = dict[str, Any]

# R's missing double, whose bits R tells from other NaN.
NA_REAL = np.array([0x7FF00000000007A2], "<u8").view("<f8")[0]

_INT32_MAX = 2**31 - 1
_EXACT = 2**53
_NS = np.dtype("<M8[ns]")

# The types that R would rather have back as they came: see Kinds.
RAW, INTEGER64, DATE, LOCAL = "raw", "integer64", "date", "local"


class Value(NamedTuple):
    """A checked value that goes as a bundle: what convert.Value is for one array."""

    extent: Extent
    header: bytes
    tensors: list[tuple[int, convert.Value]]  # where each begins

    def pieces(self) -> Iterator[tuple[int, memoryview]]:
        """The bytes, from the first to the last, each with its place; at most one tensor is copied at a time."""
        yield 0, memoryview(self.header)
        for begin, tensor in self.tensors:
            yield begin, tensor.memory()


def to_value(value: object, prefer: str, kinds: frozenset[str] = frozenset(), texts: Sequence[unchanged.Text] = ()) -> Value:
    """Checks what a function returned. prefer: "C" or "F", as for convert.to_value. kinds, texts: what the input held."""
    packer = _Packer(prefer, kinds, texts)
    root = packer.node(value, "")
    packer.tensors.sort(key=lambda tensor: -tensor.value.extent.dtype.itemsize)
    header, begins, size = bundle.lay_out(
        [(tensor.name, tensor.value.extent.dtype, tensor.shape) for tensor in packer.tensors], root)
    return Value(Extent(np.dtype("u1"), (), size, "C", bundle=True), header,
                 [(begin, tensor.value) for begin, tensor in zip(begins, packer.tensors)])


def _library(value: object) -> str:
    return type(value).__module__.partition(".")[0]


class _Tensor(NamedTuple):
    name: str
    value: convert.Value
    shape: Shape  # as a reader sees it that goes row by row


class _Packer:
    """Nodes, and the tensors that they name."""

    def __init__(self, prefer: str, kinds: frozenset[str], texts: Sequence[unchanged.Text]) -> None:
        self.prefer = prefer
        self.kinds = kinds
        self.texts = texts
        self.tensors: list[_Tensor] = []
        self.names: set[str] = set()

    # -- what a value is ----------------------------------------------------------------------------------------

    def node(self, value: object, path: str, depth: int = 0) -> Node:
        """The node of any value. path: where it stands in the whole, as Python writes it."""
        if depth >= bundle.DEPTH_MAX - 4:
            raise TypeError(f"{_at(path)} is nested too deep")
        if value is None:
            return {"kind": "null"}
        library = _LIBRARIES.get(_library(value))
        if library is not None:
            node = library(self, value, path, depth)
            if node is not None:
                return node
        for types, pack in _TYPES:
            if isinstance(value, types):
                return pack(self, value, path, depth)
        if hasattr(value, "__array__"):
            return self.converted(value, path, depth)
        raise _refusal(value, path)

    def mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> Node:
        names = []
        for key in value:
            if not isinstance(key, (str, int, float, np.integer, np.floating, np.bool_)):
                raise TypeError(f"{_at(path)} has the key {key!r}, {convert.describe(key)}: names are text")
            names.append(str(key))
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise TypeError(f"{_at(path)} has two keys that are {twice!r} as text")
        for name in names:
            _check_text(name, path)
        items = [self.node(item, f"{path}[{key!r}]", depth + 1) for key, item in value.items()]
        return {"kind": "list", "class": "dict", "names": names, "items": items}

    def sequence(self, value: Sequence[Any], path: str, depth: int) -> Node:
        fields = getattr(value, "_fields", None)
        if fields is not None:
            return {**self.mapping(dict(zip(fields, value)), path, depth), "class": "tuple"}
        present = [item for item in value if item is not None]
        if present and all(isinstance(item, str) for item in present):
            return self.text(value, path)
        if len(value) > len(present) > 0 and all(isinstance(item, (bool, np.bool_)) for item in present):
            return self.logical(np.array([item or False for item in value], bool), path, np.array([item is None for item in value]))
        if is_plain(value) and not (isinstance(value, tuple) and not value):
            return self.number(self.plain(value, path), path)
        items = [self.node(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        return {"kind": "list", "class": "tuple", "items": items} if isinstance(value, tuple) else {"kind": "list", "items": items}

    def single(self, value: object, path: str, depth: int) -> Node:
        """A number alone."""
        return self.number(self.plain(value, path), path)

    def plain(self, value: object, path: str) -> Array:
        """The array that numbers, or a list of them, are; as if they travelled alone."""
        try:
            return convert.to_value(value, self.prefer).array
        except (TypeError, ValueError) as error:
            raise type(error)(f"{_at(path)}: {error}") from None

    def string(self, value: str, path: str, _: int) -> Node:
        return {**self.text([str(value)], path), "scalar": True}

    def bytes(self, value: Any, path: str, _: int) -> Node:
        return {**self.numbers("raw", np.frombuffer(value, np.uint8), path), "scalar": True}

    def moment(self, value: Any, path: str, depth: int) -> Node:
        """datetime.datetime, date and timedelta."""
        zone = None
        if isinstance(value, datetime.datetime) and value.tzinfo is not None:
            zone = getattr(value.tzinfo, "key", None) or "UTC"
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        if isinstance(value, datetime.timedelta):
            return self.ndarray(np.array(np.timedelta64(value)), path, depth)
        array = np.array(np.datetime64(value))
        return self.time(array, path, zone) if isinstance(value, datetime.datetime) else self.ndarray(array, path, depth)

    def ndarray(self, value: Array, path: str, depth: int) -> Node:
        if isinstance(value, np.ma.MaskedArray):
            if np.any(np.ma.getmaskarray(value)):  # type: ignore[no-untyped-call]
                raise TypeError(f"{_at(path)} is a masked array with masked values: fill them with .filled()")
            value = np.asarray(value)
        pack = _KINDS.get(value.dtype.kind)
        if pack is None:
            remedy = ": pandas.DataFrame(x) makes a table of it" if value.dtype.names else ""
            raise TypeError(f"{_at(path)} is {convert.describe(value)}, which has no counterpart in R{remedy}")
        return pack(self, np.asarray(value), path)

    def converted(self, value: Any, path: str, depth: int) -> Node:
        """What NumPy makes an array of."""
        return self.ndarray(np.asarray(value), path, depth)

    def frame(self, value: Frame, path: str, depth: int) -> Node:
        columns = [(name, self._our_column(column, zone, f"{path}[{name!r}]", depth + 1))
                   for name, column, zone in zip(value.names, value.columns, value.zones)]
        node = self._frame(len(value), columns, path)
        if value.row_names is not None:
            node["row_names"] = self.node(value.row_names, f"{path}.row_names", depth + 1)
        return node

    def _our_column(self, column: Any, zone: Optional[str], path: str, depth: int) -> Node:
        if zone is not None:
            return self.time(column, path, zone)
        if isinstance(column, np.ma.MaskedArray) and column.dtype.kind in "biuf":
            missing = np.ma.getmaskarray(column)  # type: ignore[no-untyped-call]
            values = np.asarray(column.filled(0))  # type: ignore[no-untyped-call]
            if column.dtype.kind == "b":
                return self.logical(values, path, missing)
            if column.dtype.kind == "f":
                return self.number(np.where(missing, NA_REAL, values), path)
            return self.integers(values, missing, path) if missing.any() else self.number(values, path)
        return self.node(column, path, depth)

    def _frame(self, rows: int, columns: Sequence[tuple[str, Node]], path: str) -> Node:
        for name, _ in columns:
            _check_text(name, path)
        return {"kind": "frame", "rows": rows, "names": [name for name, _ in columns], "items": [node for _, node in columns]}

    def factor(self, codes: Array, levels: Sequence[str], ordered: bool, path: str) -> Node:
        """codes: from 0, -1 is missing."""
        stored = np.asarray(codes, np.int32) + 1
        stored[np.asarray(codes) < 0] = LOGICAL_NA
        node = self.numbers("factor", stored, path)
        node["levels"] = self.text(levels, f"{path}.levels")
        return {**node, "ordered": True} if ordered else node

    def our_factor(self, value: Factor, path: str, _: int) -> Node:
        return self.factor(value.codes, value.levels, value.ordered, path)

    # -- arrays -------------------------------------------------------------------------------------------------

    def tensor(self, value: convert.Value, path: str) -> str:
        """Takes an array; the name under which the bundle has it."""
        name = stem = _plain_name(path)
        count = 1
        while name in self.names:
            count += 1
            name = f"{stem}.{count}"
        self.names.add(name)
        shape = value.extent.array_shape
        self.tensors.append(_Tensor(name, value, shape[::-1] if value.extent.order == "F" else shape))
        return name

    def numbers(self, kind: str, array: Array, path: str, dtype: Optional[np.dtype[Any]] = None) -> Node:
        """A node for an array of numbers; it becomes dtype, by default its own."""
        order = "C"
        if array.ndim > 1 and (self.prefer == "F" or array.flags.f_contiguous and not array.flags.c_contiguous):
            order = "F"
        shape = array.shape if array.ndim else (1,)
        extent = Extent(dtype or array.dtype.newbyteorder("<"), shape, array.size, order)
        node: Node = {"kind": "array", "type": kind, "tensor": self.tensor(convert.Value(array, extent), path)}
        if array.ndim > 1:
            node["dim"] = list(shape)
            if order == "C":
                node["order"] = "C"
        if not array.ndim:
            node["scalar"] = True
        return node

    def number(self, array: Array, path: str) -> Node:
        """bool, integers and floats."""
        kind, dtype = _NUMBERS[array.dtype.kind, array.dtype.itemsize]
        if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size and int(array.max()) > 2**63 - 1:
            raise TypeError(f"{_at(path)} holds {array.max()}, which does not fit int64, the largest integer type")
        if (kind, dtype) == ("number", np.dtype("<i8")) and INTEGER64 in self.kinds:
            kind = INTEGER64
        if (kind, dtype) == ("number", np.dtype("u1")) and RAW in self.kinds:
            kind = RAW
        return self.numbers(kind, array, path, dtype)

    def complex(self, array: Array, path: str) -> Node:
        whole = array.astype("<c16", order="F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C", copy=False)
        rows = whole if whole.flags.c_contiguous else whole.T
        parts = np.ascontiguousarray(rows).reshape(-1).view("<f8").reshape(*(rows.shape or (1,)), 2)
        extent = Extent(parts.dtype, parts.shape, parts.size, "C")
        node: Node = {"kind": "array", "type": "complex", "tensor": self.tensor(convert.Value(parts, extent), path)}
        if array.ndim > 1:
            node["dim"] = list(array.shape)
            if whole.flags.c_contiguous:
                node["order"] = "C"
        return node if array.ndim else {**node, "scalar": True}

    def text(self, value: Any, path: str) -> Node:
        """A vector of str; None is missing."""
        strings = list(value)
        missing = [item is None for item in strings] if None in strings else []
        if missing:
            strings = ["" if item is None else item for item in strings]
        try:
            data, offsets = bundle.join_texts(strings)
        except UnicodeEncodeError:
            raise TypeError(f"{_at(path)} holds text that is not valid: {_first_invalid(strings)!r}") from None
        if b"\0" in data:
            index = next(index for index, item in enumerate(strings) if "\0" in item)
            raise TypeError(f"{_at(f'{path}[{index}]')} is text with a NUL in it, which R has not")
        return self._character(np.frombuffer(data, np.uint8), offsets, np.array(missing, np.uint8) if missing else None, path)

    def _character(self, data: Array, offsets: Array, missing: Optional[Array], path: str) -> Node:
        node = self.numbers("character", data, path)
        node["offsets"] = self.numbers("", offsets, f"{path}.offsets")["tensor"]
        if missing is not None:
            node["na"] = self.numbers("", missing, f"{path}.na")["tensor"]
        return node

    def strings(self, array: Array, path: str) -> Node:
        """An array of NumPy's str, of any shape."""
        return self._shaped(self.text(array.ravel(self._order_of(array)).tolist(), path), array)

    def _order_of(self, array: Array) -> Any:
        return "F" if array.ndim > 1 and self.prefer == "F" else "C"

    def _shaped(self, node: Node, array: Array) -> Node:
        if not array.ndim:
            return {**node, "scalar": True}
        if array.ndim > 1:
            node["dim"] = list(array.shape)
            if self._order_of(array) == "C":
                node["order"] = "C"
        return node

    def objects(self, array: Array, path: str) -> Node:
        """An array of dtype object: text, or numbers of one type, of which some may be missing."""
        text = unchanged.find(self.texts, array)
        # Other programs may have put a NUL into it.
        if text is not None and (not text.data.size or text.data.min() > 0):
            return self._character(text.data, text.offsets, text.missing, path)
        values = array.ravel(self._order_of(array)).tolist()
        if set(map(type, values)) <= {str, type(None)} and any(values):
            return self._shaped(self.text(values, path), array)
        values = [None if _is_missing(item) else item for item in values]
        present = [item for item in values if item is not None]
        if all(isinstance(item, str) for item in present):
            return self._shaped(self.text(values, path), array)
        if all(isinstance(item, (bool, np.bool_)) for item in present):
            missing = np.array([item is None for item in values]).reshape(array.shape, order=self._order_of(array))
            filled = np.array([bool(item) for item in values]).reshape(array.shape, order=self._order_of(array))
            return self.logical(filled, path, missing)
        if all(is_number(item) for item in present):
            if len(present) == len(values):
                return self.number(self.plain(array.tolist(), path), path)
            numbers = np.array([NA_REAL if item is None else float(item) for item in values])
            return self.ndarray(numbers.reshape(array.shape, order=self._order_of(array)), path, 0)
        if all(isinstance(item, (datetime.date, datetime.timedelta)) for item in present):
            node = self._moments(array, path)
            if node is not None:
                return node
        index, item = next((index, item) for index, item in enumerate(values)
                           if item is not None and not isinstance(item, str))
        raise TypeError(f"{_at(f'{path}[{index}]')} is {convert.describe(item)} in an array of objects: text, numbers or dates "
                        "of one type can travel; convert it with .astype(...), or return a list")

    def _moments(self, array: Array, path: str) -> Optional[Node]:
        items = [None if _is_missing(item) else item for item in array.ravel()]
        kinds = {type(item) for item in items if item is not None}
        if kinds == {datetime.date}:
            return self.date(np.array(items, "M8[D]").reshape(array.shape), path)
        if kinds == {datetime.timedelta}:
            return self.span(np.array(items, "m8[us]").reshape(array.shape), path)
        return None

    def logical(self, array: Array, path: str, missing: Optional[Array] = None) -> Node:
        if missing is None or not np.any(missing):
            return self.number(array, path)
        stored = array.astype(np.int32)
        stored[missing] = LOGICAL_NA
        return {**self.numbers("logical", stored, path), "na": True}

    def integers(self, array: Array, missing: Array, path: str) -> Node:
        """Integers of which some are missing: R's integer, or a double where one does not fit."""
        present = array[~missing]
        low, high = (int(present.min()), int(present.max())) if present.size else (0, 0)
        if -_INT32_MAX <= low and high <= _INT32_MAX:
            stored = array.astype(np.int32)
            stored[missing] = LOGICAL_NA
            return {**self.numbers("integer", stored, path), "na": True}
        if -_EXACT <= low and high <= _EXACT:
            return self.numbers("double", np.where(missing, NA_REAL, array.astype("<f8")), path)
        worst = high if high > _EXACT else low
        raise TypeError(f"{_at(path)} holds missing values and {worst}, which a double does not hold exactly: "
                        "fill them with .fillna(...), or convert it with .astype(float)")

    # -- times --------------------------------------------------------------------------------------------------

    def datetimes(self, array: Array, path: str) -> Node:
        unit = np.datetime_data(array.dtype)[0]
        if unit in ("D", "W", "M", "Y"):
            return self.date(array, path)
        return self.time(array, path)

    def date(self, array: Array, path: str) -> Node:
        days = array.astype("M8[D]")
        numbers = days.astype("<i8").astype("<f8")
        numbers[np.isnat(days)] = NA_REAL
        return self.numbers("date", numbers, path)

    def time(self, array: Array, path: str, zone: Optional[str] = None, in_table: bool = False) -> Node:
        """Moments in UTC; zone: where they are shown. in_table: pandas has no other type for dates."""
        exact = _in_ns(array, _NS, path)
        if zone is None and in_table and DATE in self.kinds and _are_midnights(exact):
            return self.date(exact, path)
        node: Node = {**self.numbers("posixct", exact.view("<i8"), path), "unit": "ns"}
        if zone is not None:
            return {**node, "zone": zone}
        zones = self._told("zone:")
        if LOCAL not in self.kinds:
            node.update(zone=zones[0] if len(zones) == 1 else "UTC", naive=True)
        return node

    def _told(self, what: str) -> list[str]:
        """What the input had of a kind that has a word behind it."""
        return [kind[len(what):] for kind in self.kinds if kind.startswith(what)]

    def span(self, array: Array, path: str) -> Node:
        units = self._told("difftime:")
        exact = _in_ns(array, np.dtype("<m8[ns]"), path).view("<i8")
        return {**self.numbers("difftime", exact, path), "unit": "ns", "units": units[0] if len(units) == 1 else "secs"}

    # -- pandas and SciPy ---------------------------------------------------------------------------------------

    def pandas(self, value: Any, path: str, depth: int) -> Optional[Node]:
        """None: it is nothing of pandas that has an own counterpart."""
        pandas = _loaded("pandas")
        if isinstance(value, pandas.DataFrame):
            _check_columns(value, path)
            columns = [(str(name), self.column(column, f"{path}[{name!r}]")) for name, column in value.items()]
            node = self._frame(len(value), columns, path)
            row_names = self._row_names(value.index, path)
            return node if row_names is None else {**node, "row_names": row_names}
        if isinstance(value, pandas.Series):
            node = self.column(value, path)
            names = self._row_names(value.index, path, unique=False)
            if names is not None and names["type"] != "character":
                names = self.text([str(item) for item in value.index], f"{path}.names")
            return node if names is None else {**node, "names": names}
        if isinstance(value, (pandas.Index, pandas.api.extensions.ExtensionArray)):
            if isinstance(value, pandas.MultiIndex):
                raise TypeError(f"{_at(path)} is an index of several levels: .to_frame() makes a table of it")
            return self.column(pandas.Series(value), path)
        if value is pandas.NA:
            return self.logical(np.array([False]), path, np.array([True]))
        if value is pandas.NaT:
            return self.ndarray(np.array(np.datetime64("NaT", "ns")), path, depth)
        if isinstance(value, pandas.Timestamp):
            node = self.column(pandas.Series([value]), path)
            return {**node, "scalar": True}
        if isinstance(value, pandas.Timedelta):
            return self.ndarray(np.array(value.to_timedelta64()), path, depth)
        return None

    def column(self, series: Any, path: str) -> Node:
        """A pandas.Series without its index."""
        pandas = _loaded("pandas")
        array, dtype = series.array, series.dtype
        if isinstance(dtype, pandas.CategoricalDtype):
            return self.factor(array.codes, _levels(dtype.categories, path), bool(dtype.ordered), path)
        if isinstance(dtype, pandas.DatetimeTZDtype):
            return self.time(np.asarray(series.dt.tz_convert("UTC").dt.tz_localize(None)), path, str(dtype.tz))
        if isinstance(dtype, (pandas.PeriodDtype, pandas.IntervalDtype)):
            raise TypeError(f"{_at(path)} is of {dtype}, which has no counterpart in R: .astype(str) makes text of it")
        if isinstance(dtype, pandas.SparseDtype):
            return self.ndarray(np.asarray(series), path, 0)
        if isinstance(dtype, np.dtype):
            values = series.to_numpy()
            return self.time(values, path, in_table=True) if dtype.kind == "M" else self.ndarray(values, path, 0)
        missing = np.asarray(series.isna())
        if isinstance(dtype, pandas.StringDtype):
            return self.text([None if absent else item for item, absent in zip(array, missing)], path)
        kind = getattr(getattr(dtype, "numpy_dtype", None), "kind", "O")
        if kind == "b":
            return self.logical(array.to_numpy(bool, na_value=False), path, missing)
        if kind in "iu":
            numbers = array.to_numpy(dtype.numpy_dtype, na_value=0)
            return self.integers(numbers, missing, path) if missing.any() else self.number(numbers, path)
        if kind == "f":
            return self.number(array.to_numpy(dtype.numpy_dtype, na_value=NA_REAL), path)
        return self.ndarray(series.to_numpy(object), path, 0)

    def _row_names(self, index: Any, path: str, unique: bool = True) -> Optional[Node]:
        """None: they are the numbers from 0."""
        pandas = _loaded("pandas")
        if isinstance(index, pandas.RangeIndex) and (index.start, index.step) == (0, 1):
            return None
        remedy = "reset_index() makes columns of it"
        if isinstance(index, pandas.MultiIndex):
            raise TypeError(f"{_at(path)} has an index of several levels: .{remedy}")
        if unique and not index.is_unique:
            raise TypeError(f"{_at(path)} has an index in which {index[index.duplicated()][0]!r} is repeated, and R's row names are "
                            f"unique: .{remedy}, .reset_index(drop=True) leaves it out")
        if index.dtype.kind in "iu":
            if not len(index) or (0 <= int(index.min()) and int(index.max()) <= _INT32_MAX):
                if np.array_equal(index, np.arange(len(index))):
                    return None
                return self.numbers("integer", np.asarray(index), f"{path}.row_names", np.dtype("<i4"))
        labels = [item for item in index]
        if unique and not all(isinstance(item, (str, int, np.integer)) for item in labels):
            raise TypeError(f"{_at(path)} has an index of {index.dtype}, and R's row names are text: .{remedy}")
        return self.text([str(item) for item in labels], f"{path}.row_names")

    def sparse(self, value: Any, path: str, depth: int) -> Optional[Node]:
        """A matrix of scipy.sparse as the three arrays of its columns. None: it is none."""
        if not hasattr(value, "tocsc"):
            return None
        columns = value.tocsc()
        if columns.dtype.kind not in "biuf":
            raise TypeError(f"{_at(path)} is a sparse matrix of {columns.dtype}: R's are of double")
        if len(columns.data) > _INT32_MAX:
            raise TypeError(f"{_at(path)} has {len(columns.data)} values; a sparse matrix in R has at most {_INT32_MAX}")
        columns.sort_indices()
        parts = {"data": ("double", columns.data, "<f8"), "indices": ("integer", columns.indices, "<i4"),
                 "indptr": ("integer", columns.indptr, "<i4")}
        return {"kind": "sparse", "format": "csc", "shape": [int(extent) for extent in columns.shape],
                **{key: self.numbers(kind, array, f"{path}.{key}", np.dtype(dtype))
                   for key, (kind, array, dtype) in parts.items()}}


# What each type becomes, the first that fits.
_TYPES: tuple[tuple[Any, Callable[..., Node]], ...] = (
    (np.ndarray, _Packer.ndarray),
    (str, _Packer.string),
    (np.generic, _Packer.converted),
    ((bool, int, float), _Packer.single),
    (complex, _Packer.converted),
    ((bytes, bytearray, memoryview), _Packer.bytes),
    ((datetime.datetime, datetime.date, datetime.timedelta), _Packer.moment),
    (Frame, _Packer.frame),
    (Factor, _Packer.our_factor),
    (Mapping, _Packer.mapping),
    ((list, tuple), _Packer.sequence),
    (range, _Packer.converted),
)

# What a NumPy array becomes, by the kind of its dtype.
_KINDS: dict[str, Callable[..., Node]] = {
    **dict.fromkeys("biuf", _Packer.number), "c": _Packer.complex, "U": _Packer.strings, "O": _Packer.objects,
    "M": _Packer.datetimes, "m": _Packer.span}

# What numbers become, as one array alone does: pyrmap.convert.
_NUMBERS: dict[tuple[str, int], tuple[str, np.dtype[Any]]] = {
    key: (kind, np.dtype(code)) for key, kind, code in (
        (("b", 1), "logical", "?"), (("i", 1), "integer", "<i4"), (("i", 2), "integer", "<i4"), (("i", 4), "integer", "<i4"),
        (("i", 8), "number", "<i8"), (("u", 1), "number", "u1"), (("u", 2), "integer", "<i4"), (("u", 4), "number", "<i8"),
        (("u", 8), "number", "<i8"), (("f", 2), "float32", "<f4"), (("f", 4), "float32", "<f4"), (("f", 8), "double", "<f8"))}

# By the name of the package: it is loaded already if a value of it is here.
_LIBRARIES: dict[str, Callable[..., Optional[Node]]] = {"pandas": _Packer.pandas, "scipy": _Packer.sparse}


def _loaded(name: str) -> Any:
    import sys

    return sys.modules[name]


def _at(path: str) -> str:
    return f"element {path}" if path else "the result"


def _plain_name(path: str) -> str:
    """["df"]["Sepal.Length"] as df.Sepal.Length; a tensor's name is for people, and for other readers."""
    name = path.replace("']['", ".").replace("['", ".").replace("']", "").replace("[", ".").replace("]", "").strip(".")
    return name.encode("utf-8", "replace").decode() or "x"


def _check_text(name: str, path: str) -> None:
    if "\0" in name or _first_invalid([name]) is not None:
        raise TypeError(f"{_at(path)} has the name {name!r}, which is no valid text")


def _first_invalid(strings: Sequence[str]) -> Optional[str]:
    for item in strings:
        try:
            item.encode("utf-8")
        except UnicodeEncodeError:
            return item
    return None


def _is_missing(item: object) -> bool:
    return item is None or item != item if isinstance(item, float) else item is None or type(item).__name__ in ("NAType", "NaTType")


def _in_ns(array: Array, dtype: np.dtype[Any], path: str) -> Array:
    exact = array.astype(dtype, copy=False)
    if exact.dtype != array.dtype.newbyteorder("<") and not np.array_equal(exact.astype(array.dtype), array, equal_nan=True):
        raise TypeError(f"{_at(path)} holds times that nanoseconds in int64 do not reach (the years 1678 to 2262)")
    return exact


def _are_midnights(exact: Array) -> bool:
    days = exact.astype("M8[D]")
    return bool(np.all((days.astype(_NS) == exact) | np.isnat(exact)))


def _check_columns(frame: Any, path: str) -> None:
    pandas = _loaded("pandas")
    if isinstance(frame.columns, pandas.MultiIndex):
        raise TypeError(f"{_at(path)} has columns of several levels: give them single names, as in "
                        "df.columns = ['_'.join(c) for c in df.columns]")


def _levels(categories: Any, path: str) -> list[str]:
    levels = [str(item) for item in categories]
    if len(set(levels)) < len(levels):
        raise TypeError(f"{_at(path)} has two categories that are the same as text")
    return levels


def _refusal(value: object, path: str) -> TypeError:
    what = f"{_at(path)} is {convert.describe(value)}"
    if isinstance(value, Set):
        return TypeError(f"{what}: return list(...) of it")
    if isinstance(value, Iterator) or hasattr(value, "__iter__"):
        return TypeError(f"{what}: return list(...) of it, or an array")
    if hasattr(value, "__dataclass_fields__"):
        return TypeError(f"{what}: return dataclasses.asdict(...) of it")
    return TypeError(f"{what}, which has no counterpart in R: return numbers, text, arrays, tables (pandas.DataFrame), or a "
                     "dict or list of them")
