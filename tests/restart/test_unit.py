# SPDX-License-Identifier: Apache-2.0
"""The systemd unit: what it runs, run here as systemd would."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Iterator

import pytest
from daemon import PYRMAPFS, ROOT, is_mounted, processes
from places import kill_at
from slots import Slot, eventually

UNIT = ROOT / "packaging" / "systemd" / "pyrmapfs.service"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the unit is root's")


def commands(key: str, point: Path) -> list[tuple[bool, list[str]]]:
    """The command lines of a key, for another mount point; whether they may fail (a dash in front)."""
    found = []
    for line in UNIT.read_text().splitlines():
        if line.startswith(key + "="):
            text = line.split("=", 1)[1]
            argv = text.lstrip("-").replace("@BINDIR@/pyrmapfs", str(PYRMAPFS)).replace("/mnt/pyrmap", str(point))
            found.append((text.startswith("-"), argv.replace("/etc/pyrmapfs.conf", "/dev/null").split()))
    assert found
    return found


def start(point: Path) -> None:
    for may_fail, argv in commands("ExecStartPre", point) + commands("ExecStart", point):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        assert may_fail or done.returncode == 0, done
    assert is_mounted(point)


@pytest.fixture
def point(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mnt" / "pyrmap"
    yield path
    if is_mounted(path):
        subprocess.run(["umount", "-l", str(path)], check=True)
    eventually(lambda: processes(path) == [])


def test_a_first_start_makes_the_mount_point(point: Path) -> None:
    start(point)
    Slot.make(point, "slot").bring("DONE")


def test_a_restart_after_everything_was_killed(point: Path) -> None:
    """As Restart=on-failure does it: the mount is dead, nobody else clears it."""
    start(point)
    kill_at(point)
    start(point)
    Slot.make(point, "slot").bring("DONE")
