# SPDX-License-Identifier: Apache-2.0
"""events: what happens to the slots, as it happens."""
from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from typing import Any, Iterator

from pyrmapctl import mount as mounts
from pyrmapctl.output import printable


def told(mount: str) -> Iterator[bytes]:
    """The lines of .pyrmap/events from now on, each when it comes."""
    with open(os.path.join(mount, ".pyrmap", "events"), "rb", buffering=0) as file:
        rest = b""
        while piece := file.read(1 << 16):
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines


def sentence(event: dict[str, Any]) -> str:
    if "missed" in event:
        return f"{event['missed']} events were missed: too much happens for this reader"
    clock = str(event["time"])[11:23]
    if event["event"] == "takeover":
        return f"{clock}  another server has taken over"
    begin = f"{clock}  {printable(event['slot'])}  round {event['round']}  "
    by = f"  process {event['pid']}" if "pid" in event else ""
    why = f"  {printable_text(event['reason'])}" if "reason" in event else ""
    if event["event"] in ("made", "removed"):
        return f"{begin}{event['event']}{by}"
    if event["event"] == "refusal":
        return f"{begin}{event['errno']}: {event['operation']}{by}{why}"
    return f"{begin}{event['from']} -> {event['to']}{by}{why}"


def printable_text(text: str) -> str:
    return " ".join(printable(word) for word in text.split(" "))


def do_events(options: Namespace) -> int:
    """JSON comes as the filesystem has it, a line each."""
    mount = mounts.find(options.mount)
    left = options.count
    names = {name.rstrip("/").rpartition("/")[2] for name in options.slot}
    for line in told(mount):
        event = json.loads(line)
        if names and event.get("slot", "") not in names and "slot" in event:
            continue
        sys.stdout.write(line.decode() if options.json else sentence(event))
        sys.stdout.write("\n")
        sys.stdout.flush()
        left = None if left is None else left - 1
        if left == 0:
            break
    return 0
