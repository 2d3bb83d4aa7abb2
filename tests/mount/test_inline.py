# SPDX-License-Identifier: Apache-2.0
"""Inline arrays: a small array that is published in one write stands in the page of the record."""
from __future__ import annotations

import errno
import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest
from agent import Agent
from pages import Pages
from slots import ANSWER, CODES, DATA, FAILED, INPUT, NONE, RESULT, Record, Slot, eventually, refused, requests, usage, write_once

MOST = 1984
HALVES = {INPUT: 128, RESULT: 128 + MOST}
FILES = {INPUT: "data", RESULT: "result"}


def inline(slot: Slot, flag: int) -> bytes:
    """What the page shows of an array; it must show nothing else."""
    page = slot.page()
    record = Record.unpack(page[:128])
    half = page[HALVES[flag]:HALVES[flag] + MOST]
    size = record.input_inline if flag == INPUT else record.result_inline
    assert page[:128] == slot.raw and half[size:] == bytes(MOST - size)
    return half[:size]


def check(slot: Slot, flag: int, array: np.ndarray) -> None:
    """Page, file and views say the same."""
    content = array.tobytes(order="A")
    bin, npy, txt = (slot / f"{FILES[flag]}.{suffix}" for suffix in ("bin", "npy", "txt"))
    assert inline(slot, flag) == content
    assert os.stat(bin).st_size == len(content)
    assert np.array_equal(np.load(npy), array)
    assert np.array_equal(np.loadtxt(txt, array.dtype, ndmin=1), array.ravel(order="K"))
    assert slot.text[f"{FILES[flag]}_size"] == str(len(content))
    assert bin.read_bytes() == content
    assert inline(slot, flag) == content  # to open it changes nothing


@pytest.fixture
def view(slot: Slot) -> Iterator[mmap.mmap]:
    fd = os.open(slot / "metadata.mem", os.O_RDONLY)
    with mmap.mmap(fd, 4096, access=mmap.ACCESS_READ) as mapped:
        os.close(fd)
        yield mapped


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_any_type_shape_and_order(slot: Slot, dtype: "np.dtype[Any]") -> None:
    for shape in ((1,), (10,), (6, 4), (2, 3, 2), (2, 1, 3, 2)):
        for order in "CF":
            array = np.arange(np.prod(shape)).astype(dtype).reshape(shape).copy(order)  # type: ignore[arg-type]
            slot.send(INPUT, array)
            check(slot, INPUT, array)
            assert inline(slot, RESULT) == b""
            slot.send(RESULT, array * array.dtype.type(2))
            check(slot, RESULT, array * array.dtype.type(2))
            check(slot, INPUT, array)


@pytest.mark.parametrize("flag", FILES)
def test_the_largest(slot: Slot, flag: int) -> None:
    for size in (MOST - 1, MOST, MOST + 1, 4096, 1):
        if flag == RESULT:
            slot.send(INPUT, DATA)
        array = np.arange(size).astype(np.uint8)
        slot.send(flag, array)
        assert len(inline(slot, flag)) == (size if size <= MOST else 0)
        assert (slot / f"{FILES[flag]}.bin").read_bytes() == array.tobytes()
        slot.flag(NONE)


def test_a_length_that_is_not_that_of_the_bytes(slot: Slot) -> None:
    slot.send(INPUT, DATA)
    before = slot.page()
    for length in (0, 2, 4, 2**61):
        image = Record.unpack(slot.image(RESULT, np.arange(3.0))[:128])._replace(result_length=length)
        with refused(errno.EINVAL):
            write_once(slot / "metadata.bin", image.pack() + bytes(24))
        assert slot.page() == before


def test_empty_arrays(slot: Slot) -> None:
    """They are published without a byte behind the record."""
    empty = np.arange(0.0)
    for _ in range(2):
        slot.send(INPUT, DATA)
        slot.send(RESULT, ANSWER)
        slot.fill(empty)
        slot.send(INPUT, empty)
        assert (slot.state, inline(slot, INPUT), inline(slot, RESULT)) == ("READY", b"", b"")
        slot.send(RESULT, empty)
        assert (slot.state, inline(slot, RESULT)) == ("DONE", b"")
        assert (slot / "data.bin").read_bytes() == (slot / "result.bin").read_bytes() == b""


