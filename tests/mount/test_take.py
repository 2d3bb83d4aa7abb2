# SPDX-License-Identifier: Apache-2.0
"""Taking an array in one read of metadata.bin: the record and, behind it, the array."""
from __future__ import annotations

import errno
import os
import select
from pathlib import Path
from typing import Iterator

import numpy as np
import pytest
from slots import ANSWER, DATA, FAILED, FLOAT64, INPUT, NONE, RESULT, STATES, Record, Slot, refused, requests

OFFSETS = {INPUT: 1 << 28, RESULT: 1 << 29}
SIZES = (1, 248, 249, 1000, (1 << 17) - 528)


@pytest.fixture
def record(slot: Slot) -> Iterator[int]:
    fd = os.open(slot / "metadata.bin", os.O_RDONLY)
    yield fd
    os.close(fd)


def take(record: int, flag: int, size: int = 1 << 20) -> tuple[Record, np.ndarray]:
    image = os.pread(record, size, OFFSETS[flag])
    return Record.unpack(image[:128]), np.frombuffer(image[128:])


@pytest.mark.parametrize("size", SIZES)
def test_rounds(slot: Slot, record: int, size: int) -> None:
    values = np.arange(float(size))
    for count in range(1, 4):
        slot.send(INPUT, values + count)
        assert slot.raw == os.pread(record, 128, OFFSETS[INPUT])
        taken, array = take(record, INPUT)
        assert (taken.flag, taken.round, taken.input_length) == (INPUT, count, size)
        assert np.array_equal(array, values + count)
        slot.put("result.bin", values * count)
        slot.write(flag=RESULT, result_dtype=FLOAT64, result_length=size)
        taken, array = take(record, RESULT)
        assert (taken.flag, taken.round, taken.result_length) == (RESULT, count, size)
        assert np.array_equal(array, values * count)
        assert np.array_equal(take(record, INPUT)[1], values + count)


@pytest.mark.parametrize("state", STATES)
def test_whose_turn_it_is(slot: Slot, record: int, state: str) -> None:
    """As an open for reading with O_NONBLOCK, but that nobody takes what he still writes."""
    slot.bring(state)
    if state in ("IDLE", "FILLING"):
        with refused(errno.EAGAIN):
            take(record, INPUT)
    else:
        assert np.array_equal(take(record, INPUT)[1], DATA)
    if state == "DONE":
        assert np.array_equal(take(record, RESULT)[1], ANSWER)
    else:
        with refused(errno.EIO if state == "FAILED" else errno.EAGAIN):
            take(record, RESULT)
        assert slot.text["refused"].split(" ", 2)[2].startswith("open result.bin for reading")
    assert slot.state == state


def test_of_a_short_read_the_beginning(slot: Slot, record: int) -> None:
    slot.bring("DONE")
    for size in (1, 127, 128, 129, 128 + DATA.nbytes - 1):
        assert os.pread(record, size, OFFSETS[RESULT]) == (slot.raw + ANSWER.tobytes())[:size]


def test_an_empty_array(slot: Slot, record: int) -> None:
    slot.flag(INPUT)
    slot.write(flag=RESULT, result_length=0)
    for flag in OFFSETS:
        taken, array = take(record, flag)
        assert taken.flag == RESULT and array.size == 0


def test_the_file_ends_where_it_did(slot: Slot, record: int) -> None:
    """A program that reads metadata.bin as a file, from any offset, sees its 128 bytes."""
    slot.bring("DONE")
    assert os.fstat(record).st_size == 128 and len(slot.raw) == 128
    for offset in (128, 4096, 1 << 20, *(place + near for place in OFFSETS.values() for near in (-128, -1, 1, 128, 1 << 20))):
        assert os.pread(record, 4096, offset) == b""


def chain_end(slot: Slot, other: Slot) -> None:
    """Two inputs are published in the slot before; the other's first result is there, and its second input waits."""
    os.symlink(f"../{slot.path.name}/data.bin", other / "source")
    slot.send(INPUT, np.arange(3.0))
    other.send(RESULT, np.arange(1000.0))
    slot.send(RESULT, np.arange(1.0))
    fd = os.open(slot / "metadata.bin", os.O_WRONLY | os.O_NONBLOCK)
    with refused(errno.EAGAIN):
        os.write(fd, slot.image(INPUT, np.arange(4.0)))
    os.close(fd)


def test_a_result_is_taken(slot: Slot, other: Slot) -> None:
    """At the end of a chain the next input comes when all of the result was read so, and not before."""
    chain_end(slot, other)
    record = os.open(other / "metadata.bin", os.O_RDONLY)
    assert np.array_equal(take(record, INPUT)[1], np.arange(3.0))
    assert take(record, RESULT, 128 + 7992)[1].size == 999
    assert other.record.round == 1
    fd = os.open(slot / "metadata.bin", os.O_WRONLY | os.O_NONBLOCK)
    with refused(errno.EAGAIN):
        os.write(fd, slot.image(INPUT, np.arange(4.0)))
    assert np.array_equal(take(record, RESULT, 128 + 8000)[1], np.arange(1000.0))
    os.write(fd, slot.image(INPUT, np.arange(4.0)))
    assert (other.state, other.record.round) == ("READY", 2)
    assert np.array_equal(take(record, INPUT)[1], np.arange(4.0))
    os.close(fd)
    os.close(record)


def test_a_failure_is_taken(slot: Slot, other: Slot) -> None:
    os.symlink(f"../{slot.path.name}/data.bin", other / "source")
    slot.send(INPUT, np.arange(3.0))
    other.flag(FAILED)
    slot.send(RESULT, np.arange(1.0))
    record = os.open(other / "metadata.bin", os.O_RDONLY)
    with refused(errno.EIO):
        take(record, RESULT)
    slot.send(INPUT, np.arange(4.0))
    assert (other.state, other.record.round) == ("READY", 2)
    os.close(record)


def test_poll_counts_from_it(slot: Slot, record: int) -> None:
    slot.bring("READY")
    poll = select.poll()
    poll.register(record, select.POLLIN)
    take(record, INPUT)
    assert poll.poll(0) == []
    slot.flag(NONE)
    assert poll.poll(10000) == [(record, select.POLLIN)]
    with refused(errno.EAGAIN):
        take(record, INPUT)
    assert poll.poll(0) == []


def test_a_slot_that_is_gone(slot: Slot, record: int) -> None:
    slot.bring("DONE")
    slot.remove()
    with refused(errno.ESTALE):
        take(record, RESULT)


def test_an_exchange_costs_four_requests(mount: Path, slot: Slot) -> None:
    """An array that the page has no room for: each side writes once, and reads once."""
    fds = [os.open(slot / "metadata.bin", os.O_RDWR) for _ in range(2)]
    values = np.arange(1000.0)
    images = {flag: Record.unpack(slot.image(flag, values)[:128]).pack() + values.tobytes() for flag in OFFSETS}
    looking = requests(mount)
    looking = requests(mount) - looking
    before = requests(mount)
    for _ in range(5):
        for flag, writer, reader in ((INPUT, *fds), (RESULT, *reversed(fds))):
            os.pwrite(writer, images[flag], 0)
            assert np.array_equal(take(reader, flag, 128 + values.nbytes)[1], values)
    assert requests(mount) - before - looking == 20
    for fd in fds:
        os.close(fd)
