# SPDX-License-Identifier: Apache-2.0
"""Rounds: fresh pages each time, nobody reads torn or mixed-up data, nothing is left behind."""
from __future__ import annotations

import errno
import mmap
import multiprocessing
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agent import Agent
from daemon import Daemon
from pages import Pages
from slots import ANSWER, DATA, FAILED, INPUT, NONE, RESULT, Slot, eventually, refused, usage


def test_old_mappings_keep_their_round(slot: Slot, agent: Agent) -> None:
    """A reader of round 1 sees round 1 for ever; also after the slot is gone."""
    contents: list[str] = []
    agent.run("views = []\ndef load():\n    return [view.load().hex() for view in views]\n")
    for count in range(6):
        slot.publish(DATA + count)
        slot.answer(ANSWER + count)
        for file, array in (("data.bin", DATA), ("result.bin", ANSWER)):
            agent.run("views.append(Pages(path))", path=slot / file)
            contents.append((array + count).tobytes().hex())
        assert agent.run("load()") == contents
    slot.remove()
    assert agent.run("load()") == contents


def test_old_handles_keep_their_round(slot: Slot) -> None:
    slot.bring("DONE")
    reading = os.open(slot / "result.bin", os.O_RDONLY)
    slot.publish(DATA + 1)
    slot.answer(ANSWER + 1)
    assert os.pread(reading, 1000, 0) == ANSWER.tobytes()
    os.close(reading)


def test_who_filled_a_dropped_round_writes_into_nothing(slot: Slot) -> None:
    """A handle or mapping that outlives flag -1 has the old pages; the next input knows nothing of it."""
    late = Pages(slot / "data.bin", 40)
    slot.flag(NONE)
    slot.fill()
    late.store(b"!" * 40)
    assert os.stat(slot / "data.bin").st_size == 40
    slot.flag(INPUT)
    late.store(b"????????")
    assert slot.data().tolist() == DATA.tolist()
    late.close()
    assert slot.data().tolist() == DATA.tolist()


def test_a_failed_worker_writes_into_nothing(slot: Slot, agent: Agent) -> None:
    """Retried, the round has a fresh result.bin: the first worker's mapping is not it, and hinders nobody."""
    slot.bring("READY")
    agent.run("late = Pages(path, 40)", path=slot / "result.bin")
    slot.flag(FAILED)
    slot.flag(INPUT)
    agent.run("late.store(b'!' * 40)")
    slot.answer()
    agent.run("late.store(b'?' * 40)\nlate.close()")
    assert slot.result().tolist() == ANSWER.tolist()


def test_paths_name_the_new_round_for_everybody(slot: Slot, agent: Agent) -> None:
    """Cached entries of the last round are never opened, by path or from a directory handle."""
    directory = os.open(slot.path, os.O_RDONLY | os.O_DIRECTORY)
    agent.run("""
def look(path):
    with open(path, 'rb', buffering=0) as file:
        return os.stat(path).st_ino, file.read(1000).hex()
""")
    for count in range(20):
        slot.publish(DATA + count)
        slot.answer(ANSWER + count)
        for file, content in (("data.bin", DATA + count), ("result.bin", ANSWER + count)):
            inode, text = agent.run("look(path)", path=slot / file)
            assert (inode, text) == (os.stat(slot / file).st_ino, content.tobytes().hex())
            fd = os.open(file, os.O_RDONLY, dir_fd=directory)
            assert os.read(fd, 1000) == content.tobytes()
            os.close(fd)
    os.close(directory)


def produce(slot: Slot, rounds: int, rng: random.Random) -> None:
    """Each round has its number in every element, and another length."""
    for count in range(1, rounds + 1):
        size = rng.choice((1, 7, 512, 513, 4096, 70_000))
        slot.publish(np.full(size, count, "i8"))
        with open(slot / "result.bin", "rb") as result:
            answer = np.fromfile(result, "i8")
        assert answer.size == size and (answer == -count).all(), f"round {count}"


