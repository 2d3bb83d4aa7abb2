# SPDX-License-Identifier: Apache-2.0
"""metadata.bin: 128 bytes, merged and judged as one step, and a live view for those who map it."""
from __future__ import annotations

import errno
import mmap
import os
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slots import (ANSWER, CODES, DATA, DTYPES, FAILED, FLOAT32, FLOAT64, INPUT, INT32, LAYOUT, NONE, OFFSETS,
                   RESULT, STATES, UINT8, Record, Slot, eventually, refused, write_once)

BIG = 2**63 - 1


def test_layout() -> None:
    """The record of this suite is that of fs/protocol/record.h."""
    header = (Path(__file__).resolve().parents[2] / "fs" / "protocol" / "record.h").read_text()
    assert LAYOUT.size == 128
    for field, offset in OFFSETS.items():
        assert f"offsetof(struct record, {field}) == {offset}," in header
    for word in ("(FLOAT32, 1,", "(FLOAT64, 2,", "(INT32, 3,", "(INT64, 4,", "(UINT8, 5,",
                 "RECORD_FLAG_NONE = -1,", "RECORD_FLAG_INPUT = 0,", "RECORD_FLAG_RESULT = 1,", "RECORD_FLAG_FAILED = 2,"):
        assert word in header


def test_fresh_record(slot: Slot) -> None:
    assert slot.record == Record(NONE, 2, -1, FLOAT64, 0, -1, 1, 0, 0, (0,) * 4, (0,) * 4, 0, 0, 0, 0, 0)


def test_reads_of_any_part(slot: Slot) -> None:
    slot.bring("DONE")
    whole = slot.raw
    assert len(whole) == 128
    fd = os.open(slot / "metadata.bin", os.O_RDONLY)
    for offset, size in ((0, 4), (8, 8), (100, 28), (100, 1000), (127, 1), (128, 1), (1000, 1)):
        assert os.pread(fd, size, offset) == whole[offset:offset + size]
    os.close(fd)


def test_publishing_by_the_first_twenty_bytes(slot: Slot) -> None:
    slot.put("data.bin", np.arange(7, dtype="i4"))
    write_once(slot / "metadata.bin", struct.pack("<iiqi", INPUT, 1, 7, INT32))
    record = slot.record
    assert (slot.state, record.input_length, record.dtype) == ("READY", 7, INT32)


def test_field_by_field(slot: Slot) -> None:
    """Any bytes may be written; those that do not touch the flag only update fields."""
    slot.put("data.bin", np.arange(7, dtype="i4"))
    write_once(slot / "metadata.bin", struct.pack("<i", INT32), OFFSETS["dtype"])
    write_once(slot / "metadata.bin", struct.pack("<q", 7), OFFSETS["input_length"])
    assert (slot.state, slot.record.input_length) == ("FILLING", 7)
    slot.flag(INPUT)
    write_once(slot / "metadata.bin", struct.pack("<i", UINT8), OFFSETS["result_dtype"])
    slot.put("result.bin", b"abc")
    slot.flag(RESULT)
    assert (slot.record.result_dtype, slot.record.result_length) == (UINT8, 3)


def test_bytes_that_split_a_field(slot: Slot) -> None:
    """A write that begins and ends inside fields merges with the record."""
    slot.fill()
    before = slot.raw
    wanted = Record.unpack(before)._replace(input_length=5, dtype=FLOAT64).pack()
    write_once(slot / "metadata.bin", wanted[6:19], 6)
    assert slot.record._replace(change=0) == Record.unpack(wanted)._replace(change=0)
    with refused(errno.EINVAL):
        write_once(slot / "metadata.bin", b"\0\0", 2)
    assert slot.state == "FILLING", "half of -1 zeroed is 65535, which is no flag"


def test_truncating_changes_nothing(slot: Slot) -> None:
    """open(..., "wb") of the record, as file libraries do it."""
    slot.bring("READY")
    before = slot.raw
    os.close(os.open(slot / "metadata.bin", os.O_WRONLY | os.O_TRUNC))
    os.truncate(slot / "metadata.bin", 0)
    assert slot.raw == before and os.stat(slot / "metadata.bin").st_size == 128
    with open(slot / "metadata.bin", "wb") as record:
        record.write(struct.pack("<i", FAILED))
    assert slot.state == "FAILED"


@pytest.mark.parametrize("size", (64, 129, 4096))
def test_other_sizes_are_refused(slot: Slot, size: int) -> None:
    before = slot.raw
    with refused(errno.EINVAL):
        os.truncate(slot / "metadata.bin", size)
    assert slot.raw == before


