# SPDX-License-Identifier: Apache-2.0
"""The mount, and its slots as their metadata.txt tells them."""
from __future__ import annotations

import os
import pwd
import re
import time
from calendar import timegm
from typing import Any, Iterator, NamedTuple, Optional

from pyrmapctl.output import USAGE, fail, why

PLACE = "/mnt/pyrmap"
STATES = ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")

Holder = NamedTuple("Holder", [("pid", int), ("file", str), ("writes", bool)])
Waiter = NamedTuple("Waiter", [("pid", int), ("file", str), ("seconds", float), ("reason", str)])


def read_text(path: str) -> str:
    """A small file, whole. Bytes that are no UTF-8 are kept, as in names."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return file.read()


def write_once(path: str, content: bytes) -> None:
    """One write(2), which is one step: all of it, or an error and nothing."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)


def mounts() -> list[str]:
    """Where a pyrmapfs is mounted, dead or alive."""
    found = []
    for line in read_text("/proc/self/mountinfo").splitlines():
        if " - fuse.pyrmapfs " in line:
            found.append(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4]))
    return found


def is_alive(path: str) -> bool:
    return os.path.exists(os.path.join(path, ".pyrmap", "status"))


def find(given: Optional[str]) -> str:
    """The mount to look at: as given, PYRMAP_MOUNT, /mnt/pyrmap, or the only one that there is."""
    place = given or os.environ.get("PYRMAP_MOUNT") or PLACE
    if is_alive(place):
        return place
    if place in mounts():
        fail(f"the mount at {place} is dead: pyrmapfs --clear {place}, and start it again")
    others = [path for path in mounts() if is_alive(path)]
    if given is None and len(others) == 1:
        return others[0]
    fail(f"no pyrmapfs is mounted at {place}" + (": give one of these with --mount: " + ", ".join(others) if others else
                                                  f": pyrmapfs {place} mounts one"))


def pairs(text: str, between: str) -> dict[str, str]:
    return dict(line.split(between, 1) for line in text.splitlines() if between in line)


def status(mount: str) -> dict[str, str]:
    return pairs(read_text(os.path.join(mount, ".pyrmap", "status")), ": ")


def metrics(mount: str) -> dict[str, float]:
    lines = read_text(os.path.join(mount, ".pyrmap", "metrics")).splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line and line[0] != "#"}


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def seconds_since(stamp: str) -> float:
    """Of a time as 2026-11-22T10:00:00.250Z."""
    whole, _, part = stamp.rstrip("Z").partition(".")
    return max(time.time() - timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - float(f"0.{part or 0}"), 0)


class Slot:
    """One slot as its metadata.txt was when it was read. OSError if it may not be read, or is gone."""

    def __init__(self, mount: str, name: str) -> None:
        self.name = name
        self.path = os.path.join(mount, name)
        self.uid = os.stat(self.path).st_uid
        self.fields: dict[str, str] = {}
        self.holders: list[Holder] = []
        self.waiters: list[Waiter] = []
        for line in read_text(os.path.join(self.path, "metadata.txt")).splitlines():
            key, _, value = line.partition("=")
            words = value.split(" ", 3)
            if key == "open":
                self.holders.append(Holder(int(words[0]), words[1], words[2] == "w"))
            elif key == "waiting":
                self.waiters.append(Waiter(int(words[0]), words[1], float(words[2].rstrip("s")), words[3]))
            else:
                self.fields[key] = value

    @property
    def state(self) -> str:
        return self.fields["state"]

    @property
    def round(self) -> int:
        return int(self.fields["round"])

    @property
    def age(self) -> float:
        """Seconds in this state."""
        return seconds_since(self.fields["since"])

    @property
    def bytes(self) -> int:
        return int(self.fields["data_size"]) + int(self.fields["result_size"])

    @property
    def source(self) -> str:
        """The slot that feeds it, or ""."""
        return self.fields.get("source", "").removeprefix("../").rpartition("/")[0]

    @property
    def job(self) -> str:
        """The job of its maker, or ""."""
        return self.fields.get("job", "")

    def text(self, file: str) -> str:
        return read_text(os.path.join(self.path, file))

    def json(self) -> dict[str, Any]:
        return {"slot": self.name, "path": self.path, "user": user_name(self.uid), "state": self.state, "round": self.round,
                "age": round(self.age, 3), "bytes": self.bytes, "source": self.source or None, "job": self.job or None,
                "open": [holder._asdict() for holder in self.holders], "waiting": [waiter._asdict() for waiter in self.waiters],
                "refusals": int(self.fields["refusals"])}


def slot_of(mount: Optional[str], name: str) -> Slot:
    """By its name, or by a path to it."""
    if "/" in name.rstrip("/"):
        mount, name = os.path.split(os.path.abspath(name))
        if not is_alive(mount):
            fail(f"{os.path.join(mount, name)} is not below a mount of pyrmapfs", USAGE)
    else:
        mount, name = find(mount), name.rstrip("/")
    try:
        return Slot(mount, name)
    except OSError as error:
        fail(f"{os.path.join(mount, name)}: {why(error)}")


def names(mount: str) -> list[str]:
    return sorted(name for name in os.listdir(mount) if not name.startswith("."))


def slots(mount: str) -> Iterator[Slot]:
    """Those that this user may read; one that goes in between is left out."""
    for name in names(mount):
        try:
            yield Slot(mount, name)
        except OSError:
            continue
