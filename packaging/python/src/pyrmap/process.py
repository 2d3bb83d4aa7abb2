# SPDX-License-Identifier: Apache-2.0
"""process_via_mmap: a function of one array becomes a worker script."""
from __future__ import annotations

import functools
import os
import sys
from typing import Any, Callable, Optional, TypeVar, Union

import numpy as np

from pyrmap.errors import RoundCancelled, SlotError, failure_text
from pyrmap.record import Array, Shape
from pyrmap.slot import Slot

Result = TypeVar("Result")

_current: Optional[Slot] = None
_supervised = False


def use_slot(slot: Slot) -> None:
    """Makes a slot the one that the functions of this module work on; the caller sees to it that failures are told."""
    global _current, _supervised
    _current = slot
    _supervised = True


def leave_slot() -> None:
    """Undoes use_slot()."""
    global _current, _supervised
    _current = None
    _supervised = False


def current_slot() -> Slot:
    """The slot that this process works on: that of PYRMAP_SLOT, opened on first use. NotASlot if there is none."""
    global _current
    if _current is None:
        _current = Slot()
    return _current


def process_via_mmap(function: Callable[..., Result]) -> Callable[..., Optional[Result]]:
    """Decorator: f() without arguments is one round of a worker, f(x, ...) is the plain function.

    f() waits for an input in the slot of PYRMAP_SLOT, calls the function with it and publishes what it returns. x is a
    NumPy array over data.bin, mapped copy-on-write (`x += 1` changes no one else's), of the type and shape that the
    producer gave it, column-major if it comes from R. Returned: whatever Slot.publish() takes. An exception fails the
    round, with its traceback as the error text, and is raised again.
    """

    @functools.wraps(function)
    def process(*args: Any, **kwargs: Any) -> Optional[Result]:
        if args or kwargs:
            return function(*args, **kwargs)
        slot = current_slot()
        try:
            slot.publish(function(slot.input()))
        except BaseException as error:
            if not _supervised:
                _fail_round(slot, error)
            raise
        return None

    return process


def _fail_round(slot: Slot, error: BaseException) -> None:
    """Fails the round that this process has taken, if any, with an exception as the reason."""
    if slot.finished:
        return
    try:
        slot.fail(failure_text(error, slot.path))
    except RoundCancelled:
        # Nobody waits for this round any more.
        return
    except SlotError as refusal:
        print(f"pyrmap: {refusal}", file=sys.stderr)


def empty_result(shape: Union[int, Shape], dtype: object = np.float64, order: Optional[str] = None) -> Array:
    """A writable array mapped from the current slot's result.bin: Slot.empty_result()."""
    return current_slot().empty_result(shape, dtype, order)


def wait(slot: Union[Slot, str, os.PathLike[str], None] = None, timeout: Optional[float] = None) -> None:
    """Waits until it is this program's turn in a slot: Slot.wait().

    slot: a Slot, the path of one, or None for that of PYRMAP_SLOT. timeout: seconds; None: for ever. TimeoutError.
    """
    if slot is None or isinstance(slot, Slot):
        (current_slot() if slot is None else slot).wait(timeout)
        return
    with Slot(slot) as opened:
        opened.wait(timeout)