def test_lengths_of_minus_one(slot: Slot) -> None:
    """All of the file."""
    slot.put("data.bin", np.arange(12, dtype="f4"))
    slot.write(flag=INPUT, dtype=FLOAT32, input_length=-1)
    assert slot.record.input_length == 12
    slot.put("result.bin", ANSWER)
    slot.write(flag=RESULT, result_dtype=FLOAT64, result_length=-1)
    assert slot.record.result_length == 5


@pytest.mark.parametrize("code", DTYPES)
def test_result_dtype_zero_is_the_inputs(slot: Slot, code: int) -> None:
    array = np.arange(4).astype(DTYPES[code])
    slot.publish(array)
    assert slot.record.result_dtype == 0
    slot.put("result.bin", array)
    slot.flag(RESULT)
    assert (slot.record.result_dtype, slot.record.result_length) == (code, 4)


def test_fields_of_the_last_round_are_gone(slot: Slot) -> None:
    """A new round starts without lengths and shapes; publishing resets the result's; dtype stays."""
    slot.put("data.bin", np.arange(6, dtype="f4"))
    slot.write(flag=INPUT, dtype=FLOAT32, input_ndim=2, input_shape=(2, 3, 0, 0), order=1)
    slot.put("result.bin", ANSWER)
    slot.write(flag=RESULT, result_dtype=FLOAT64, result_ndim=1, result_shape=(5, 0, 0, 0), order=3)
    slot.fill(np.arange(9, dtype="f4"))
    record = slot.record
    assert (record.flag, record.input_length, record.input_ndim, record.input_shape, record.dtype, record.order & 1) \
        == (NONE, -1, 0, (0,) * 4, FLOAT32, 0)
    slot.flag(INPUT)
    record = slot.record
    assert (record.input_length, record.result_dtype, record.result_length, record.result_ndim, record.result_shape,
            record.order) == (9, 0, -1, 0, (0,) * 4, 0)


