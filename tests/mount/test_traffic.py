# SPDX-License-Identifier: Apache-2.0
"""What metadata.txt says of the bytes that the filesystem copied, and of those that it gave out in place."""
from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest
from paths import mounted
from slots import DATA, FLOAT64, INPUT, NONE, RESULT, Slot

TAKE_INPUT = 1 << 28
BIG = np.arange(1 << 17, dtype="f8")  # 1 MiB


def traffic(slot: Slot) -> tuple[int, int, int, int]:
    """Input copied, in place, result copied, in place; the last two in arrays."""
    text = slot.text
    sizes = [int(text["data_size"]), int(text["result_size"])]
    assert all(int(text[f"{name}_in_place"]) % max(size, 1) == 0 for name, size in zip(("data", "result"), sizes))
    return (int(text["data_copied"]), int(text["data_in_place"]) // max(sizes[0], 1),
            int(text["result_copied"]), int(text["result_in_place"]) // max(sizes[1], 1))


def mapped(slot: Slot, name: str, access: int, size: int, path: str) -> tuple[list[int], mmap.mmap]:
    """As the packages do it: open the array, give it its size, map it, or where there are links what they lead to."""
    fds = [os.open(slot / f"{name}.bin", access)]
    if access == os.O_RDWR:
        os.ftruncate(fds[0], size)
    if path in ("links", "user"):
        fds.append(os.open(slot / f"{name}.mem", access))
    return fds, mmap.mmap(fds[-1], size, prot=mmap.PROT_READ | (mmap.PROT_WRITE if access == os.O_RDWR else 0))


def store(slot: Slot, name: str, array: np.ndarray, path: str) -> None:
    fds, pages = mapped(slot, name, os.O_RDWR, array.nbytes, path)
    pages[:] = array.tobytes()
    pages.close()
    for fd in reversed(fds):
        os.close(fd)


def look(slot: Slot, name: str, size: int, path: str) -> bytes:
    fds, pages = mapped(slot, name, os.O_RDONLY, size, path)
    content = pages[:]
    pages.close()
    for fd in reversed(fds):
        os.close(fd)
    return content


def test_a_round_by_mappings(slot: Slot, path: str) -> None:
    """Where the pages are shared nothing is copied; on the page cache each side's copy is seen."""
    store(slot, "data", BIG, path)
    slot.write(flag=INPUT, dtype=FLOAT64, input_length=BIG.size)
    assert look(slot, "data", BIG.nbytes, path) == BIG.tobytes()
    store(slot, "result", BIG, path)
    slot.write(flag=RESULT, result_dtype=FLOAT64, result_length=BIG.size)
    assert look(slot, "result", BIG.nbytes, path) == BIG.tobytes()
    if path == "pagecache":
        copied = traffic(slot)
        assert copied[1] == copied[3] == 0 and min(copied[0], copied[2]) >= BIG.nbytes
    else:
        assert traffic(slot) == (0, 2, 0, 2)


def test_each_round_begins_anew(slot: Slot) -> None:
    slot.send(INPUT, BIG[:1000])
    slot.send(RESULT, BIG[:1000])
    assert traffic(slot) == (8000, 0, 8000, 0)
    slot.flag(NONE)
    assert traffic(slot) == (0, 0, 0, 0)
    slot.send(INPUT, BIG[:500])
    assert traffic(slot) == (4000, 0, 0, 0)


@pytest.mark.parametrize("count", [5, 1000])
def test_along_with_the_record(slot: Slot, count: int) -> None:
    """Once in, and once out."""
    slot.send(INPUT, BIG[:count])
    fd = os.open(slot / "metadata.bin", os.O_RDONLY)
    assert len(os.pread(fd, 1 << 16, TAKE_INPUT)) == 128 + 8 * count
    os.close(fd)
    assert traffic(slot)[0] == 2 * 8 * count


def test_reads_and_writes(slot: Slot, path: str) -> None:
    """Those that the kernel does by itself are not the filesystem's: then its opens are in place."""
    slot.publish(DATA)
    slot.data()
    copied, in_place, _, _ = traffic(slot)
    if path == "passthrough":
        assert (copied, in_place) == (0, 2)
    else:
        assert copied >= DATA.nbytes and in_place == 0
    slot.flag(NONE)
    with open(slot / "data.bin", "r+b", buffering=0) as file:  # may be mapped, so write(2) comes to the filesystem
        file.write(DATA.tobytes())
    assert traffic(slot)[0] == DATA.nbytes


def test_a_chain_copies_nothing(slot: Slot, other: Slot, path: str) -> None:
    os.symlink(slot / "result.bin", other / "source")
    slot.send(INPUT, BIG[:1000])
    slot.send(RESULT, BIG[:1000])
    assert other.state == "READY" and traffic(other) == (0, 0, 0, 0)
    if path != "pagecache":
        assert look(other, "data", 8000, path) == BIG[:1000].tobytes()
        assert traffic(other) == (0, 1, 0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="an arena for a restart of an ordinary user is tested in tests/restart")
def test_what_an_earlier_server_did_is_not_guessed(path: str, tmp_path: Path) -> None:
    options = {"arena_kind": "dir", "arena_path": str(tmp_path / "arena"), "arena_capacity": "64M"}
    with mounted(path, **options) as daemon:
        Slot.make(daemon.path, "job").send(INPUT, DATA)
    with mounted(path, **options) as daemon:
        slot = Slot(daemon.path / "job")
        assert "data_copied" not in slot.text and slot.text["data_size"] == str(DATA.nbytes)
        slot.send(RESULT, DATA)
        slot.flag(NONE)
        slot.send(INPUT, DATA)
        assert slot.text["data_copied"] == str(DATA.nbytes)
