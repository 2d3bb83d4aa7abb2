# SPDX-License-Identifier: Apache-2.0
"""Many starts at one moment: one of them wins, and the others say so."""
from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Iterator

import pytest
from daemon import Daemon, is_mounted
from places import kill_at, on_directory, snapshot

STARTS = 8


class Race:
    """Programs that were started together, and what each said first."""

    def __init__(self, daemons: list[Daemon]) -> None:
        self.daemons = daemons
        gate, opener = os.pipe()
        for daemon in daemons:
            # Each shell waits for the end of its input, which comes for all of them at one moment.
            daemon.process = subprocess.Popen(["sh", "-c", 'read _; exec "$@"', "sh", *daemon.command()], stdin=gate,
                                              stdout=subprocess.PIPE, stderr=daemon.log.open("wb"),
                                              start_new_session=True)
        os.close(gate)
        os.close(opener)

    def winners(self) -> list[Daemon]:
        """Those that are ready, once each is ready or has ended."""
        return [daemon for daemon in self.daemons if self._said(daemon).startswith(b"ready")]

    @staticmethod
    def _said(daemon: Daemon) -> bytes:
        assert daemon.process is not None and daemon.process.stdout is not None
        assert select.select([daemon.process.stdout], [], [], 40)[0], "neither ready nor ended"
        return daemon.process.stdout.readline()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "arena"


def finish(daemons: list[Daemon]) -> None:
    for daemon in daemons:
        daemon.stop()
        shutil.rmtree(daemon.directory, ignore_errors=True)


def lock_of(daemon: Daemon) -> str:
    """The lock file that its server has open, as the kernel names it."""
    links = [os.readlink(path) for path in Path(f"/proc/{daemon.server}/fd").iterdir()]
    return next(link for link in links if "/lock" in link)


@pytest.mark.parametrize("used", [False, True])
def test_one_directory(directory: Path, used: bool) -> None:
    if used:
        with on_directory(arena=directory) as before:
            os.mkdir(before.path / "slot")
    daemons = [on_directory(arena=directory) for _ in range(STARTS)]
    race = Race(daemons)
    try:
        winners = race.winners()
        assert len(winners) == 1
        assert (winners[0].path / "slot").exists() == used
        for daemon in daemons:
            if daemon is not winners[0]:
                assert daemon.process is not None and daemon.process.wait(20) == 1
                assert "in use" in daemon.log.read_text()
    finally:
        finish(daemons)


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("stale", [False, True])
def test_one_mount_point(stale: bool) -> None:
    """Two looks before two mounts would both find it free; of a stale mount, two would clear it."""
    for _ in range(8):
        first = Daemon()
        if stale:
            first.start()
            kill_at(first.path)
            first.process = None
            assert is_mounted(first.path)
        daemons = [first] + [Daemon() for _ in range(STARTS - 1)]
        others = [daemon.directory for daemon in daemons[1:]]
        for daemon in daemons:
            daemon.path = first.path
        try:
            winners = Race(daemons).winners()
            assert len(winners) == 1
            assert sum(f" {first.path} " in line for line in open("/proc/self/mountinfo")) == 1
            os.mkdir(first.path / "slot")
            for daemon in daemons:
                if daemon is not winners[0]:
                    assert daemon.process is not None and daemon.process.wait(20) == 1
                    daemon.process = None
                    assert "already" in daemon.log.read_text()
            assert os.listdir(winners[0].path).count("slot") == 1
        finally:
            for daemon in daemons:
                daemon.stop()
            for directory in [first.directory, *others]:
                shutil.rmtree(directory, ignore_errors=True)


def test_starts_while_another_removes_it(directory: Path) -> None:
    """
    A lock on a file that was removed meanwhile is worth nothing: the daemon that is ready holds the lock that
    has the name, however starts and removals meet.
    """
    last = on_directory(arena=directory).start()
    for _ in range(15):
        assert last.process is not None
        last.process.send_signal(signal.SIGTERM)
        daemons = [on_directory(arena=directory) for _ in range(3)]
        winners = Race(daemons).winners()
        assert len(winners) <= 1
        finish([daemon for daemon in daemons if daemon not in winners] + [last])
        last = winners[0] if winners else on_directory(arena=directory).start()
        assert lock_of(last) == str(directory / "lock")
    finish([last])
    assert set(snapshot(directory)) <= {"."}, "the daemon that made the directory was perhaps refused"
