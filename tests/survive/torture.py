# SPDX-License-Identifier: Apache-2.0
"""Kills the server again and again while clients exchange arrays, and reports what they noticed.

    torture.py ROUNDS [PATH KIND]

ROUNDS times the server is killed at a random moment, and one time in ten upgraded instead. Clients (see trader.py) check every byte of every array. Prints a
line for each data path and kind of arena: kills, upgrades, rounds that were exchanged, calls that failed, clients that hung, and
how long it took until the mount answered again. Exit status 0: nothing failed and nobody hung.
"""
from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "mount"), str(Path(__file__).resolve().parent.parent)]

from daemon import PATH_OPTIONS, PYRMAPFS, Daemon, private_mounts  # noqa: E402
from paths import check_data_path  # noqa: E402
from slots import Slot, number, status  # noqa: E402

PLACES = (("passthrough", "tmpfs"), ("passthrough", "dir"), ("passthrough", "memfd"), ("links", "memfd"), ("links", "tmpfs"),
          ("links", "dir"), ("pagecache", "tmpfs"), ("pagecache", "memfd"))
PAIRS, HANG_SECONDS = 3, 30
ROLES = ("producer", "worker")
# Who waits for another one's work ends before that one.
ENDING = (("producer", "pusher"), ("taker",), ("worker", "stage", "founder", "sleeper"))


class Report(NamedTuple):
    path: str
    kind: str
    kills: int
    upgrades: int
    rounds: int
    failed: list[str]
    hung: list[str]
    recovery: list[float]  # ms
    lost: list[str]

    def line(self) -> str:
        times = sorted(self.recovery)
        at = [times[min(len(times) - 1, int(len(times) * part))] if times else 0.0 for part in (0.5, 0.99, 1)]
        return (f"{self.path:<12} {self.kind:<6} {self.kills:6} kills {self.upgrades:4} upgrades {self.rounds:8} rounds "
                f"{len(self.lost):3} lost {len(self.failed):3} failed {len(self.hung):3} hung   recovery ms: "
                f"median {at[0]:.0f}, p99 {at[1]:.0f}, most {at[2]:.0f}")

    @property
    def is_good(self) -> bool:
        return not (self.failed or self.hung or self.lost)


