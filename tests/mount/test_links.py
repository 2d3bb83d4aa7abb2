# SPDX-License-Identifier: Apache-2.0
"""data.mem and result.mem: links to the pages of the arrays, which open data.bin and result.bin first."""
from __future__ import annotations

import contextlib
import errno
import mmap
import os
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import pytest
from agent import Agent
from daemon import PAGE_CACHE
from pages import Pages
from paths import PATHS, mounted
from slots import ANSWER, DATA, INPUT, LINKS, NONE, RESULT, UINT8, Slot, refused, status

SIZE = 3 * mmap.PAGESIZE + 100
SIDES = {INPUT: "data", RESULT: "result"}


@pytest.fixture(scope="module", params=[path for path in PATHS if path in ("links", "user")])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def publish(slot: Slot, flag: int, size: int) -> None:
    if flag == INPUT:
        slot.write(flag=INPUT, dtype=UINT8, input_length=size, input_ndim=0, input_shape=(0,) * 4, order=0)
    else:
        slot.write(flag=RESULT, result_dtype=UINT8, result_length=size, result_ndim=0, result_shape=(0,) * 4)


def ready(slot: Slot, flag: int) -> str:
    """The name, without its suffix, of the array that is to be written for this flag."""
    slot.flag(NONE)
    if flag == RESULT:
        slot.publish()
    return SIDES[flag]


# --- the gate ---

@pytest.mark.parametrize("flag", SIDES)
def test_the_pages_are_for_who_has_the_array_open(slot: Slot, agent: Agent, flag: int) -> None:
    name = ready(slot, flag)
    link, plain = slot / f"{name}.mem", f"{name}.bin"
    assert os.readlink(link) == plain
    with opened(slot / plain) as fd:
        target = os.readlink(link)
        assert target.startswith("/") and os.stat(link).st_dev != os.stat(slot.path).st_dev
        assert agent.run("os.readlink(path)", path=link) == plain
        os.ftruncate(fd, 8)
    assert os.readlink(link) == plain
    publish(slot, flag, 8)
    with opened(slot / plain, os.O_RDONLY):
        assert os.readlink(link) == target


def test_without_it_a_link_is_the_gate(slot: Slot, agent: Agent) -> None:
    """Following it waits, and is refused, as opening data.bin is."""
    agent.start("open(path, 'rb').read().hex()", path=slot / "data.mem")
    slot.publish()
    assert bytes.fromhex(agent.result()) == DATA.tobytes()
    with refused(errno.EBUSY):
        os.open(slot / "data.mem", os.O_RDWR)
    agent.run("held = os.open(path, os.O_WRONLY)", path=slot / "result.bin")
    with refused(errno.EBUSY):
        os.open(slot / "result.mem", os.O_RDWR)
    agent.run("os.close(held)")
    slot.answer()
    assert agent.run("open(path, 'rb').read().hex()", path=slot / "result.mem") == ANSWER.tobytes().hex()


def test_an_open_of_an_earlier_round_opens_nothing(slot: Slot) -> None:
    slot.publish()
    with opened(slot / "data.bin", os.O_RDONLY):
        slot.answer()
        slot.publish(DATA[:1])
        assert os.readlink(slot / "data.mem") == "data.bin"


@pytest.mark.parametrize("flag", SIDES)
def test_a_small_array_has_pages_when_it_is_opened(slot: Slot, flag: int) -> None:
    ready(slot, flag)
    slot.send(flag, DATA)
    with opened(slot / f"{SIDES[flag]}.bin", os.O_RDONLY):
        assert (slot / f"{SIDES[flag]}.mem").read_bytes() == DATA.tobytes()


# --- both ways of one round ---

def by_link_mapped(slot: Slot, name: str, content: bytes) -> None:
    with opened(slot / f"{name}.bin") as fd:
        os.ftruncate(fd, len(content))
        pages = Pages(slot / f"{name}.mem", len(content))
    pages.store(content)
    pages.close()


def by_link_written(slot: Slot, name: str, content: bytes) -> None:
    with opened(slot / f"{name}.bin") as fd:
        os.ftruncate(fd, len(content))
        with opened(slot / f"{name}.mem", os.O_WRONLY) as link:
            assert os.pwrite(link, content, 0) == len(content)


def by_link_grown(slot: Slot, name: str, content: bytes) -> None:
    """Its size, too, comes by the link."""
    with opened(slot / f"{name}.bin"), opened(slot / f"{name}.mem") as link:
        os.ftruncate(link, len(content))
        assert os.pwrite(link, content, 0) == len(content)


