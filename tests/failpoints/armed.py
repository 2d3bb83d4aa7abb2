# SPDX-License-Identifier: Apache-2.0
"""A daemon that is killed at a chosen point, or one of whose calls fails there: see tests/unit/faults.h."""
from __future__ import annotations

import mmap
import struct
from typing import Mapping

from daemon import BUILD, Daemon

FAIL, DIE_BEFORE, DIE_AFTER, DIE_ALL = range(4)
LAYOUT = struct.Struct("<iiiii28s")  # left, effect, parent, past, hit, name


class Armed(Daemon):
    """The build for tests, which looks into a page that it shares with this process."""

    def __init__(self, options: Mapping[str, str]) -> None:
        super().__init__(options)
        self.program = BUILD / "failpoints" / "pyrmapfs"
        self.control = self.directory / "faults"
        self.control.write_bytes(bytes(LAYOUT.size))
        with self.control.open("r+b") as file:
            self.page = mmap.mmap(file.fileno(), LAYOUT.size)

    def command(self) -> list[str]:
        return ["env", f"PYRMAPFS_FAULTS={self.control}", *super().command()]

    def arm(self, point: int, effect: int, past: int = 0) -> None:
        """The point of the server from now on, or of the one that follows `past`. What is last makes it count."""
        self.page[4:] = LAYOUT.pack(0, effect, self.supervisor, past, 0, b"")[4:]
        self.page[:4] = struct.pack("<i", point)

    def disarm(self) -> str | None:
        """The name of the call or store at which it has happened."""
        self.page[:4] = bytes(4)
        hit, name = LAYOUT.unpack(self.page[:])[4:]
        return name.split(b"\0")[0].decode() if hit else None
