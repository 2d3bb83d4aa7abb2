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

    frame["x"] is a NumPy array, or a Factor; frame.names, frame.columns, len() is the number of rows. Any mapping makes
    one: Frame({"x": x, "y": y}), a pandas.DataFrame too. polars, pyarrow and duckdb take it as it is, by the Arrow C stream:
    polars.DataFrame(frame).
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        """columns: arrays, lists of text, Factors. ValueError if they differ in length."""
        self.names = [str(name) for name in columns]
        self.columns = [_column(columns[name]) for name in columns]
        lengths = {len(_values(column)) for column in self.columns}
        if len(lengths) > 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")
        self.rows = lengths.pop() if lengths else 0
        self.row_names: Optional[Array] = None

    @classmethod
    def _of(cls, names: Sequence[str], columns: Sequence[Any], rows: int, row_names: Optional[Array]) -> Frame:
        frame = cls({})
        frame.names, frame.columns, frame.rows, frame.row_names = list(names), list(columns), rows, row_names
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

    def __repr__(self) -> str:
        kinds = ", ".join(f"{name}: {'factor' if isinstance(column, Factor) else column.dtype}"
                          for name, column in zip(self.names, self.columns))
        return f"<Frame of {self.rows} rows: {kinds}>"


def _values(column: Any) -> Array:
    values: Array = column.codes if isinstance(column, Factor) else column
    return values


def _column(value: Any) -> Any:
    if isinstance(value, Factor):
        return value
    if hasattr(value, "codes") and hasattr(value, "categories"):
        return Factor(np.asarray(value.codes, np.int32), [str(level) for level in value.categories], bool(value.ordered))
    if hasattr(value, "cat") and hasattr(value, "array"):
        return _column(value.array)
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, str) or item is None for item in value):
        return np.array(value, object)
    array = np.asarray(value)
    if array.ndim != 1:
        raise ValueError(f"a column has one dimension, not {array.ndim}")
    return array
