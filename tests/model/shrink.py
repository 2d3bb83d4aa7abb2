# SPDX-License-Identifier: Apache-2.0
"""Cuts a history that ends in a disagreement down to a short one that ends in the same disagreement."""
from __future__ import annotations

import time
from typing import Callable, Sequence, TypeVar

Item = TypeVar("Item")


def shortest_tail(history: Sequence[Item], fails: Callable[[Sequence[Item]], bool]) -> Sequence[Item]:
    """The first of the last 16, 32, 64... items that is enough, or all of them."""
    size = 16
    while size < len(history):
        if fails(history[-size:]):
            return history[-size:]
        size *= 2
    return history


def shrink(history: Sequence[Item], fails: Callable[[Sequence[Item]], bool], seconds: float) -> list[Item]:
    """Removes ever smaller pieces as long as what is left still fails (delta debugging), for so long."""
    deadline = time.monotonic() + seconds
    left = list(shortest_tail(history, fails))
    piece = max(len(left) // 2, 1)
    while True:
        removed, begin = False, 0
        while begin < len(left):
            if time.monotonic() > deadline:
                return left
            candidate = left[:begin] + left[begin + piece:]
            if candidate and fails(candidate):
                left, removed = candidate, True
            else:
                begin += piece
        if piece == 1 and not removed:
            return left
        piece = max(piece // 2, 1)
