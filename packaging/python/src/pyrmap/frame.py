# SPDX-License-Identifier: Apache-2.0
"""A table without pandas, and what any library takes it by: the Arrow C stream."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Optional, Sequence

import numpy as np

from pyrmap.record import Array


class Factor(NamedTuple):
    """R's factor where pandas is not there: codes count from 0, -1 is missing."""

    codes: Array
    levels: list[str]
    ordered: bool = False

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> Array:
        labels = np.array([*self.levels, None], object)
        return labels[self.codes]


class Frame(Mapping[str, Any]):
    """Columns of one length, by name: what a data.frame is in Python where pandas is not installed.

    frame["x"] is a NumPy array, or a Factor; frame.names, frame.columns, len() is the number of rows; moments are in UTC,
    and frame.zones says where each column shows them. Any mapping makes one: Frame({"x": x, "y": y}), a pandas.DataFrame
    too (without its index). polars, pyarrow and duckdb take it as it is, by the Arrow C stream: polars.DataFrame(frame).
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        """columns: arrays, lists of text, Factors, Series. ValueError if they differ in length."""
        self.names = [str(name) for name in columns]
        pairs = [_column(columns[name]) for name in columns]
        self.columns = [column for column, _ in pairs]
        self.zones: list[Optional[str]] = [zone for _, zone in pairs]
        lengths = {len(_values(column)) for column in self.columns}
        if len(lengths) > 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")
        self.rows = lengths.pop() if lengths else 0
        self.row_names: Optional[Array] = None

    @classmethod
    def _of(cls, names: Sequence[str], columns: Sequence[Any], zones: Sequence[Optional[str]], rows: int,
            row_names: Optional[Array]) -> Frame:
        frame = cls({})
        frame.names, frame.columns, frame.zones = list(names), list(columns), list(zones)
        frame.rows, frame.row_names = rows, row_names
        return frame

    def __getitem__(self, name: str) -> Any:
        try:
            return self.columns[self.names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return self.rows

    # As for arrays, there is no one answer to whether two tables are equal.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        kinds = ", ".join(f"{name}: {'factor' if isinstance(column, Factor) else column.dtype}"
                          for name, column in zip(self.names, self.columns))
        return f"<Frame of {self.rows} rows: {kinds}>"

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The table as an Arrow C stream of one batch. TypeError that names a column which Arrow has not.

        R's NA is null, other NaN are values. requested_schema: a wish that the protocol lets us ignore.
        """
        from pyrmap import arrow

        return arrow.stream_capsule(self.names, self._arrow_columns(), self.rows)

    def __arrow_c_schema__(self) -> object:
        """Names and types alone, as an Arrow C schema."""
        from pyrmap import arrow

        return arrow.schema_capsule(self.names, self._arrow_columns())

    def _arrow_columns(self) -> list[Any]:
        from pyrmap import arrow

        return [arrow.column_of(*column) for column in zip(self.columns, self.names, self.zones)]


def _values(column: Any) -> Array:
    values: Array = column.codes if isinstance(column, Factor) else column
    return values


def _column(value: Any) -> tuple[Any, Optional[str]]:
    """A column, and its zone."""
    if isinstance(value, Factor):
        return value, None
    if hasattr(value, "codes") and hasattr(value, "categories"):
        return Factor(np.asarray(value.codes, np.int32), [str(level) for level in value.categories], bool(value.ordered)), None
    if hasattr(value, "cat") and hasattr(value, "array"):
        return _column(value.array)
    if type(value).__module__.partition(".")[0] == "pandas":
        return _of_pandas(value)
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, str) or item is None for item in value):
        return np.array(value, object), None
    array: Array = value if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    if array.ndim != 1:
        raise ValueError(f"a column has one dimension, not {array.ndim}")
    return array, None


def _of_pandas(series: Any) -> tuple[Any, Optional[str]]:
    """Integers and bool of which some are missing become a masked array, text an array of str and None."""
    dtype = series.dtype
    if getattr(dtype, "tz", None) is not None:
        return np.asarray(series.dt.tz_convert("UTC").dt.tz_localize(None)), str(dtype.tz)
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return np.asarray(series), None
    missing = np.asarray(series.isna())
    plain = getattr(dtype, "numpy_dtype", None)
    if isinstance(plain, np.dtype) and plain.kind in "biuf":
        values = series.to_numpy(plain, na_value=0)
        return (np.ma.MaskedArray(values, missing) if missing.any() else values), None  # type: ignore[no-untyped-call]
    values = np.array(series, object)
    values[missing] = None
    return values, None
