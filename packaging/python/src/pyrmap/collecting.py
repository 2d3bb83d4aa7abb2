# SPDX-License-Identifier: Apache-2.0
"""Space, mappings and descriptors that Python has dropped, but not collected.

An array in a reference cycle (an exception and its traceback are one) keeps its mapping until the collector runs, which
counts objects and not bytes. So an operation that finds no room collects and runs once more before anybody sees an error.
"""
from __future__ import annotations

import errno
import gc
from typing import Callable, TypeVar

T = TypeVar("T")

# The arena, this user's share of it, this process's descriptors, the machine's, this process's mappings.
_LACKING = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def with_room(action: Callable[[], T]) -> T:
    """action(), and again after a collection if it found no room; it may be called twice."""
    try:
        return action()
    except OSError as error:
        if error.errno not in _LACKING:
            raise
    gc.collect()
    return action()
