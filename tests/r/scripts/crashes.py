# SPDX-License-Identifier: Apache-2.0
"""Functions that end their process, each in its way, and one whose error has a NUL in it."""
import ctypes
import os
import signal


def segv(x):
    return ctypes.string_at(8)


def kill(x):
    os.kill(os.getpid(), signal.SIGKILL)


def status(x):
    os._exit(7)


def nul_in_file(x):
    """Not by the package, as a program in another language would."""
    with open(os.environ["PYRMAP_SLOT"] + "/error", "wb") as file:
        file.write(b"OSError: before\0after\n")


def nul(x):
    raise ValueError("before" + chr(0) + "after")
