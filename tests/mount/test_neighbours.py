# SPDX-License-Identifier: Apache-2.0
"""What one client does must not hurt another one: onlookers, odd mappings, full queues, a stop at a bad moment."""
from __future__ import annotations

import contextlib
import errno
import mmap
import os
import signal
import struct
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import pytest
from agent import Agent
from daemon import PASSTHROUGH, Daemon
from paths import check_data_path, mounted
from slots import (ANSWER, DATA, FAILED, INPUT, NONE, OFFSETS, RESULT, Slot, eventually, number, refused, status, usage,
                   write_once)

MB = 1 << 20


@pytest.fixture
def small(path: str) -> Iterator[Daemon]:
    """A daemon with little room."""
    with mounted(path, arena_capacity="48M", arena_warm="0") as daemon:
        check_data_path(daemon, path)
        yield daemon


def mapped_record(slot: Slot, access: int) -> mmap.mmap:
    fd = os.open(slot / "metadata.bin", os.O_RDWR if access == mmap.ACCESS_WRITE else os.O_RDONLY)
    view = mmap.mmap(fd, 128, access=access)
    os.close(fd)
    return view


VIEW = """
fd = os.open(path, os.O_RDONLY)
view = mmap.mmap(fd, 128, access=mmap.ACCESS_READ)
os.close(fd)
"""


def test_truncating_the_record_keeps_its_mappings(slot: Slot, agent: Agent) -> None:
    """open(metadata.bin, "wb") beside a client that has it mapped: no SIGBUS there, before and after the write."""
    agent.run(VIEW, path=slot / "metadata.bin")
    assert len(agent.run("bytes(view)")) == 128
    fd = os.open(slot / "metadata.bin", os.O_WRONLY | os.O_TRUNC)
    assert len(agent.run("bytes(view)")) == 128
    with refused(errno.EPROTO):
        os.write(fd, struct.pack("<i", RESULT))
    os.close(fd)
    assert len(agent.run("bytes(view)")) == 128


def test_a_store_without_a_difference_is_no_step(slot: Slot) -> None:
    """A page that is as old as the mapping is no request to go back to it."""
    view = mapped_record(slot, mmap.ACCESS_WRITE)
    view[OFFSETS["dtype"]:OFFSETS["dtype"] + 4] = view[OFFSETS["dtype"]:OFFSETS["dtype"] + 4]
    slot.fill()
    view[OFFSETS["dtype"]:OFFSETS["dtype"] + 4] = struct.pack("<i", slot.record.dtype)
    slot.flag(INPUT)
    assert slot.record.input_length == 5 and slot.data().tolist() == DATA.tolist()
    view.flush()
    view.close()
    slot.answer()
    assert slot.state == "DONE" and slot.result().tolist() == ANSWER.tolist()


def test_mappings_that_are_written_hold_nobody_up(slot: Slot, agent: Agent, mount: Path) -> None:
    """A client that stores into the record all the time, while others use this slot and the rest of the mount."""
    agent.run("stop = False\nfd = os.open(path, os.O_RDWR)\nview = mmap.mmap(fd, 128)\n",
              path=slot / "metadata.bin")
    agent.start("while not stop:\n    view[40:44] = view[40:44]\n    view.flush()")
    for _ in range(200):
        write_once(slot / "metadata.txt", b"dtype=int32\n")
        write_once(slot / "metadata.txt", b"dtype=float64\n")
        os.stat(mount)
    assert not agent.answered(), "it stored all the while"
    agent.interrupt()
    with refused(errno.EINTR):
        agent.result()
    agent.run("view.close()\nos.close(fd)")
    slot.bring("DONE")


@pytest.mark.skipif(not hasattr(mmap, "MADV_REMOVE"), reason="needs madvise")
def test_holes_in_the_records_page(slot: Slot, agent: Agent) -> None:
    """MADV_REMOVE on a mapping of the record takes the page from all its mappings: the record is not there."""
    agent.run("fd = os.open(path, os.O_RDWR)\nview = mmap.mmap(fd, 128)", path=slot / "metadata.bin")
    try:
        agent.run("view.madvise(mmap.MADV_REMOVE)")
    except OSError as error:
        assert error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EBUSY, errno.EACCES)
    slot.bring("READY")
    agent.run("view.close()\nos.close(fd)")
    slot.answer()
    assert slot.state == "DONE" and slot.record.flag == RESULT


def sparse(slot: Slot, size: int) -> int:
    """One byte at the end: the rest is a hole."""
    fd = os.open(slot / "data.bin", os.O_RDWR)
    os.pwrite(fd, b"\1", size - 1)
    return fd


