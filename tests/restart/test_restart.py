# SPDX-License-Identifier: Apache-2.0
"""Stops, kills and starts again, of the program itself, on each kind of arena."""
from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest
from daemon import Daemon, is_mounted
from places import CAPACITY, arena_of, kill, on_directory, snapshot
from slots import ANSWER, DATA, Slot, eventually

KINDS = ("dir", "tmpfs", "memfd") if os.geteuid() == 0 else ("dir", "memfd")


@pytest.fixture(params=KINDS)
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """Started; whatever a test does with it, it has to end well when it runs at the end of the test."""
    running = on_directory() if request.param == "dir" else Daemon({**CAPACITY, "arena.kind": request.param})
    with running:
        yield running


def is_kept(daemon: Daemon) -> bool:
    return daemon.options["arena.kind"] == "dir"


def fill(daemon: Daemon) -> None:
    for state in ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED"):
        Slot.make(daemon.path, state).bring(state)


def expect_filled(daemon: Daemon) -> None:
    """A round that was being computed has failed; all else is as it was, and goes on."""
    for state in ("IDLE", "FILLING", "READY", "DONE", "FAILED"):
        assert Slot(daemon.path / state).state == state
    for state in ("READY", "DONE"):
        assert Slot(daemon.path / state).data().tolist() == DATA.tolist()
    assert Slot(daemon.path / "DONE").result().tolist() == ANSWER.tolist()
    assert Slot(daemon.path / "COMPUTING").state == "FAILED"
    assert "restarted" in Slot(daemon.path / "COMPUTING").error
    Slot(daemon.path / "READY").answer()
    Slot(daemon.path / "COMPUTING").flag(0)
    Slot(daemon.path / "COMPUTING").answer()


def expect_after_restart(daemon: Daemon) -> None:
    if is_kept(daemon):
        expect_filled(daemon)
    else:
        assert [name for name in os.listdir(daemon.path) if name[0] != "."] == []
        Slot.make(daemon.path, "DONE").bring("DONE")


def test_stop_and_start(daemon: Daemon) -> None:
    fill(daemon)
    assert daemon.stop() == 0
    daemon.start()
    expect_after_restart(daemon)
    assert daemon.stop() == 0
    daemon.start()
    assert (daemon.path / "DONE").exists() == is_kept(daemon)


@pytest.mark.parametrize("which", ["supervisor", "both"])
def test_kill_and_start(daemon: Daemon, which: str) -> None:
    fill(daemon)
    before = set(snapshot(arena_of(daemon)))
    kill(daemon, which)
    assert set(snapshot(arena_of(daemon))) == before
    eventually(lambda: not is_mounted(daemon.path), "no dead mount is left")
    daemon.start()
    expect_after_restart(daemon)


@pytest.mark.parametrize("which", ["supervisor", "both"])
def test_kill_again_and_again(daemon: Daemon, which: str) -> None:
    """Each server finds what the one before it had, whatever moment it was killed at."""
    for count in range(5):
        Slot.make(daemon.path, f"slot-{count}").bring("DONE")
        kill(daemon, which)
        daemon.start()
        found = sorted(name for name in os.listdir(daemon.path) if name[0] != ".")
        assert found == ([f"slot-{i}" for i in range(count + 1)] if is_kept(daemon) else [])


def test_a_slot_stands_for_those_that_a_cut_index_has_lost() -> None:
    """The others are served. Files that no slot names any more stay until the stand-in is removed."""
    many = 40
    with on_directory() as daemon:
        arena = arena_of(daemon)
        for number in range(many):
            slot = Slot.make(daemon.path, f"slot{number}").bring("DONE")
            for text in ("a", "b"):  # the index has each slot twice, as it was before its last change and after it
                (slot / "task").write_text(text)
        kill(daemon, "both")
        arrays = {path.name for path in arena.glob("s[0-9]*")}
        os.truncate(arena / "f-index", 8 * mmap.PAGESIZE)
        daemon.start()
        stand_in = Slot(daemon.path / "damaged-index")
        left = [Slot(path) for path in daemon.path.glob("slot*")]
        assert stand_in.state == "FAILED" and stand_in.text["failure"] == "damage" and "cut short" in stand_in.error
        assert 0 < len(left) < many
        assert all(slot.result().tolist() == ANSWER.tolist() for slot in left)
        assert {path.name for path in arena.glob("s[0-9]*")} == arrays
        os.rmdir(stand_in.path)
        assert daemon.stop() == 0
        daemon.start()
        assert len({path.name for path in arena.glob("s[0-9]*")}) < len(arrays)
        assert {path.name for path in daemon.path.glob("slot*")} == {slot.path.name for slot in left}


