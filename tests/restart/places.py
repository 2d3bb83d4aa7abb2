# SPDX-License-Identifier: Apache-2.0
"""Daemons on a directory arena, and what such a directory looks like from outside."""
from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

from daemon import Daemon, is_mounted, processes
from slots import eventually

CAPACITY = {"arena.capacity": "64M", "arena.warm": "0"}

Entry = NamedTuple("Entry", [("mode", int), ("size", int), ("content", bytes)])


def look(path: Path) -> Entry:
    status = os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        return Entry(status.st_mode, status.st_size, path.read_bytes())
    return Entry(status.st_mode, 0, os.fsencode(os.readlink(path)) if path.is_symlink() else b"")


def snapshot(directory: Path) -> dict[str, Entry]:
    """Every name below it, with mode, size and bytes; empty if there is no such directory."""
    if not directory.exists():
        return {}
    paths = [directory, *directory.rglob("*")]
    return {str(path.relative_to(directory)): look(path) for path in paths}


def arena_of(daemon: Daemon) -> Path:
    return daemon.directory / "arena"


def on_directory(user: str | None = None, arena: Path | None = None, **options: str) -> Daemon:
    """A daemon whose arrays are below `arena`, by default a directory that it makes; not yet started."""
    chosen = {key.replace("_", ".", 1): value for key, value in options.items()}
    daemon = Daemon({**CAPACITY, "arena.kind": "dir", **chosen}, user=user)
    daemon.options["arena.path"] = str(arena or arena_of(daemon))
    return daemon


def refusal(daemon: Daemon, **options: str) -> str:
    """What a start that has to fail says: one line besides the log. It exits 1 and leaves no mount."""
    more = [word for key, value in options.items() for word in ("-o", f"{key.replace('_', '.', 1)}={value}")]
    command = daemon.command()
    done = subprocess.run([*command[:-1], *more, command[-1]], capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and done.stdout == "", done
    assert not is_mounted(daemon.path)
    lines = [line for line in done.stderr.splitlines() if line.startswith("pyrmapfs: ")]
    said = [line for line in lines if line.split(": ")[1] not in ("error", "warning", "info", "debug")]
    assert len(said) == 1, done.stderr
    return said[0]


def kill(daemon: Daemon, which: str) -> None:
    """SIGKILL for "supervisor" or "both" of a daemon; its own process is reaped. (A server alone has a successor.)"""
    process = daemon.process
    assert process is not None and process.stdout is not None
    server = daemon.server
    pids = {"supervisor": [process.pid], "both": [process.pid, server]}[which]
    ends = [os.pidfd_open(pid) for pid in (process.pid, server)]
    for number in (signal.SIGSTOP, signal.SIGKILL):  # at one moment: the server would end by itself without its supervisor
        for pid in pids:
            os.kill(pid, number)
    for end in ends:
        wait_for(end)
    process.wait(20)
    process.stdout.close()


def wait_for(pidfd: int) -> None:
    assert select.select([pidfd], [], [], 30)[0], "the process does not end"
    os.close(pidfd)


def kill_at(path: Path) -> None:
    """SIGKILL for all daemons at this mount point at one moment, so that none cleans up after another."""
    pids = processes(path)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
    eventually(lambda: processes(path) == [])
    assert is_mounted(path)