def consume(slot: Slot, rounds: int) -> None:
    metadata = os.open(slot / "metadata.bin", os.O_RDWR)
    last = 0
    while last < rounds:
        record = slot.record
        if record.flag != INPUT or record.round == last:
            with open(slot / "data.bin", "rb"):
                continue
        fd = os.open(slot / "data.bin", os.O_RDONLY)
        view = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        os.close(fd)
        values = np.frombuffer(view, "i8")
        assert values.size == record.input_length and (values == record.round).all()
        fd = os.open(slot / "result.bin", os.O_RDWR)
        os.ftruncate(fd, values.nbytes)
        with mmap.mmap(fd, values.nbytes) as answer:
            answer[:] = (-values).tobytes()
        os.close(fd)
        os.pwrite(metadata, RESULT.to_bytes(4, "little"), 0)
        assert (values == record.round).all()
        del values
        view.close()
        last = record.round
    os.close(metadata)


def watch(slot: Slot, finished: Any, seen: Any) -> None:
    """A bystander opens every file that there is: each one that it gets is whole, and of one round."""
    rounds = set()
    while not finished.is_set():
        for file in ("result.bin", "data.bin"):
            try:
                fd = os.open(slot / file, os.O_RDONLY | os.O_NONBLOCK)
            except OSError as error:
                assert error.errno in (errno.EAGAIN, errno.ESTALE), error
                continue
            values = np.frombuffer(os.read(fd, 1 << 20), "i8")
            assert values.size > 0 and (values == values[0]).all()
            assert (values[0] < 0) == (file == "result.bin")
            assert values.nbytes == os.fstat(fd).st_size
            rounds.add(abs(int(values[0])))
            os.close(fd)
    seen.value = len(rounds)


@pytest.mark.time_limit(120)
def test_nothing_is_torn_or_mixed_up(slot: Slot) -> None:
    """Producer, consumer and two bystanders, each a process, at full speed."""
    fork, rounds = multiprocessing.get_context("fork"), 400
    finished = fork.Event()
    seen: list[Any] = [fork.Value("i") for _ in range(2)]
    workers = [fork.Process(target=consume, args=(slot, rounds)),
               fork.Process(target=produce, args=(slot, rounds, random.Random(5)))]
    bystanders = [fork.Process(target=watch, args=(slot, finished, count)) for count in seen]
    try:
        for process in workers + bystanders:
            process.start()
        eventually(lambda: all(not process.is_alive() for process in workers)
                   or any(process.exitcode for process in workers + bystanders), "all rounds", seconds=100)
        finished.set()
        for process in bystanders:
            process.join(20)
        assert [process.exitcode for process in workers + bystanders] == [0, 0, 0, 0]
    finally:
        for process in workers + bystanders:
            process.kill()
            process.join()
    assert sum(count.value for count in seen) > 20 and slot.record.round == rounds


def descriptors(daemon: Daemon) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in daemon.pids())


def memory(daemon: Daemon, *keys: str) -> int:
    """Bytes of these lines of /proc/PID/status, over all processes of the daemon."""
    lines = [line for pid in daemon.pids() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in keys) * 1024


