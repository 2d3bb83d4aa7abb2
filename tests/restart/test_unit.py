# SPDX-License-Identifier: Apache-2.0
"""The systemd units: what they run, run here as systemd would, with what they take from it."""
from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator

import pytest
from daemon import PYRMAPFS, ROOT, as_user, is_mounted, processes
from places import kill_at
from slots import ANSWER, Slot, eventually

SYSTEM = ROOT / "packaging/systemd/pyrmapfs.service"
USER = ROOT / "packaging/systemd/user/pyrmapfs.service"
CONFINED = [sys.executable, str(Path(__file__).with_name("confined.py")), str(SYSTEM)]
SECONDS = 30
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the unit is root's")


class Service:
    """One unit, for another mount point, with this process as its manager. The mount point does not exist yet."""

    def __init__(self, unit: Path, point: Path, front: list[str]) -> None:
        self.unit = unit
        self.point = point
        self.front = front
        self.process: subprocess.Popen[bytes] | None = None
        address = str(point.parent.parent / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        os.chmod(address, 0o777)
        self.socket.settimeout(SECONDS)
        self.environment = {**os.environ, "NOTIFY_SOCKET": address}

    def commands(self, key: str) -> list[tuple[bool, list[str]]]:
        """The command lines of a key; whether they may fail (a dash in front)."""
        found = []
        for line in self.unit.read_text().splitlines():
            if line.startswith(key + "="):
                text = line.split("=", 1)[1]
                argv = text.lstrip("-").replace("@BINDIR@/pyrmapfs", str(PYRMAPFS)).replace("/etc/pyrmapfs.conf", "/dev/null")
                argv = argv.replace("/mnt/pyrmap", str(self.point)).replace("%t/pyrmap", str(self.point))
                argv = argv.replace("$MAINPID", str(self.process.pid if self.process else ""))
                found.append((text.startswith("-"), [*self.front, *argv.split()]))
        assert found
        return found

    def run(self, key: str) -> None:
        for may_fail, argv in self.commands(key):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS)
            assert may_fail or done.returncode == 0, done

    def told(self) -> str:
        return self.socket.recv(8192).decode()

    def start(self) -> "Service":
        """As Type=notify: up when the program says so, and not before."""
        self.run("ExecStartPre")
        [(_, argv)] = self.commands("ExecStart")
        self.process = subprocess.Popen(argv, env=self.environment, stdin=subprocess.DEVNULL)
        assert self.told() == f"READY=1\nSTATUS=Mounted at {self.point}"
        assert is_mounted(self.point)
        return self

    def ended(self) -> int:
        assert self.process is not None
        status = self.process.wait(SECONDS)
        self.process = None
        self.run("ExecStopPost")
        return status

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.told() == "STOPPING=1\nSTATUS=Unmounting"
        return self.ended()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def make(unit: Path = SYSTEM, front: list[str] | None = None) -> Service:
        services.append(Service(unit, tmp_path / "mnt" / "pyrmap", front or []))
        return services[-1]

    yield make
    for made in services:
        made.socket.close()
        if made.process is not None:
            made.process.kill()
            made.process.wait()
        while is_mounted(made.point):
            subprocess.run(["umount", "-l", str(made.point)], check=True)
        eventually(lambda: processes(made.point) == [])


def test_a_start_and_a_stop(service: Callable[..., Service]) -> None:
    """The mount point is made; the manager is told of start and stop; a stop is a success."""
    unit = service().start()
    Slot.make(unit.point, "slot").bring("DONE")
    assert unit.stop() == 0
    assert not is_mounted(unit.point)


def test_a_start_that_fails_says_why(service: Callable[..., Service]) -> None:
    unit = service()
    unit.point.parent.mkdir()
    unit.point.write_text("a file")
    [(_, argv)] = unit.commands("ExecStart")
    done = subprocess.run(argv, env=unit.environment, capture_output=True, timeout=SECONDS)
    assert done.returncode == 1
    assert unit.told() == f"STATUS={unit.point}: not a directory: a mount point must be one"


