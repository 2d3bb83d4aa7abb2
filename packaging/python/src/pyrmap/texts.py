# SPDX-License-Identifier: Apache-2.0
"""The small text files of a slot, with as few requests to the filesystem as there can be.

We do not use open(), which would ask for the file's size, its position and whether it is a terminal.
"""
from __future__ import annotations

import os
from typing import Optional

TASK_MAX = 4096
ERROR_MAX = 65536

_PIECE = 65536


def read_text(path: str, directory: Optional[int] = None) -> str:
    """The whole text. directory: descriptor that path is relative to. OSError as from open(2) and read(2)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        pieces = []
        while piece := os.read(fd, _PIECE):
            pieces.append(piece)
    finally:
        os.close(fd)
    return b"".join(pieces).decode("utf-8", "replace")


def write_text(text: str, path: str, directory: Optional[int] = None) -> None:
    """Writes text in one write(2), which is one step for the filesystem. OSError if it is refused."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(fd, encode(text))
    finally:
        os.close(fd)


def encode(text: str) -> bytes:
    """UTF-8; what has no UTF-8 (lone surrogates) is written as an escape, and NUL, at which C and R would end the text."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace")


def shorten(text: str, limit: int) -> str:
    """At most limit bytes of UTF-8: the middle is left out, the first line and the end are kept."""
    data = encode(text)
    if len(data) <= limit:
        return text
    mark = b"\n[...]\n"
    head = (limit - len(mark)) // 4
    tail = limit - len(mark) - head
    return data[:head].decode("utf-8", "ignore") + mark.decode() + data[-tail:].decode("utf-8", "ignore")