class Costs:
    """What a daemon holds, before and after."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.descriptors, self.memory = descriptors(daemon), memory(daemon, "RssAnon")
        self.used = usage(daemon.path)["used"]

    def back(self, slack: int) -> None:
        """Memory work goes on in the background: the memory that is due comes back, and soon."""
        eventually(lambda: usage(self.daemon.path)["used"] <= self.used, "the arena's bytes are back")
        eventually(lambda: descriptors(self.daemon) <= self.descriptors, "descriptors are back")
        eventually(lambda: memory(self.daemon, "RssAnon") - self.memory < slack, "memory is back")


def one_round(slot: Slot, metadata: int, count: int) -> None:
    content = count.to_bytes(8, "little") * 5
    slot.put("data.bin", content)
    os.pwrite(metadata, INPUT.to_bytes(4, "little"), 0)
    slot.put("result.bin", content)
    os.pwrite(metadata, RESULT.to_bytes(4, "little"), 0)
    fd = os.open(slot / "result.bin", os.O_RDONLY)
    assert os.read(fd, 1000) == content
    os.close(fd)


@pytest.mark.time_limit(180)
def test_ten_thousand_rounds_leave_nothing(slot: Slot, server: Daemon, sanitized: bool) -> None:
    metadata = os.open(slot / "metadata.bin", os.O_RDWR)
    slot.publish(np.arange(1_000_000.0))
    slot.answer(slot.data())
    assert slot.result().size == 1_000_000, "buffers have met the largest request"
    for count in range(1000):
        one_round(slot, metadata, count)
    before = Costs(server)
    for count in range(10_000):
        one_round(slot, metadata, count)
    before.back(slack=256 << 20 if sanitized else 256 << 10)
    os.close(metadata)


@pytest.mark.time_limit(180)
def test_ten_thousand_slots_leave_nothing(mount: Path, server: Daemon, sanitized: bool) -> None:
    def make_and_remove(count: int) -> None:
        slot = Slot.make(mount, f"passing-{count}")
        slot.put("data.bin", b"12345678")
        (slot / "task").write_text("nothing")
        os.rmdir(slot.path)

    for count in range(500):
        make_and_remove(count)
    before = Costs(server)
    for count in range(10_000):
        make_and_remove(count)
    before.back(slack=256 << 20 if sanitized else 256 << 10)


@pytest.mark.time_limit(120)
def test_a_slot_at_rest_is_small(mount: Path, server: Daemon, sanitized: bool) -> None:
    """At most 8 KiB beside its data, and no descriptor; all of it comes back."""
    if sanitized:
        pytest.skip("a sanitizer's memory is its own")
    start, count = Costs(server), 3000
    before = memory(server, "RssAnon", "RssShmem", "RssFile")
    slots = [Slot.make(mount, f"resting-{number}") for number in range(count)]
    for slot in slots:
        slot.record
    grown = memory(server, "RssAnon", "RssShmem", "RssFile") - before
    assert grown / count <= 8192
    eventually(lambda: descriptors(server) <= start.descriptors, "no slot holds one")
    assert (usage(mount)["used"] - start.used) / count <= 8192
    for slot in slots:
        slot.remove()
    start.back(slack=count * 8192)


def test_estale_stays_inside(slot: Slot, agent: Agent) -> None:
    """Rounds that change under a client's paths show it a new inode, and no error.

    The kernel looks a name up once more; a second new round within the same open(2) is rare, and seen.
    """
    agent.run("""
def look(path, count):
    seen, errors = set(), []
    for _ in range(count):
        try:
            seen.add(os.stat(path).st_ino)
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        except OSError as error:
            errors.append(errno.errorcode[error.errno])
    return len(seen), [error for error in errors if error != 'EAGAIN']
""")
    agent.start("look(path, 4000)", path=slot / "result.bin")
    while not agent.answered():
        slot.publish()
        slot.answer()
    inodes, errors = agent.result()
    assert inodes > 20 and set(errors) <= {"ESTALE"} and len(errors) < 20


def test_each_open_of_a_new_round_is_the_same_round(slot: Slot) -> None:
    """Opening data.bin for writing twice in FILLING is one round, with what was written in it."""
    slot.bring("DONE")
    first = slot.record.round
    slot.put("data.bin", b"12345678")
    fd = os.open(slot / "data.bin", os.O_WRONLY)
    os.pwrite(fd, b"abcdefgh", 8)
    os.close(fd)
    assert slot.record.round == first + 1 and os.stat(slot / "data.bin").st_size == 16
    slot.flag(INPUT)
    assert (slot / "data.bin").read_bytes() == b"12345678abcdefgh"
    with refused(errno.EBUSY):
        os.open(slot / "data.bin", os.O_WRONLY)
