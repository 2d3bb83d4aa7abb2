# SPDX-License-Identifier: Apache-2.0
"""Which round of a slot a program takes part in, and that it takes part in no other."""
from __future__ import annotations

import ctypes
import os
from typing import Optional

from pyrmap import threads
from pyrmap.errors import RoundCancelled
from pyrmap.handles import Handles
from pyrmap.record import Record, unpack_state

SLOT_VARIABLE = "PYRMAP_SLOT"

# We set it for a script that runs in one round of the slot. What the script starts inherits it, and takes part in no other round.
ROUND_VARIABLE = "PYRMAP_ROUND"

_NAME = ROUND_VARIABLE.encode()

_libc = ctypes.CDLL(None)
_putenv = _libc.putenv
_putenv.argtypes = [ctypes.c_void_p]
_libc.strdup.restype = ctypes.c_void_p
# The string that the environment points to, for as long as the process lives.
_text = _libc.strdup(_NAME + b"=" + b"0" * 20)

# By slot: the round that this process was limited to, and has brought to its end through any object.
_last_ended: dict[str, int] = {}


class Turn:
    """What one object of this program has to do with a slot's rounds.

    only: the round that it is about, and no other. single: it is about one round, the first whose input it takes.
    """

    __slots__ = ("_handles", "_left", "only", "single", "taken")

    def __init__(self, handles: Handles, only: Optional[int]) -> None:
        self._handles = handles
        self.only = only
        self.single = False
        self.taken: Optional[Record] = None  # of the round whose input this program has, until it has answered
        self._left = False

    def take(self, record: Record) -> None:
        """This program has the round's input."""
        self.taken = record
        if self.single and self.only is None:
            self.only = record.round
            _tell(record.round)

    def leave(self) -> None:
        """Gives the round up, for good."""
        self._left = True
        self.taken = None

    def end(self) -> None:
        """This program has answered."""
        if self.only is not None:
            _last_ended[self._handles.path] = self.only
        self.taken = None

    @property
    def wanted(self) -> Optional[int]:
        """The round that may be answered; None: whichever comes."""
        return self.taken.round if self.taken is not None else self.only

    @property
    def over(self) -> bool:
        """Whether this process itself has ended the only round that there is to take part in."""
        return self._left or self.only is not None and last_ended(self._handles.path) == self.only

    def check_over(self) -> None:
        """RoundCancelled if it is over."""
        if self.over:
            raise RoundCancelled(f"round {self.only} in {self._handles.path} is over")

    def check(self) -> bytes:
        """The record now. RoundCancelled unless it is of the round that may be answered: a worker whose round was cancelled,
        or is over, must not give its result, or its failure, to the next one."""
        self.check_over()
        wanted = self.wanted
        head = self._handles.record.head()
        if wanted is not None and unpack_state(head)[2] != wanted:
            raise RoundCancelled(f"round {wanted} in {self._handles.path} was cancelled, or is over")
        return head

    def check_thread(self) -> None:
        """RoundCancelled in a thread that was started in another round."""
        own = threads.round_here()
        if own is not None and self.only is not None and own != self.only:
            raise RoundCancelled(f"round {own} in {self._handles.path} is over")


def last_ended(path: str) -> Optional[int]:
    """The round of a slot that this process was limited to and has brought to its end, or None."""
    return _last_ended.get(path)


def begin_round(path: str, round_: int) -> None:
    """This process, and all that it starts, takes part in a round, which may have failed and be published again."""
    _last_ended.pop(path, None)
    _tell(round_)


def _tell(round_: int) -> None:
    """Puts the round into the environment, for what this process starts.

    setenv(3), which os.environ calls, never frees a value: a worker would grow with each round.
    """
    number = b"%d" % round_
    text = _NAME + b"=" + number + b"\0"
    ctypes.memmove(_text, text, len(text))
    _putenv(_text)
    os.environ._data[_NAME] = number  # type: ignore[attr-defined]


def round_of_run(path: str) -> Optional[int]:
    """The round that this process was started to take part in, if path is that round's slot."""
    number = os.environ.get(ROUND_VARIABLE, "")
    if not number.isdecimal() or os.path.abspath(os.environ.get(SLOT_VARIABLE) or ".") != path:
        return None
    own = threads.round_here()
    return int(number) if own is None else own
