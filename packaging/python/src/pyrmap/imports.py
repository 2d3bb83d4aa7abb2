# SPDX-License-Identifier: Apache-2.0
"""Which imported modules are the user's own, and whether their files are still what was imported."""
from __future__ import annotations

import importlib.machinery
import os
import site
import sys
import sysconfig
import time
from typing import NamedTuple, Optional

# A file that was written this shortly before may change again without a new time stamp.
SETTLED_NS = 50_000_000

Version = tuple[int, int, int]


def version_of(status: os.stat_result) -> Version:
    """What changes with a file."""
    return (status.st_mtime_ns, status.st_size, status.st_ino)


class _Module(NamedTuple):
    file: str
    version: Optional[Version]  # None: nobody knows which version of the file was imported


class Imports:
    """The user's modules among those that are imported from now on: not the interpreter's, not those of site-packages, not this
    package's."""

    def __init__(self) -> None:
        self._known = set(sys.modules)
        self._own: dict[str, _Module] = {}
        paths = sysconfig.get_paths()
        self._others = {os.path.realpath(path) + os.sep for path in
                        (*(paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
                         *site.getsitepackages(), site.getusersitepackages(), os.path.dirname(__file__))}
        self._script: Optional[str] = None

    def note(self, since_ns: int) -> None:
        """Looks for modules that were imported since a time."""
        if len(sys.modules) == len(self._known):
            return
        for name in sys.modules.keys() - self._known:
            file = getattr(sys.modules[name], "__file__", None)
            if getattr(sys.modules[name], "__spec__", None) is None or not isinstance(file, str) or self._is_other(file):
                continue
            self._own[name] = _Module(file, _version_before(file, since_ns))
        self._known = set(sys.modules)

    def stale(self, script: Optional[str]) -> bool:
        """Whether a module's file has changed, or this script would get another module of its name, from its own directory."""
        before, self._script = self._script, script
        if not self._own:
            return False
        for module in self._own.values():
            try:
                if module.version != version_of(os.stat(module.file)):
                    return True
            except OSError:
                return True
        return script is not None and script != before and self._shadowed(os.path.dirname(script))

    def _shadowed(self, directory: str) -> bool:
        path = [directory, *sys.path]
        for name, module in self._own.items():
            if "." in name:
                continue
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            if spec is None or spec.origin != module.file:
                return True
        return False

    def _is_other(self, file: str) -> bool:
        real = os.path.realpath(file)
        return (any(real.startswith(place) for place in self._others)
                or f"{os.sep}site-packages{os.sep}" in real or f"{os.sep}dist-packages{os.sep}" in real)


def _version_before(file: str, since_ns: int) -> Optional[Version]:
    """The version of a file if it was the same before a time."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return version_of(status) if status.st_mtime_ns < since_ns - SETTLED_NS else None


def now_ns() -> int:
    """The time of day, by the clock that files are stamped with."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)
