# SPDX-License-Identifier: Apache-2.0
"""Kills workers and owners at random moments, and reports how long it took until all who waited for them knew.

    dead_peers.py KILLS [PATH]

Each peer registers itself and begins a result, and is killed at some point of that; now and then the server is killed
with it. Three clients wait meanwhile: one in an open, one in poll, one on the futex of the record's page (not on the
page-cache path). Exit status 0: each of them learned it, and no slot and no byte is left.
"""
from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import select
import shutil
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Callable, NamedTuple

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "mount"), str(Path(__file__).resolve().parent.parent)]

from daemon import Daemon, private_mounts  # noqa: E402
from paths import check_data_path, mounted  # noqa: E402
from slots import DATA, Slot, eventually, number, status  # noqa: E402
from trader import FLAG_FAILED, FUTEX_WAIT, RECORD, SYS_FUTEX, libc  # noqa: E402

PATHS = ("passthrough", "links", "pagecache")
PATIENCE = 30


class Report(NamedTuple):
    path: str
    kills: int
    waiters: int
    wrong: list[str]
    times: list[float]  # ms

    def line(self) -> str:
        times = sorted(self.times)
        at = [times[min(len(times) - 1, int(len(times) * part))] if times else 0.0 for part in (0.5, 0.99, 1)]
        return (f"{self.path:<12} {self.kills:6} peers killed {self.waiters:6} waiters {len(self.wrong):3} wrong   "
                f"ms until they knew: median {at[0]:.1f}, p99 {at[1]:.1f}, most {at[2]:.1f}")


def live(slot: Path, role: str, size: int, told: int) -> None:
    """What a peer does until it is killed."""
    with open(slot / role, "w") as file:
        file.write("self")
    os.write(told, b"!")
    if role == "worker":
        os.open(slot / "data.bin", os.O_RDONLY)
        fd = os.open(slot / "result.bin", os.O_RDWR)
        os.ftruncate(fd, size)
        page = mmap.mmap(fd, size)
        for at in range(0, size, 4096):
            page[at] = 1
    time.sleep(PATIENCE)


def begin(slot: Path, role: str, size: int) -> int:
    """Starts a peer, and returns once it is registered."""
    known, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            live(slot, role, size, told)
        finally:
            os._exit(1)
    os.close(told)
    word = os.read(known, 1)
    os.close(known)
    if word != b"!":
        raise RuntimeError("a peer could not register")
    return pid


def by_open(slot: Path) -> str:
    try:
        os.close(os.open(slot / "result.bin", os.O_RDONLY))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "opened"


def by_poll(slot: Path) -> str:
    try:
        with open(slot / "metadata.bin", "rb", buffering=0) as file:
            poll = select.poll()
            poll.register(file, select.POLLIN)
            while True:
                if struct.unpack_from("<i", os.pread(file.fileno(), RECORD, 0))[0] == FLAG_FAILED:
                    return "EIO"
                poll.poll(1000 * PATIENCE)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def by_futex(slot: Path) -> str:
    try:
        fd = os.open(slot / "metadata.mem", os.O_RDONLY)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    address = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    os.close(fd)
    patience = (ctypes.c_long * 2)(PATIENCE, 0)
    while True:
        change: int = struct.unpack("<I", ctypes.string_at(address + 116, 4))[0]
        flag, version = struct.unpack("<ii", ctypes.string_at(address, 8))
        if change % 2 == 0 and (flag == FLAG_FAILED or version == 0):
            libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(4096))
            return "EIO" if version else "ECANCELED"
        libc.syscall(SYS_FUTEX, ctypes.c_void_p(address + 116), FUTEX_WAIT, change, patience, None, 0)


WAITERS: dict[str, Callable[[Path], str]] = {"open": by_open, "poll": by_poll, "futex": by_futex}
# Of a slot that goes with its owner one may also be too late to find it, or find that it has gone.
KNOWN = {"worker": {"EIO"}, "owner": {"ECANCELED", "ENOENT", "ESTALE"}}


class Waiter(threading.Thread):
    def __init__(self, way: str, slot: Path) -> None:
        super().__init__(daemon=True)
        self.way, self.slot, self.said, self.at = way, slot, "waits still", 0.0
        self.start()

    def run(self) -> None:
        self.said = WAITERS[self.way](self.slot)
        self.at = time.monotonic()


def one(daemon: Daemon, ways: list[str], draw: random.Random, name: str) -> tuple[list[float], list[str]]:
    """Kills a peer. Returns how long it took until each waiter knew, and what was wrong."""
    role = draw.choice(("worker", "worker", "owner"))
    slot = Slot.make(daemon.path, name)
    slot.publish(DATA)
    pid = begin(slot.path, role, draw.choice((8, 100_000)))
    waiters = [Waiter(way, slot.path) for way in ways]
    time.sleep(draw.random() * 0.004)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    if draw.random() < 0.05:
        os.kill(daemon.server, signal.SIGKILL)
    for waiter in waiters:
        waiter.join(PATIENCE)
    os.waitpid(pid, 0)
    wrong = [f"{name}: {role} killed, {waiter.way}: {waiter.said}" for waiter in waiters if waiter.said not in KNOWN[role]]
    if role == "worker" and not wrong:
        if slot.state != "FAILED" or str(pid) not in slot.error:
            wrong.append(f"{name}: {slot.state}, {slot.error}")
        shutil.rmtree(slot.path)
    elif role == "owner":
        eventually(lambda: not slot.path.exists(), f"{name} goes with its owner")
    return [(waiter.at - killed) * 1000 for waiter in waiters if waiter.at], wrong


def run(path: str, kills: int, seed: int) -> Report:
    draw = random.Random(seed)
    ways = list(WAITERS)[:2 if path == "pagecache" else 3]
    times: list[float] = []
    wrong: list[str] = []
    with mounted(path, arena_capacity="256M", arena_warm="0") as daemon:
        check_data_path(daemon, path)
        empty = number(status(daemon.path)["used"])
        done = 0
        while done < kills and not wrong:
            more, found = one(daemon, ways, draw, f"peer-{done}")
            times += more
            wrong += found
            done += 1
        left = set(os.listdir(daemon.path)) - {".pyrmap"}
        if left:
            wrong.append(f"slots that are left: {left}")
        eventually(lambda: number(status(daemon.path)["used"]) == empty, "the arena is empty again")
    return Report(path, done, len(times), wrong, times)


def main(argv: list[str]) -> int:
    kills = int(argv[1]) if len(argv) > 1 else 100
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    good = True
    private_mounts()
    print(f"SEED={seed}", flush=True)
    for path in argv[2:] or PATHS:
        report = run(path, kills, seed)
        print(report.line(), *report.wrong, sep="\n  ", flush=True)
        good = good and not report.wrong
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