@pytest.mark.parametrize("meanwhile", ("nothing", "reopen", "stat", "ls -l", "find -size"))
def test_a_hole_is_filled_before_anybody_can_map_it(small: Daemon, agents: Callable[[], Agent], meanwhile: str) -> None:
    """Whichever client asked for the size first: one that maps it finds pages below, or does not get that size."""
    slot, hungry = Slot.make(small.path, "sparse"), Slot.make(small.path, "hungry")
    size = 36 * MB
    agent = agents()
    agent.run("fd = os.open(path, os.O_RDWR)\nos.pwrite(fd, b'x', size - 1)", path=slot / "data.bin", size=size)
    if meanwhile == "reopen":
        agent.run("os.close(fd)\nfd = os.open(path, os.O_RDWR)")
    elif meanwhile == "stat":
        os.stat(slot / "data.bin")
    elif meanwhile != "nothing":
        argv = ["ls", "-l"] if meanwhile == "ls -l" else ["find"]
        subprocess.run([*argv, str(slot.path), *(["-size", "+1M"] if argv == ["find"] else [])], check=True,
                       stdout=subprocess.DEVNULL)
    agent.run("view = mmap.mmap(fd, size)")
    with refused(errno.ENOSPC):
        os.truncate(hungry / "data.bin", 30 * MB)
    agent.run("for offset in range(0, size, 4096):\n    view[offset] = 1\n")
    agent.run("view.close()\nos.close(fd)")
    slot.write(flag=INPUT, dtype=5)
    assert np.count_nonzero(np.fromfile(slot / "data.bin", "u1")[::4096]) == size // 4096
    agent.kill()


def test_an_onlooker_does_not_fail_a_publish(mount: Path, slot: Slot, agent: Agent) -> None:
    """Filling a hole for a client that asks for the size does not count as use by another client."""
    for count in range(8):
        os.close(sparse(slot, 64 * MB))
        agent.start("os.stat(path).st_size", path=slot / "data.bin")
        slot.write(flag=INPUT, dtype=5)
        assert agent.result() in (0, 64 * MB), count
        slot.flag(NONE)


def test_a_hole_is_paid_for_when_it_is_made(small: Daemon) -> None:
    """What could be mapped has its pages before a write past the end is accepted, and nobody can take them."""
    slot, hungry = Slot.make(small.path, "growing"), Slot.make(small.path, "hungry")
    fd = os.open(slot / "data.bin", os.O_RDWR)
    os.pwrite(fd, b"first", 20 * MB)
    with refused(errno.ENOSPC):
        os.truncate(hungry / "data.bin", 28 * MB)
    os.truncate(hungry / "data.bin", 20 * MB)
    os.pwrite(fd, b"second", 21 * MB)
    with refused(errno.ENOSPC):
        os.pwrite(fd, b"third", 40 * MB)
    assert os.fstat(fd).st_size == 21 * MB + 6
    os.close(fd)
    slot.write(flag=INPUT, dtype=5)
    content = (slot / "data.bin").read_bytes()
    assert content[20 * MB:20 * MB + 5] == b"first" and content[21 * MB:] == b"second"


def test_an_onlooker_does_not_cost_data(small: Daemon, agents: Callable[[], Agent], path: str) -> None:
    """A hole that does not fit any more is refused to a client that could map it; what was written stays."""
    if path != PASSTHROUGH:
        pytest.skip("writes go past the daemon on the passthrough path only")
    slot, hungry = Slot.make(small.path, "growing"), Slot.make(small.path, "hungry")
    fd = os.open(slot / "data.bin", os.O_WRONLY)
    os.pwrite(fd, b"first", 20 * MB)
    os.truncate(hungry / "data.bin", 28 * MB)
    agent = agents()
    assert agent.run("os.stat(path).st_size", path=slot / "data.bin") == 20 * MB + 5
    with refused(errno.ENOSPC):
        os.open(slot / "data.bin", os.O_RDWR)
    os.rmdir(hungry.path)
    os.pwrite(fd, b"second", 21 * MB)
    os.close(fd)
    os.close(os.open(slot / "data.bin", os.O_RDWR))
    slot.write(flag=INPUT, dtype=5)
    content = (slot / "data.bin").read_bytes()
    assert content[20 * MB:20 * MB + 5] == b"first" and content[21 * MB:] == b"second"
    agent.kill()


@pytest.mark.parametrize("moment", ("resizing", "parked", "storing"))
def test_stopping_at_a_bad_moment(path: str, agents: Callable[[], Agent], moment: str) -> None:
    """SIGTERM while the helper thread is at work, opens are parked, mappings are being written: status 0, at once."""
    with mounted(path, arena_capacity="2G") as daemon:
        slot = Slot.make(daemon.path, "some")
        agent = agents()
        if moment == "resizing":
            agent.start("os.ftruncate(os.open(path, os.O_RDWR), 1500 << 20)", path=slot / "data.bin")
        elif moment == "parked":
            agent.start("os.open(path, os.O_RDONLY)", path=slot / "data.bin")
            eventually(slot.waiters)
        else:
            agent.run("view = mmap.mmap(os.open(path, os.O_RDWR), 128)", path=slot / "metadata.bin")
            agent.start("while True:\n    view[40:44] = view[40:44]\n    view.flush()\n")
            for _ in range(50):
                write_once(slot / "metadata.txt", b"dtype=int32\n")
                write_once(slot / "metadata.txt", b"dtype=float64\n")
        assert daemon.stop() == 0
        assert "signal" not in daemon.log.read_text()
        agent.kill()


