# SPDX-License-Identifier: Apache-2.0
"""A worker's warnings as data, for a parent that shows them as its own.

Each is a line of JSON in a pipe, written before the code that warned goes on, hence before the round ends:

    {"category": "RuntimeWarning", "message": "overflow encountered in exp", "file": "/home/me/model.py", "line": 12}
"""
from __future__ import annotations

import json
import os
import warnings
from typing import Optional, TextIO

from pyrmap.texts import encode, shorten

# Lines of several processes stay whole up to PIPE_BUF.
_MESSAGE_MAX = 2048

_print = warnings.showwarning


def send(fd: int) -> None:
    """From now on warnings go to fd instead of standard error. What a run starts with exec does not inherit it."""
    os.set_inheritable(fd, False)

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Optional[TextIO] = None,
             line: Optional[str] = None) -> None:
        if file is not None:
            _print(message, category, filename, lineno, file, line)
            return
        fields = {"category": category.__name__, "message": shorten(str(message), _MESSAGE_MAX), "file": filename,
                  "line": lineno}
        try:
            os.write(fd, encode(json.dumps(fields, ensure_ascii=False) + "\n"))
        except OSError:
            # Nobody reads it, or the run has closed it.
            _print(message, category, filename, lineno, file, line)

    warnings.showwarning = show
