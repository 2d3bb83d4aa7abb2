# SPDX-License-Identifier: Apache-2.0
"""The times that stat shows: mtime of the contents of a file or directory, ctime of its attributes, and utimensat."""
from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from agent import Agent
from paths import DATA_PATH
from slots import ANSWER, DATA, FILES, FLOAT64, INPUT, INT32, LINKS, RESULT, Slot, eventually, refused, write_once

LONG_AGO, LATER = 10**18 + 1, 12 * 10**17 + 7  # nanoseconds
SLOT_FILES = (".", *FILES)


def mtime(path: Path) -> int:
    return os.stat(path).st_mtime_ns


def ctime(path: Path) -> int:
    return os.stat(path).st_ctime_ns


def times(path: Path) -> tuple[int, int, int]:
    stat = os.lstat(path)
    return stat.st_atime_ns, stat.st_mtime_ns, stat.st_ctime_ns


def moves(what: Callable[[Path], int], path: Path, action: Callable[[], object]) -> None:
    """The action makes this time of the path the present one."""
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    before = time.time_ns() if what is mtime else ctime(path)
    action()
    assert before <= what(path) <= time.time_ns() and what(path) != LONG_AGO
    if what is ctime:
        assert what(path) > before


def stays(what: Callable[[Path], int], path: Path, action: Callable[[], object]) -> None:
    before = what(path)
    action()
    assert what(path) == before


def test_a_new_slot_is_of_now(mount: Path) -> None:
    begin = time.time_ns()
    slot = Slot.make(mount, "new")
    for name in SLOT_FILES:
        assert all(begin <= value <= time.time_ns() for value in times(slot / name)), name
    slot.remove()


# --- directories ---


def test_the_root_when_slots_come_and_go(mount: Path) -> None:
    root_moves = lambda action: moves(mtime, mount, action)  # noqa: E731
    root_moves(lambda: os.mkdir(mount / "a"))
    root_moves(lambda: os.rename(mount / "a", mount / "b"))
    root_moves(lambda: os.rmdir(mount / "b"))
    moves(ctime, mount, lambda: os.mkdir(mount / "a"))
    os.rmdir(mount / "a")


def test_the_root_when_an_owner_dies(mount: Path, agent: Agent) -> None:
    """The kernel hears of it, though no client asked for the removal."""
    slot = Slot.make(mount, "owned")
    write_once(slot / "owner", str(agent.pid).encode())
    os.utime(mount, ns=(LONG_AGO, LONG_AGO))
    assert mtime(mount) == LONG_AGO
    agent.kill()
    eventually(lambda: "owned" not in os.listdir(mount))
    assert mtime(mount) != LONG_AGO


def test_nothing_in_a_slot_touches_the_root(slot: Slot, mount: Path) -> None:
    stays(mtime, mount, lambda: slot.bring("DONE"))
    stays(ctime, mount, lambda: os.chmod(slot.path, 0o750))


def test_a_slot_when_it_is_chained(slot: Slot, other: Slot) -> None:
    link = slot / "source"
    moves(mtime, slot.path, lambda: os.symlink(f"../{other.path.name}/result.bin", link))
    moves(mtime, slot.path, lambda: os.unlink(link))
    begin = time.time_ns()
    os.symlink(f"../{other.path.name}/result.bin", link)
    assert all(begin <= value <= time.time_ns() for value in times(link))
    os.utime(link, ns=(LATER, LONG_AGO), follow_symlinks=False)
    assert times(link)[:2] == (LATER, LONG_AGO)


def test_a_slot_when_its_source_goes(slot: Slot, other: Slot) -> None:
    os.symlink(f"../{other.path.name}/result.bin", slot / "source")
    moves(mtime, slot.path, other.remove)
    assert not os.path.lexists(slot / "source")


def test_a_slot_when_files_are_unlinked(slot: Slot) -> None:
    slot.bring("READY")
    moves(mtime, slot.path, lambda: os.unlink(slot / "data.bin"))
    stays(mtime, slot.path, lambda: os.unlink(slot / "data.npy"))


def test_rename_of_a_slot(mount: Path) -> None:
    slot = Slot.make(mount, "before")
    os.utime(slot.path, ns=(LONG_AGO, LONG_AGO))
    was = ctime(slot.path)
    os.rename(slot.path, mount / "after")
    assert mtime(mount / "after") == LONG_AGO and ctime(mount / "after") > was
    os.rmdir(mount / "after")


