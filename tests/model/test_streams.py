# SPDX-License-Identifier: Apache-2.0
"""Streams through a chain of stages, of which some are stopped and some killed on the way."""
from __future__ import annotations

import itertools
import os
import random
import signal
import struct
import subprocess
import sys
import threading
from array import array
from pathlib import Path
from typing import Iterator

import pytest

from daemon import PASSTHROUGH, Daemon
from slots import Slot, eventually, usage
from stage import FAILED, NONE, RESULT, Party, array_of

STAGES = 5
ROUNDS = int(os.environ.get("ROUNDS", "10000"))
ACCIDENTS = 20
PROGRAM = str(Path(__file__).with_name("stage.py"))
PATIENCE = 60
BYTES_MAX = 1 << 20  # of the arena in use and warm: some pages for each stage, whatever the number of rounds


def start(role: str, slot: Slot, number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", PROGRAM, role, str(slot.path), str(number)])


class Pipeline:
    """Five chained slots, a process for each, and one that feeds them."""

    def __init__(self, mount: Path, rounds: int, role: str) -> None:
        self.mount = mount
        self.rounds = rounds
        self.role = role
        self.seeds = itertools.count()
        self.slots = [Slot.make(mount, f"stage{number}") for number in range(STAGES)]
        for before, after in zip(self.slots, self.slots[1:]):
            os.symlink(f"../{before.path.name}/result.bin", after / "source")
        self.workers = [start(role, slot, next(self.seeds)) for slot in self.slots]
        self.producer = start("produce", self.slots[0], rounds)
        self.arrived = 0
        self.failures = 0  # that came out
        self.most_used = 0

    def pull(self) -> Iterator[int]:
        """The numbers that come out, in their order, until the last one."""
        party = Party(str(self.slots[-1].path))
        seen, number = 0, -1
        while number < self.rounds - 1:
            # At one moment: the slot goes on as soon as the last result counts as taken.
            page = party.whole_page()
            flag, now, size = struct.unpack_from("<i28xQ82xH", page)
            if flag == FAILED:
                self.failures += bool(party.take_error())  # else the slot would wait for a reader
            if flag != RESULT or now == seen:
                party.changes.poll()
                continue
            seen = now
            values = array("q", page[2112:2112 + size]) or party.take_file("result.bin")
            number = values[0] - STAGES
            if size and number % 2:
                assert values == party.take_file("result.bin")
            elif size:
                party.publish(struct.pack("<i", NONE))  # nobody else knows that it was taken
            assert values == array("q", [value + STAGES for value in array_of(number)])
            self.arrived = number + 1
            yield number

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
        self.workers[number] = start(self.role, self.slots[number], next(self.seeds))

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


def numbers_through(pipeline: Pipeline) -> list[int]:
    """What comes out of a pipeline, while accidents happen to its stages."""
    failures: list[BaseException] = []

    def accidents() -> None:
        try:
            pipeline.cause_accidents(random.Random(pipeline.rounds))
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=accidents)
    thread.start()
    try:
        numbers = list(pipeline.pull())
        assert pipeline.producer.wait(PATIENCE) == 0
        thread.join(PATIENCE)
        assert not failures and not thread.is_alive(), failures
        assert pipeline.slots[-1].state == "DONE"
        print(f"{pipeline.rounds} rounds, at most {pipeline.most_used} bytes")
        return numbers
    finally:
        pipeline.end()
        thread.join(PATIENCE)


@pytest.mark.time_limit(60 + ROUNDS / 50)
def test_every_value_once_and_in_order(mount: Daemon) -> None:
    """A killed stage is replaced, and its successor finds the input that it was working on."""
    rounds = ROUNDS if mount.data_path == PASSTHROUGH else ROUNDS // 10
    pipeline = Pipeline(mount.path, rounds, "compute")
    assert numbers_through(pipeline) == list(range(rounds))
    assert pipeline.most_used <= BYTES_MAX


@pytest.mark.time_limit(60 + ROUNDS / 50)
def test_death_of_a_bound_stage_costs_its_round_at_most(mount: Daemon) -> None:
    """Each input has an outcome that comes out: a number, or a failure if nobody tried again in time."""
    rounds = ROUNDS // 10
    pipeline = Pipeline(mount.path, rounds, "bound")
    numbers = numbers_through(pipeline)
    assert numbers == sorted(set(numbers)) and rounds - len(numbers) <= min(pipeline.failures, ACCIDENTS // 2)
