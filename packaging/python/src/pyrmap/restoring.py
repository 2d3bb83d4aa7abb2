# SPDX-License-Identifier: Apache-2.0
"""What a run may change of its process, and how the next one finds it as it was at the start."""
from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
import warnings
# Those in signal make an enumeration of each answer, which takes twenty times as long.
from _signal import getsignal, pthread_sigmask  # type: ignore[import]
from typing import Any

import numpy as np

_SIGNALS = sorted(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))

# A Mersenne Twister is 624 words and the position of the next one. All words are new when the last was drawn: the first few of
# them and the position tell whether any was. random has the position before its words, numpy.random behind them.
_SEEN = 16
_POSITION = 624 * 4


class Start:
    """The state of the process when this is made."""

    def __init__(self) -> None:
        self.argv = list(sys.argv)
        self.path = list(sys.path)
        self.environment = dict(_variables())
        self.directory = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.handlers = list(map(getsignal, _SIGNALS))
        self.mask = pthread_sigmask(signal.SIG_BLOCK, ())
        self.filters = list(warnings.filters)
        self.showwarning = warnings.showwarning
        self.errors: dict[str, Any] = dict(np.geterr())
        self.on_error = np.geterrcall()
        self.main = sys.modules["__main__"]
        self.streams = (sys.stdin, sys.stdout, sys.stderr)
        self.generators = Generators()

    def restore(self, kept: tuple[str, ...] = ()) -> None:
        """Brings all of it back, and seeds the generators afresh. kept: names of the environment that stay as they are.

        It stands between two runs, so it only looks where nothing has changed.
        """
        sys.argv[:] = self.argv
        if sys.path != self.path:
            sys.path[:] = self.path
        self._restore_environment(kept)
        os.chdir(self.directory)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if list(map(getsignal, _SIGNALS)) != self.handlers:
            for number, handler in zip(_SIGNALS, self.handlers):
                # None: Python has not installed it, and cannot bring it back.
                if handler is not None:
                    signal.signal(number, handler)
        pthread_sigmask(signal.SIG_SETMASK, self.mask)
        if warnings.filters != self.filters:
            warnings.filters[:] = self.filters  # type: ignore[index]
        warnings.showwarning = self.showwarning
        # A warning that was shown once is shown again, as in a new process.
        warnings._filters_mutated()  # type: ignore[attr-defined]
        if np.geterr() != self.errors:
            np.seterr(**self.errors)
        if np.geterrcall() is not self.on_error:
            np.seterrcall(self.on_error)
        sys.modules["__main__"] = self.main
        sys.stdin, sys.stdout, sys.stderr = self.streams
        self.generators.renew()

    def _restore_environment(self, kept: tuple[str, ...]) -> None:
        now = _variables()
        for name in map(os.fsencode, kept):
            if name in now:
                self.environment[name] = now[name]
        if now == self.environment:
            return
        zone = now.get(b"TZ")
        for name in now.keys() - self.environment.keys():
            del os.environb[name]
        for name, value in self.environment.items():
            if now.get(name) != value:
                os.environb[name] = value
        if zone != self.environment.get(b"TZ"):
            time.tzset()


def _variables() -> dict[bytes, bytes]:
    # A copy of os.environ would decode each of them.
    return os.environ._data  # type: ignore[attr-defined, no-any-return]


class Generators:
    """The generators of random and numpy.random, seeded as in a new process when this is made."""

    def __init__(self) -> None:
        self._states: tuple[object, ...] = ()
        self.seed()

    def seed(self) -> None:
        """Seeds both afresh."""
        random.seed()
        try:
            np.random.seed()
        except TypeError:
            # A run has put a bit generator of another kind there, which cannot be seeded.
            np.random.set_bit_generator(np.random.MT19937())
        self._states = _states()

    def renew(self) -> None:
        """Seeds both afresh if either was used: seeding takes longer than a small run."""
        if _states() != self._states:
            self.seed()


def _states() -> tuple[object, ...]:
    """What changes when a number is drawn. We read memory: random.getstate() would take as long as seeding."""
    python: Any = random._inst
    # The object's memory behind its header.
    state = ctypes.string_at(id(python) + object.__basicsize__, _SEEN)
    generator = np.random.mtrand._rand._bit_generator
    address = generator.ctypes.state_address
    return (state, python.gauss_next, generator, ctypes.string_at(address, _SEEN), ctypes.string_at(address + _POSITION, 4))
