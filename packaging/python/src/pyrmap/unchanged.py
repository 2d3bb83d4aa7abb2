# SPDX-License-Identifier: Apache-2.0
"""Text that goes back as it came: its bytes lie in the input already.

An array of text holds references to str, and a str never changes. So an array that holds the references which we put into it
is the text of the bundle still, and goes into the next one by its bytes: to make them anew takes twenty times as long.
"""
from __future__ import annotations

from typing import Iterable, Optional

import numpy as np

from pyrmap.record import Array

# To compare fewer costs as much as to make the bytes.
LEAST = 1000


class Text:
    """A vector of text that a bundle held.

    array: what was made of it. strings: every str in it. data, offsets, missing: as they lie in the bundle.
    """

    __slots__ = ("_references", "_strings", "data", "missing", "offsets")

    def __init__(self, array: Array, strings: list[str], data: Array, offsets: Array, missing: Optional[Array]) -> None:
        self.data = data
        self.offsets = offsets
        self.missing = missing
        # As long as we hold them no other object can have the address of one.
        self._strings = strings
        self._references = _references(array).copy()

    def is_in(self, array: Array) -> bool:
        """Whether an array of objects, a vector, still holds this text."""
        return len(array) == len(self._strings) and np.array_equal(_references(array), self._references)


def find(texts: Iterable[Text], array: Array) -> Optional[Text]:
    """The one that an array of objects still holds, if any."""
    if array.ndim != 1 or len(array) < LEAST:
        return None
    return next((text for text in texts if text.is_in(array)), None)


def _references(array: Array) -> Array:
    return np.frombuffer(np.ascontiguousarray(array), np.intp)
