# SPDX-License-Identifier: Apache-2.0
"""What the end of a program does for a script, in a process that goes on: threads are joined, atexit's functions are called.

Only those that the script itself registers are its own. A module's are called when the process ends, for the module stays.
"""
from __future__ import annotations

import atexit
import sys
import traceback
from typing import Any, Callable, TypeVar

from pyrmap import threads
from pyrmap.slot import flush_output

Function = TypeVar("Function", bound=Callable[..., Any])

_own: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
_register, _unregister = atexit.register, atexit.unregister


def watch() -> None:
    """From now on a script's functions are told from those of modules. Called once, before the first run."""
    setattr(atexit, "register", _register_in_run)
    setattr(atexit, "unregister", _unregister_in_run)


def finish(round_: int) -> None:
    """The end of the script that runs a round."""
    threads.join(round_)
    while _own:
        function, args, kwargs = _own.pop()
        try:
            function(*args, **kwargs)
        except SystemExit:
            continue
        except Exception:
            traceback.print_exc()
    flush_output()


def forget() -> None:
    """Drops what a script that did not come to its end has registered."""
    _own.clear()


def _register_in_run(function: Function, *args: Any, **kwargs: Any) -> Function:
    if sys._getframe(1).f_globals.get("__name__") == "__main__":
        _own.append((function, args, kwargs))
    else:
        _register(function, *args, **kwargs)
    return function


def _unregister_in_run(function: Callable[..., Any]) -> None:
    _own[:] = [entry for entry in _own if entry[0] != function]
    _unregister(function)
