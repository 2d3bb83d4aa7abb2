# SPDX-License-Identifier: Apache-2.0
"""metadata.mem: the page of the record, which is the filesystem's word."""
from __future__ import annotations

import errno
import mmap
import os
import struct
from typing import Iterator

import pytest
from slots import FAILED, INPUT, NONE, OFFSETS, RESULT, Record, Slot, eventually, refused, write_once

PAGE_SIZE = 4096


@pytest.fixture
def view(slot: Slot) -> Iterator[mmap.mmap]:
    """What a client has that mapped the page and closed it. mmap.mmap keeps a descriptor."""
    fd = os.open(slot / "metadata.mem", os.O_RDONLY)
    with mmap.mmap(fd, PAGE_SIZE, access=mmap.ACCESS_READ) as mapped:
        os.close(fd)
        yield mapped


def test_it_shows_the_record(slot: Slot, view: mmap.mmap) -> None:
    for state, flag in (("FILLING", NONE), ("READY", INPUT), ("DONE", RESULT), ("FAILED", FAILED)):
        slot.flag(NONE)
        slot.bring(state)
        page = (slot / "metadata.mem").read_bytes()
        assert len(page) == PAGE_SIZE and page[:128] == slot.raw and Record.unpack(page[:128]).flag == flag
        eventually(lambda: view[:] == page)


@pytest.fixture
def own(path: str) -> None:
    """The page is a file of the mount, and no link to one elsewhere."""
    if path == "links":
        pytest.skip("root gets past the modes of what a link leads to; test_user.py tests this as an ordinary user")


def test_attributes(slot: Slot, path: str) -> None:
    if path in ("links", "user"):
        status = os.stat(slot / "metadata.mem")
        assert status.st_mode & 0o7777 == 0o400 and status.st_size == PAGE_SIZE
        return
    for mode, shown in ((0o755, 0o444), (0o700, 0o400)):
        os.chmod(slot.path, mode)
        status = os.stat(slot / "metadata.mem")
        assert status.st_mode & 0o7777 == shown and status.st_size == PAGE_SIZE
    os.chmod(slot / "metadata.mem", 0o666)
    assert os.stat(slot / "metadata.mem").st_mode & 0o7777 == 0o444


@pytest.mark.parametrize("flags", (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND))
def test_nobody_opens_it_for_writing(own: None, slot: Slot, flags: int) -> None:
    """Not even root, to whom modes mean nothing."""
    with refused(errno.EACCES):
        os.open(slot / "metadata.mem", flags)
    with refused(errno.EACCES):
        os.truncate(slot / "metadata.mem", 0)


def test_a_reader_cannot_make_its_mapping_writable(slot: Slot) -> None:
    fd = os.open(slot / "metadata.mem", os.O_RDONLY)
    with refused(errno.EACCES):
        mmap.mmap(fd, PAGE_SIZE, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    with refused(errno.EBADF):
        os.pwrite(fd, b"x", 0)
    os.close(fd)


def test_a_store_into_metadata_bin_does_not_reach_it(slot: Slot, view: mmap.mmap) -> None:
    slot.bring("READY")
    before = (slot / "metadata.mem").read_bytes()
    eventually(lambda: view[:] == before)
    fd = os.open(slot / "metadata.bin", os.O_RDWR)
    with mmap.mmap(fd, 128) as forged:
        forged[0:128] = b"\xff" * 128
        assert view[:] == before
        assert (slot / "metadata.mem").read_bytes() == before
    os.close(fd)


def test_change_is_even_and_grows(slot: Slot) -> None:
    seen = [slot.record.change]
    for state in ("FILLING", "READY", "COMPUTING", "DONE", "FAILED"):
        slot.flag(NONE) if seen[1:] and slot.state != "COMPUTING" else None
        if slot.state == "COMPUTING":
            slot.flag(FAILED)
            slot.flag(NONE)
        slot.bring(state)
        seen.append(slot.record.change)
    assert all(change % 2 == 0 for change in seen) and sorted(set(seen)) == seen


def test_a_task_is_a_change(slot: Slot, view: mmap.mmap) -> None:
    """A worker that waits for a change sees that there is another task."""
    for count, text in enumerate((b"f(x)", b"g(x)", b"g"), 1):
        before = slot.record
        write_once(slot / "task", text)
        record = slot.record
        assert record.task_change == count and record.change > before.change
        assert record._replace(task_change=before.task_change, change=before.change) == before
        eventually(lambda: struct.unpack_from("<I", view, OFFSETS["task_change"])[0] == count)


def test_rm_of_it_changes_nothing(slot: Slot) -> None:
    slot.bring("READY")
    before = slot.raw
    os.unlink(slot / "metadata.mem")
    assert slot.raw == before and "metadata.mem" in os.listdir(slot.path)


def test_a_removed_slot_says_so(slot: Slot, path: str) -> None:
    if path == "pagecache":
        pytest.skip("on the page-cache path nobody changes the page of a slot that is gone")
    fd = os.open(slot / "metadata.mem", os.O_RDONLY)
    with mmap.mmap(fd, PAGE_SIZE, access=mmap.ACCESS_READ) as mapped:
        before = Record.unpack(mapped[:128])
        slot.remove()
        last = Record.unpack(mapped[:128])
        assert last == before._replace(version=0, change=before.change + 2)
        if path == "passthrough":
            with refused(errno.ESTALE):
                os.pread(fd, 128, 0)
    os.close(fd)
