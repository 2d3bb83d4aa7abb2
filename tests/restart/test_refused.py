# SPDX-License-Identifier: Apache-2.0
"""A start that is refused leaves a used directory byte for byte as it was, and says what to do."""
from __future__ import annotations

import os
import pwd
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest
from daemon import Daemon, is_mounted
from places import arena_of, kill, on_directory, refusal, snapshot
from slots import ANSWER, DATA, Slot

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

HEADERS = 2 * 4096  # twice the same
INDEX = "f-index"


@pytest.fixture
def used() -> Iterator[Daemon]:
    """A daemon that has stopped and whose directory holds slots: one DONE, one READY with a task."""
    daemon = on_directory()
    with daemon:
        Slot.make(daemon.path, "done").bring("DONE")
        ready = Slot.make(daemon.path, "ready").bring("READY")
        ready.put("task", b"sum")
        assert daemon.stop() == 0
        yield daemon


def expect_slots(daemon: Daemon) -> None:
    """What the fixture has put there is served again."""
    daemon.start()
    done, ready = Slot(daemon.path / "done"), Slot(daemon.path / "ready")
    assert sorted(name for name in os.listdir(daemon.path) if name[0] != ".") == ["done", "ready"]
    assert done.state == "DONE" and done.result().tolist() == ANSWER.tolist()
    assert ready.state == "READY" and ready.data().tolist() == DATA.tolist()
    assert (ready / "task").read_text() == "sum"
    assert daemon.stop() == 0