def test_an_empty_directory_goes_with_a_clean_stop() -> None:
    with on_directory() as daemon:
        Slot.make(daemon.path, "short").bring("DONE").remove()
        assert arena_of(daemon).exists()
        assert daemon.stop() == 0
        assert not arena_of(daemon).exists()


def test_an_empty_directory_stays_after_a_kill() -> None:
    """A server that was killed removes nothing; the next one finds an index without slots, and goes cleanly."""
    with on_directory() as daemon:
        kill(daemon, "both")
        assert arena_of(daemon).exists()
        daemon.start()
        assert daemon.stop() == 0
        assert not list(arena_of(daemon).glob("*"))


def test_files_of_others_stay() -> None:
    with on_directory() as daemon:
        (arena_of(daemon) / "notes").write_text("mine")
        assert daemon.stop() == 0
        assert [path.name for path in arena_of(daemon).iterdir()] == ["notes"]
        daemon.start()
        Slot.make(daemon.path, "slot")
    assert not is_mounted(daemon.path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")
@pytest.mark.parametrize("which", ["supervisor", "both"])
def test_kill_what_a_user_has_mounted(which: str) -> None:
    """fusermount3 clears it, which is setuid: the server has no_new_privs and could not run it."""
    with Daemon(CAPACITY, user="nobody") as daemon:
        kill(daemon, which)
        eventually(lambda: not is_mounted(daemon.path), "no dead mount is left")
        daemon.start()


KILL_BELOW_SUBREAPER = """
import ctypes, os, signal, subprocess, sys
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
daemon = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
assert daemon.stdout.readline().startswith(b"ready")
os.kill(daemon.pid, signal.SIGKILL)
daemon.wait()
os.wait()  # the server, ours by now
try:
    os.wait()
except ChildProcessError:
    pass
"""


def test_a_supervisor_killed_below_a_subreaper(daemon: Daemon) -> None:
    """systemd --user and docker --init adopt orphans themselves: the mount goes all the same."""
    assert daemon.stop() == 0
    subprocess.run([sys.executable, "-c", KILL_BELOW_SUBREAPER, *daemon.command()], check=True, timeout=30)
    eventually(lambda: not is_mounted(daemon.path))
    daemon.start()


def abort(path: Path, control: Path) -> None:
    """As root does it by hand: echo 1 > /sys/fs/fuse/connections/N/abort."""
    line = next(line for line in open("/proc/self/mountinfo") if f" {path} " in line)
    control.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "none", str(control)], check=True)
    try:
        (control / line.split()[2].split(":")[1] / "abort").write_text("1")
    finally:
        subprocess.run(["umount", str(control)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can sever a connection")
@pytest.mark.parametrize("how", ["abort", "umount -f"])
def test_a_severed_connection(daemon: Daemon, tmp_path: Path, how: str) -> None:
    """It leaves a mount on which nothing answers; the daemon clears it, says so and ends with 1."""
    process = daemon.process
    assert process is not None and process.stdout is not None
    Slot.make(daemon.path, "DONE").bring("DONE")
    held = os.open(daemon.path / "DONE", os.O_PATH | os.O_DIRECTORY)
    if how == "abort":
        abort(daemon.path, tmp_path / "control")
    else:
        assert subprocess.run(["umount", "-f", str(daemon.path)], capture_output=True).returncode != 0, "it is busy"
    assert process.wait(20) == 1
    process.stdout.close()
    os.close(held)
    assert not is_mounted(daemon.path)
    assert "aborted" in daemon.log.read_text()
    daemon.start()
    assert (daemon.path / "DONE").exists() == is_kept(daemon)
