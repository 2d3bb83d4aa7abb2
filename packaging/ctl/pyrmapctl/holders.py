# SPDX-License-Identifier: Apache-2.0
"""lsof: which processes have these pages open or mapped, and by which names.

metadata.txt says which processes have a file open. A mapping outlives its descriptor, so we look for mappings in
/proc/PID/maps of the processes that this user may look at.
"""
from __future__ import annotations

import os
import re
from argparse import Namespace
from typing import Any, Iterator, NamedTuple, Optional

from pyrmapctl import mount as mounts
from pyrmapctl.mount import Slot, read_text, user_name
from pyrmapctl.output import printable, put_json, put_table

ARRAYS = ("data.bin", "result.bin")
LINE = re.compile(r"\S+ (\S)(\S)\S(\S) \S+ ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)")

Pages = tuple[int, int]  # device and inode
Use = NamedTuple("Use", [("pid", int), ("command", str), ("user", str), ("how", str), ("access", str), ("names", list[str])])


def pages_of(path: str) -> Pages:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def linked_pages(slot: Slot, file: str) -> Optional[Pages]:
    """The pages behind data.mem or result.mem, which leads there only while the array is open.

    At the end of a chain, opening and closing a result takes it, so we do not look there.
    """
    link = os.path.join(slot.path, file.replace(".bin", ".mem"))
    if not os.path.islink(link) or file == "result.bin" and slot.source:
        return None
    try:
        fd = os.open(os.path.join(slot.path, file), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return pages_of(link)
    except OSError:
        return None
    finally:
        os.close(fd)


def names_of_pages(slots: list[Slot]) -> dict[Pages, list[str]]:
    """All names that pages have: a chained slot has the pages of its source under another one."""
    names: dict[Pages, list[str]] = {}
    for slot in slots:
        for file in (*ARRAYS, "metadata.bin", "metadata.mem"):
            try:
                known = names.setdefault(pages_of(os.path.join(slot.path, file)), [])
            except OSError:
                continue
            known.append(f"{slot.name}/{file}")
            linked = linked_pages(slot, file) if file in ARRAYS else None
            if linked:
                names[linked] = known
    return names


def command_of(pid: int) -> str:
    try:
        return read_text(f"/proc/{pid}/comm").rstrip("\n")
    except OSError:
        return "?"


def user_of(pid: int) -> str:
    try:
        return user_name(os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return "?"


def mapped(mount: str, names: dict[Pages, list[str]]) -> Iterator[Use]:
    device = os.stat(mount).st_dev
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or command_of(int(entry)).startswith("pyrmapfs-"):
            continue
        try:
            lines = read_text(f"/proc/{entry}/maps").splitlines()
        except OSError:
            continue
        seen: dict[Pages, Use] = {}
        for line in lines:
            match = LINE.match(line)
            if not match:
                continue
            _, writes, private, major, minor, inode, path = match.groups()
            pages = os.makedev(int(major, 16), int(minor, 16)), int(inode)
            known = names.get(pages)
            if known is None and pages[0] != device:
                continue
            access = "rw" if writes == "w" and private == "s" else "r"
            if pages not in seen or access == "rw":
                seen[pages] = Use(int(entry), command_of(int(entry)), user_of(int(entry)), "mapped", access,
                                  known or [f"{path.removeprefix(mount + '/')}, of an earlier round"])
        yield from seen.values()


def do_lsof(options: Namespace) -> int:
    if options.slot:
        slots = [mounts.slot_of(options.mount, name) for name in options.slot]
        mount = os.path.dirname(slots[0].path)
    else:
        mount = mounts.find(options.mount)
        slots = list(mounts.slots(mount))
    names = names_of_pages(slots)
    found = [Use(holder.pid, command_of(holder.pid), user_of(holder.pid), "open", "w" if holder.writes else "r",
                 [f"{slot.name}/{holder.file}"]) for slot in slots for holder in slot.holders if holder.pid != os.getpid()]
    wanted = {name for known in names.values() for name in known}
    found += [use for use in mapped(mount, names) if not options.slot or wanted & set(use.names)]
    # A process may have one file open several times.
    found = [use for number, use in enumerate(found) if use not in found[:number]]
    found.sort(key=lambda use: (use.names, use.pid, use.how))
    if options.json:
        put_json([use._asdict() for use in found])
    else:
        rows: list[list[Any]] = [[str(use.pid), printable(use.command), use.user, use.how, use.access,
                                  " = ".join(printable(name) if "," not in name else name for name in use.names)] for use in found]
        put_table(("PID", "COMMAND", "USER", "HOW", "ACCESS", "FILE"), rows)
    return 0