def patch(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def patch_headers(arena: Path, offset: int, content: bytes) -> None:
    """In both of them."""
    for header in (0, HEADERS // 2):
        patch(arena / INDEX, header + offset, content)


def first_segment(arena: Path) -> Path:
    return min(path for path in arena.iterdir() if path.name[0] == "s")


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


# What happens to the directory, and what the message has to name.
SPOILT: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no index": (lambda arena: (arena / INDEX).unlink(), (INDEX, "missing", "arena.path")),
    "an empty index": (lambda arena: os.truncate(arena / INDEX, 0), (INDEX, "cut short", "arena.path")),
    "less than a header": (lambda arena: os.truncate(arena / INDEX, 100), (INDEX, "cut short")),
    "the header alone": (lambda arena: os.truncate(arena / INDEX, HEADERS), (INDEX, "cut short")),
    "one header alone": (lambda arena: os.truncate(arena / INDEX, HEADERS // 2), (INDEX, "cut short")),
    "zeros": (lambda arena: patch(arena / INDEX, 0, bytes(HEADERS)), (INDEX, "damaged")),
    "another file": (lambda arena: patch_headers(arena, 0, b"PNG"), (INDEX, "damaged")),
    "an earlier layout": (lambda arena: patch_headers(arena, 8, struct.pack("=I", 4)), (INDEX, "version", "4")),
    "a link as index": (lambda arena: replace(arena / INDEX, lambda path: path.symlink_to("/etc/passwd")), (INDEX,)),
    "a directory as index": (lambda arena: replace(arena / INDEX, lambda path: path.mkdir()), (INDEX,)),
    "a directory as array": (lambda arena: replace(first_segment(arena), lambda path: path.mkdir()),
                             ("cannot be read", "done")),
    "a directory as lock": (lambda arena: replace(arena / "lock", lambda path: path.mkdir()), ("arena",)),
    "others may write": (lambda arena: arena.chmod(0o777), ("chmod 700",)),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_directory_is_left_alone(used: Daemon, tmp_path: Path, what: str) -> None:
    arena, copy = arena_of(used), tmp_path / "copy"
    spoil, words = SPOILT[what]
    shutil.copytree(arena, copy)
    spoil(arena)
    before = snapshot(arena)
    for _ in range(2):
        said = refusal(used)
        assert all(word in said for word in words), said
        assert snapshot(arena) == before
    shutil.rmtree(arena)
    shutil.copytree(copy, arena)
    expect_slots(used)


def test_a_lower_limit(used: Daemon) -> None:
    before = snapshot(arena_of(used))
    said = refusal(used, limits_slots="2")
    assert "limits.slots" in said and str(arena_of(used) / INDEX) in said
    assert snapshot(arena_of(used)) == before
    expect_slots(used)


def test_no_lock_is_left_where_there_was_none(used: Daemon) -> None:
    """As after a copy of the directory that left the lock out."""
    (arena_of(used) / "lock").unlink()
    before = snapshot(arena_of(used))
    refusal(used, limits_slots="2")
    assert snapshot(arena_of(used)) == before
    expect_slots(used)


def test_a_mount_point_in_use(used: Daemon) -> None:
    """Refused before the directory is looked at."""
    with on_directory() as other:
        before = snapshot(arena_of(used))
        used.path, kept = other.path, used.path
        command = used.command()
        used.path = kept
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 1 and "already" in done.stderr
        assert snapshot(arena_of(used)) == before
    expect_slots(used)


def give(arena: Path, user: str) -> None:
    entry = pwd.getpwnam(user)
    for path in (arena, *arena.rglob("*")):
        os.chown(path, entry.pw_uid, entry.pw_gid)


@needs_root
def test_a_data_path_that_is_not_there(used: Daemon) -> None:
    """The last reason of all, when everything else is open: a user has no passthrough."""
    used.start()
    Slot.make(used.path, "computing").bring("COMPUTING")
    kill(used, "both")
    other = on_directory(user="nobody")
    arena = arena_of(other)
    shutil.copytree(arena_of(used), arena)
    give(arena, "nobody")
    before = snapshot(arena)
    assert "passthrough" in refusal(other, path_passthrough="on")
    assert snapshot(arena) == before
    shutil.rmtree(other.directory)
    used.start()
    Slot(used.path / "computing").remove()
    assert used.stop() == 0
    expect_slots(used)


@needs_root
def test_what_a_refused_start_made_goes_again() -> None:
    """Where nothing was, nothing is left: no directory, no index, no lock."""
    daemon = on_directory(user="nobody")
    assert "passthrough" in refusal(daemon, path_passthrough="on")
    assert not arena_of(daemon).exists()
    arena_of(daemon).mkdir(mode=0o700)
    give(arena_of(daemon), "nobody")
    assert "passthrough" in refusal(daemon, path_passthrough="on")
    assert list(arena_of(daemon).iterdir()) == []
    shutil.rmtree(daemon.directory)


def test_a_second_daemon(used: Daemon) -> None:
    """Refused, whatever it asks for; the first one goes on."""
    used.start()
    try:
        for slots in ("65536", "2"):
            other = on_directory(arena=arena_of(used), limits_slots=slots)
            before = snapshot(arena_of(used))
            said = refusal(other)
            assert "in use" in said and str(arena_of(used)) in said
            assert snapshot(arena_of(used)) == before
            shutil.rmtree(other.directory)
        assert Slot(used.path / "done").result().tolist() == ANSWER.tolist()
    finally:
        assert used.stop() == 0
    expect_slots(used)


# Ways to name a directory below the mount point `mnt`.
WAYS = {
    "the mount point": "{mnt}",
    "below it": "{mnt}/arena",
    "further below": "{mnt}/some/arena",
    "a link": "{base}/link-to-some",
    "below a link": "{base}/link/arena",
    "dots": "{base}/mnt/some/../arena",
    "out and in again": "{base}/../{name}/mnt/arena",
    "a bind mount": "{base}/bound/mnt/arena",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("background", [False, True])
def test_an_arena_below_the_mount_point(way: str, background: bool) -> None:
    """The daemon would wait for itself, and no signal would end it."""
    daemon = Daemon({"arena.kind": "dir", "arena.capacity": "64M"})
    base = daemon.directory
    (daemon.path / "some").mkdir()
    (base / "link").symlink_to(daemon.path)
    (base / "link-to-some").symlink_to(daemon.path / "some")
    bound = base / "bound"
    try:
        if "bind" in way:
            if os.geteuid() != 0:
                pytest.skip("only root can bind")
            bound.mkdir()
            subprocess.run(["mount", "--bind", str(base), str(bound)], check=True)
        daemon.options["arena.path"] = WAYS[way].format(mnt=daemon.path, base=base, name=base.name)
        before = snapshot(daemon.path)
        said = refusal(daemon) if not background else background_refusal(daemon)
        assert "arena.path" in said and str(daemon.path) in said and "below" in said
        assert snapshot(daemon.path) == before
    finally:
        if "bind" in way:
            subprocess.run(["umount", str(bound)], check=True)
        shutil.rmtree(base)


def background_refusal(daemon: Daemon) -> str:
    command = [word for word in daemon.command() if word != "-f"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and done.stdout == "" and not is_mounted(daemon.path)
    return done.stderr


def test_an_arena_beside_the_mount_point() -> None:
    """A name that only begins like it, and a mount point inside of the arena's directory, are fine."""
    daemon = on_directory()
    daemon.options["arena.path"] = str(daemon.path) + "-arena"
    with daemon:
        Slot.make(daemon.path, "slot").bring("DONE").remove()
    daemon = on_directory()
    daemon.options["arena.path"] = str(daemon.directory)
    daemon.directory.chmod(0o700)
    with daemon:
        Slot.make(daemon.path, "slot").bring("DONE").remove()


def test_an_arena_below_nothing(tmp_path: Path) -> None:
    said = refusal(on_directory(arena=tmp_path / "not" / "there"))
    assert "arena.path" in said and "mkdir -p" in said
