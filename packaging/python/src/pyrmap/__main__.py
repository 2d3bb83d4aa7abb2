# SPDX-License-Identifier: Apache-2.0
"""Runs one round of a slot by hand, or serves one.

    python3 -m pyrmap run SCRIPT[::FUNCTION] [--slot SLOT] [ARGUMENT...]
    python3 -m pyrmap serve SCRIPT::FUNCTION SLOT
"""
from __future__ import annotations

import argparse
import faulthandler
import os
import sys

# `python3 -m` puts the working directory first, but what a script imports is found beside the script.
if sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from pyrmap import loop, run
from pyrmap.errors import SlotError
from pyrmap.slot import Slot
from pyrmap.turn import SLOT_VARIABLE


def main() -> int:
    """Exit status 0 if all went well, 1 if not (of run: the round failed), 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="python3 -m pyrmap", description="Runs one round of a slot by hand, or serves one.")
    commands = parser.add_subparsers(required=True, dest="command")
    once = commands.add_parser("run", help="compute one round of a slot")
    once.add_argument("script", help="a Python script, or SCRIPT::FUNCTION to publish what the function returns")
    once.add_argument("argument", nargs="*", help="sys.argv of the script, or further arguments (strings) of FUNCTION")
    once.add_argument("--slot", default=os.environ.get(SLOT_VARIABLE),
                      help=f"the slot's directory; {SLOT_VARIABLE} if not given")
    serve = commands.add_parser("serve", help="compute each round of a slot, until Ctrl-C",
                                description="Computes each round of a slot with one function, which is loaded once for each "
                                            "version of its file, until Ctrl-C. A slot that is not there is made, and goes "
                                            "when this program ends, however it ends.")
    serve.add_argument("function", help="SCRIPT::FUNCTION, or MODULE::FUNCTION of a module that can be imported")
    serve.add_argument("slot", help="the slot's directory")
    serve.add_argument("--isolation", choices=run.ISOLATIONS, default="session",
                       help="session: what a run loads stays for the next; process: each run has its own process")
    options = parser.parse_args()
    if options.command == "serve":
        return _serve(parser, options)
    if not options.slot:
        parser.error(f"no slot: give --slot or set {SLOT_VARIABLE}")
    faulthandler.enable()
    script, _, function = options.script.partition("::")
    task = run.parse_task({"script": script, "function": function or None, "args": options.argument})
    try:
        slot = Slot(options.slot)
        slot.run_one_round()
        slot.bind()
    except SlotError as error:
        print(f"pyrmap: {error}", file=sys.stderr)
        return 1
    text = run.run(slot, task)
    sys.stderr.write(text)
    return 1 if text else 0


def _serve(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    source, _, function = options.function.rpartition("::")
    if not source or not function:
        parser.error(f"there is no function in {options.function!r}: it is SCRIPT::FUNCTION or MODULE::FUNCTION")
    is_script = source.endswith(".py") or os.sep in source or os.path.exists(source)
    task = run.parse_task({"script" if is_script else "module": source, "function": function, "cwd": os.getcwd()})
    slot = os.path.abspath(options.slot)
    try:
        _make(slot)
    except SlotError as error:
        print(f"pyrmap: {error}", file=sys.stderr)
        return 1
    return loop.work(loop.Command(slot, "pyrmap", sys.argv[1:], options.isolation, task=task))


def _make(path: str) -> None:
    """Makes a slot that goes with this process, unless there is one."""
    try:
        slot = Slot.create(path)
    except FileExistsError:
        return
    with slot:
        slot.own()


if __name__ == "__main__":
    sys.exit(main())
