# SPDX-License-Identifier: Apache-2.0
"""list, show and top: the slots, one slot, and the mount as it works."""
from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from typing import Any, Iterable

from pyrmapctl import mount as mounts
from pyrmapctl.mount import Slot, user_name
from pyrmapctl.output import printable, put_json, put_table, size, span

HEADS = ("SLOT", "STATE", "ROUND", "AGE", "USER", "SIZE", "OPEN", "WAITING", "SOURCE", "JOB")


def row(slot: Slot) -> list[str]:
    return [printable(slot.name), slot.state, str(slot.round), span(slot.age), user_name(slot.uid), size(slot.bytes),
            ",".join(sorted({str(holder.pid) for holder in slot.holders})) or "-",
            ",".join(sorted({str(waiter.pid) for waiter in slot.waiters})) or "-", printable(slot.source) or "-", slot.job or "-"]


def chosen(options: Namespace, mount: str) -> list[Slot]:
    return [slot for slot in mounts.slots(mount)
            if (not options.state or slot.state in options.state) and (not options.user or user_name(slot.uid) == options.user)
            and (not options.job or slot.job == options.job)]


def do_list(options: Namespace) -> int:
    mount = mounts.find(options.mount)
    if options.names:
        for name in mounts.names(mount):
            sys.stdout.buffer.write(os.fsencode(name) + b"\n")
        return 0
    found = chosen(options, mount)
    if options.json:
        put_json([slot.json() for slot in found])
    else:
        put_table(HEADS, [row(slot) for slot in found])
    return 0


def do_show(options: Namespace) -> int:
    slot = mounts.slot_of(options.mount, options.slot)
    texts = {name: slot.text(name) for name in ("task", "error")}
    if options.json:
        put_json({**slot.json(), "metadata": slot.fields, **texts})
        return 0
    print(printable(slot.path))
    for key, value in slot.fields.items():
        print(f"  {key:16} {value}")
    for holder in slot.holders:
        print(f"  open             {holder.file} by process {holder.pid}, for {'writing' if holder.writes else 'reading'}")
    for waiter in slot.waiters:
        print(f"  waiting          process {waiter.pid} for {waiter.file}, {span(waiter.seconds)}: {waiter.reason}")
    for name, text in texts.items():
        for number, line in enumerate(text.splitlines()):
            print(f"  {'' if number else name:16} {line}")
    return 0


def picture(mount: str, before: dict[str, float], now: dict[str, float], seconds: float, found: Iterable[Slot]) -> dict[str, Any]:
    """What top shows. Slots with waiters and open files come first."""
    requests = [sum(value for key, value in values.items() if key.startswith("pyrmapfs_requests_total")) for values in (before, now)]
    active = sorted(found, key=lambda slot: (-len(slot.waiters) - len(slot.holders), slot.age))
    return {"mount": mount, "status": mounts.status(mount),
            "rounds_per_second": round((now["pyrmapfs_rounds_total"] - before["pyrmapfs_rounds_total"]) / seconds, 1),
            "requests_per_second": round((requests[1] - requests[0]) / seconds, 1), "slots": active}


def draw(shown: dict[str, Any], lines: int) -> None:
    status = shown["status"]
    print(f"{shown['mount']}  {status['data path'].split(' (')[0]}, {status['arena']}  up {status['uptime']}")
    print(f"used {status['used']} of {status['capacity']}, warm {status['warm']}")
    print(f"slots {status['slots']}  waiters {status['waiters']}  refusals {status['refusals']}")
    print(f"{shown['rounds_per_second']:g} rounds/s  {shown['requests_per_second']:g} requests/s\n")
    put_table(HEADS, [row(slot) for slot in shown["slots"][:lines]])


def do_top(options: Namespace) -> int:
    """A picture for each interval: it fills a terminal's screen; elsewhere the pictures follow each other."""
    mount = mounts.find(options.mount)
    terminal = sys.stdout.isatty() and not options.json
    before, begin = mounts.metrics(mount), time.monotonic()
    left = options.count
    try:
        while left is None or left > 0:
            time.sleep(options.delay)
            now, end = mounts.metrics(mount), time.monotonic()
            shown = picture(mount, before, now, end - begin, mounts.slots(mount))
            if options.json:
                put_json({**shown, "slots": [slot.json() for slot in shown["slots"]]})
            else:
                if terminal:
                    sys.stdout.write("\033[H\033[2J")
                draw(shown, max(os.get_terminal_size().lines - 7, 1) if terminal else sys.maxsize)
                sys.stdout.flush()
            before, begin = now, end
            left = None if left is None else left - 1
    except KeyboardInterrupt:
        pass
    return 0
