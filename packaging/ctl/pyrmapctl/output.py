# SPDX-License-Identifier: Apache-2.0
"""Tables for people, JSON for programs."""
from __future__ import annotations

import json
import os
import sys
from typing import Any, Iterable, NoReturn, Sequence

FAILED, USAGE, TIMED_OUT = 1, 2, 3


class Refused(Exception):
    """What ends a command: one line for standard error, and an exit status."""

    def __init__(self, text: str, status: int = FAILED) -> None:
        super().__init__(text)
        self.status = status


def fail(text: str, status: int = FAILED) -> NoReturn:
    raise Refused(text, status)


def why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def printable(text: str) -> str:
    """A name may have any bytes: we escape those that a terminal obeys, and blanks, so that each name is one word."""
    return "".join(c if c.isprintable() and not c.isspace() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(c)) for c in text)


def put_json(value: Any) -> None:
    """One value. Bytes of a name that are no UTF-8 are escaped as Python does it: os.fsencode() gives them back."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    sys.stdout.flush()


def put_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their widest cell, without blanks at the end of a line."""
    lines = [list(heads), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def size(number: float) -> str:
    """Bytes as people read them: 3.8M."""
    for unit in ("", "K", "M", "G"):
        if number < 1024:
            return f"{number:.0f}{unit}" if not unit or number >= 10 else f"{number:.1f}{unit}"
        number /= 1024
    return f"{number:.1f}T"


def span(seconds: float) -> str:
    """A time as people read it: 3m20s."""
    whole = int(seconds)
    if whole < 60:
        return f"{max(seconds, 0):.1f}s" if whole < 10 else f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