def test_nothing_of_an_earlier_round_stays(slot: Slot) -> None:
    for step, left in ((lambda: slot.fill(), b""), (lambda: slot.flag(NONE), b""),
                       (lambda: os.unlink(slot / "data.bin"), b""),
                       (lambda: slot.send(INPUT, np.arange(1.0)), bytes(8))):
        slot.send(INPUT, np.arange(200.0) + 1)
        slot.send(RESULT, np.arange(200.0) + 2)
        step()
        assert inline(slot, INPUT) == left and inline(slot, RESULT) == b""
        slot.flag(NONE)


def test_it_takes_the_place_of_a_written_one(slot: Slot) -> None:
    """And the other way round: an array that is written to the file is not in the page."""
    slot.fill(np.arange(1000.0))
    slot.send(INPUT, DATA)
    check(slot, INPUT, DATA)
    slot.put("result.bin", np.arange(1000.0))
    slot.send(RESULT, ANSWER)
    check(slot, RESULT, ANSWER)
    slot.publish(DATA * 2)
    assert inline(slot, INPUT) == b"" and np.array_equal(slot.data(), DATA * 2)
    slot.answer(DATA * 3)
    assert inline(slot, RESULT) == b"" and np.array_equal(slot.result(), DATA * 3)


def test_no_segment_before_somebody_opens_it(mount: Path, slot: Slot) -> None:
    slot.page(), slot.raw
    before = usage(mount)["used"]
    for count in range(3):
        slot.send(INPUT, DATA + count)
        slot.send(RESULT, ANSWER + count)
    assert (slot / "data.txt").read_text().split()[0] == "3" and np.array_equal(np.load(slot / "result.npy"), ANSWER + 2)
    assert os.stat(slot / "data.bin").st_size == DATA.nbytes and slot.text["result_size"] == str(ANSWER.nbytes)
    assert usage(mount)["used"] == before
    pages = Pages(slot / "result.bin")
    assert usage(mount)["used"] > before and pages.load() == (ANSWER + 2).tobytes()
    pages.close()
    slot.flag(NONE)
    slot.send(INPUT, DATA)
    eventually(lambda: usage(mount)["used"] == before)


