# SPDX-License-Identifier: Apache-2.0
"""The program: its command line, how it starts, how it ends, and what it leaves behind: nothing."""
from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest
from agent import Agent
from daemon import PYRMAPFS, ROOT, Daemon, as_user, is_mounted, processes
from paths import DATA_PATH, PATHS, check_data_path, mounted
from slots import ANSWER, Slot, eventually, number, pairs, status

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def run(*arguments: str | Path, user: str | None = None, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    argv = (as_user(user) if user else []) + [str(PYRMAPFS), *(str(argument) for argument in arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)


@pytest.fixture
def point(tmp_path: Path) -> Iterator[Path]:
    """A mount point; whatever a test leaves there is ended."""
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    for pid in processes(path):
        os.kill(pid, signal.SIGKILL)
    if f" {path} " in Path("/proc/self/mountinfo").read_text():
        unmount = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
        subprocess.run([*unmount, str(path)], check=True)


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed start prints; a mistake in the command line itself is followed by its usage."""
    assert done.returncode > 0, done
    lines = [line for line in done.stderr.splitlines() if line.strip() and "a sanitizer is in the way" not in line]
    assert done.stdout == "" and 1 <= len(lines) <= 2, done.stderr + done.stdout
    assert lines[0].split("/")[-1].startswith("pyrmapfs: ") or lines[0].startswith("pyrmapfs: ")
    assert all(line.startswith("usage: pyrmapfs") for line in lines[1:])
    return lines[0]


def test_help_and_version() -> None:
    told = run("--help")
    assert told.returncode == 0 and told.stderr == ""
    for word in ("-f", "-c", "-o", "--version", "MOUNTPOINT", "capacity", "wait_timeout", "passthrough"):
        assert word in told.stdout
    told = run("--version")
    assert told.returncode == 0 and re.fullmatch(r"pyrmapfs \d+\.\d+\.\d+\n", told.stdout)


@pytest.mark.parametrize("arguments", [[], ["-f"], ["/a", "/b"], ["-x", "/a"], ["--colour", "/a"], ["-c"], ["-o"],
                                       ["-f", "-o", "arena.capacity=1G"]])
def test_bad_command_lines(arguments: list[str]) -> None:
    assert complaint(run(*arguments))


@pytest.mark.parametrize("override, words", [
    ("arena.colour=red", "colour"), ("colour.kind=red", "colour"), ("arena", "arena"), ("arena.kind", "arena.kind"),
    ("=", "="), ("arena.kind=", "kind"), ("arena.kind=floppy", "floppy"), ("arena.capacity=lots", "lots"),
    ("arena.capacity=-1", "-1"), ("arena.capacity=0", "capacity"), ("arena.capacity=1Gx", "1Gx"),
    ("arena.capacity=101%", "101%"), ("arena.capacity=99999999999G", "capacity"), ("mount.root_mode=9", "9"),
    ("mount.root_mode=77777", "77777"), ("limits.slots=0", "slots"), ("limits.slots=1.5", "1.5"),
    ("handshake.wait_timeout=soon", "soon"), ("handshake.wait_timeout=-1", "-1"), ("path.passthrough=maybe", "maybe"),
    ("log.level=loud", "loud"), ("arena.kind=dir", "path"), ("arena.warm=2G", "warm"),
])
def test_bad_overrides(point: Path, override: str, words: str) -> None:
    """One line that names what is wrong."""
    assert words in complaint(run("-f", "-o", "arena.capacity=1G", "-o", override, point)) or \
        words in complaint(run("-f", "-o", override, point))
    assert not is_mounted(point)


@pytest.mark.parametrize("text, line", [
    ("[arena]\ncolour = red\n", 2), ("[colours]\nred = 1\n", 1), ("[arena]\n\nkind = floppy\n", 3),
    ("kind = memfd\n", 1), ("[arena]\nkind = memfd\nkind = memfd\n", 3), ("[arena]\nkind memfd\n", 2),
    ("[arena\nkind = memfd\n", 1), ("[arena]\ncapacity = 64M trailing\n", 2),
    ("[limits]\nslots = 7\nslots_per_user = x\n", 3),
    ("[arena]\npath = /" + "x" * 300 + "\nkind = memfd\n", 2), ("[arena]\nkind = floppy\ncolour = red\n", 2),
    ("[log]\nlevel = info\n[mount]\nroot_mode = 888\n", 4), ("[arena]\nkind = mem\0fd\n", 2),
])
def test_bad_configuration_files(point: Path, tmp_path: Path, text: str, line: int) -> None:
    """File and line of the first mistake."""
    file = tmp_path / "bad.conf"
    file.write_bytes(text.encode())
    assert f"{file}:{line}:" in complaint(run("-f", "-c", file, point))
    assert not is_mounted(point)


def test_missing_configuration_file(point: Path, tmp_path: Path) -> None:
    assert "nowhere.conf" in complaint(run("-f", "-c", tmp_path / "nowhere.conf", point))
    assert "directory" in complaint(run("-f", "-c", tmp_path, point)).lower()


def test_the_shipped_configuration_is_the_default(point: Path) -> None:
    with Daemon(arguments=["-c", str(ROOT / "conf" / "pyrmapfs.conf")]) as daemon:
        shipped = (daemon.path / ".pyrmap" / "config").read_text()
    empty = point.parent / "empty.conf"
    empty.write_text("")
    with Daemon(arguments=["-c", str(empty)]) as daemon:
        assert (daemon.path / ".pyrmap" / "config").read_text() == shipped


def test_overrides_come_last(tmp_path: Path) -> None:
    file = tmp_path / "some.conf"
    file.write_text("[limits]\nslots = 7\nslots_per_user = 5\n[arena]\ncapacity = 64M\n")
    with Daemon({"limits.slots": "6"}, arguments=["-c", str(file)]) as daemon:
        settings = pairs((daemon.path / ".pyrmap" / "config").read_text().replace(" = ", "="))
        assert (settings["slots"], settings["slots_per_user"]) == ("6", "5")
        assert number(status(daemon.path)["capacity"]) == 64 << 20


def test_mount_points_that_are_none(point: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in complaint(run("-f", file))
    for missing in ("missing", "missing/below"):
        assert f"{missing}: No such file or directory: make it with mkdir -p" in complaint(run("-f", tmp_path / missing))
    assert complaint(run(tmp_path / "missing"))
    assert complaint(run(file))


def test_mounting_twice(tmp_path: Path) -> None:
    with mounted(PATHS[0]) as daemon:
        slot = Slot.make(daemon.path, "first")
        assert "already" in complaint(run("-f", daemon.path))
        assert "already" in complaint(run(daemon.path))
        slot.bring("DONE")


@needs_root
def test_what_users_may_not_do(tmp_path: Path) -> None:
    """No privileges: one line each, and no trace."""
    point = tmp_path / "mnt"
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o755)
    point.mkdir()
    assert complaint(run("-f", point, user="nobody"))
    os.chown(point, 65534, 65534)
    for override in ("arena.kind=tmpfs", "path.passthrough=on", "mount.allow_other=yes", "arena.path=/root/arena"):
        more = ["-o", "arena.kind=dir"] if "arena.path" in override else []
        assert complaint(run("-f", *more, "-o", override, point, user="nobody")), override
        assert not is_mounted(point) and processes(point) == []


def start_in_background(point: Path, *arguments: str) -> None:
    done = run(*arguments, point)
    assert done.returncode == 0 and done.stdout == "" and done.stderr == "", done
    assert is_mounted(point)
    Slot.make(point, "at-once").bring("DONE")


def end(point: Path, how: str) -> None:
    if how == "umount":
        subprocess.run(["umount", str(point)], check=True)
    elif how == "fusermount3":
        subprocess.run(["fusermount3", "-u", str(point)], check=True)
    else:
        os.kill(min(processes(point)), getattr(signal, how))


ENDS = ("umount", "fusermount3", "SIGTERM", "SIGINT") if os.geteuid() == 0 else ("fusermount3", "SIGTERM", "SIGINT")


@pytest.mark.parametrize("how", ENDS)
def test_in_the_background(point: Path, how: str) -> None:
    """Returns when the mount answers, holds no pipe of the caller, and ends as it is asked to."""
    start_in_background(point)
    pids = processes(point)
    assert pids and all(os.getsid(pid) != os.getsid(0) for pid in pids)
    assert all(os.readlink(f"/proc/{pid}/cwd") == "/" for pid in pids)
    end(point, how)
    eventually(lambda: not is_mounted(point))
    eventually(lambda: processes(point) == [], "all its processes are gone")
    assert os.listdir(point) == []


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("path", PATHS)
def test_in_the_foreground(path: str, how: str) -> None:
    """Status 0, nothing mounted, whatever slots there are."""
    daemon = mounted(path)
    with daemon:
        check_data_path(daemon, path)
        Slot.make(daemon.path, "done").bring("DONE")
        Slot.make(daemon.path, "ready").bring("READY")
        process = daemon.process
        assert process is not None
        if how.startswith("SIG"):
            process.send_signal(getattr(signal, how))
        else:
            end(daemon.path, how)
        assert process.wait(20) == 0
        eventually(lambda: not is_mounted(daemon.path))


def places() -> set[str]:
    """Where an arena could be left behind."""
    return {f"{place}/{name}" for place in ("/tmp", "/run", "/dev/shm", "/var/tmp", "/var/lib", "/var/run")
            if os.path.isdir(place) for name in os.listdir(place) if not name.startswith(("pytest", "pyrmapfs-test-"))}


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_left_behind(path: str) -> None:
    before, mounts = places(), Path("/proc/self/mountinfo").read_text()
    with mounted(path) as daemon:
        Slot.make(daemon.path, "done").bring("DONE")
        pids = daemon.pids()
    eventually(lambda: places() <= before, "files of others, if any, come and go")
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


@pytest.mark.parametrize("path", PATHS)
def test_busy_clients_do_not_keep_it(path: str, agents: Callable[[], Agent]) -> None:
    """Parked opens, open files, mappings, a working directory: SIGTERM ends all the same, and nobody hangs."""
    waiter, holder = agents(), agents()
    with mounted(path) as daemon:
        slot = Slot.make(daemon.path, "busy").bring("READY")
        waiter.start("os.open(path, os.O_RDONLY)", path=slot / "result.bin")
        eventually(lambda: slot.waiters())
        holder.run("os.chdir(where)\nfd = os.open('data.bin', os.O_RDONLY)\n"
                   "view = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)", where=slot.path)
        assert daemon.stop() == 0 and not is_mounted(daemon.path)
        with pytest.raises(OSError):
            waiter.result()
        with pytest.raises(OSError):
            holder.run("os.listdir('.')")
    assert daemon.reports() == []


def answer(path: Path) -> int:
    """The errno of a look at a directory; 0: it answers."""
    try:
        os.listdir(path)
    except OSError as error:
        return error.errno or 0
    return 0


def test_a_stale_mount_is_cleared(point: Path) -> None:
    """"Transport endpoint is not connected": a start at the same place repairs it."""
    daemon = mounted(PATHS[0])
    with daemon:
        process = daemon.process
        assert process is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
        eventually(lambda: answer(daemon.path) == errno.ENOTCONN, "the mount is dead")
        assert process.stdout is not None
        process.stdout.close()
        daemon.start()
        slot = Slot.make(daemon.path, "again").bring("DONE")
        assert slot.result().tolist() == ANSWER.tolist()
    assert not is_mounted(daemon.path)


@needs_root
def test_a_foreign_mount_is_not_cleared(point: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(point)], check=True)
    (point / "precious").write_text("data")
    if run(point).returncode == 0:
        end(point, "umount")
        eventually(lambda: processes(point) == [])
    assert (point / "precious").read_text() == "data"
    subprocess.run(["umount", str(point)], check=True)


@pytest.mark.parametrize("level, told", [("debug", True), ("error", False)])
def test_log_level(level: str, told: bool) -> None:
    with mounted(PATHS[0], log_level=level) as daemon:
        Slot.make(daemon.path, "some").bring("DONE")
        assert daemon.stop() == 0
        assert bool(daemon.log.read_text()) == told


def test_the_log_says_which_path_and_why(tmp_path: Path) -> None:
    for path in PATHS:
        with mounted(path) as daemon:
            reason = status(daemon.path)["data path"]
            assert f"data path: {DATA_PATH[path]} (" in daemon.log.read_text()
            assert len(reason.split()) > 2


def state_of(pid: int) -> dict[str, str]:
    return pairs(Path(f"/proc/{pid}/status").read_text().replace(":\t", "="))


def capabilities(pid: int, kind: str) -> set[int]:
    bits = int(state_of(pid)[kind], 16)
    return {number for number in range(64) if bits >> number & 1}


CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN = 2, 21


@pytest.mark.parametrize("path", PATHS)
def test_privileges_are_dropped(path: str, sanitized: bool) -> None:
    """no_new_privs, a seccomp filter, and of root's capabilities no more than each process needs."""
    with mounted(path) as daemon:
        Slot.make(daemon.path, "some").bring("DONE")
        supervisor, server = daemon.supervisor, daemon.server
        assert state_of(server)["NoNewPrivs"] == "1"
        assert state_of(server)["Seccomp"] == ("0" if sanitized else "2"), "sanitizers make other system calls"
        root = os.geteuid() == 0
        assert state_of(supervisor)["NoNewPrivs"] == ("1" if root else "0"), "fusermount3 is setuid"
        for kind in ("CapEff", "CapPrm"):
            assert capabilities(server, kind) == ({CAP_SYS_ADMIN} if root else set())
            assert capabilities(supervisor, kind) == ({CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH} if root else set())
        for kind in ("CapInh", "CapAmb"):
            assert capabilities(server, kind) == capabilities(supervisor, kind) == set()


@pytest.mark.parametrize("path", PATHS)
def test_the_mount_takes_no_programs(path: str) -> None:
    with mounted(path) as daemon:
        line = next(line for line in open("/proc/self/mountinfo") if f" {daemon.path} " in line)
        assert {"nosuid", "nodev", "noexec"} <= set(line.split()[5].split(","))


@needs_root
def test_a_mount_point_on_a_way_that_is_not_roots(tmp_path: Path) -> None:
    """Unmounting needs the way to it, which a directory of another user's blocks for root without capabilities."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    (home / "mnt").mkdir()
    start_in_background(home / "mnt")
    end(home / "mnt", "SIGTERM")
    eventually(lambda: not is_mounted(home / "mnt"))
    eventually(lambda: processes(home / "mnt") == [])
