# SPDX-License-Identifier: Apache-2.0
"""Streams through a chain of stages, of which some are stopped and some killed on the way."""
from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Iterator

import pytest

from daemon import PASSTHROUGH, Daemon
from slots import Slot, eventually, usage
from stage import RESULT, Party, array_of

STAGES = 5
ROUNDS = int(os.environ.get("ROUNDS", "10000"))
ROUNDS_PAGE_CACHE = ROUNDS // 10
ACCIDENTS = 20
PROGRAM = str(Path(__file__).with_name("stage.py"))
PATIENCE = 60


def start(role: str, slot: Slot, number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", PROGRAM, role, str(slot.path), str(number)])


class Pipeline:
    """Five chained slots, a process for each, and one that feeds them."""

    def __init__(self, mount: Path, rounds: int) -> None:
        self.mount = mount
        self.rounds = rounds
        self.seeds = itertools.count()
        self.slots = [Slot.make(mount, f"stage{number}") for number in range(STAGES)]
        for before, after in zip(self.slots, self.slots[1:]):
            os.symlink(f"../{before.path.name}/result.bin", after / "source")
        self.workers = [start("compute", slot, next(self.seeds)) for slot in self.slots]
        self.producer = start("produce", self.slots[0], rounds)
        self.arrived = 0
        self.most_used = 0

    def pull(self) -> Iterator[list[int]]:
        """The results in the order in which they come."""
        party = Party(str(self.slots[-1].path))
        seen = 0
        for _ in range(self.rounds):
            while True:
                party.await_flag(RESULT)
                now = int.from_bytes(os.pread(party.metadata, 8, 32), "little")
                if now != seen:
                    break
                party.changes.poll()
            seen = now
            yield list(party.take("result.bin"))
            self.arrived += 1

    # --- accidents

    def stop_one(self, number: int) -> None:
        """Stops a stage until the one before it has to wait with its next result."""
        self.workers[number].send_signal(signal.SIGSTOP)
        before = self.slots[number - 1]
        eventually(lambda: "metadata.bin" in str(before.lines("waiting")) or self.is_running_out(),
                   f"stage {number - 1} waits for stage {number}", PATIENCE)
        self.workers[number].send_signal(signal.SIGCONT)

    def kill_one(self, number: int) -> None:
        """Kills a stage, whatever it is doing, and starts another."""
        self.workers[number].kill()
        self.workers[number].wait()
        self.workers[number] = start("compute", self.slots[number], next(self.seeds))

    def is_running_out(self) -> bool:
        return self.producer.poll() is not None

    def cause_accidents(self, chance: random.Random) -> None:
        for accident in range(1, ACCIDENTS):
            due = self.rounds * accident // ACCIDENTS
            eventually(lambda: self.arrived >= due or self.is_running_out(), f"{due} arrive", PATIENCE)
            self.most_used = max(self.most_used, sum(usage(self.mount)[key] for key in ("used", "warm")))
            if accident % 2:
                self.stop_one(chance.randrange(1, STAGES))
            else:
                self.kill_one(chance.randrange(STAGES))

    def end(self) -> None:
        for process in (*self.workers, self.producer):
            process.kill()
            process.wait()


@pytest.mark.time_limit(60 + ROUNDS / 50)
def test_every_value_once_and_in_order(mount: Daemon) -> None:
    rounds = ROUNDS if mount.data_path == PASSTHROUGH else ROUNDS_PAGE_CACHE
    pipeline = Pipeline(mount.path, rounds)
    failures: list[BaseException] = []

    def accidents() -> None:
        try:
            pipeline.cause_accidents(random.Random(rounds))
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=accidents)
    thread.start()
    try:
        for number, values in enumerate(pipeline.pull()):
            assert values == [value + STAGES for value in array_of(number)]
            assert not failures, failures
        assert pipeline.producer.wait(PATIENCE) == 0
        assert number == rounds - 1 and pipeline.slots[-1].state == "DONE"
        thread.join(PATIENCE)
        assert not failures and not thread.is_alive(), failures
        print(f"{rounds} rounds, at most {pipeline.most_used} bytes")
    finally:
        pipeline.end()
        thread.join(PATIENCE)
