# SPDX-License-Identifier: Apache-2.0
"""Chains: links, deliveries in one step, shared pages, failures, and chains of any size and shape."""
from __future__ import annotations

import errno
import mmap
import os
import random
import struct
import subprocess
import threading
from typing import Callable, Iterator

import numpy as np
import pytest

from agent import Agent
from daemon import PASSTHROUGH, Daemon
from slots import ANSWER, DATA, FAILED, INPUT, NONE, RESULT, Slot, eventually, refused, usage, write_once

PAGE = mmap.PAGESIZE
BIG = np.arange(2.0 * 1024 * 1024 / 8)  # 2 MiB: a segment that is worth sharing
ROW = 10_000
FAN = 1_000


@pytest.fixture
def make(mount: Daemon) -> Callable[..., list[Slot]]:
    """Fresh slots of these names."""
    return lambda *names: [Slot.make(mount.path, name) for name in names]


@pytest.fixture
def people() -> Iterator[Callable[[str | None, str], Agent]]:
    started: list[Agent] = []

    def start(user: str | None, groups: str) -> Agent:
        started.append(Agent(user, groups))
        return started[-1]

    yield start
    for agent in started:
        agent.kill()


def chain(slot: Slot, source: str, file: str = "result.bin") -> None:
    os.symlink(f"../{source}/{file}", slot / "source")


def inode(slot: Slot, file: str) -> int:
    return os.stat(slot / file).st_ino


# --- links


def test_link_is_seen(make: Callable[..., list[Slot]]) -> None:
    a, b = make("a", "b")
    chain(b, "a")
    assert os.readlink(b / "source") == "../a/result.bin"
    listing = subprocess.run(["ls", "-l", str(b.path)], capture_output=True, text=True, check=True).stdout
    assert "source -> ../a/result.bin" in listing
    assert b.text["source"] == "../a/result.bin"
    a.bring("DONE")
    assert (b / "source").read_bytes() == ANSWER.tobytes()
    os.unlink(b / "source")
    assert "source" not in os.listdir(b.path) and b.state == "READY"
    with refused(errno.ENOENT):
        os.unlink(b / "source")


def test_what_is_no_source(make: Callable[..., list[Slot]], mount: Daemon) -> None:
    a, b, c = make("a", "b", "c")
    for text in ("../a/task", "../a", "result.bin", "../a/result.bin/", "../../a/result.bin", "/etc/passwd",
                 "../.pyrmap/status"):
        with refused(errno.EINVAL, errno.ENOENT):
            os.symlink(text, b / "source")
    with refused(errno.ENOENT):
        chain(b, "nobody")
    with refused(errno.EPERM):
        os.symlink("../a/result.bin", b / "origin")
    for file in ("data.bin", "result.bin"):
        with refused(errno.ELOOP):
            chain(a, "a", file)
    chain(b, "a")
    with refused(errno.EEXIST):
        chain(b, "c")
    chain(c, "b", "data.bin")
    with refused(errno.ELOOP):
        chain(a, "c")
    os.symlink(f"{mount.path}/c/result.bin", make("d")[0] / "source")
    assert os.readlink(mount.path / "d" / "source") == "../c/result.bin"


def test_no_link_while_an_input_is_on_its_way(make: Callable[..., list[Slot]]) -> None:
    make("a")
    for state in ("FILLING", "READY", "COMPUTING"):
        slot, = make(state)
        slot.bring(state)
        with refused(errno.EBUSY):
            chain(slot, "a")
        assert "source" not in os.listdir(slot.path)


def test_chained_input_is_not_written(make: Callable[..., list[Slot]]) -> None:
    a, b = make("a", "b")
    chain(b, "a")
    for state in ("IDLE", "DONE"):
        a.bring(state)
        with refused(errno.EBUSY):
            b.put("data.bin", DATA)
    with refused(errno.EPROTO):
        b.flag(INPUT)
    os.unlink(b / "source")
    b.flag(NONE)
    b.publish()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
def test_source_must_be_readable(mount: Daemon, people: Callable[[str | None, str], Agent]) -> None:
    ann, bob, eve = people("30001", "30100"), people("30002", "30100"), people("30003", "")
    root = str(mount.path)
    ann.run("(os.umask(0o027), os.mkdir(f'{root}/a'), os.chown(f'{root}/a', -1, 30100)) and None", root=root)
    link = "os.symlink('../a/result.bin', f'{root}/{name}/source')"
    for agent, name in ((bob, "b"), (eve, "e")):
        agent.run("os.mkdir(f'{root}/{name}')", root=root, name=name)
    bob.run(link, root=root, name="b")
    with refused(errno.EACCES):
        eve.run(link, root=root, name="e")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
