# SPDX-License-Identifier: Apache-2.0
"""The clients of a mount whose server is killed: programs that check every byte, and end at the first surprise.

A diary, a file that both sides map, tells how far a client is and whether it is to end; see trader.py.
"""
from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Mapping, Sequence

from daemon import BUILD, Daemon
from slots import Slot

HERE = Path(__file__).resolve().parent
# A step is many calls, each of which may wait for a takeover.
HANG_SECONDS = 120
# The processor belongs to the server whose takeovers are measured.
LOW_PRIORITY = ["nice", "-n", "10"]
DIARY_SIZE, OVER_AT = 40, 8
LANGUAGES: dict[str, list[str]] = {"python": [sys.executable, str(HERE / "trader.py")], "c": [str(BUILD.resolve() / "tests/survive/trader")],
                                   "r": ["Rscript", "--vanilla", str(HERE / "trader.R")]}
# What producers and workers of the pairs are written in, and who looks on.
PAIRS = (("python", "c", "founder"), ("c", "python", "sleeper"), ("c", "c", "founder"))
# Clients that wait for another one's work end before that one.
ENDING = (("calls", "pipeline"), ("producer", "pusher"), ("taker",), ("worker", "stage", "founder", "sleeper"))
# Their successors go on from the diary.
MORTAL = ("producer", "worker", "founder", "sleeper")


class Client:
    def __init__(self, directory: Path, slot: Path, role: str, seed: int, language: str = "python",
                 environment: Mapping[str, str] | None = None) -> None:
        self.name, self.role, self.language = f"{role} of {slot.name} in {language}", role, language
        self.diary = directory / f"{slot.name}-{role}"
        self.diary.write_bytes(bytes(DIARY_SIZE))
        self.errors = directory / f"{slot.name}-{role}.log"
        self.errors.touch()
        self.command: Sequence[str] = [*LOW_PRIORITY, *LANGUAGES[language], role, str(slot), str(seed), str(self.diary)]
        self.environment = environment
        self.kills = self.steps_of_predecessors = 0
        self.last, self.moved = 0, time.monotonic()
        self.start()

    def start(self) -> None:
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=self.environment,
                                            process_group=0)

    def kill(self) -> None:
        """At this moment, whatever it does."""
        self.process.kill()
        self.kills += 1
        self.steps_of_predecessors = self.steps

    def succeed(self) -> None:
        """Has a successor go on, if it was killed and had not ended before."""
        if self.ends() and self.process.returncode == -signal.SIGKILL:
            self.start()

    @property
    def steps(self) -> int:
        return int(struct.unpack("<Q", self.diary.read_bytes()[:8])[0])

    @property
    def may_be_killed(self) -> bool:
        """One that never comes to the end of a step would tell nothing."""
        return self.role in MORTAL and self.steps > self.steps_of_predecessors

    def has_failed(self) -> bool:
        return self.process.poll() is not None

    def hangs(self) -> bool:
        if self.steps != self.last:
            self.last, self.moved = self.steps, time.monotonic()
        return self.process.poll() is None and time.monotonic() - self.moved > HANG_SECONDS

    def ends(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(HANG_SECONDS)
        return self.process.poll() is not None

    def tell_end(self) -> None:
        with self.diary.open("r+b") as file:
            os.pwrite(file.fileno(), b"\1", OVER_AT)

    def where(self) -> str:
        """Where the kernel has it, if it waits there."""
        with contextlib.suppress(OSError):
            process = Path(f"/proc/{self.process.pid}")
            calls = " < ".join(line.split()[-1].split("+")[0] for line in (process / "stack").read_text().splitlines()[:8])
            return f"{self.name}: system call {(process / 'syscall').read_text().strip()[:40]}, {calls}"
        return f"{self.name}: it has ended"

    def said(self) -> list[str]:
        """Of a program that ended before it was told to, at least that."""
        lines = self.errors.read_text(errors="replace").splitlines()
        if self.process.poll() not in (None, 0) and not lines:
            lines.append(f"{self.name}: exit status {self.process.returncode}")
        return lines


def clients_of(mount: Path, directory: Path, seed: int) -> list[Client]:
    """Pairs of a producer and a worker, a stream through two slots, and others that look on."""
    clients = []
    for i, (producer, worker, other) in enumerate(PAIRS):
        slot = Slot.make(mount, f"pair-{i}").path
        # A producer looks into its worker's diary.
        clients += [Client(directory, slot, "worker", seed + i, worker), Client(directory, slot, "producer", seed + i, producer),
                    Client(directory, slot, other, seed + i)]
    source, sink = Slot.make(mount, "stream-source"), Slot.make(mount, "stream")
    os.symlink("../stream-source/result.bin", sink / "source")
    clients += [Client(directory, slot.path, role, seed) for slot, role in ((source, "pusher"), (sink, "stage"), (sink, "taker"))]
    return clients


def end(daemon: Daemon, clients: list[Client]) -> list[str]:
    """Has them come to their ends. Returns what helps to find out about those that hang."""
    hung: list[str] = []
    for roles in ENDING:
        ending = [client for client in clients if client.role in roles]
        for client in ending:
            client.tell_end()
        if not all([client.ends() for client in ending]):
            hung += picture(daemon, ending)
    return hung


def end_at_once(clients: list[Client]) -> None:
    for client in clients:
        client.process.kill()
        client.process.wait()


def picture(daemon: Daemon, clients: list[Client]) -> list[str]:
    """What most helps to find out why a client hangs."""
    slow = [f"{client.name}: no step for {time.monotonic() - client.moved:.0f} s" for client in clients]
    slots = ["; ".join(path.read_text().splitlines()) for path in sorted(daemon.path.glob("*/metadata.txt"))]
    return slow + [client.where() for client in clients] + slots + daemon.log.read_text().splitlines()[-20:]
