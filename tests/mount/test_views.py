# SPDX-License-Identifier: Apache-2.0
"""The text twins and the .npy views: what people and np.load see, without blocking anybody."""
from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from daemon import Daemon
from slots import (ANSWER, CODES, DATA, DTYPES, FLOAT32, FLOAT64, INPUT, INT32, INT64, RESULT, STATES, UINT8, VIEWS,
                   Slot, eventually, refused, write_once)

VALUES: dict[int, list[float]] = {
    FLOAT32: [0.1, -0.0, 1e30, 1.17549435e-38, np.inf, -np.inf, np.nan, 16777216.0],
    FLOAT64: [0.1, -0.0, 1e300, 5e-324, np.inf, -np.inf, np.nan, 1 / 3, 123456789.0],
    INT32: [0, -1, 2**31 - 1, -2**31],
    INT64: [0, -1, 2**63 - 1, -2**63],
    UINT8: [0, 1, 255],
}
NAMES = {FLOAT32: "float32", FLOAT64: "float64", INT32: "int32", INT64: "int64", UINT8: "uint8"}


def values(code: int) -> np.ndarray:
    return np.array(VALUES[code], DTYPES[code])


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("file", ("data", "result"))
def test_text_reads_back_to_the_same_bits(slot: Slot, code: int, file: str) -> None:
    """One value a line, the shortest digits that read back, no padding; st_size is the truth."""
    array = values(code)
    slot.publish(array if file == "data" else DATA)
    if file == "result":
        slot.answer(array)
    text = (slot / f"{file}.txt").read_text()
    assert os.stat(slot / f"{file}.txt").st_size == len(text)
    lines = text.splitlines()
    back = np.array([np.array(line).astype(array.dtype) for line in lines], array.dtype)
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")
    assert np.array_equal(np.signbit(back), np.signbit(array))
    if array.dtype.kind == "f":
        finite = [(line, value) for line, value in zip(lines, array) if np.isfinite(value)]
        assert all(len(line) <= len(np.format_float_scientific(value, trim="-")) + 2 for line, value in finite)
        assert [line for line in lines if line.strip("-") in ("inf", "nan")] == ["inf", "-inf", "nan"]


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("shape, fortran", [((), False), ((6,), False), ((2, 3), False), ((2, 3), True),
                                            ((3, 1, 2), True), ((1, 2, 1, 3), False)])
def test_np_load(slot: Slot, code: int, shape: tuple[int, ...], fortran: bool) -> None:
    """np.load of either view gives the array, with dtype, shape and order."""
    array = np.arange(6).astype(DTYPES[code])
    stored = array.reshape(shape, order="F" if fortran else "C") if shape else array
    padded = (*shape, 0, 0, 0, 0)[:4]
    slot.put("data.bin", array)
    slot.write(flag=INPUT, dtype=code, input_length=6, input_ndim=len(shape), input_shape=padded, order=int(fortran))
    slot.put("result.bin", array)
    slot.write(flag=RESULT, result_dtype=code, result_length=6, result_ndim=len(shape), result_shape=padded,
               order=3 * int(fortran))
    for name in ("data.npy", "result.npy"):
        loaded = np.load(slot / name)
        assert loaded.dtype == DTYPES[code] and np.array_equal(loaded, stored)
        assert loaded.flags.f_contiguous if fortran else loaded.flags.c_contiguous
        mapped_size = os.stat(slot / name).st_size
        assert mapped_size == len((slot / name).read_bytes())
        assert (slot / name).read_bytes()[:8] == b"\x93NUMPY\x01\x00" and (mapped_size - array.nbytes) % 64 == 0


@pytest.mark.parametrize("state", STATES)
def test_views_never_block_and_change_nothing(slot: Slot, state: str) -> None:
    """A published array is shown; any other is an empty file."""
    slot.bring(state)
    before = slot.raw
    for name in VIEWS:
        shown = state in ("READY", "COMPUTING", "DONE", "FAILED") if name.startswith("data") else state == "DONE"
        content = (slot / name).read_bytes()
        assert bool(content) == shown and os.stat(slot / name).st_size == len(content), name
    assert f"state={state}" == (slot / "metadata.txt").read_text().splitlines()[0]
    assert slot.raw == before and slot.state == state


def test_views_are_read_only(slot: Slot) -> None:
    slot.bring("DONE")
    for name in VIEWS:
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
            with refused(errno.EACCES, errno.EPERM):
                os.open(slot / name, flags)
    assert (slot / "data.txt").read_text() == "1\n2\n3\n4\n5\n"