def test_every_way_to_read_the_file(slot: Slot, tmp_path: Path) -> None:
    slot.send(INPUT, DATA)
    slot.send(RESULT, ANSWER)
    path, content = slot / "result.bin", ANSWER.tobytes()
    assert os.stat(path).st_blocks > 0  # else it passes for one hole
    subprocess.run(["cp", "-a", "--sparse=auto", path, tmp_path / "copy"], check=True)
    assert (tmp_path / "copy").read_bytes() == content
    assert subprocess.run(["cat", path], stdout=subprocess.PIPE, check=True).stdout == content
    shutil.copyfile(path, tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == content
    assert np.array_equal(np.memmap(path, "f8", "r"), ANSWER)
    with open(path, "rb") as file:
        assert os.pread(file.fileno(), 16, 8) == content[8:24] and os.pread(file.fileno(), 9, len(content)) == b""
        assert os.fstat(file.fileno()).st_size == len(content)
    with refused(errno.EBUSY):
        open(path, "r+b")


def test_a_mapping_keeps_its_round(slot: Slot) -> None:
    slot.send(INPUT, DATA)
    old = Pages(slot / "data.bin")
    number = os.stat(slot / "data.bin").st_ino
    slot.send(RESULT, ANSWER)
    slot.send(INPUT, DATA * 2)
    assert old.load() == DATA.tobytes() and np.array_equal(slot.data(), DATA * 2)
    assert os.stat(slot / "data.bin").st_ino != number
    old.close()


def test_a_mapped_page_follows(slot: Slot, view: mmap.mmap) -> None:
    for count in range(5):
        slot.send(INPUT, DATA + count)
        slot.send(RESULT, ANSWER[:count + 1] + count)
        page = slot.page()
        assert page[128:128 + DATA.nbytes] == (DATA + count).tobytes()
        eventually(lambda: view[:] == page)


WORKER = """
page = mmap.mmap(os.open(path + "/metadata.mem", os.O_RDONLY), 4096, access=mmap.ACCESS_READ)
record = os.open(path + "/metadata.bin", os.O_WRONLY)

def work(rounds):
    for count in range(1, rounds + 1):
        while struct.unpack_from("<i", page)[0] != 0:
            os.sched_yield()
        size, = struct.unpack_from("<H", page, 120)
        values = struct.unpack_from(f"<{size // 8}d", page, 128)
        answer = bytearray(page[:128])
        struct.pack_into("<i", answer, 0, 1)
        struct.pack_into("<iq", answer, 20, 2, len(values))
        os.pwrite(record, bytes(answer) + struct.pack(f"<{len(values)}d", *(value * count for value in values)), 0)
"""


def test_an_exchange_costs_two_requests(mount: Path, slot: Slot, view: mmap.mmap, agent: Agent, path: str) -> None:
    """Two processes that keep what they opened and mapped: each writes once, and reads the page."""
    if path != "passthrough":
        pytest.skip("the kernel reads the page again after each change")
    rounds, inputs = 50, np.arange(10.0)
    fd = os.open(slot / "metadata.bin", os.O_WRONLY)
    image = slot.image(INPUT, inputs)
    agent.run(WORKER, path=slot.path)
    looking = requests(mount)
    before = requests(mount)
    looking = before - looking
    agent.start("work(rounds)", rounds=rounds)
    for count in range(1, rounds + 1):
        os.pwrite(fd, image, 0)
        while struct.unpack_from("<i", view)[0] != RESULT:
            os.sched_yield()
        record = Record.unpack(view[:128])
        assert record.round == count
        assert np.array_equal(np.frombuffer(view[2112:2112 + record.result_inline]), inputs * count)
    agent.result()
    assert requests(mount) - before - looking == 2 * rounds
    os.close(fd)


def test_a_round_that_failed_goes_on_with_the_same_input(slot: Slot) -> None:
    slot.send(INPUT, DATA)
    slot.flag(FAILED)
    check(slot, INPUT, DATA)
    slot.write(flag=INPUT, input_length=DATA.nbytes, dtype=CODES[np.dtype("u1")])  # the same bytes, described anew
    check(slot, INPUT, np.frombuffer(DATA.tobytes(), "u1"))
    with refused(errno.EBUSY):
        slot.send(INPUT, DATA)
    slot.flag(FAILED)
    slot.flag(INPUT)
    slot.send(RESULT, ANSWER)
    slot.send(INPUT, DATA * 2)
    slot.flag(FAILED)
    slot.send(INPUT, DATA * 3)
    check(slot, INPUT, DATA * 3)


@pytest.mark.parametrize("opened", ("nobody", "source", "follower"))
@pytest.mark.parametrize("flag", FILES)
def test_a_follower_has_it_in_its_page(slot: Slot, other: Slot, flag: int, opened: str) -> None:
    name = f"{FILES[flag]}.bin"
    os.symlink(f"../{slot.path.name}/{name}", other / "source")
    for count in range(3):
        slot.send(INPUT, DATA + count)
        slot.send(RESULT, ANSWER + count)
        array = (DATA if flag == INPUT else ANSWER) + count
        assert other.state == "READY"
        assert os.stat(other / "data.bin").st_ino == os.stat(slot / name).st_ino
        if opened != "nobody":
            pages = Pages(slot / name if opened == "source" else other / "data.bin")
            assert pages.load() == array.tobytes()
            pages.close()
        check(other, INPUT, array)
        check(slot, flag, array)
        assert os.stat(other / "data.bin").st_ino == os.stat(slot / name).st_ino
        other.send(RESULT, ANSWER)
        other.flag(NONE)
    os.unlink(other / "source")
    slot.flag(NONE)
    assert inline(slot, flag) == b""


def test_a_slot_that_follows_a_result_afterwards_has_it_at_once(slot: Slot, other: Slot) -> None:
    slot.send(INPUT, DATA)
    slot.send(RESULT, ANSWER)
    os.symlink(f"../{slot.path.name}/result.bin", other / "source")
    assert other.state == "READY" and os.stat(other / "data.bin").st_ino == os.stat(slot / "result.bin").st_ino
    check(other, INPUT, ANSWER)
    check(slot, RESULT, ANSWER)


def test_what_a_follower_has_outlives_its_source(mount: Path, other: Slot) -> None:
    source = Slot.make(mount, "source-that-goes")
    os.symlink("../source-that-goes/data.bin", other / "source")
    source.send(INPUT, DATA)
    os.unlink(other / "source")
    source.send(RESULT, ANSWER)
    source.send(INPUT, DATA * 2)
    check(other, INPUT, DATA)
    source.remove()
    check(other, INPUT, DATA)


@pytest.mark.parametrize("taken", ("flag", "open"))
def test_the_end_of_a_stream_says_that_it_has_read_the_page(slot: Slot, other: Slot, taken: str) -> None:
    os.symlink(f"../{slot.path.name}/result.bin", other / "source")
    for count in range(3):
        slot.send(INPUT, DATA)
        slot.send(RESULT, ANSWER + count)
        assert inline(other, INPUT) == (ANSWER + count).tobytes()
        other.send(RESULT, DATA + count)
        assert inline(other, RESULT) == (DATA + count).tobytes()  # which the filesystem does not see
        slot.send(INPUT, DATA)
        fd = os.open(slot / "metadata.bin", os.O_WRONLY | os.O_NONBLOCK)
        with refused(errno.EAGAIN):
            os.write(fd, slot.image(RESULT, ANSWER * 2))
        os.close(fd)
        other.flag(NONE) if taken == "flag" else (other / "result.bin").read_bytes()
        slot.send(RESULT, ANSWER * 2)
        assert inline(other, INPUT) == (ANSWER * 2).tobytes()
        other.send(RESULT, DATA)
        other.flag(NONE)


def test_a_result_moves_to_an_input(slot: Slot, other: Slot) -> None:
    for to in (other, slot):
        slot.send(INPUT, DATA)
        slot.send(RESULT, ANSWER.reshape(1, -1))
        number = os.stat(slot / "result.bin").st_ino
        os.rename(slot / "result.bin", to / "data.bin")
        assert (to.state, inline(to, INPUT), inline(slot, RESULT)) == ("FILLING", b"", b"")
        assert os.stat(to / "data.bin").st_ino == number and np.array_equal(to.data(), ANSWER)
        to.flag(INPUT)
        assert to.record.input_shape == (1, ANSWER.size, 0, 0) and np.array_equal(to.data(), ANSWER)


def test_what_was_moved_is_not_written_while_a_follower_has_it(slot: Slot, other: Slot) -> None:
    """The two have one number: what stands in a page cannot differ from the file of that number."""
    os.symlink(f"../{slot.path.name}/result.bin", other / "source")
    slot.send(INPUT, DATA)
    slot.send(RESULT, ANSWER)
    os.rename(slot / "result.bin", slot / "data.bin")
    assert os.stat(slot / "data.bin").st_ino == os.stat(other / "data.bin").st_ino
    with refused(errno.EBUSY):
        open(slot / "data.bin", "r+b")
    check(other, INPUT, ANSWER)
    other.flag(NONE)
    slot.put("data.bin", DATA)
    assert np.array_equal(slot.data(), DATA)


def test_an_open_that_waits_has_it(slot: Slot, agents: Callable[..., Agent]) -> None:
    for flag, array in ((INPUT, DATA), (RESULT, ANSWER)):
        path = slot / f"{FILES[flag]}.bin"
        with refused(errno.EAGAIN):
            os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        reader = agents()
        reader.start("open(path, 'rb').read().decode('latin-1')", path=path)
        eventually(lambda: slot.waiters())
        slot.send(flag, array)
        assert reader.result().encode("latin-1") == array.tobytes()
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        assert os.read(fd, 4096) == array.tobytes()
        os.close(fd)
