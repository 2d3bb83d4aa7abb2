# SPDX-License-Identifier: Apache-2.0
"""python3 -m pyrmap run SCRIPT[::FUNCTION] [--slot SLOT] [ARGUMENT...]: one round of a slot, by hand."""
from __future__ import annotations

import argparse
import faulthandler
import os
import sys

from pyrmap import run
from pyrmap.slot import SLOT_VARIABLE


def main() -> int:
    """Exit status 0 if the round was published, 1 if it failed, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="python3 -m pyrmap", description=__doc__)
    command = parser.add_subparsers(required=True).add_parser("run", help="compute one round of a slot")
    command.add_argument("script", help="a Python script, or SCRIPT::FUNCTION to publish what the function returns")
    command.add_argument("argument", nargs="*", help="sys.argv of the script, or further arguments (strings) of FUNCTION")
    command.add_argument("--slot", default=os.environ.get(SLOT_VARIABLE),
                     help=f"the slot's directory; {SLOT_VARIABLE} if not given")
    options = parser.parse_args()
    if not options.slot:
        parser.error(f"no slot: give --slot or set {SLOT_VARIABLE}")
    faulthandler.enable()
    script, _, function = options.script.partition("::")
    task = {"script": script, "function": function or None, "args": options.argument}
    text = run.run(run.Run(os.path.abspath(options.slot), task))
    sys.stderr.write(text)
    return 1 if text else 0


if __name__ == "__main__":
    sys.exit(main())