def test_a_view_is_of_the_round_in_which_it_was_opened(slot: Slot) -> None:
    slot.bring("DONE")
    with open(slot / "result.txt") as text, open(slot / "result.npy", "rb") as npy:
        first = text.readline()
        slot.publish(DATA + 1)
        slot.answer(ANSWER + 1)
        assert first + text.read() == "10\n20\n30\n40\n50\n"
        assert np.load(npy).tolist() == ANSWER.tolist()
    assert (slot / "result.txt").read_text() == "11\n21\n31\n41\n51\n"
    assert np.load(slot / "result.npy").tolist() == (ANSWER + 1).tolist()


def test_text_from_anywhere(slot: Slot) -> None:
    """A read at any offset gives the bytes that a read from the start gives there."""
    slot.publish(np.random.default_rng(1).normal(size=3000))
    fd = os.open(slot / "data.txt", os.O_RDONLY)
    whole = b"".join(iter(lambda: os.read(fd, 5000), b""))
    assert whole == (slot / "data.txt").read_bytes()
    for offset in (30000, 7, 4096, 12345, len(whole) - 3, len(whole), len(whole) + 10, 0):
        assert os.pread(fd, 777, offset) == whole[offset:offset + 777]
    os.close(fd)


@pytest.mark.parametrize("elements", (16384, 16385))
def test_text_size_is_exact_while_it_is_cheap(slot: Slot, elements: int) -> None:
    """Beyond that it is 0, as in /proc, and readers go on to the end."""
    slot.publish(np.arange(elements, dtype="i4"))
    expected = "".join(f"{value}\n" for value in range(elements))
    assert os.stat(slot / "data.txt").st_size == (len(expected) if elements <= 16384 else 0)
    assert (slot / "data.txt").read_text() == expected
    shown = subprocess.run(["tail", "-n", "1", str(slot / "data.txt")], capture_output=True, text=True, check=True)
    assert shown.stdout == f"{elements - 1}\n"