# The file holds five float64. Each of these does not fit it, or is no record at all.
BAD_INPUTS: dict[str, dict[str, Any]] = {
    "version 0": {"version": 0}, "version 1": {"version": 1}, "version 3": {"version": 3}, "negative version": {"version": -1},
    "unknown flag": {"flag": 3}, "flag -2": {"flag": -2}, "largest flag": {"flag": 2**31 - 1},
    "order bits": {"order": 16}, "all order bits": {"order": 2**32 - 1},
    "logical float64": {"order": 4}, "logical result of uint8": {"order": 8, "result_dtype": 5},
    "dtype 0": {"dtype": 0}, "dtype 6": {"dtype": 6}, "negative dtype": {"dtype": -2},
    "smaller dtype": {"dtype": FLOAT32},
    "one too few": {"input_length": 4}, "one too many": {"input_length": 6}, "none": {"input_length": 0},
    "length -2": {"input_length": -2}, "most negative length": {"input_length": -2**63},
    "largest length": {"input_length": BIG}, "overflowing length": {"input_length": 2**61 + 5},
    "ndim 5": {"input_ndim": 5}, "ndim -1": {"input_ndim": -1}, "largest ndim": {"input_ndim": 2**31 - 1},
    "shape too small": {"input_ndim": 2, "input_shape": (2, 2, 0, 0)},
    "shape of zeros": {"input_ndim": 2, "input_shape": (0, 0, 0, 0)},
    "negative shape": {"input_ndim": 2, "input_shape": (-1, -5, 0, 0)},
    "overflowing shape": {"input_ndim": 3, "input_shape": (2**32, 2**32, 5, 0)},
    "shape that wraps to five": {"input_ndim": 2, "input_shape": (5 * 2**60 + 1, 5, 0, 0)},
    "largest shape": {"input_ndim": 4, "input_shape": (BIG, BIG, BIG, BIG)},
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_input_that_does_not_fit(slot: Slot, name: str) -> None:
    """EINVAL, and nothing changed: the right record goes through afterwards."""
    slot.fill()
    before = slot.raw
    with refused(errno.EINVAL):
        slot.write(**{"flag": INPUT, "input_length": 5, **BAD_INPUTS[name]})
    assert slot.raw == before and slot.state == "FILLING"
    slot.write(flag=INPUT, input_length=5)


RENAMED = {"dtype": "result_dtype", "input_length": "result_length", "input_ndim": "result_ndim",
           "input_shape": "result_shape"}


@pytest.mark.parametrize("name", [name for name in BAD_INPUTS if name != "dtype 0"])
def test_result_that_does_not_fit(slot: Slot, name: str) -> None:
    slot.bring("COMPUTING")
    before = slot.raw
    bad = {RENAMED.get(field, field): value for field, value in BAD_INPUTS[name].items()}
    with refused(errno.EINVAL):
        slot.write(**{"flag": RESULT, "result_length": 5, **bad})
    assert slot.raw == before and slot.state == "COMPUTING"
    slot.write(flag=RESULT, result_length=5)


def test_file_that_is_no_multiple_of_the_element(slot: Slot) -> None:
    slot.put("data.bin", b"thirteen byte")
    with refused(errno.EINVAL):
        slot.flag(INPUT)
    slot.write(flag=INPUT, dtype=UINT8)
    assert slot.record.input_length == 13


@pytest.mark.parametrize("content, offset", [(bytes(129), 0), (bytes(4096), 0), (b"\0", 128), (bytes(8), 124),
                                             (b"\0", 1 << 40)])
def test_writes_beyond_the_record(slot: Slot, content: bytes, offset: int) -> None:
    before = slot.raw
    with refused(errno.EINVAL):
        write_once(slot / "metadata.bin", content, offset)
    assert slot.raw == before


def test_some_fields_are_the_daemons(slot: Slot) -> None:
    slot.fill()
    slot.write(flag=INPUT, round=77, change=1 << 31, input_inline=16, result_inline=1984, task_change=9)
    record = slot.record
    assert record.round == 1 and record.change < 100
    assert (record.input_inline, record.result_inline, record.task_change) == (0, 0, 0)


def test_change_counts_changes_only(slot: Slot) -> None:
    slot.fill()
    before = slot.record.change
    with refused(errno.EPROTO):
        slot.flag(RESULT)
    assert slot.record.change == before
    slot.flag(INPUT)
    published = slot.record.change
    assert published > before
    slot.answer()
    assert slot.record.change > published


@pytest.mark.parametrize("state", STATES)
def test_fields_may_change_only_in_turn(slot: Slot, state: str) -> None:
    slot.bring(state)
    for field, value, allowed in (("dtype", UINT8, ("IDLE", "FILLING")),
                                  ("result_dtype", UINT8, ("READY", "COMPUTING"))):
        before = slot.raw
        if state in allowed:
            write_once(slot / "metadata.bin", struct.pack("<i", value), OFFSETS[field])
            assert slot.record._asdict()[field] == value
        else:
            with refused(errno.EBUSY):
                write_once(slot / "metadata.bin", struct.pack("<i", value), OFFSETS[field])
            assert slot.raw == before
        assert slot.state == state


def test_fields_that_do_not_change_are_fine(slot: Slot) -> None:
    """A whole record written back as it was read is no step and no refusal."""
    slot.bring("DONE")
    raw = slot.raw
    write_once(slot / "metadata.bin", raw[4:], 4)
    assert slot.raw == raw


def test_publishing_a_result_ignores_the_input_fields(slot: Slot) -> None:
    slot.bring("COMPUTING")
    slot.write(flag=RESULT, dtype=UINT8, input_length=99, input_ndim=1, input_shape=(99, 0, 0, 0))
    record = slot.record
    assert (slot.state, record.dtype, record.input_length, record.input_ndim) == ("DONE", FLOAT64, 5, 0)


def test_publishing_input_ignores_the_result_fields(slot: Slot) -> None:
    slot.fill()
    slot.write(flag=INPUT, result_dtype=UINT8, result_length=3, result_ndim=1, result_shape=(3, 0, 0, 0))
    record = slot.record
    assert (record.result_dtype, record.result_length, record.result_ndim) == (0, -1, 0)


def test_random_writes(slot: Slot) -> None:
    """Any bytes at any place: each write is refused, or leaves a record that is one."""
    rng = random.Random(20260101)
    fd = os.open(slot / "metadata.bin", os.O_RDWR)
    interesting = [-2**63, -2**31, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 2**31, 2**32, 2**61, 2**63 - 1]
    accepted = 0
    for count in range(4000):
        if count % 200 == 0:
            os.unlink(slot / "metadata.bin")
            slot.bring(STATES[count // 200 % 6])
        raw = bytearray(os.pread(fd, 128, 0))
        before = bytes(raw)
        for _ in range(rng.randint(1, 3)):
            field = rng.choice(list(OFFSETS))
            value = rng.choice(interesting) if rng.random() < 0.9 else rng.getrandbits(64)
            raw[OFFSETS[field]:OFFSETS[field] + 4] = struct.pack("<Q", value % 2**64)[:4]
        begin = rng.choice((0, 0, 0, rng.randrange(140)))
        end = min(len(raw), begin + rng.choice((4, 20, 128, rng.randrange(140))))
        try:
            os.pwrite(fd, raw[begin:end] or b"\0", begin)
        except OSError as error:
            assert error.errno in (errno.EINVAL, errno.EPROTO, errno.EBUSY), error
            assert os.pread(fd, 128, 0) == before
        else:
            accepted += 1
        record = Record.unpack(os.pread(fd, 200, 0))
        assert record.version == 2 and record.change % 2 == 0 and record.order < 16
        assert record.flag in (NONE, INPUT, RESULT, FAILED) and 0 <= record.result_dtype <= 5
        if record.flag != NONE:
            assert record.input_length * DTYPES[record.dtype].itemsize == os.stat(slot / "data.bin").st_size
            shape = record.input_shape[:record.input_ndim]
            assert not shape or np.prod(shape) == record.input_length
    os.close(fd)
    assert accepted > 400


def test_random_bytes(slot: Slot) -> None:
    rng = random.Random(7)
    before = slot.raw
    for _ in range(500):
        with refused(errno.EINVAL, errno.EPROTO, errno.EBUSY):
            write_once(slot / "metadata.bin", rng.randbytes(128))
    assert slot.raw == before


def test_a_mapping_is_a_live_view(slot: Slot) -> None:
    """A reader that maps the record sees each change without asking."""
    fd = os.open(slot / "metadata.bin", os.O_RDONLY)
    view = mmap.mmap(fd, 128, access=mmap.ACCESS_READ)
    os.close(fd)
    for state, flag in (("FILLING", NONE), ("READY", INPUT), ("DONE", RESULT), ("FAILED", FAILED)):
        slot.flag(NONE)
        slot.bring(state)
        eventually(lambda: view[:] == slot.raw)
        assert struct.unpack_from("<i", view)[0] == flag
    view.close()


def store(slot: Slot, offset: int, value: int) -> None:
    """What a client does that maps the record and writes into it, and lets go."""
    fd = os.open(slot / "metadata.bin", os.O_RDWR)
    with mmap.mmap(fd, 128) as view:
        view[offset:offset + 4] = struct.pack("<i", value)
    os.close(fd)


def test_a_store_is_applied_as_one_step(slot: Slot) -> None:
    slot.fill()
    store(slot, 0, INPUT)
    eventually(lambda: slot.state == "READY")
    assert slot.record.input_length == 5


def test_a_refused_line_is_named(slot: Slot) -> None:
    slot.fill()
    with refused(errno.EINVAL):
        write_once(slot / "metadata.txt", b"dtype=float64\ninput_lenght=5\nflag=0\n")
    assert "line 2, 'input_lenght=5': metadata.txt has no such key" in slot.text["refused"]
    assert slot.state == "FILLING"


@pytest.mark.parametrize("state, offset, value", [
    ("IDLE", 0, RESULT), ("FILLING", 0, RESULT), ("READY", 0, 99), ("DONE", 0, FAILED), ("READY", 32, 7), ("IDLE", 116, 9)])
def test_a_store_that_is_no_step_is_undone(slot: Slot, state: str, offset: int, value: int) -> None:
    """Forged flags open nothing, and do not stay; undoing one is counted and told, as any refusal is."""
    slot.bring(state)
    before = slot.record
    fd = os.open(slot / "metadata.bin", os.O_RDONLY)
    view = mmap.mmap(fd, 128, access=mmap.ACCESS_READ)
    os.close(fd)
    refusals = int(slot.text["refusals"])
    store(slot, offset, value)
    eventually(lambda: int(slot.text["refusals"]) > refusals, "the store is judged")
    assert f" {os.getpid()} " in slot.text["refused"]
    eventually(lambda: Record.unpack(view[:])._replace(change=0) == before._replace(change=0))
    assert slot.state == state and slot.record.flag == before.flag
    view.close()


def test_a_forged_flag_opens_nothing(slot: Slot) -> None:
    """While the forger still holds its mapping, the gates ask the daemon's record, not the page."""
    fd = os.open(slot / "metadata.bin", os.O_RDWR)
    view = mmap.mmap(fd, 128)
    view[0:4] = struct.pack("<i", RESULT)
    view[32:40] = struct.pack("<q", 12)
    for file in ("data.bin", "result.bin"):
        with refused(errno.EAGAIN):
            os.open(slot / file, os.O_RDONLY | os.O_NONBLOCK)
    with refused(errno.EBUSY):
        os.open(slot / "result.bin", os.O_WRONLY)
    assert slot.state == "IDLE"
    view.close()
    os.close(fd)
    slot.publish()
    slot.answer()
    assert slot.data().tolist() == DATA.tolist() and slot.record.round == 1
    assert CODES[DATA.dtype] == slot.record.dtype
