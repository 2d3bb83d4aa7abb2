# SPDX-License-Identifier: Apache-2.0
"""process_via_mmap: a function of one array becomes a worker script."""
from __future__ import annotations

import functools
import os
import sys
import threading
from typing import Any, Callable, Optional, TypeVar, Union

import numpy as np

from pyrmap.errors import RoundCancelled, SlotError, failure_text
from pyrmap.record import Array, Shape
from pyrmap.slot import Slot

Result = TypeVar("Result")

_current: Optional[Slot] = None
# Whether the worker runs a script here, and publishes the kept result when the script has ended.
_runs = False
# Threads of a script may call its functions at the same time.
turn = threading.RLock()


def use_slot(slot: Slot) -> None:
    """Makes a slot the one that the functions of this module work on; the caller publishes, and tells failures."""
    global _current, _runs
    _current, _runs = slot, True


def leave_slot() -> None:
    """Undoes use_slot(), and gives up the round, so that no thread that the run left behind can end it."""
    global _current, _runs
    if _current is not None:
        _current.leave()
    _current, _runs = None, False


def is_run() -> bool:
    """Whether use_slot() was called in this process, and not in one that this was forked from."""
    return _runs


def current_slot() -> Slot:
    """The slot that this process works on: that of PYRMAP_SLOT, opened on first use. NotASlot if there is none.

    RoundCancelled in a thread that an earlier run has left behind.
    """
    global _current
    if _current is None:
        _current = Slot()
    else:
        _current.turn.check_thread()
    return _current


def _begin_child() -> None:
    """Begins anew in a forked child: the slot is its parent's, and so are the threads that may hold the lock."""
    global _current, _runs, turn
    _current, _runs, turn = None, False, threading.RLock()


os.register_at_fork(after_in_child=_begin_child)


def process_via_mmap(function: Callable[..., Result]) -> Callable[..., Optional[Result]]:
    """Decorator: f() without arguments computes the result of a round, f(x, ...) is the plain function.

    f() waits for the input in the slot of PYRMAP_SLOT and calls the function with it. In a script that R runs, or
    `python3 -m pyrmap run`, the result of the last such call is published when the script has ended; all of them get
    the same input, as it was published. In a program that was started by hand, and in a child process, each call publishes when the
    function returns, and the next one is the next round. x is a
    NumPy array over data.bin, mapped copy-on-write (`x += 1` changes no one else's), of the type and shape that the
    producer gave it, column-major if it comes from R. Returned: whatever Slot.publish() takes. An exception fails the
    round, with its traceback as the error text, and is raised again.
    """

    @functools.wraps(function)
    def process(*args: Any, **kwargs: Any) -> Optional[Result]:
        if args or kwargs:
            return function(*args, **kwargs)
        slot = current_slot()
        if is_run():
            _keep(slot, function)
            return None
        try:
            slot.publish(_call(function, slot, slot.input()))
        except BaseException as error:
            _fail_round(slot, error)
            raise
        return None

    return process


def _call(function: Callable[..., Result], slot: Slot, x: Any) -> Result:
    """Calls the function with the input, and with the arguments that came in one bundle with it."""
    args, kwargs = slot.arguments([], {})
    return function(x, *args, **kwargs)


def _keep(slot: Slot, function: Callable[..., object]) -> None:
    """Keeps what the function returns for the end of the run."""
    with turn:
        x = slot.input_again()
    # In a list, so that no variable of this frame holds the array: the file under it could not be closed.
    values = [_call(function, slot, x)]
    with turn:
        slot.keep(values.pop())


def _fail_round(slot: Slot, error: BaseException) -> None:
    """Fails the round that this process has taken, if any, with an exception as the reason."""
    if slot.finished:
        return
    try:
        slot.fail(failure_text(error, slot.path))
    except RoundCancelled:
        return
    except SlotError as refusal:
        print(f"pyrmap: {refusal}", file=sys.stderr)


def empty_result(shape: Union[int, Shape], dtype: object = np.float64, order: Optional[str] = None) -> Array:
    """A writable array mapped from the current slot's result.bin: Slot.empty_result()."""
    return current_slot().empty_result(shape, dtype, order)


def open_result(shape: Union[int, Shape], dtype: object = np.float64, order: Optional[str] = None) -> Array:
    """In a process that the worker has started, the array that empty_result() made there: Slot.open_result()."""
    return current_slot().open_result(shape, dtype, order)


def wait(slot: Union[Slot, str, os.PathLike[str], None] = None, timeout: Optional[float] = None) -> None:
    """Waits until it is this program's turn in a slot: Slot.wait().

    slot: a Slot, the path of one, or None for that of PYRMAP_SLOT. timeout: seconds; None: for ever. TimeoutError.
    """
    if slot is None or isinstance(slot, Slot):
        (current_slot() if slot is None else slot).wait(timeout)
        return
    with Slot(slot) as opened:
        opened.wait(timeout)