def test_source_becomes_unreadable(mount: Daemon, people: Callable[[str | None, str], Agent]) -> None:
    """A link gives no lasting right: each delivery checks the mode."""
    ann, bob = people("30001", ""), people("30002", "")
    root = str(mount.path)
    ann.run("(os.umask(0o022), os.mkdir(f'{root}/a')) and None", root=root)
    bob.run("(os.mkdir(f'{root}/b'), os.symlink('../a/result.bin', f'{root}/b/source')) and None", root=root)
    a, b = Slot(mount.path / "a"), Slot(mount.path / "b")
    ann.run("os.chmod(f'{root}/a', 0o700)", root=root)
    a.bring("DONE")
    assert b.state == "FAILED" and b.text["failure"] == "source a"
    assert b.error == "source a may not be read any more by the owner of this slot: see its mode\n"
    assert os.stat(b / "data.bin").st_size == 0
    ann.run("os.chmod(f'{root}/a', 0o755)", root=root)
    a.publish()
    a.answer(ANSWER + 1)
    assert b.state == "READY" and np.array_equal(b.data(), ANSWER + 1)


def test_renamed_source(make: Callable[..., list[Slot]], mount: Daemon) -> None:
    a, b = make("a", "b")
    chain(b, "a")
    os.rename(a.path, mount.path / "new name")
    assert os.readlink(b / "source") == "../new name/result.bin"
    Slot(mount.path / "new name").bring("DONE")
    assert b.state == "READY"


def test_removed_source(make: Callable[..., list[Slot]]) -> None:
    a, b, c, d = make("a", "b", "c", "d")
    chain(b, "a")
    chain(c, "b")
    a.bring("DONE")
    chain(d, "a", "data.bin")
    a.flag(NONE)
    assert d.state == "READY"
    os.rmdir(b.path)
    assert c.state == "FAILED" and "source b was removed" in c.error and "source" not in os.listdir(c.path)
    subprocess.run(["rm", "-r", str(a.path)], check=True)
    assert d.state == "READY" and "source" not in os.listdir(d.path)
    assert np.array_equal(d.data(), DATA)


# --- one step


def test_one_step(make: Callable[..., list[Slot]]) -> None:
    """When the publisher has its answer, every follower has the input, and every waiter is awake."""
    a, *followers = make("a", *"bcdef")
    for follower in followers:
        chain(follower, "a")
    woken = [threading.Thread(target=(slot / "data.bin").read_bytes) for slot in followers]
    for thread in woken:
        thread.start()
    eventually(lambda: all(slot.waiters() for slot in followers))
    a.publish()
    shaped = np.asfortranarray(np.arange(6, dtype="i4").reshape(2, 3))
    a.put("result.bin", shaped)
    a.write(flag=1, result_dtype=3, result_length=6, result_ndim=2, result_shape=(2, 3, 0, 0), order=2 | 8)
    for slot in followers:
        record = slot.record
        assert (record.flag, record.input_length, record.dtype, record.input_ndim, record.input_shape, record.order,
                record.round) == (0, 6, 3, 2, (2, 3, 0, 0), 1 | 4, 1)
        assert inode(slot, "data.bin") == inode(a, "result.bin")
    for thread in woken:
        thread.join(10)
        assert not thread.is_alive()


def test_shared_input(make: Callable[..., list[Slot]]) -> None:
    a, b, c = make("a", "b", "c")
    chain(b, "a", "data.bin")
    a.publish()
    chain(c, "a", "data.bin")
    assert [slot.state for slot in (a, b, c)] == ["READY"] * 3
    assert inode(a, "data.bin") == inode(b, "data.bin") == inode(c, "data.bin")
    for number, slot in enumerate((a, b, c)):
        slot.answer(ANSWER + number)
    assert all(np.array_equal(slot.result(), ANSWER + number) for number, slot in enumerate((a, b, c)))