def test_a_restart_after_everything_was_killed(service: Callable[..., Service]) -> None:
    """As Restart=on-failure does it: the mount is dead, nobody else clears it."""
    unit = service().start()
    kill_at(unit.point)
    assert unit.process is not None
    unit.process.wait()
    unit.start()
    Slot.make(unit.point, "slot").bring("DONE")
    assert unit.stop() == 0


def test_a_stop_after_everything_was_killed(service: Callable[..., Service]) -> None:
    """ExecStopPost leaves no dead mount."""
    unit = service().start()
    kill_at(unit.point)
    assert is_mounted(unit.point)
    assert unit.ended() == -signal.SIGKILL
    assert not is_mounted(unit.point) and os.listdir(unit.point) == []


def test_a_live_mount_is_not_cleared(service: Callable[..., Service]) -> None:
    """ExecStopPost of a service that found another pyrmapfs at its mount point."""
    unit = service().start()
    unit.run("ExecStopPost")
    slot = Slot.make(unit.point, "slot").bring("DONE")
    assert slot.result().tolist() == ANSWER.tolist()
    assert unit.stop() == 0


def ways(point: Path) -> list[str]:
    """The data path and the arena, and why."""
    lines = (point / ".pyrmap/status").read_text().splitlines()
    found = [line for line in lines if line.startswith(("data path: ", "arena: "))]
    assert len(found) == 2
    return found


def takeovers(point: Path) -> int:
    return int((point / ".pyrmap/status").read_text().split("\ntakeovers: ")[1].split()[0])


def test_a_reload(service: Callable[..., Service]) -> None:
    unit = service().start()
    slot = Slot.make(unit.point, "slot").bring("READY")
    unit.run("ExecReload")
    assert unit.told() == f"READY=1\nSTATUS=Mounted at {unit.point}"
    assert takeovers(unit.point) == 1
    slot.answer()
    assert unit.stop() == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_what_the_unit_takes_away(service: Callable[..., Service], sanitized: bool) -> None:
    """With these capabilities and system calls it does all that it does without, by the same ways."""
    if sanitized:
        pytest.skip("sanitizers make other system calls")
    free = service().start()
    usual = ways(free.point)
    assert free.stop() == 0
    free.socket.close()
    os.unlink(free.environment["NOTIFY_SOCKET"])
    unit = service(front=CONFINED).start()
    assert ways(unit.point) == usual
    slot = Slot.make(unit.point, "slot").bring("DONE")
    assert slot.result().tolist() == ANSWER.tolist()
    assert unit.process is not None
    unit.run("ExecReload")
    assert unit.told() == f"READY=1\nSTATUS=Mounted at {unit.point}"
    assert ways(unit.point) == usual and takeovers(unit.point) == 1
    slot.publish()
    state = Path(f"/proc/{unit.process.pid}/status").read_text()
    assert "Seccomp:\t2\n" in state and "NoNewPrivs:\t1\n" in state
    assert unit.stop() == 0
    assert not is_mounted(unit.point)


def test_the_filter_is_applied(service: Callable[..., Service]) -> None:
    """What is not in the list is refused: else the test above would show nothing."""
    done = subprocess.run([*CONFINED, "/usr/sbin/chroot", "/", "/bin/true"], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 125 and "Operation not permitted" in done.stderr


def test_a_user_s_service(service: Callable[..., Service], tmp_path: Path) -> None:
    """For one user, through fusermount3."""
    entry = pwd.getpwnam("nobody")
    os.chown(tmp_path, entry.pw_uid, entry.pw_gid)
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(0o755)
    unit = service(USER, as_user("nobody")).start()
    status = subprocess.run([*as_user("nobody"), "cat", str(unit.point / ".pyrmap/status")], capture_output=True, text=True)
    assert "data path: links" in status.stdout
    assert unit.stop() == 0
    assert not is_mounted(unit.point)
