# SPDX-License-Identifier: Apache-2.0
"""Publishing in one write: the record and, behind it, the array."""
from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from agent import Agent
from slots import CODES, FAILED, FLOAT64, INPUT, NONE, RESULT, STATES, STEP_OF_ROUND, Record, Slot, eventually, refused, requests, write_once

MOST = (1 << 20) - 4096  # bytes that one write carries, wherever the client's buffer lies
SIZES = (1, 10, 248, 249, 1000, (MOST - 128) // 8)


@pytest.mark.parametrize("size", SIZES)
def test_rounds(slot: Slot, size: int) -> None:
    values = np.arange(float(size))
    for count in range(1, 4):
        slot.send(INPUT, values + count)
        assert (slot.state, slot.record.round, slot.record.input_length) == ("READY", count, size)
        assert np.array_equal(slot.data(), values + count)
        assert os.stat(slot / "data.bin").st_size == values.nbytes
        slot.send(RESULT, values * count)
        assert (slot.state, slot.record.result_length) == ("DONE", size)
        assert np.array_equal(slot.result(), values * count)
        assert np.array_equal(slot.data(), values + count)
        assert np.array_equal(np.load(slot / "result.npy"), values * count)
        assert len((slot / "data.txt").read_text().splitlines()) == size


def test_of_any_type(slot: Slot) -> None:
    for dtype in CODES:
        values = np.arange(5).astype(dtype)
        slot.send(INPUT, values)
        slot.send(RESULT, values[::-1].copy())
        assert np.array_equal(slot.data(), values) and np.array_equal(slot.result(), values[::-1])
        assert slot.result().dtype == dtype


@pytest.mark.parametrize("state", STATES)
def test_whose_turn_it_is(slot: Slot, state: str) -> None:
    """It is legal where opening the file for writing is."""
    values = np.arange(3.0)
    for flag, states, after in ((INPUT, ("IDLE", "FILLING", "DONE", "FAILED"), "READY"),
                                (RESULT, ("READY", "COMPUTING"), "DONE")):
        os.unlink(slot / "metadata.bin")
        slot.bring(state)
        before = slot.raw
        if state in states:
            slot.send(flag, values)
            assert slot.state == after
            assert np.array_equal(slot.data() if flag == INPUT else slot.result(), values)
        else:
            with refused(errno.EBUSY):
                slot.send(flag, values)
            assert slot.raw == before and slot.state == state


def test_what_does_not_fit(slot: Slot) -> None:
    slot.bring("DONE")
    before, data = slot.raw, slot.data()
    for record, content in (
            (slot.record._replace(flag=INPUT, dtype=FLOAT64, input_length=3), bytes(16)),
            (slot.record._replace(flag=INPUT, dtype=FLOAT64, input_length=2), bytes(17)),
            (slot.record._replace(flag=INPUT, dtype=FLOAT64, input_length=-1), bytes(17)),
            (slot.record._replace(flag=INPUT, dtype=FLOAT64, input_length=2**61), bytes(8)),
            (slot.record._replace(flag=INPUT, input_length=2, input_ndim=1, input_shape=(3, 0, 0, 0)), bytes(16)),
            (slot.record._replace(flag=-1), bytes(16)), (slot.record._replace(flag=2), bytes(16)),
            (slot.record._replace(flag=INPUT, version=1, input_length=2), bytes(16)),
            (slot.record._replace(flag=INPUT, input_length=1 << 18), bytes(8 << 18))):
        with refused(errno.EINVAL):
            write_once(slot / "metadata.bin", record.pack() + content)
        assert slot.raw == before and np.array_equal(slot.data(), data)
    with refused(errno.EINVAL):
        write_once(slot / "metadata.bin", slot.image(INPUT, np.arange(2.0))[1:], 1)


@pytest.mark.parametrize("flag, file", ((INPUT, "data.bin"), (RESULT, "result.bin")))
def test_a_file_that_is_being_written(slot: Slot, flag: int, file: str) -> None:
    if flag == RESULT:
        slot.bring("READY")
    with open(slot / file, "wb") as writer:
        writer.write(bytes(8))
        writer.flush()
        with refused(errno.EBUSY):
            slot.send(flag, np.arange(4.0))
    slot.send(flag, np.arange(4.0))
    assert np.array_equal(slot.data() if flag == INPUT else slot.result(), np.arange(4.0))


def test_an_old_mapping_keeps_its_round(slot: Slot) -> None:
    slot.send(INPUT, np.arange(4.0))
    old = np.memmap(slot / "data.bin", "f8", "r")
    slot.send(RESULT, np.arange(1.0))
    slot.send(INPUT, np.arange(4.0) + 10)
    assert np.array_equal(old, np.arange(4.0)) and np.array_equal(slot.data(), np.arange(4.0) + 10)


def test_a_reader_that_waits_has_it(slot: Slot, agents: Callable[..., Agent]) -> None:
    for flag, file in ((INPUT, "data.bin"), (RESULT, "result.bin")):
        reader = agents()
        reader.start("open(path, 'rb').read().decode('latin-1')", path=slot / file)
        eventually(lambda: slot.waiters())
        slot.send(flag, np.arange(3.0))
        assert reader.result().encode("latin-1") == np.arange(3.0).tobytes()


def test_who_has_looked_before_sees_the_size(slot: Slot) -> None:
    for flag, file in ((INPUT, "data.bin"), (RESULT, "result.bin")):
        assert os.stat(slot / file).st_size == 0
        slot.send(flag, np.arange(3.0))
        assert os.stat(slot / file).st_size == 24


READ_EACH = """
sizes = []
for _ in range(rounds):
    os.read(turns, 1)
    fd = os.open(path, os.O_RDONLY)
    sizes.append(len(os.read(fd, 1000)))
    os.close(fd)
    os.write(done, b"x")
"""


def test_a_reader_that_looks_while_it_comes_sees_the_size(slot: Slot, agent: Agent, tmp_path: Path) -> None:
    """Its lookup meets the empty array, and its open the one that another client has put there meanwhile."""
    rounds = 3000
    values = np.arange(10.0)
    turns, done = tmp_path / "turns", tmp_path / "done"
    os.mkfifo(turns)
    os.mkfifo(done)
    agent.run("turns, done = os.open(t, os.O_RDWR), os.open(d, os.O_RDWR)", t=turns, d=done)
    turn, answer = os.open(turns, os.O_WRONLY), os.open(done, os.O_RDONLY)
    images = {flag: slot.image(flag, values) for flag in (INPUT, RESULT)}
    record = os.open(slot / "metadata.bin", os.O_WRONLY)
    agent.start(READ_EACH, rounds=rounds, path=slot / "result.bin")
    for count in range(rounds):
        os.pwrite(record, images[INPUT], 0)
        os.write(turn, b"x")
        for _ in range(count * 37 % 3000):  # the two meet sooner or later
            pass
        os.pwrite(record, images[RESULT], 0)
        os.read(answer, 1)
    agent.result()
    assert set(agent.run("sizes")) == {values.nbytes}
    for fd in (turn, answer, record):
        os.close(fd)


def test_a_follower_has_it_in_the_same_step(slot: Slot, other: Slot) -> None:
    os.symlink(f"../{slot.path.name}/result.bin", other / "source")
    slot.send(INPUT, np.arange(3.0))
    slot.send(RESULT, np.arange(5.0))
    assert other.state == "READY" and np.array_equal(other.data(), np.arange(5.0))
    assert os.stat(other / "data.bin").st_ino == os.stat(slot / "result.bin").st_ino
    slot.send(INPUT, np.arange(4.0))
    fd = os.open(slot / "metadata.bin", os.O_WRONLY | os.O_NONBLOCK)
    with refused(errno.EAGAIN):
        os.write(fd, slot.image(RESULT, np.arange(6.0)))
    os.close(fd)


def test_a_stream_waits_with_its_bytes(slot: Slot, other: Slot) -> None:
    """A publish that waits for a follower keeps what it carries, and is one step when its turn comes."""
    os.symlink(f"../{slot.path.name}/result.bin", other / "source")
    slot.send(INPUT, np.arange(3.0))
    slot.send(RESULT, np.arange(5.0))
    slot.send(INPUT, np.arange(4.0))
    carried = slot.image(RESULT, np.arange(6.0))
    publisher = threading.Thread(target=write_once, args=(slot / "metadata.bin", carried))
    publisher.start()
    eventually(lambda: slot.waiters())
    assert slot.state == "READY" and "metadata.bin" in str(slot.waiters())
    other.send(RESULT, np.arange(1.0))
    assert np.array_equal(other.result(), np.arange(1.0))  # taken: the next may come
    publisher.join(20)
    assert not publisher.is_alive() and slot.state == "DONE"
    assert other.state == "READY" and np.array_equal(other.data(), np.arange(6.0))


def test_an_exchange_costs_two_requests(mount: Path, slot: Slot) -> None:
    """Each side writes once and looks at the page that it has mapped."""
    fds = [os.open(slot / "metadata.bin", os.O_RDWR) for _ in range(2)]
    values = np.arange(10.0)
    images = [Record.unpack(slot.image(flag, values)[:128]).pack() + values.tobytes() for flag in (INPUT, RESULT)]
    looking = requests(mount)
    looking = requests(mount) - looking
    before = requests(mount)
    for _ in range(5):
        for fd, content in zip(fds, images):
            os.pwrite(fd, content, 0)
    assert requests(mount) - before - looking == 10
    for fd in fds:
        os.close(fd)


def test_a_step_of_a_round(slot: Slot) -> None:
    """At STEP_OF_ROUND a write is one at 0, for the round that its record names; it is refused in any other, and changes nothing."""
    values = np.arange(3.0)
    slot.send(INPUT, values)
    answer = slot.image(RESULT, values + 1)
    slot.flag(NONE)
    slot.send(INPUT, values * 2)
    before = slot.raw
    for image in (answer, answer[:128], slot.image(FAILED, values)[:128]):
        with refused(errno.ECANCELED):
            write_once(slot / "metadata.bin", image[:32] + (1).to_bytes(8, "little") + image[40:], STEP_OF_ROUND)
        assert slot.raw == before
        assert "take a step of a round ECANCELED" in slot.text["refused"]
    for size in (4, 20, 39):
        with refused(errno.EINVAL):
            write_once(slot / "metadata.bin", answer[:size], STEP_OF_ROUND)
    with refused(errno.EINVAL):
        write_once(slot / "metadata.bin", slot.image(RESULT, values), STEP_OF_ROUND + 1)
    write_once(slot / "metadata.bin", slot.image(RESULT, values + 2), STEP_OF_ROUND)
    assert slot.state == "DONE" and np.array_equal(slot.result(), values + 2)
    assert os.stat(slot / "metadata.bin").st_size == 128 and len(slot.raw) == 128
