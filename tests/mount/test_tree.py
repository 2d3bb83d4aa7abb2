# SPDX-License-Identifier: Apache-2.0
"""The tree: names, ls, stat, df, mv, rm, modes and owners."""
from __future__ import annotations

import ctypes
import errno
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Iterator

import pytest
from daemon import Daemon
from paths import DATA_PATH
from slots import ANSWER, DATA, FILES, LINKS, READ_ONLY, Slot, metrics, pairs, refused, status, usage, write_once

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def mode(path: Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def run(*argv: str | Path) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=30,
                          env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def umask() -> Iterator[None]:
    """Puts it back."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_root(mount: Path) -> None:
    """Like /tmp: every user makes slots, nobody removes another user's."""
    assert mode(mount) == 0o1777 and stat.S_ISDIR(os.stat(mount).st_mode)
    assert os.listdir(mount) == [".pyrmap"]
    assert {"status", "metrics", "config"} <= set(os.listdir(mount / ".pyrmap"))


def test_the_daemons_own_view_is_read_only(mount: Path) -> None:
    for name in ("status", "metrics", "config"):
        assert mode(mount / ".pyrmap" / name) == 0o444
        with refused(errno.EACCES, errno.EPERM, errno.EROFS):
            os.open(mount / ".pyrmap" / name, os.O_WRONLY)
        with refused(errno.EACCES, errno.EPERM, errno.EROFS):
            os.unlink(mount / ".pyrmap" / name)
    for attempt in (lambda: os.mkdir(mount / ".pyrmap" / "x"), lambda: os.rmdir(mount / ".pyrmap"),
                    lambda: os.rename(mount / ".pyrmap", mount / "x"),
                    lambda: os.open(mount / ".pyrmap" / "x", os.O_CREAT | os.O_WRONLY)):
        with refused(errno.EACCES, errno.EPERM, errno.EROFS):
            attempt()


def test_status_says_what_people_want_to_know(mount: Path, path: str, server: Daemon) -> None:
    version = subprocess.run([server.command()[0], "--version"], capture_output=True, text=True, check=True).stdout
    told = status(mount)
    assert set(told) >= {"version", "data path", "arena", "capacity", "used", "warm", "free", "slots", "waiters",
                         "refusals", "uptime"}
    assert told["version"] in version
    assert told["data path"].startswith(DATA_PATH[path])
    assert told["arena"].split()[0] in ("tmpfs", "dir", "memfd")


def test_status_counts_slots_by_state(mount: Path, slot: Slot, other: Slot) -> None:
    slot.bring("DONE")
    other.bring("FAILED")
    assert status(mount)["slots"] == "2 of 65536 (IDLE 0, FILLING 0, READY 0, COMPUTING 0, DONE 1, FAILED 1)"


def test_metrics_are_for_prometheus(mount: Path, slot: Slot) -> None:
    """Text exposition format: each name has its type, counters count."""
    lines = (mount / ".pyrmap" / "metrics").read_text().splitlines()
    types = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE ")}
    before = metrics(mount)
    parts = {name + part for name, kind in types.items() if kind == "histogram" for part in ("_bucket", "_sum", "_count")}
    assert {key.split("{")[0] for key in before} <= set(types) | parts
    assert all(name.startswith("pyrmapfs_") and kind in ("gauge", "counter", "histogram") for name, kind in types.items())
    assert all((kind == "counter") == name.endswith("_total") for name, kind in types.items())
    assert any(key.startswith("pyrmapfs_info{") and before[key] == 1 for key in before)
    slot.bring("DONE")
    after = metrics(mount)
    assert after["pyrmapfs_rounds_total"] == before["pyrmapfs_rounds_total"] + 1
    assert after['pyrmapfs_slots{state="DONE"}'] == before['pyrmapfs_slots{state="DONE"}'] + 1
    for operation in ("open", "write", "lookup"):
        key = f'pyrmapfs_requests_total{{op="{operation}"}}'
        assert after[key] > before.get(key, 0)
    assert {"pyrmapfs_waiters", "pyrmapfs_uptime_seconds"} <= set(after)


def test_config_is_the_configuration_file(mount: Path, server: Daemon, tmp_path: Path) -> None:
    """What .pyrmap/config prints, a second daemon reads, and prints again."""
    text = (mount / ".pyrmap" / "config").read_text()
    settings = pairs(text.replace(" = ", "="))
    assert settings["capacity"] in ("512M", str(512 << 20)) and settings["root_mode"] == "1777"
    file = tmp_path / "pyrmapfs.conf"
    file.write_text(text)
    with Daemon(arguments=["-c", str(file)]) as second:
        assert (second.path / ".pyrmap" / "config").read_text() == text


def test_a_slot_has_its_files(slot: Slot, path: str) -> None:
    links = set(LINKS) if DATA_PATH[path] == "links" else set()
    assert sorted(os.listdir(slot.path)) == sorted(links | set(FILES))
    for name in FILES:
        assert stat.S_ISREG(os.stat(slot / name).st_mode)
        assert os.stat(slot / name).st_uid == os.geteuid()
    assert os.stat(slot / "metadata.bin").st_size == 128
    names = set(os.listdir(slot.path))
    listed = run("ls", "-la", slot.path).splitlines()[1:]
    assert {line.split(" -> ")[0].split()[-1] for line in listed} == names | {".", ".."}
    assert {Path(line).name for line in run("find", slot.path, "-type", "f").splitlines()} == names - links
    assert {Path(line).name for line in run("find", slot.path, "-type", "l").splitlines()} == links


@pytest.mark.parametrize("mask, directory, file, view",
                         [(0o022, 0o755, 0o644, 0o444), (0o027, 0o750, 0o640, 0o440), (0o077, 0o700, 0o600, 0o400),
                          (0o002, 0o775, 0o664, 0o444)])
def test_umask(mount: Path, umask: None, mask: int, directory: int, file: int, view: int) -> None:
    os.umask(mask)
    slot = Slot.make(mount, f"mask-{mask:o}")
    assert mode(slot.path) == directory
    for name in set(FILES) - set(LINKS):
        assert mode(slot / name) == (view if name in READ_ONLY else file), name
    slot.remove()


def test_mkdir_takes_a_mode(mount: Path) -> None:
    os.mkdir(mount / "private", 0o700)
    assert mode(mount / "private") == 0o700 and mode(mount / "private" / "data.bin") == 0o600
    os.rmdir(mount / "private")


def test_chmod_of_the_slot_is_for_all_its_files(slot: Slot) -> None:
    os.chmod(slot.path, 0o2770)
    assert mode(slot.path) & 0o777 == 0o770
    assert mode(slot / "result.bin") == 0o660 and mode(slot / "result.txt") == 0o440


def test_chmod_of_a_file_is_for_that_file(slot: Slot) -> None:
    os.chmod(slot / "task", 0o600)
    assert mode(slot / "task") == 0o600
    assert mode(slot / "data.bin") == 0o644 and mode(slot.path) == 0o755
    slot.bring("DONE")
    os.chmod(slot / "result.bin", 0o604)
    assert mode(slot / "result.bin") == 0o604


@needs_root
def test_chown_is_for_the_whole_slot(slot: Slot) -> None:
    os.chown(slot / "task", 65534, 4321)
    for name in (".", *FILES):
        status = os.stat(slot / name, follow_symlinks=False)
        assert (status.st_uid, status.st_gid) == (65534, 4321)
    os.chown(slot.path, 0, -1)
    assert (os.stat(slot / "error").st_uid, os.stat(slot / "error").st_gid) == (0, 4321)


@pytest.mark.parametrize("name", [b"n" * 255, b"a b", b"tab\tnew\nline", b"\xff\xfe\x80", b"\xc3\xa4\xe2\x82\xac",
                                  b"-rf", b"a.b", b"'\"$(x)`;", b"~"])
def test_names(mount: Path, name: bytes) -> None:
    path = os.fsencode(mount) + b"/" + name
    os.mkdir(path)
    assert name in os.listdir(os.fsencode(mount))
    slot = Slot(Path(os.fsdecode(path)))
    slot.bring("DONE")
    assert slot.result().tolist() == ANSWER.tolist()
    os.rmdir(path)
    assert not os.path.exists(path)


@pytest.mark.parametrize("name, code", [(b"n" * 256, errno.ENAMETOOLONG), (b".hidden", errno.EPERM),
                                        (b"...", errno.EPERM), (b".", errno.EEXIST), (b"..", errno.EEXIST),
                                        (b".pyrmap", errno.EEXIST)])
def test_bad_names(mount: Path, name: bytes, code: int) -> None:
    with refused(code):
        os.mkdir(os.fsencode(mount) + b"/" + name)


def test_mkdir_twice(slot: Slot) -> None:
    slot.bring("READY")
    with refused(errno.EEXIST):
        os.mkdir(slot.path)
    assert slot.state == "READY"


def test_true_sizes_and_times(slot: Slot) -> None:
    begun = time.time() - 1
    for name in FILES:
        assert begun - 2 < os.stat(slot / name).st_mtime < time.time() + 2, name
    slot.publish()
    seen = os.stat(slot / "data.bin")
    assert seen.st_size == 40 and seen.st_blocks * 512 >= 40
    assert begun < seen.st_mtime < time.time() + 2
    slot.put("result.bin", b"x" * 1_000_000)
    assert os.stat(slot / "result.bin").st_size == 1_000_000
    assert os.stat(slot / "result.bin").st_blocks * 512 >= 1_000_000
    assert "1000000" in run("ls", "-l", slot / "result.bin").split()


def test_mtime_follows_the_record(slot: Slot) -> None:
    before = os.stat(slot / "metadata.bin").st_mtime_ns
    slot.publish()
    assert os.stat(slot / "metadata.bin").st_mtime_ns > before
    assert os.stat(slot / "metadata.bin").st_mtime_ns == os.stat(slot / "metadata.bin").st_mtime_ns


def test_each_round_has_its_own_inodes(slot: Slot) -> None:
    """`ls -i` tells the rounds apart; the slot's other files stay what they were."""
    seen = set()
    task = os.stat(slot / "task").st_ino
    for _ in range(5):
        slot.publish()
        slot.answer()
        seen |= {os.stat(slot / "data.bin").st_ino, os.stat(slot / "result.bin").st_ino}
        assert int(run("ls", "-i", slot / "data.bin").split()[0]) == os.stat(slot / "data.bin").st_ino
    assert len(seen) == 10 and os.stat(slot / "task").st_ino == task


def test_inodes_are_distinct(slot: Slot, other: Slot) -> None:
    numbers = [os.stat(one / name).st_ino for one in (slot, other) for name in (".", *FILES)]
    assert len(set(numbers)) == len(numbers)


def test_df(mount: Path, slot: Slot) -> None:
    """Capacity, used and free, and used grows by what a slot takes."""
    before = os.statvfs(mount)
    told = usage(mount)
    assert before.f_blocks * before.f_frsize == told["capacity"] == 512 << 20
    assert before.f_bfree * before.f_frsize == told["capacity"] - told["used"]
    slot.put("data.bin", b"x" * (8 << 20))
    after = os.statvfs(mount)
    assert (before.f_bfree - after.f_bfree) * after.f_frsize >= 8 << 20
    assert after.f_namemax == 255
    columns = run("df", "-B1", "--output=size,used,avail", mount).splitlines()[1].split()
    assert [int(column) for column in columns] == [
        told["capacity"], (after.f_blocks - after.f_bfree) * after.f_frsize, after.f_bavail * after.f_frsize]


def test_rename_of_a_slot(mount: Path, slot: Slot) -> None:
    """mv keeps everything: data, round, waiters' handles, inodes."""
    slot.bring("DONE")
    before, inode = slot.raw, os.stat(slot / "result.bin").st_ino
    reading = os.open(slot / "result.bin", os.O_RDONLY)
    run("mv", slot.path, mount / "renamed")
    renamed = Slot(mount / "renamed")
    assert not os.path.exists(slot.path) and renamed.raw == before
    assert os.stat(renamed / "result.bin").st_ino == inode
    assert os.pread(reading, 1000, 0) == ANSWER.tobytes()
    os.close(reading)
    renamed.publish()
    os.rename(renamed.path, slot.path)
    assert slot.state == "READY"


def renameat2(old: Path, new: Path, flags: int) -> None:
    at_fdcwd = -100
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(at_fdcwd, os.fsencode(old), at_fdcwd, os.fsencode(new), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def test_rename_never_replaces_a_slot(mount: Path, slot: Slot, other: Slot) -> None:
    slot.bring("DONE")
    other.bring("READY")
    with refused(errno.ENOTEMPTY):
        os.rename(slot.path, other.path)
    with refused(errno.EEXIST):
        renameat2(slot.path, other.path, 1)
    with refused(errno.EINVAL):
        renameat2(slot.path, other.path, 2)
    assert (slot.state, other.state) == ("DONE", "READY")
    renameat2(slot.path, mount / "free-name", 1)
    os.rename(mount / "free-name", slot.path)


@pytest.mark.parametrize("name, code", [(".hidden", errno.EPERM), ("n" * 256, errno.ENAMETOOLONG)])
def test_rename_to_a_bad_name(mount: Path, slot: Slot, name: str, code: int) -> None:
    with refused(code):
        os.rename(slot.path, mount / name)
    assert slot.state == "IDLE"


@pytest.mark.parametrize("state", ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED"))
def test_rm_r(mount: Path, state: str) -> None:
    slot = Slot.make(mount, "doomed")
    slot.bring(state)
    write_once(slot / "task", b"something")
    run("rm", "-r", slot.path)
    assert not slot.path.exists() and os.listdir(mount) == [".pyrmap"]


@pytest.mark.parametrize("state", ("IDLE", "COMPUTING", "DONE"))
def test_rmdir_and_the_name_again(mount: Path, state: str) -> None:
    """rmdir needs no emptying, and the next slot of that name knows nothing of the last one."""
    slot = Slot.make(mount, "phoenix")
    slot.bring(state)
    write_once(slot / "task", b"something")
    os.rmdir(slot.path)
    with refused(errno.ENOENT):
        os.stat(slot / "data.bin")
    slot = Slot.make(mount, "phoenix")
    assert slot.state == "IDLE" and slot.record.round == 1 and (slot / "task").read_bytes() == b""
    slot.publish()
    assert slot.data().tolist() == DATA.tolist()
    slot.remove()


def test_open_handles_outlive_their_slot(mount: Path) -> None:
    slot = Slot.make(mount, "short-lived")
    slot.bring("DONE")
    reading = os.open(slot / "result.bin", os.O_RDONLY)
    record = os.open(slot / "metadata.bin", os.O_RDWR)
    os.rmdir(slot.path)
    assert os.pread(reading, 1000, 0) == ANSWER.tobytes()
    with refused(errno.ENOENT, errno.ESTALE):
        os.pwrite(record, b"\xff\xff\xff\xff", 0)
    os.close(reading)
    os.close(record)


def test_task_is_a_text(slot: Slot) -> None:
    """Written at any time, appended to, kept over rounds, cleared by truncation."""
    write_once(slot / "task", b"mean.py\n")
    with open(slot / "task", "a") as task:
        task.write("fast\n")
    assert (slot / "task").read_text() == "mean.py\nfast\n" and os.stat(slot / "task").st_size == 13
    slot.bring("DONE")
    slot.publish()
    assert (slot / "task").read_text() == "mean.py\nfast\n"
    (slot / "task").write_text("other.py")
    assert (slot / "task").read_text() == "other.py"
    os.truncate(slot / "task", 0)
    assert (slot / "task").read_text() == ""


def test_creating_what_exists(slot: Slot) -> None:
    """O_CREAT finds the file; O_EXCL does not have it."""
    os.close(os.open(slot / "task", os.O_CREAT | os.O_WRONLY))
    for name in FILES:
        with refused(errno.EEXIST):
            os.open(slot / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