def test_refusals_do_not_fill_the_log(slot: Slot, server: Daemon) -> None:
    """A client that polls with O_NONBLOCK is counted, not written down."""
    before = server.log.stat().st_size
    for _ in range(500):
        with refused(errno.EAGAIN):
            os.open(slot / "data.bin", os.O_RDONLY | os.O_NONBLOCK)
        with refused(errno.EPROTO):
            slot.flag(RESULT)
    assert slot.text["refusals"] == "1000"
    assert server.log.stat().st_size - before < 10_000


def test_a_log_that_nobody_reads_stops_nothing(path: str) -> None:
    """stderr is a pipe whose buffer is full: the daemon goes on without its log."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    with mounted(path, log_level="debug") as daemon:
        assert daemon.stop() == 0
        daemon.start(stderr=writer)
        slot = Slot.make(daemon.path, "unheard")
        for _ in range(300):
            with refused(errno.EPROTO):
                slot.flag(RESULT)
        slot.bring("DONE")
    os.close(reader)
    os.close(writer)


def test_a_worker_that_dies_before_the_input_is_there(slot: Slot, agents: Callable[[], Agent]) -> None:
    """Only a round that is READY or COMPUTING has a worker to lose."""
    worker = agents()
    worker.run("fd = os.open(path, os.O_WRONLY); os.write(fd, b'self'); os.close(fd)", path=slot / "worker")
    worker.kill()
    eventually(lambda: (slot / "worker").read_text() == "")
    slot.publish()
    assert slot.state == "READY" and slot.error == ""
    slot.answer()
    assert slot.state == "DONE"


def test_a_publish_that_waits_locks_nobody_out(slot: Slot, other: Slot, agents: Callable[[], Agent]) -> None:
    """A follower has not taken its last input: the publisher waits, and others can still cancel the round."""
    os.symlink(f"../{slot.path.name}/result.bin", other / "source")
    slot.bring("DONE")
    assert other.state == "READY"
    slot.publish()
    slot.put("result.bin", ANSWER)
    publisher, critic = agents(), agents()
    publisher.start("os.pwrite(os.open(path, os.O_WRONLY), flag, 0)", path=slot / "metadata.bin",
                    flag=struct.pack("<i", RESULT))
    eventually(slot.waiters)
    with refused(errno.EAGAIN):
        critic.run("os.pwrite(os.open(path, os.O_WRONLY | os.O_NONBLOCK), flag, 0)", path=slot / "metadata.bin",
                   flag=struct.pack("<i", RESULT))
    assert slot.state == "COMPUTING"
    critic.run("os.pwrite(os.open(path, os.O_WRONLY), flag, 0)", path=slot / "metadata.bin",
               flag=struct.pack("<i", FAILED))
    with refused(errno.EIO, errno.ECANCELED, errno.EPROTO):
        publisher.result()
    assert slot.state == "FAILED"


def test_many_waiters_of_one_slot_are_no_burden(mount: Path, slot: Slot, other: Slot,
                                                program: Callable[[str], str]) -> None:
    """Two thousand parked opens: metadata.txt stays short, the slot and its neighbours answer meanwhile."""
    waiters = subprocess.Popen([program("waiter"), "2000", str(slot / "data.bin")], stdout=subprocess.DEVNULL)
    eventually(lambda: number(status(mount)["waiters"]) == 2000, "all are parked", seconds=40)
    assert len((slot / "metadata.txt").read_text()) < 32 * 1024
    for count in range(50):
        os.stat(slot / "metadata.txt")
        write_once(slot / "metadata.txt", f"dtype={'int32' if count % 2 else 'int64'}\n".encode())
        os.stat(other / "data.bin")
    assert number(status(mount)["waiters"]) == 2000
    waiters.send_signal(signal.SIGKILL)
    waiters.wait(20)
    eventually(lambda: slot.waiters() == [])


def test_quota_counts_what_is_there(path: str, agents: Callable[[], Agent]) -> None:
    """Not what was asked for last, not what a name still leads to, not what was declared."""
    with mounted(path, limits_bytes_per_user="10M") as daemon:
        slots = [Slot.make(daemon.path, f"slot-{count}") for count in range(4)]
        fd = os.open(slots[0] / "data.bin", os.O_RDWR)
        os.ftruncate(fd, 8 * MB)
        os.posix_fallocate(fd, 0, 4096)
        with refused(errno.EDQUOT):
            os.truncate(slots[1] / "data.bin", 8 * MB)
        os.unlink(slots[0] / "data.bin")
        with refused(errno.EDQUOT):
            os.truncate(slots[1] / "data.bin", 8 * MB)
        os.close(fd)
        eventually(lambda: usage(daemon.path)["used"] < 4 * MB)
        os.truncate(slots[1] / "data.bin", 8 * MB)
        try:
            slots[2].put("data.bin", bytes(9 * MB))
        except OSError as error:
            assert error.errno == errno.EDQUOT
        with refused(errno.EDQUOT):
            os.truncate(slots[3] / "data.bin", 4 * MB)
