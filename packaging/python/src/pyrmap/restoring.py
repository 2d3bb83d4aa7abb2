# SPDX-License-Identifier: Apache-2.0
"""What a run may change of its process, and how the next one finds it as it was at the start."""
from __future__ import annotations

import os
import random
import signal
import sys
import warnings
from typing import Any

import numpy as np

_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class Start:
    """The state of the process when this is made."""

    def __init__(self) -> None:
        self.argv = list(sys.argv)
        self.path = list(sys.path)
        self.environment = dict(os.environ)
        self.directory = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.handlers = [(number, signal.getsignal(number)) for number in _SIGNALS]
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.filters = list(warnings.filters)
        self.errors: dict[str, Any] = {**np.geterr(), "call": np.geterrcall()}
        self.main = sys.modules["__main__"]
        self.streams = (sys.stdin, sys.stdout, sys.stderr)

    def restore(self, kept: tuple[str, ...] = ()) -> None:
        """Brings all of it back, and seeds the generators afresh. kept: names of the environment that stay as they are."""
        sys.argv[:] = self.argv
        if sys.path != self.path:
            sys.path[:] = self.path
        self._restore_environment(kept)
        os.chdir(self.directory)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self.handlers:
            # None: not installed by Python, which cannot bring it back.
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        if warnings.filters != self.filters:
            warnings.filters[:] = self.filters  # type: ignore[index]
        # What has warned once warns again, as in a new process.
        warnings._filters_mutated()  # type: ignore[attr-defined]
        np.seterr(**{kind: how for kind, how in self.errors.items() if kind != "call"})
        np.seterrcall(self.errors["call"])
        sys.modules["__main__"] = self.main
        sys.stdin, sys.stdout, sys.stderr = self.streams
        seed()

    def _restore_environment(self, kept: tuple[str, ...]) -> None:
        now = dict(os.environ)
        if now == self.environment:
            return
        for name in now.keys() - self.environment.keys() - set(kept):
            del os.environ[name]
        for name, value in self.environment.items():
            if now.get(name) != value and name not in kept:
                os.environ[name] = value


def seed() -> None:
    """Seeds the generators of random and numpy.random, as a new process does."""
    random.seed()
    np.random.seed()