class Client:
    def __init__(self, directory: Path, slot: Path, role: str, seed: int) -> None:
        self.name, self.role = f"{role} of {slot.name}", role
        self.counter = directory / f"{slot.name}-{role}"
        self.counter.write_bytes(bytes(16))
        self.errors = directory / f"{slot.name}-{role}.log"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("trader.py")), role, str(slot),
                                             str(seed), str(self.counter)], stderr=errors)
        self.last, self.moved = 0, time.monotonic()

    @property
    def rounds(self) -> int:
        return int(struct.unpack("<Q", self.counter.read_bytes()[:8])[0])

    def hangs(self) -> bool:
        if self.rounds != self.last:
            self.last, self.moved = self.rounds, time.monotonic()
        return self.process.poll() is None and time.monotonic() - self.moved > HANG_SECONDS

    def ends(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(HANG_SECONDS)
        return self.process.poll() is not None

    def where(self) -> str:
        """Where the kernel has it, if it waits there."""
        with contextlib.suppress(OSError):
            process = Path(f"/proc/{self.process.pid}")
            calls = " < ".join(line.split()[-1].split("+")[0] for line in (process / "stack").read_text().splitlines()[:8])
            return f"{self.name}: system call {(process / 'syscall').read_text().strip()[:40]}, {calls}"
        return f"{self.name}: it has ended"

    def tell_end(self) -> None:
        with self.counter.open("r+b") as file:
            os.pwrite(file.fileno(), b"\1", 8)


def picture(daemon: Daemon, clients: list[Client]) -> list[str]:
    """What most helps to find out why a client hangs."""
    slots = ["; ".join(path.read_text().splitlines()) for path in sorted(daemon.path.glob("*/metadata.txt"))]
    return [client.where() for client in clients] + slots + daemon.log.read_text().splitlines()[-20:]


def clients_of(mount: Path, directory: Path, seed: int) -> list[Client]:
    """Pairs of a producer and a worker, a stream through two slots, and others that look on."""
    clients = []
    for i in range(PAIRS):
        slot = Slot.make(mount, f"pair-{i}")
        clients += [Client(directory, slot.path, role, seed + i) for role in ROLES]
        clients.append(Client(directory, slot.path, ("founder", "sleeper", "founder")[i], seed + i))
    source, sink = Slot.make(mount, "stream-source"), Slot.make(mount, "stream")
    os.symlink("../stream-source/result.bin", sink / "source")
    clients += [Client(directory, slot.path, role, seed) for slot, role in ((source, "pusher"), (sink, "stage"), (sink, "taker"))]
    return clients


def kill_server(daemon: Daemon) -> float:
    """Returns the milliseconds until the mount answers again."""
    server = daemon.server
    begin = time.monotonic()
    os.kill(server, signal.SIGKILL)
    number(status(daemon.path)["takeovers"])
    return (time.monotonic() - begin) * 1000


def upgrade(daemon: Daemon) -> None:
    """Puts another file in the program's place, and returns when that serves."""
    before = number(status(daemon.path)["takeovers"])
    new = daemon.program.with_suffix(".new")
    shutil.copy(PYRMAPFS, new)
    new.rename(daemon.program)
    os.kill(daemon.supervisor, signal.SIGHUP)
    while number(status(daemon.path)["takeovers"]) == before:
        time.sleep(0.001)


def run(path: str, kind: str, rounds: int, seed: int) -> Report:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        options = {"arena.kind": kind, "arena.capacity": "512M", **PATH_OPTIONS["page cache" if path == "pagecache" else path],
                   **({"arena.path": f"{name}/arena"} if kind == "dir" else {})}
        recovery: list[float] = []
        hung: list[str] = []
        upgrades = 0
        daemon = Daemon(options)
        daemon.program = Path(shutil.copy(PYRMAPFS, directory / "pyrmapfs"))
        with daemon:
            check_data_path(daemon, path)
            clients = clients_of(daemon.path, directory, seed)
            try:
                while len(recovery) < rounds and not hung and all(client.process.poll() is None for client in clients):
                    time.sleep(draw.choice((0, draw.random() * 0.01, draw.random() * 0.1)))
                    if draw.random() < 0.1:
                        upgrade(daemon)
                        upgrades += 1
                    else:
                        recovery.append(kill_server(daemon))
                    if any(client.hangs() for client in clients):
                        hung = picture(daemon, clients)
                for roles in ENDING:
                    ending = [client for client in clients if client.role in roles]
                    for client in ending:
                        client.tell_end()
                    if not all(client.ends() for client in ending):
                        hung += picture(daemon, ending)
            finally:
                for client in clients:
                    client.process.kill()
                    client.process.wait()
            said = [line for client in clients for line in client.errors.read_text().splitlines()]
            assert number(status(daemon.path)["takeovers"]) == len(recovery) + upgrades
            log = [line for line in daemon.log.read_text().splitlines() if ": error: " in line]
            lost = [line for line in said if "Surprise" in line]
            failed = [line for line in said if "Surprise" not in line] + log
            return Report(path, kind, len(recovery), upgrades, sum(client.rounds for client in clients), failed, hung, recovery, lost)


def main(argv: list[str]) -> int:
    rounds = int(argv[1]) if len(argv) > 1 else 100
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    places = [(argv[2], argv[3])] if len(argv) > 3 else PLACES
    good = True
    private_mounts()
    print(f"SEED={seed}", flush=True)
    for path, kind in places:
        report = run(path, kind, rounds, seed)
        print(report.line(), *report.lost, *report.failed, *report.hung, sep="\n  ", flush=True)
        good = good and report.is_good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