def by_file_mapped(slot: Slot, name: str, content: bytes) -> None:
    pages = Pages(slot / f"{name}.bin", len(content))
    pages.store(content)
    pages.close()


def by_file_written(slot: Slot, name: str, content: bytes) -> None:
    with opened(slot / f"{name}.bin", os.O_WRONLY) as fd:
        assert os.pwrite(fd, content, 0) == len(content)


WRITERS = (by_link_mapped, by_link_written, by_link_grown, by_file_mapped, by_file_written)
READERS = {"file read": lambda path: path.with_suffix(".bin").read_bytes(),
           "file mapped": lambda path: Pages(path.with_suffix(".bin")).load(),
           "link read": lambda path: path.with_suffix(".mem").read_bytes(),
           "link mapped": lambda path: Pages(path.with_suffix(".mem")).load()}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("second", WRITERS)
@pytest.mark.parametrize("first", WRITERS)
@pytest.mark.parametrize("flag", SIDES)
def test_both_ways_show_the_same_bytes(slot: Slot, flag: int, first: Callable[..., None], second: Callable[..., None],
                                       reader: str) -> None:
    """Written in one way, read through the page cache, written again in another, published, and read."""
    name = ready(slot, flag)
    one, two = bytes(range(256)) * 49, bytes(range(255, -1, -1)) * 49
    first(slot, name, one[:SIZE])
    if flag == INPUT:
        with opened(slot / f"{name}.bin", os.O_RDONLY):
            assert (slot / f"{name}.mem").read_bytes() == (slot / f"{name}.bin").read_bytes() == one[:SIZE]
    with opened(slot / f"{name}.bin") as fd:
        assert os.pread(fd, SIZE, 0) == one[:SIZE]
    second(slot, name, two[:SIZE])
    publish(slot, flag, SIZE)
    assert os.stat(slot / f"{name}.bin").st_size == SIZE
    with opened(slot / f"{name}.bin", os.O_RDONLY):
        assert READERS[reader](slot / f"{name}.bin") == two[:SIZE]
    assert np.load(slot / f"{name}.npy").tobytes() == two[:SIZE]


def test_a_mapping_of_the_file_that_outlasts_publishing(slot: Slot, agent: Agent) -> None:
    """Its pages are dropped when somebody opens the array."""
    by_link_mapped(slot, "data", b"a" * SIZE)
    old = Pages(slot / "data.bin")
    assert old.load() == b"a" * SIZE
    by_link_mapped(slot, "data", b"b" * SIZE)
    publish(slot, INPUT, SIZE)
    assert agent.run("open(path, 'rb').read().hex()", path=slot / "data.bin") == (b"b" * SIZE).hex()
    assert old.load() == b"b" * SIZE
    old.close()


def test_a_follower_of_another_mode_has_other_pages_in_the_kernel(slot: Slot, mount: Path) -> None:
    """Its inode is another one, and what the kernel keeps for that says nothing of the source's."""
    follower = Slot.make(mount, f"{slot.path.name}-follower")
    try:
        os.chmod(follower / "data.bin", 0o600)
        os.symlink(f"../{slot.path.name}/data.bin", follower / "source")
        with opened(slot / "data.bin"):
            pages = Pages(slot / "data.mem", SIZE)
        pages.store(b"a" * SIZE)
        assert (slot / "data.bin").read_bytes() == b"a" * SIZE
        pages.store(b"b" * SIZE)
        pages.close()
        publish(slot, INPUT, SIZE)
        for _ in range(2):
            assert (follower / "data.bin").read_bytes() == b"b" * SIZE
            assert (slot / "data.bin").read_bytes() == b"b" * SIZE
    finally:
        follower.remove()


def test_published_pages_stay_in_the_kernel(slot: Slot, mount: Path) -> None:
    """The first reader's pages serve the next."""
    slot.publish(np.zeros(100000))
    with opened(slot / "data.bin", os.O_RDONLY) as fd:
        os.pread(fd, 800000, 0)
        asking = -reads(mount) + reads(mount)
        before = reads(mount)
        with opened(slot / "data.bin", os.O_RDONLY) as again:
            assert os.pread(again, 800000, 0) == bytes(800000)
        assert reads(mount) - before == asking


def reads(mount: Path) -> int:
    text = (mount / ".pyrmap" / "metrics").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith('pyrmapfs_requests_total{op="read"}'))


