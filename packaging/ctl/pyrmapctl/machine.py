# SPDX-License-Identifier: Apache-2.0
"""doctor: finds what is wrong with this machine and with the mount, and names the remedy."""
from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from argparse import Namespace
from typing import Callable, Iterator, NamedTuple, Optional

from pyrmapctl import mount as mounts
from pyrmapctl.mount import read_text
from pyrmapctl.output import FAILED, Refused, put_json, size, span, why

OK, NOTE, PROBLEM = "ok", "note", "problem"
LONG_WAIT = 60

Finding = NamedTuple("Finding", [("check", str), ("result", str), ("found", str), ("remedy", str)])


def first_line(path: str) -> Optional[str]:
    try:
        return read_text(path).splitlines()[0].strip()
    except (OSError, IndexError):
        return None


def kernel(_: Optional[str]) -> Iterator[Finding]:
    release = os.uname().release
    new = [int(part) for part in re.findall(r"\d+", release)[:2]] >= [6, 9]
    yield Finding("kernel", OK if new else NOTE, release,
                  "" if new else "FUSE passthrough needs Linux 6.9; before, links are as fast for the user who mounts")


def fuse(_: Optional[str]) -> Iterator[Finding]:
    if not os.path.exists("/dev/fuse"):
        yield Finding("/dev/fuse", PROBLEM, "missing", "modprobe fuse, or pass the device into the container")
    elif not os.access("/dev/fuse", os.R_OK | os.W_OK):
        yield Finding("/dev/fuse", PROBLEM, "may not be opened by this user", "chmod 666 /dev/fuse, as udev does, or mount as root")
    else:
        yield Finding("/dev/fuse", OK, "can be opened", "")
    helper = shutil.which("fusermount3")
    if not helper:
        yield Finding("fusermount3", PROBLEM if os.geteuid() else NOTE, "missing", "install the package fuse3: users mount through it")
        return
    version = subprocess.run([helper, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    privileged = os.stat(helper).st_mode & 0o4000
    yield Finding("fusermount3", OK if privileged else PROBLEM, version or helper,
                  "" if privileged else f"chmod u+s {helper}: without it only root can mount")


def place(mount: Optional[str]) -> Iterator[Finding]:
    for path in mounts.mounts():
        if not mounts.is_alive(path) and path != mount:
            yield Finding("dead mount", PROBLEM, path, f"pyrmapfs --clear {path}")
    if mount is None:
        alive = [path for path in mounts.mounts() if mounts.is_alive(path)]
        yield Finding("mount", NOTE, "there are several: " + ", ".join(alive) if alive else "there is none",
                      "look at one of them with --mount" if alive else f"pyrmapfs {mounts.PLACE}, or systemctl start pyrmapfs")


def data_path(mount: Optional[str]) -> Iterator[Finding]:
    if mount is None:
        return
    status = mounts.status(mount)
    path = status["data path"]
    slow = path.startswith("page cache")
    yield Finding("data path", NOTE if slow else OK, path,
                  "mount as root on Linux 6.9, or with arena.kind = memfd for one user" if slow else "")


def arena(mount: Optional[str]) -> Iterator[Finding]:
    if mount is None:
        return
    values = mounts.metrics(mount)
    capacity, used = values["pyrmapfs_capacity_bytes"], values["pyrmapfs_used_bytes"]
    full = used > 0.9 * capacity
    yield Finding("arena", PROBLEM if full else OK, f"{size(used)} of {size(capacity)} in use",
                  "pyrmapctl gc, or raise arena.capacity" if full else "")
    memory = dict(line.split(":", 1) for line in read_text("/proc/meminfo").splitlines())
    total = int(memory["MemTotal"].split()[0]) * 1024
    if capacity > 0.8 * total and not mounts.status(mount)["arena"].startswith("dir"):
        yield Finding("memory", PROBLEM, f"the capacity is {size(capacity)}, the machine has {size(total)}",
                      "lower arena.capacity: the machine must have the memory that the arena promises")
    else:
        yield Finding("memory", OK, f"{size(total)}", "")
    slots = values["pyrmapfs_slots_limit"]
    used_slots = sum(value for key, value in values.items() if key.startswith("pyrmapfs_slots{"))
    if used_slots > 0.9 * slots:
        yield Finding("slots", PROBLEM, f"{used_slots:.0f} of {slots:.0f}", "pyrmapctl gc, or raise limits.slots")


def server_of(mount: str) -> Optional[int]:
    """The process that serves it, if this user may see it."""
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and first_line(f"/proc/{entry}/comm") == "pyrmapfs-server" \
                    and os.fsencode(mount) in open(f"/proc/{entry}/cmdline", "rb").read().split(b"\0"):
                return int(entry)
        except OSError:
            continue
    return None


def memory_limits(process: int) -> Iterator[tuple[str, int]]:
    """(directory, bytes) of the memory cgroups that a process is in, from the inside out, as far as they are mounted here."""
    lines = [line.split(":", 2) for line in read_text(f"/proc/{process}/cgroup").splitlines()]
    old = next((line[2] for line in lines if "memory" in line[1].split(",")), None)
    new = next((line[2] for line in lines if line[0] == "0"), None)
    for place in read_text("/proc/self/mountinfo").splitlines():
        words, _, end = place.partition(" - ")
        root, path = words.split(" ")[3:5]
        kind, _, options = end.split(" ")[:3]
        if old is not None and kind == "cgroup" and "memory" in options.split(","):
            group, name = old, "memory.limit_in_bytes"
        elif old is None and new is not None and kind == "cgroup2":
            group, name = new, "memory.max"
        else:
            continue
        group = group.removeprefix(root.rstrip("/")).rstrip("/")
        while True:
            limit = first_line(f"{path}{group}/{name}")
            if limit and limit != "max" and int(limit) < 1 << 62:
                yield path + group, int(limit)
            if not group:
                return
            group = group.rpartition("/")[0]


def cgroup(mount: Optional[str]) -> Iterator[Finding]:
    """The kernel charges the arrays of a tmpfs or memfd arena to the daemon's cgroup."""
    server = server_of(mount) if mount else None
    if mount is None or server is None or mounts.status(mount)["arena"].startswith("dir"):
        return
    capacity = mounts.metrics(mount)["pyrmapfs_capacity_bytes"]
    folder, limit = min(memory_limits(server), key=lambda found: found[1], default=("", 0))
    if folder and limit < capacity:
        yield Finding("cgroup", PROBLEM, f"{folder} may have {size(limit)}, the arena {size(capacity)}",
                      "lower arena.capacity, or raise the limit (MemoryMax= of the service); what does not fit gets ENOSPC")
    elif folder:
        yield Finding("cgroup", OK, f"{folder} may have {size(limit)}, the arena {size(capacity)}", "")
    else:
        yield Finding("cgroup", OK, "no memory limit", "")


def timeouts(_: Optional[str]) -> Iterator[Finding]:
    for name in ("default_request_timeout", "max_request_timeout"):
        value = first_line(f"/proc/sys/fs/fuse/{name}")
        if value not in (None, "0"):
            yield Finding("request timeout", NOTE, f"fs.fuse.{name} = {value}",
                          "waits end early with ETIMEDOUT: sysctl -w fs.fuse." + name + "=0 lets them go on")


def huge_pages(mount: Optional[str]) -> Iterator[Finding]:
    value = first_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    if value is None:
        return
    chosen = re.search(r"\[(\w+)\]", value)
    denied = chosen is not None and chosen[1] == "deny"
    yield Finding("huge pages", NOTE if denied else OK, f"shmem_enabled {chosen[1] if chosen else value}",
                  "echo never > /sys/kernel/mm/transparent_hugepage/shmem_enabled lets the arena ask for them" if denied else "")


def limits(_: Optional[str]) -> Iterator[Finding]:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield Finding("open files", OK if files >= 1024 else NOTE, str(files), "" if files >= 1024 else "ulimit -n 4096")
    count = int(first_line("/proc/sys/vm/max_map_count") or 0)
    yield Finding("mappings", OK if count >= 65530 else NOTE, f"vm.max_map_count = {count}",
                  "" if count >= 65530 else "sysctl -w vm.max_map_count=65530: each large array that is kept takes one")


def slots(mount: Optional[str]) -> Iterator[Finding]:
    if mount is None:
        return
    for slot in mounts.slots(mount):
        for waiter in slot.waiters:
            if waiter.seconds > LONG_WAIT:
                yield Finding("slot", NOTE, f"process {waiter.pid} has waited for {slot.name}/{waiter.file} for {span(waiter.seconds)}",
                              waiter.reason)


CHECKS: tuple[Callable[[Optional[str]], Iterator[Finding]], ...] = (
    kernel, fuse, place, data_path, arena, cgroup, timeouts, huge_pages, limits, slots)


def do_doctor(options: Namespace) -> int:
    """Status 1 if something is a problem. A mount that --mount names must be there; without one we look at the machine."""
    mount: Optional[str] = None
    try:
        mount = mounts.find(options.mount)
    except Refused:
        if options.mount:
            raise
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check(mount)
        except OSError as error:
            findings.append(Finding(check.__name__.replace("_", " "), NOTE, f"cannot be looked at: {why(error)}", ""))
    if options.json:
        put_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.result:7}  {finding.check}: {finding.found}" + (f"\n         -> {finding.remedy}" if finding.remedy else ""))
    return FAILED if any(finding.result == PROBLEM for finding in findings) else 0