def test_rename_of_a_result(slot: Slot, other: Slot) -> None:
    slot.bring("DONE")
    os.utime(slot / "result.bin", ns=(LATER, LONG_AGO))
    was = ctime(slot / "result.bin")
    for directory in (slot.path, other.path):
        os.utime(directory, ns=(LONG_AGO, LONG_AGO))
    os.rename(slot / "result.bin", other / "data.bin")
    assert times(other / "data.bin")[:2] == (LATER, LONG_AGO) and ctime(other / "data.bin") > was
    assert mtime(slot.path) != LONG_AGO and mtime(other.path) != LONG_AGO


# --- contents ---


def test_the_record_and_its_text(slot: Slot) -> None:
    for name, dtype in (("metadata.bin", INT32), ("metadata.txt", FLOAT64)):
        moves(mtime, slot / name, lambda: slot.write(dtype=dtype))
        assert mtime(slot / "metadata.bin") == mtime(slot / "metadata.txt")


@pytest.mark.parametrize("file", ("task", "error", "owner", "worker"))
def test_small_files(slot: Slot, file: str) -> None:
    slot.bring("READY")
    text = b"self" if file in ("owner", "worker") else b"words"
    moves(mtime, slot / file, lambda: write_once(slot / file, text))
    moves(mtime, slot / file, lambda: os.truncate(slot / file, 0))


@pytest.mark.parametrize("file", ("data.bin", "result.bin"))
def test_arrays(slot: Slot, file: str) -> None:
    if file == "result.bin":
        slot.bring("READY")
    path = slot / file

    def write() -> None:
        with open(path, "r+b", buffering=0) as stream:
            stream.write(DATA.tobytes())

    def store() -> None:
        array = np.memmap(path, dtype="f8", mode="r+", shape=(5,))
        array[:] = ANSWER
        del array

    moves(mtime, path, write)
    moves(mtime, path, store)
    moves(mtime, path, lambda: os.truncate(path, 16))
    moves(ctime, path, lambda: os.truncate(path, 8))
    with open(path, "r+b", buffering=0) as stream:
        moves(mtime, path, lambda: os.ftruncate(stream.fileno(), 24))
        moves(mtime, path, lambda: os.posix_fallocate(stream.fileno(), 0, 40))
    # Publishing changes nothing in it.
    if file == "data.bin":
        stays(mtime, path, lambda: slot.write(flag=INPUT, dtype=FLOAT64, input_length=-1))
    else:
        stays(mtime, path, lambda: slot.write(flag=RESULT, result_dtype=FLOAT64, result_length=-1))


def test_reading_changes_nothing(slot: Slot) -> None:
    slot.bring("DONE")
    before = {name: times(slot / name) for name in SLOT_FILES if name not in ("metadata.bin", "metadata.txt")}
    for name in FILES:
        (slot / name).read_bytes()
        assert os.stat(slot / name).st_size >= 0
    os.listdir(slot.path)
    assert {name: times(slot / name) for name in before} == before


def test_views_are_of_their_array(slot: Slot) -> None:
    slot.bring("DONE")
    os.utime(slot / "data.bin", ns=(LATER, LONG_AGO))
    assert {times(slot / name)[1] for name in ("data.bin", "data.txt", "data.npy")} == {LONG_AGO}
    os.utime(slot / "result.npy", ns=(LONG_AGO, LATER))
    assert times(slot / "result.bin")[:2] == (LONG_AGO, LATER)


def test_each_round_has_arrays_of_its_own_time(slot: Slot) -> None:
    slot.bring("DONE")
    for name in ("data.bin", "result.bin"):
        os.utime(slot / name, ns=(LONG_AGO, LONG_AGO))
    begin = time.time_ns()
    slot.publish()
    assert all(begin <= value <= time.time_ns() for value in times(slot / "data.bin"))
    assert all(begin <= value <= time.time_ns() for value in times(slot / "result.bin"))


def test_a_chained_input_is_as_old_as_its_source(slot: Slot, other: Slot) -> None:
    os.symlink(f"../{other.path.name}/result.bin", slot / "source")
    other.bring("DONE")
    assert mtime(slot / "data.bin") == mtime(other / "result.bin")


