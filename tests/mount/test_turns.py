# SPDX-License-Identifier: Apache-2.0
"""A step that concerns thousands of slots or requests is done in turns of the daemon's loop.

Others are served in between, and see nothing half done. What shows it are counts that they read meanwhile.
"""
from __future__ import annotations

import errno
import itertools
import os
import select
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator

import pytest
from agent import Agent
from daemon import Daemon
from slots import ANSWER, FAILED, LAYOUT, NONE, RESULT, Slot, eventually, metrics, refused

COUNT = 1500
ROUNDS = 30
WRITE = "os.pwrite(record, flag, 0)"
HOLD = """
import os, signal, sys
files = [os.open(sys.argv[1], os.O_RDONLY) for _ in range(int(sys.argv[2]))]
print("open", flush=True)
signal.pause()
"""


@pytest.fixture
def others(mount: Path, slot: Slot) -> Iterator[list[Slot]]:
    """The followers of slot/result.bin."""
    slots = [Slot.make(mount, f"{slot.path.name}-{index}") for index in range(COUNT)]
    for one in slots:
        os.symlink(f"../{slot.path.name}/result.bin", one / "source")
    yield slots
    for one in slots:
        one.remove()


def writer(agent: Agent, slot: Slot) -> Agent:
    agent.run("record = os.open(path, os.O_RDWR)\nsignal.signal(signal.SIGUSR1, lambda *_: None)",
              path=slot / "metadata.bin")
    return agent


def count_in(mount: Path, state: str) -> int:
    return int(metrics(mount)[f'pyrmapfs_slots{{state="{state}"}}'])


def counts_until_answered(agent: Agent, count: Callable[[], int]) -> list[int]:
    """What somebody else reads while the agent waits for its answer."""
    counts = [count()]
    while not agent.answered():
        counts.append(count())
    return counts


def expect_a_look_in_between(rounds: Iterator[list[int]]) -> None:
    """A look may come too late in one round, but not in each, unless the daemon serves nobody before it is over."""
    looks = []
    for counts in itertools.islice(rounds, ROUNDS):
        looks.append(counts)
        if any(0 < count < COUNT for count in counts):
            return
    pytest.fail(f"nobody was served in between: {looks}")


def test_a_delivery(mount: Path, slot: Slot, others: list[Slot], agent: Agent) -> None:
    writer(agent, slot)

    def rounds() -> Iterator[list[int]]:
        while True:
            slot.publish()
            slot.put("result.bin", ANSWER)
            done = slot.record._replace(flag=RESULT, result_length=ANSWER.size)
            before = count_in(mount, "READY")
            agent.start(WRITE, flag=done.pack())
            counts = [count - before for count in counts_until_answered(agent, lambda: count_in(mount, "READY"))]
            assert agent.result() == LAYOUT.size
            assert count_in(mount, "READY") - before == COUNT, "the writer is answered when all have it"
            assert others[-1].data().tolist() == ANSWER.tolist()
            for one in others:
                one.flag(NONE)
            yield counts

    expect_a_look_in_between(rounds())


def test_a_failure(mount: Path, slot: Slot, others: list[Slot], agent: Agent) -> None:
    writer(agent, slot)

    def rounds() -> Iterator[list[int]]:
        while True:
            slot.publish()
            before = count_in(mount, "FAILED")
            agent.start(WRITE, flag=struct.pack("<i", FAILED))
            counts = [count - before for count in counts_until_answered(agent, lambda: count_in(mount, "FAILED"))]
            assert agent.result() == 4
            assert count_in(mount, "FAILED") - before == COUNT + 1
            assert others[-1].text["failure"] == f"source {slot.path.name}"
            for one in others:
                one.flag(NONE)
            yield counts

    expect_a_look_in_between(rounds())


@pytest.mark.parametrize("end", ("answer", "cancel"))
def test_parked_opens(mount: Path, slot: Slot, agent: Agent, program: Callable[[str], str], end: str) -> None:
    outcome = "ok" if end == "answer" else "ECANCELED"
    writer(agent, slot)

    def parked() -> int:
        return int(metrics(mount)["pyrmapfs_waiters"])

    def rounds() -> Iterator[list[int]]:
        while True:
            slot.publish()
            crowd = subprocess.Popen([program("waiter"), str(COUNT), str(slot / "result.bin")], stdout=subprocess.PIPE)
            eventually(lambda: parked() == COUNT, "all are parked", seconds=40)
            flag = slot.record._replace(flag=RESULT if end == "answer" else NONE, result_length=0)
            agent.start(WRITE, flag=flag.pack())
            counts = counts_until_answered(agent, parked)
            assert agent.result() == LAYOUT.size
            assert parked() == 0
            assert crowd.communicate(timeout=40)[0].decode().strip() == f'{{"{outcome}": {COUNT}}}'
            yield counts

    expect_a_look_in_between(rounds())


def test_a_removal(mount: Path, slot: Slot, others: list[Slot]) -> None:
    """rmdir is answered first; the followers hear of it in turns, and nobody finds one that has not yet."""
    before = count_in(mount, "FAILED")
    os.rmdir(slot.path)
    with refused(errno.ENOENT):
        os.stat(slot.path)
    Slot.make(mount, slot.path.name)
    for one in (others[0], others[-1], *others):
        assert one.text["failure"] == f"source {slot.path.name}"
        assert not os.path.lexists(one / "source")
    assert count_in(mount, "FAILED") - before == COUNT


def test_polls(mount: Path, slot: Slot) -> None:
    """As many handles as that wait for one change: each is told."""
    handles = [os.open(slot / "metadata.bin", os.O_RDONLY) for _ in range(COUNT)]
    epoll = select.epoll()
    for handle in handles:
        os.pread(handle, LAYOUT.size, 0)
        epoll.register(handle, select.EPOLLIN | select.EPOLLET)
    assert epoll.poll(0) == []
    slot.bring("READY")
    told: set[int] = set()

    def all_are_told() -> bool:
        told.update(handle for handle, _ in epoll.poll(0, COUNT))
        return told == set(handles)

    eventually(all_are_told)
    epoll.close()
    for handle in handles:
        os.close(handle)


@pytest.fixture
def control(mount: Path, tmp_path: Path) -> Iterator[Path]:
    """What the kernel tells of this mount's connection."""
    subprocess.run(["mount", "-t", "fusectl", "none", tmp_path], check=True)
    yield tmp_path / str(os.minor(os.stat(mount).st_dev))
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount fusectl")
def test_a_killed_process(server: Daemon, slot: Slot, control: Path) -> None:
    """Its files are all closed when the next request in line is served, and in the end each RELEASE has its answer."""
    with subprocess.Popen([sys.executable, "-c", HOLD, slot / "metadata.bin", str(COUNT)],
                          stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        opened = holder.stdout.readline()
        os.kill(server.server, signal.SIGSTOP)
        holder.kill()
        holder.wait()
        waiting = int((control / "waiting").read_text())
        os.kill(server.server, signal.SIGCONT)
    assert (opened, waiting >= COUNT) == (b"open\n", True)
    assert slot.lines("open") + slot.lines("open_more") == []
    eventually(lambda: int((control / "waiting").read_text()) == 0)