# --- who may still write ---

@pytest.mark.parametrize("flag", SIDES)
@pytest.mark.parametrize("hold", ("Pages(path, 8)", "os.open(path, os.O_WRONLY)"))
def test_what_is_mapped_for_writing_is_not_published(slot: Slot, agent: Agent, flag: int, hold: str) -> None:
    name = ready(slot, flag)
    agent.run("fd = os.open(path, os.O_RDWR)\nos.ftruncate(fd, 8)", path=slot / f"{name}.bin")
    agent.run(f"held = {hold}\nos.close(fd)", path=slot / f"{name}.mem")
    with refused(errno.EBUSY):
        publish(slot, flag, 8)
    agent.run("os.close(held) if isinstance(held, int) else held.close()")
    publish(slot, flag, 8)


def test_nobody_opens_what_is_published_for_writing(slot: Slot, path: str) -> None:
    if path == "links":
        pytest.skip("no mode stops root; test_user.py tests this as an ordinary user")
    for flag in SIDES:
        name = ready(slot, flag)
        by_link_mapped(slot, name, bytes(8))
        publish(slot, flag, 8)
        with opened(slot / f"{name}.bin", os.O_RDONLY):
            target = os.readlink(slot / f"{name}.mem")
            for flags in (os.O_RDWR, os.O_WRONLY):
                with refused(errno.EACCES):
                    os.open(target, flags)
            with refused(errno.EACCES):
                os.truncate(target, 0)


def test_a_result_that_moved_can_be_written(slot: Slot) -> None:
    slot.publish()
    by_link_mapped(slot, "result", b"r" * 100)
    publish(slot, RESULT, 100)
    os.rename(slot / "result.bin", slot / "data.bin")
    with opened(slot / "data.bin"), opened(slot / "data.mem") as link:
        assert os.pwrite(link, b"new", 0) == 3
    publish(slot, INPUT, 100)
    assert (slot / "data.bin").read_bytes() == b"new" + b"r" * 97


# --- rounds ---

def test_a_mapping_keeps_its_round(slot: Slot) -> None:
    """What somebody has mapped is not recycled, and shows no other round's bytes, nor do others' new arrays show its."""
    kept: list[tuple[Pages, bytes]] = []
    for round in range(40):
        content = os.urandom(100) + bytes([round]) * (1 << 18)
        with opened(slot / "data.bin") as fd:
            os.ftruncate(fd, len(content))
            fresh = Pages(slot / "data.mem", len(content))
        assert not any(fresh.load())
        fresh.store(content)
        fresh.close()
        publish(slot, INPUT, len(content))
        if round % 2:
            with opened(slot / "data.bin", os.O_RDONLY):
                kept.append((Pages(slot / "data.mem"), content))
        slot.answer()
        for pages, old in kept:
            assert pages.load() == old
        for pages, _ in kept[:-3]:
            pages.close()
        del kept[:-3]
    for pages, _ in kept:
        pages.close()


def test_who_maps_a_result_by_its_link_holds_no_file(slot: Slot) -> None:
    slot.bring("DONE")
    with opened(slot / "result.bin", os.O_RDONLY):
        pages = Pages(slot / "result.mem")
    assert pages.load() == ANSWER.tobytes() and slot.lines("open") == []
    slot.remove()
    assert pages.load() == ANSWER.tobytes()
    pages.close()


# --- the configuration ---

def test_links_off(path: str) -> None:
    with mounted(path, path_links="off") as daemon:
        assert daemon.data_path == PAGE_CACHE and "path.links = off" in status(daemon.path)["data path"]
        slot = Slot.make(daemon.path, "plain")
        assert set(LINKS) & set(os.listdir(slot.path)) == {"metadata.mem"}
        for name in ("data.mem", "result.mem"):
            with refused(errno.ENOENT):
                os.lstat(slot / name)
        slot.bring("DONE")
        assert not os.path.islink(slot / "metadata.mem")


def test_where_bytes_are_counted_writers_go_through_the_daemon(path: str) -> None:
    with mounted(path, limits_bytes_per_user="8M") as daemon:
        slot = Slot.make(daemon.path, "counted")
        with opened(slot / "data.bin"):
            assert os.readlink(slot / "data.mem") == "data.bin"
        slot.publish()
        with opened(slot / "data.bin", os.O_RDONLY):
            assert os.readlink(slot / "data.mem") != "data.bin"
