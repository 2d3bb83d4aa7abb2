# SPDX-License-Identifier: Apache-2.0
"""python3 -m pyrmap.worker SLOT [--isolation session|process] [--preload MODULE]... [--parent PID] [--warnings-fd FD]: what R
starts.

It computes the rounds of a slot, each as the slot's `task` says, until the slot is gone or its parent is. `task` is JSON:

    {"script": PATH}                            the whole script, as __main__, with "args" in sys.argv
    {"script": PATH, "function": NAME}          NAME(x, *args, **kwargs) of a script
    {"module": MODULE, "function": NAME}        the same of a module that can be imported
    {"file": PATH}                              the task is in that file, being too long for `task`

and in each of the first three, if need be, "args": [], "kwargs": {}, "arrays": (see pyrmap.arguments), "env": {NAME: value or
null}, "cwd": PATH, "isolation": "session" or "process".
"""
from __future__ import annotations

import os
import sys

# `python3 -m` puts the working directory first, and a json.py that lies there would be imported.
if sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

import argparse


def main() -> int:
    """Exit status 0 when the slot is gone, 1 if it cannot be served, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="python3 -m pyrmap.worker")
    parser.add_argument("slot", help="the slot's directory")
    parser.add_argument("--isolation", choices=("session", "process"), default="session",
                        help="session: what a run loads stays for the next; process: each run has its own process")
    parser.add_argument("--preload", action="append", default=[], metavar="MODULE", help="import this before the first run")
    parser.add_argument("--parent", type=int, metavar="PID", help="end when the parent process, which is PID, ends")
    parser.add_argument("--warnings-fd", type=int, metavar="FD", help="write warnings there, a line of JSON each (pyrmap.warned)")
    options = parser.parse_args()
    from pyrmap import leftovers

    if options.parent is not None:
        # Ctrl-C in the parent's terminal is for the parent, which can end the whole group.
        if os.getpgid(0) != os.getpid():
            os.setpgid(0, 0)
        leftovers.die_with_parent(options.parent)
    from pyrmap import loop

    return loop.work(loop.Command(os.path.abspath(options.slot), "pyrmap.worker", sys.argv[1:], options.isolation,
                                  tuple(options.preload), warnings_fd=options.warnings_fd))


if __name__ == "__main__":
    sys.exit(main())