def anonymous_memory(daemon: Daemon) -> int:
    """Bytes that the daemon has for itself: neither files nor shared memory."""
    lines = [line for pid in daemon.pids() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


@pytest.mark.time_limit(120)
def test_a_view_of_ten_million_values_streams(slot: Slot, server: Daemon, sanitized: bool) -> None:
    """Some 180 MB of text and 80 MB of .npy pass through without being built anywhere."""
    if sanitized:
        pytest.skip("a sanitizer's memory is its own")
    count = 10_000_000
    slot.publish(np.random.default_rng(1).normal(size=count))
    before = anonymous_memory(server)
    most, lines = before, 0
    with open(slot / "data.txt", "rb", buffering=0) as text:
        while block := text.read(4 << 20):
            lines += block.count(b"\n")
            most = max(most, anonymous_memory(server))
    with open(slot / "data.npy", "rb") as npy:
        assert np.array_equal(np.load(npy)[-5:], np.fromfile(slot / "data.bin")[-5:])
    most = max(most, anonymous_memory(server))
    assert lines == count and most - before < 8 << 20


def test_metadata_txt_tells_all(slot: Slot) -> None:
    slot.put("data.bin", np.arange(10.0))
    slot.write(flag=INPUT, dtype=FLOAT64, input_length=10, input_ndim=2, input_shape=(5, 2, 0, 0), order=1)
    write_once(slot / "worker", f"{os.getpid()}".encode())
    text = slot.text
    assert (slot / "metadata.txt").read_text().startswith("state=READY\n")
    assert {key: text[key] for key in ("flag", "round", "dtype", "input_length", "input_shape", "input_order",
                                       "data_size", "worker")} == {
        "flag": "0", "round": "1", "dtype": "float64", "input_length": "10", "input_shape": "5x2",
        "input_order": "F", "data_size": "80", "worker": str(os.getpid())}
    assert set(text) >= {"meaning", "change", "result_dtype", "result_length", "result_shape", "result_order",
                         "result_size", "refusals"}
    assert text["change"] == str(slot.record.change) and len(text["meaning"].split()) >= 2


def test_metadata_txt_tells_who_holds_and_who_waits(slot: Slot, agents) -> None:
    writer, waiter = agents(), agents()
    writer.run("fd = os.open(path, os.O_WRONLY)", path=slot / "data.bin")
    assert [line.split()[:3] for line in slot.lines("open")] == [[str(writer.pid), "data.bin", "w"]]
    waiter.start("os.open(path, os.O_RDONLY)", path=slot / "result.bin")
    eventually(lambda: (waiter.pid, "result.bin") in slot.waiters())
    seconds = slot.lines("waiting")[0].split()[2]
    assert float(seconds.rstrip("s")) >= 0
    eventually(lambda: float(slot.lines("waiting")[0].split()[2].rstrip("s")) > float(seconds.rstrip("s")))
    writer.run("os.close(fd)")
    assert slot.lines("open") == []
    reader = os.open(slot / "metadata.bin", os.O_RDONLY)
    slot.bring("DONE")
    assert waiter.result() >= 0 and slot.waiters() == []
    assert [str(waiter.pid), "result.bin", "r"] in [line.split()[:3] for line in slot.lines("open")]
    os.close(reader)


@pytest.mark.parametrize("text, fields", [
    (b"dtype=int32\nflag=0\n", {"dtype": INT32, "input_length": 10}),
    (b"dtype=3\ninput_length=10\nflag=0", {"dtype": INT32, "input_length": 10}),
    (b"input_shape=5x1\ninput_order=F\nflag=0\n", {"input_ndim": 2, "input_shape": (5, 1, 0, 0), "order": 1}),
    (b"# a comment\nround=77\nstate=DONE\nchange=1\nflag=0\n", {"round": 1, "flag": INPUT}),
    (b"input_shape=\nflag=0\n", {"input_ndim": 0}),
])
def test_metadata_txt_is_written(slot: Slot, text: bytes, fields: dict[str, object]) -> None:
    """The same keys, one write(2) is one step; what only the daemon knows is ignored."""
    slot.fill()
    write_once(slot / "metadata.txt", text)
    assert slot.state == "READY"
    record = slot.record._asdict()
    assert {key: record[key] for key in fields} == fields


def test_metadata_txt_is_written_for_the_result(slot: Slot) -> None:
    slot.bring("COMPUTING")
    write_once(slot / "metadata.txt", b"result_dtype=int64\nresult_shape=1x5\nresult_order=C\nflag=1\n")
    record = slot.record
    assert (slot.state, record.result_dtype, record.result_length, record.result_shape) == \
        ("DONE", INT64, 5, (1, 5, 0, 0))


def test_metadata_txt_reads_back(slot: Slot, other: Slot) -> None:
    """What one slot's text says, another one understands: cp metadata.txt."""
    array = np.arange(6, dtype="f4")
    slot.put("data.bin", array)
    slot.write(flag=INPUT, dtype=CODES[array.dtype], input_length=6, input_ndim=2, input_shape=(3, 2, 0, 0), order=1)
    other.put("data.bin", array)
    write_once(other / "metadata.txt", (slot / "metadata.txt").read_bytes())
    assert slot.record._replace(change=0) == other.record._replace(change=0)


@pytest.mark.parametrize("text", [b"colour=red\nflag=0\n", b"flag=zero\n", b"flag=0x\n", b"flag=\n", b"dtype=complex\n",
                                  b"dtype=0\nflag=0\n", b"input_length=ten\nflag=0\n",
                                  b"input_length=99999999999999999999\n",
                                  b"input_shape=2x\n", b"input_shape=1x2x3x4x5\n", b"input_shape=-1x-5\nflag=0\n",
                                  b"input_order=X\n", b"flag 0\n", b"\0\0\0\0", b"flag=0\0\n", b"\xff=1\n",
                                  b"flag=7\n", b"input_length=4\nflag=0\n", b"flag=0\n" + b"# " + b"x" * 70000])
def test_metadata_txt_refuses_what_it_does_not_understand(slot: Slot, text: bytes) -> None:
    """The whole write or nothing of it."""
    slot.fill()
    before = slot.raw
    with refused(errno.EINVAL, errno.EFBIG):
        write_once(slot / "metadata.txt", text)
    assert slot.raw == before and slot.state == "FILLING"


def test_metadata_txt_may_be_truncated(slot: Slot) -> None:
    """The shell's `echo flag=0 > metadata.txt` opens with O_TRUNC."""
    slot.fill()
    subprocess.run(["sh", "-c", f"echo flag=0 > '{slot / 'metadata.txt'}'"], check=True)
    assert slot.state == "READY"
