# SPDX-License-Identifier: Apache-2.0
"""The command line."""
from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Optional, Sequence

from pyrmapctl import __version__, bench, events, holders, machine, rounds, show
from pyrmapctl.mount import STATES
from pyrmapctl.output import Refused, why

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 90, 90s, 5m, 2h or 7d")
    return float(match[1]) * UNITS[match[2]]


def length(text: str) -> int:
    match = re.fullmatch(r"([1-9]\d*)([KMG]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: 4096, 64K, 100M or 1G")
    return int(match[1]) * SIZES[match[2]]


def count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def states(text: str) -> list[str]:
    chosen = text.upper().split(",")
    if not set(chosen) <= set(STATES):
        raise argparse.ArgumentTypeError(f"{text!r}: states are {', '.join(STATES)}")
    return chosen


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="pyrmapctl", description="Looks at a mount of pyrmapfs and takes steps in it.",
                                  epilog="Exit status: 0, 1 if it failed or the round did, 2 for a wrong command line, 3 for a timeout.")
    top.add_argument("--version", action="version", version=f"pyrmapctl {__version__}")
    commands = top.add_subparsers(required=True, dest="command", metavar="COMMAND")

    def add(name: str, function: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("--mount", metavar="DIRECTORY", help="the mount; else PYRMAP_MOUNT, /mnt/pyrmap, or the only one")
        command.add_argument("--json", action="store_true", help="JSON for programs")
        command.set_defaults(function=function)
        return command

    command = add("list", show.do_list, "the slots: state, age, who holds and who waits")
    command.add_argument("--state", type=states, metavar="STATE,...", help="only those in these states")
    command.add_argument("--user", help="only those of this user")
    command.add_argument("--job", help="only those made in this job")
    command.add_argument("--names", action="store_true", help="their names alone, one a line")

    command = add("show", show.do_show, "all that a slot says of itself")
    command.add_argument("slot", metavar="SLOT", help="its name, or a path to it")

    command = add("top", show.do_top, "the slots and the rates of rounds and requests, again and again")
    command.add_argument("--delay", type=seconds, default=2.0, metavar="TIME", help="between two pictures; 2s if not given")
    command.add_argument("--count", type=count, metavar="N", help="end after so many")

    command = add("events", events.do_events, "what happens to the slots, as it happens")
    command.add_argument("slot", nargs="*", metavar="SLOT", help="all slots if not given")
    command.add_argument("--count", type=count, metavar="N", help="end after so many")

    command = add("wait", rounds.do_wait, "wait until a slot is in a state")
    command.add_argument("slot", metavar="SLOT")
    command.add_argument("--state", type=states, metavar="STATE,...", help="DONE,FAILED if not given; then FAILED is status 1")
    command.add_argument("--timeout", type=seconds, metavar="TIME", help="status 3 after that time")

    command = add("publish", rounds.do_publish, "write an array into a slot and publish it")
    command.add_argument("slot", metavar="SLOT")
    command.add_argument("file", nargs="?", default="-", metavar="FILE", help="its bytes; standard input if not given")
    command.add_argument("--result", action="store_true", help="the result; the input if not given")
    command.add_argument("--dtype", choices=("float32", "float64", "int32", "int64", "uint8", "bundle"), default="float64")
    command.add_argument("--shape", default="", metavar="NxM", help="its dimensions; none for a vector")
    command.add_argument("--order", choices=("C", "F"), default="C", help="how a matrix follows: row by row, or F by columns")

    command = add("fail", rounds.do_fail, "fail the round of a slot")
    command.add_argument("slot", metavar="SLOT")
    command.add_argument("reason", nargs="+", metavar="REASON", help="the text for the slot's error")

    command = add("gc", rounds.do_gc, "remove slots that nobody uses")
    command.add_argument("--older", type=seconds, default=86400.0, metavar="TIME", help="only those in their state for so long; 1d if not given")
    command.add_argument("--state", type=states, default=["IDLE", "DONE", "FAILED"], metavar="STATE,...",
                         help="IDLE,DONE,FAILED if not given")
    command.add_argument("--user", help="only those of this user")
    command.add_argument("--job", help="only those made in this job")
    command.add_argument("--dry-run", action="store_true", help="only tell which")

    command = add("lsof", holders.do_lsof, "who has these arrays open or mapped, by which names")
    command.add_argument("slot", nargs="*", metavar="SLOT", help="all slots if not given")

    add("doctor", machine.do_doctor, "look for what is wrong, with the remedy of each")

    command = add("bench", bench.do_bench, "measure small and large rounds between two processes")
    command.add_argument("--size", type=length, default=100 << 20, metavar="BYTES", help="of the large array; 100M if not given")
    command.add_argument("--rounds", type=count, default=1000, metavar="N", help="of the small one; 1000 if not given")
    return top


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return int(options.function(options))
    except Refused as refused:
        print(f"pyrmapctl: {refused}", file=sys.stderr)
        return refused.status
    except BrokenPipeError:
        # The reader has seen enough. Python must not try to write the rest when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"pyrmapctl: {error.filename or 'the mount'}: {why(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
