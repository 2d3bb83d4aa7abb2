# SPDX-License-Identifier: Apache-2.0
"""Holds one thread of the server still, so that a test can act in a moment that is otherwise too short."""
from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import Iterator

import pytest


@contextmanager
def stopped_helper(server: int) -> Iterator[None]:
    """The thread that reserves memory stands still; the rest of the server goes on."""
    attach, detach, wait_all = 16, 17, 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    (thread,) = [int(name) for name in os.listdir(f"/proc/{server}/task") if int(name) != server]
    if libc.ptrace(attach, thread, None, None) < 0:
        pytest.skip(f"no ptrace here: {os.strerror(ctypes.get_errno())}")
    os.waitpid(thread, wait_all)
    try:
        yield
    finally:
        assert libc.ptrace(detach, thread, None, None) == 0
