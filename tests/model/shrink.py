# SPDX-License-Identifier: Apache-2.0
"""Cuts a history that ends in a disagreement down to a short one that ends in the same disagreement."""
from __future__ import annotations

import time
from typing import Callable, Iterable, Sequence, TypeVar

Item = TypeVar("Item")
Fails = Callable[[Sequence[Item]], bool]


def shortest_tail(history: Sequence[Item], fails: Fails[Item]) -> Sequence[Item]:
    """The first of the last 16, 64, 256... items that is enough, or all of them."""
    size = 16
    while size < len(history):
        if fails(history[-size:]):
            return history[-size:]
        size *= 4
    return history


def without(history: Sequence[Item], names: Callable[[Item], Iterable[str]], fails: Fails[Item]) -> Sequence[Item]:
    """For each name that can be spared: the history without any operation on it."""
    for spared in sorted({name for item in history for name in names(item)}):
        candidate = [item for item in history if spared not in names(item)]
        if candidate and fails(candidate):
            history = candidate
    return history


def shrink(history: Sequence[Item], names: Callable[[Item], Iterable[str]], fails: Fails[Item],
           seconds: float) -> list[Item]:
    """Removes ever smaller pieces as long as the rest still fails (delta debugging), for so many seconds."""
    deadline = time.monotonic() + seconds
    left = list(without(shortest_tail(history, fails), names, fails))
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
