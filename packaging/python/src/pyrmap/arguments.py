# SPDX-License-Identifier: Apache-2.0
"""Arrays among the arguments of a task.

A task is JSON, which has no arrays of more than one dimension: they stand there as lists in lists, rows first, for anyone
to read. The task's `arrays` says where, of which shape and dtype, and they are made arrays again before the call:

    {"args": [[[1.0, 2.0], [3.0, 4.0]]], "arrays": [{"at": ["args", 0], "shape": [2, 2], "dtype": "float64"}]}
"""
from __future__ import annotations

from typing import Any

import numpy as np

# null in a list is NaN in an array of floats, and None in one of objects: text of which some is missing.
_DTYPES = {"float64": np.float64, "int32": np.int32, "int64": np.int64, "bool": np.bool_, "str": np.str_, "object": object}


def restore(args: list[Any], kwargs: dict[str, Any], arrays: object) -> None:
    """Puts arrays where the arguments have lists for them. ValueError that says what is wrong with the description."""
    root = {"args": args, "kwargs": kwargs}
    try:
        for described in arrays or []:  # type: ignore[attr-defined]
            *path, last = described["at"]
            place: Any = root
            for step in path:
                place = place[step]
            place[last] = np.array(place[last], _DTYPES[described["dtype"]]).reshape(described["shape"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"the task's arrays do not describe its arguments: {type(error).__name__}: {error}") from None