def test_what_is_open_of_an_earlier_round(slot: Slot) -> None:
    slot.bring("DONE")
    os.utime(slot / "result.bin", ns=(LATER, LONG_AGO))
    with open(slot / "result.bin", "rb", buffering=0) as stream:
        slot.publish()
        stat = os.fstat(stream.fileno())
        assert (stat.st_atime_ns, stat.st_mtime_ns) == (LATER, LONG_AGO)
        slot.remove()
        assert os.fstat(stream.fileno()).st_mtime_ns == LONG_AGO


# --- what describes a file ---


@pytest.fixture
def own(name: str, path: str) -> None:
    """The file is the slot's, and no link to one elsewhere."""
    if name in LINKS and DATA_PATH[path] == "links":
        pytest.skip("what a link leads to has other times and another mode")


@pytest.mark.parametrize("name", SLOT_FILES)
def test_chmod(own: None, slot: Slot, name: str) -> None:
    slot.bring("DONE")
    os.utime(slot / name, ns=(LONG_AGO, LONG_AGO))
    was = ctime(slot / name)
    os.chmod(slot / name, 0o700)
    assert ctime(slot / name) > was and mtime(slot / name) == LONG_AGO


def test_chmod_of_a_slot_is_one_of_its_files(slot: Slot) -> None:
    before = {name: ctime(slot / name) for name in SLOT_FILES}
    os.chmod(slot.path, 0o700)
    assert [name for name in SLOT_FILES if ctime(slot / name) <= before[name]] == []


def test_chown(slot: Slot) -> None:
    os.utime(slot.path, ns=(LONG_AGO, LONG_AGO))
    before = {name: ctime(slot / name) for name in SLOT_FILES}
    os.chown(slot.path, os.getuid(), os.getgid())
    assert [name for name in SLOT_FILES if ctime(slot / name) <= before[name]] == []
    assert mtime(slot.path) == LONG_AGO


# --- utimensat ---


@pytest.mark.parametrize("name", SLOT_FILES)
def test_utimensat(own: None, slot: Slot, name: str) -> None:
    path = slot / name
    was = ctime(path)
    os.utime(path, ns=(LONG_AGO, LATER))
    assert times(path)[:2] == (LONG_AGO, LATER) and ctime(path) > was
    begin = time.time_ns()
    os.utime(path)
    assert all(begin <= value <= time.time_ns() for value in times(path))
    subprocess.run(["touch", "-a", "-d", "@1000000000.5", path], check=True)
    assert times(path)[0] == 10**18 + 5 * 10**8 and times(path)[1] >= begin
    subprocess.run(["touch", "-m", "-d", "@-1.25", path], check=True)
    assert times(path)[:2] == (10**18 + 5 * 10**8, -125 * 10**7)


def test_utimensat_of_the_root(mount: Path) -> None:
    os.utime(mount, ns=(LONG_AGO, LATER))
    assert times(mount)[:2] == (LONG_AGO, LATER)
    os.utime(mount)
    with refused(errno.EPERM):
        os.utime(mount / ".pyrmap", ns=(LONG_AGO, LATER))


def test_cp_keeps_the_time(slot: Slot, tmp_path: Path) -> None:
    """It sets the time through the descriptor that it has written with, and closes it then."""
    original = tmp_path / "original"
    original.write_bytes(DATA.tobytes())
    os.utime(original, ns=(LATER, LONG_AGO))
    subprocess.run(["cp", "--preserve=timestamps", original, slot / "data.bin"], check=True)
    assert mtime(slot / "data.bin") == LONG_AGO
    slot.write(flag=INPUT, dtype=FLOAT64, input_length=-1)
    assert mtime(slot / "data.bin") == LONG_AGO
    shutil.copy2(slot / "data.bin", original)
    assert mtime(original) == LONG_AGO


def test_a_write_after_utimensat_counts(slot: Slot) -> None:
    with open(slot / "data.bin", "r+b", buffering=0) as stream:
        os.utime(stream.fileno(), ns=(LONG_AGO, LONG_AGO))
    assert mtime(slot / "data.bin") == LONG_AGO
    with open(slot / "data.bin", "r+b", buffering=0) as stream:
        stream.write(DATA.tobytes())
    assert mtime(slot / "data.bin") != LONG_AGO


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
def test_whose_times(slot: Slot, agents: Callable[..., Agent]) -> None:
    stranger = agents("30001")
    for name in SLOT_FILES:
        with refused(errno.EPERM):
            stranger.run("os.utime(path, (1, 1))", path=slot / name)