def physical(address: int) -> int:
    """The page frame behind an address of this process, for root."""
    with open("/proc/self/pagemap", "rb") as pagemap:
        pagemap.seek(address // PAGE * 8)
        entry, = struct.unpack("<Q", pagemap.read(8))
    assert entry >> 63, "the page is not present"
    return entry & (1 << 55) - 1


def test_same_pages(make: Callable[..., list[Slot]], mount: Daemon) -> None:
    a, *followers = make("a", "b", "c", "d")
    a.publish()
    a.put("result.bin", BIG)
    before = usage(mount.path)["used"]
    for slot, file in zip(followers, ("result.bin", "result.bin", "data.bin")):
        chain(slot, "a" if file == "result.bin" else "b", file)
    a.write(flag=1, result_dtype=2, result_length=BIG.size)
    assert [slot.state for slot in followers] == ["READY"] * 3
    assert usage(mount.path)["used"] <= before
    views = [np.memmap(slot / file, np.uint8, "r")
             for slot, file in ((a, "result.bin"), *((slot, "data.bin") for slot in followers))]
    sums = {int(view.sum()) for view in views}
    assert len(sums) == 1
    if os.geteuid() == 0:
        # On the page-cache path a shared input has another inode; a result and what follows it have one.
        same = views if mount.data_path == PASSTHROUGH else views[:3]
        frames = {tuple(physical(view.ctypes.data + at) for at in range(0, BIG.nbytes, PAGE)) for view in same}
        assert len(frames) == 1
    for slot in (a, *followers):
        os.rmdir(slot.path)
    assert all(int(view.sum()) in sums for view in views)


def test_intermediate_results_stay(make: Callable[..., list[Slot]]) -> None:
    a, b, c = make("a", "b", "c")
    chain(b, "a")
    chain(c, "b")
    a.bring("DONE")
    b.answer(ANSWER + 1)
    c.answer(ANSWER + 2)
    assert [slot.result()[0] - ANSWER[0] for slot in (a, b, c)] == [0, 1, 2]


# --- any size, any shape


def grow(mount: Daemon, sources: list[tuple[int, str]], early: bool, seed: int) -> list[Slot]:
    """Slots 0, 1... of which the n-th follows sources[n - 1], linked in random order."""
    slots = [Slot.make(mount.path, f"s{number}") for number in range(len(sources) + 1)]
    order = list(enumerate(sources, 1))
    random.Random(seed).shuffle(order)
    if not early:
        slots[0].publish()
    for number, (source, file) in order:
        chain(slots[number], f"s{source}", file)
    if early:
        slots[0].publish()
    return slots


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("early", [True, False], ids=["links-first", "data-first"])
def test_long_row(mount: Daemon, early: bool) -> None:
    """Ten thousand slots in a row, each of which shares the input of the one before."""
    slots = grow(mount, [(number, "data.bin") for number in range(ROW)], early, 1)
    for slot in (slots[0], slots[ROW // 2], slots[ROW]):
        assert slot.record.flag == INPUT and inode(slot, "data.bin") == inode(slots[0], "data.bin")
    assert all(os.pread(fd, 4, 0) == bytes(4) for fd in opened(slots, "metadata.bin"))


def opened(slots: list[Slot], file: str) -> Iterator[int]:
    for slot in slots:
        descriptor = os.open(slot / file, os.O_RDONLY)
        yield descriptor
        os.close(descriptor)


@pytest.mark.time_limit(180)
def test_failure_runs_down_a_long_row(mount: Daemon) -> None:
    slots = grow(mount, [(number, "result.bin") for number in range(ROW)], True, 2)
    (slots[0] / "error").write_text("the first cause\n")
    last = slots[ROW]
    assert last.record.flag == FAILED
    assert last.error.startswith(f"source s{ROW - 1} failed: source s{ROW - 2} failed: ")
    assert last.error.endswith("source s1 failed: source s0 failed: the first cause\n")
    slots[0].flag(INPUT)
    assert last.state == "IDLE" and last.error == ""


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("early", [True, False], ids=["links-first", "data-first"])
def test_wide_fan(mount: Daemon, early: bool) -> None:
    slots = grow(mount, [(0, "result.bin")] * FAN, early, 3)
    slots[0].answer()
    assert all(slot.record.flag == INPUT for slot in slots[1:])
    assert {inode(slot, "data.bin") for slot in slots[1:]} == {inode(slots[0], "result.bin")}
    for slot in slots[1:]:
        slot.answer()
    slots[0].publish()
    slots[0].put("result.bin", ANSWER + 1)
    for slot in slots[1:]:
        with refused(errno.EAGAIN):
            write_once(slots[0] / "metadata.bin", struct.pack("<i", RESULT), flags=os.O_WRONLY | os.O_NONBLOCK)
        assert np.array_equal(slot.result(), ANSWER)
    slots[0].flag(RESULT)
    assert all((slot.record.flag, slot.record.round) == (INPUT, 2) for slot in slots[1:])


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("early", [True, False], ids=["links-first", "data-first"])
@pytest.mark.parametrize("seed", range(3))
def test_trees(mount: Daemon, early: bool, seed: int) -> None:
    """A random tree of both kinds of links: work through it from the root, and each slot gets its own values."""
    chance = random.Random(seed)
    sources = [(chance.randrange(number + 1), chance.choice(("data.bin", "result.bin"))) for number in range(200)]
    slots = grow(mount, sources, early, seed)
    inputs = {0: DATA}
    for number, (source, file) in enumerate(sources, 1):
        inputs[number] = inputs[source] if file == "data.bin" else inputs[source] + source + 1
    for number, slot in enumerate(slots):
        assert slot.state == "READY"
        assert np.array_equal(slot.data(), inputs[number])
        slot.answer(inputs[number] + number + 1)
    assert all(slot.state == "DONE" for slot in slots)


# --- a publisher that waits


LOOKS = ["os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))", "os.chmod(path, 0o600)", "os.utime(path)",
         "mmap.mmap(os.open(path, os.O_RDWR), 128).close()", "open(path, 'rb').read() and None"]


def test_waiting_publisher_locks_nobody_out(make: Callable[..., list[Slot]],
                                            people: Callable[[str | None, str], Agent]) -> None:
    """The kernel locks metadata.bin's inode while a write of it waits: other clients must get another inode."""
    a, b = make("a", "b")
    publisher, other = people(None, ""), people(None, "")
    chain(b, "a")
    a.bring("DONE")
    a.publish()
    a.put("result.bin", ANSWER)
    publisher.start("os.write(os.open(path, os.O_WRONLY), struct.pack('<i', 1))", path=a / "metadata.bin")
    eventually(a.waiters)
    assert a.lines("waiting")[0].endswith(" follower b can take no more yet: its metadata.txt tells its state")
    for look in LOOKS:
        other.run(look, path=a / "metadata.bin")
    with refused(errno.EPROTO):
        other.run("os.write(os.open(path, os.O_WRONLY), struct.pack('<i', 0))", path=a / "metadata.bin")
    assert not publisher.answered()
    other.run("os.unlink(path)", path=a / "metadata.bin")
    with refused(errno.ECANCELED):
        publisher.result()
    assert (a.state, b.state) == ("IDLE", "READY")


# --- failure


def test_failure_names_the_chain(make: Callable[..., list[Slot]]) -> None:
    a, b, c = make("a", "b", "c")
    chain(b, "a")
    chain(c, "b")
    a.publish()
    (a / "error").write_text("ValueError: no\nmore about it\n")
    assert b.error == "source a failed: ValueError: no\nmore about it\n"
    assert c.error == "source b failed: source a failed: ValueError: no\nmore about it\n"
    with refused(errno.EIO):
        (c / "result.bin").read_bytes()


def test_failure_ends_waits(make: Callable[..., list[Slot]]) -> None:
    a, b, c = make("a", "b", "c")
    chain(b, "a")
    chain(c, "b")
    outcome: list[int | None] = []

    def wait() -> None:
        with pytest.raises(OSError) as caught:
            (c / "result.bin").read_bytes()
        outcome.append(caught.value.errno)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(c.waiters)
    a.publish()
    a.flag(FAILED)
    thread.join(10)
    assert outcome == [errno.EIO]


def test_retry_brings_followers_back(make: Callable[..., list[Slot]]) -> None:
    a, b, c, d = make("a", "b", "c", "d")
    chain(b, "a")
    chain(c, "b")
    chain(d, "b", "data.bin")
    a.publish()
    a.flag(FAILED)
    assert [slot.state for slot in (b, c, d)] == ["FAILED"] * 3
    with refused(errno.EBUSY):
        b.flag(INPUT)
    a.flag(INPUT)
    assert [slot.state for slot in (a, b, c, d)] == ["READY", "IDLE", "IDLE", "IDLE"]
    assert b.error == c.error == d.error == ""
    a.answer()
    b.answer(ANSWER + 1)
    assert c.state == d.state == "READY" and np.array_equal(c.data(), ANSWER + 1) and np.array_equal(d.data(), ANSWER)


def test_own_failure_does_not_spoil_a_shared_input(make: Callable[..., list[Slot]]) -> None:
    a, b = make("a", "b")
    chain(b, "a", "data.bin")
    a.publish()
    a.flag(FAILED)
    assert a.state == "FAILED" and b.state == "READY"
    b.flag(FAILED)
    b.flag(INPUT)
    assert b.state == "READY" and np.array_equal(b.data(), DATA)
