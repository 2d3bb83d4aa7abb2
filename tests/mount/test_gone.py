# SPDX-License-Identifier: Apache-2.0
"""A client that sleeps on a mapped record is woken before the last process that changes it ends: version is 0 then."""
from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest
from agent import Agent
from daemon import PASSTHROUGH, Daemon
from paths import check_data_path, mounted
from slots import Slot, eventually, write_once

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="on the page-cache path clients fall back to poll")

KINDS = ("tmpfs", "dir", "memfd")


def remove_the_slot(daemon: Daemon, slot: Slot) -> None:
    slot.remove()


def end_the_daemon(daemon: Daemon, slot: Slot) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)


def abort_the_mount(daemon: Daemon, slot: Slot) -> None:
    subprocess.run(["umount", "-f", "-l", str(daemon.path)], check=True)


def kill_the_supervisor(daemon: Daemon, slot: Slot) -> None:
    os.kill(daemon.pids()[0], signal.SIGKILL)


def server_of(daemon: Daemon) -> int:
    return next(pid for pid in daemon.pids() if Path(f"/proc/{pid}/comm").read_text() == "pyrmapfs-server\n")


def kill_both(daemon: Daemon, slot: Slot) -> None:
    server = server_of(daemon)
    for pid in (daemon.pids()[0], server):
        os.kill(pid, signal.SIGSTOP)
    for pid in (daemon.pids()[0], server):
        os.kill(pid, signal.SIGKILL)


End = Callable[[Daemon, Slot], None]


@pytest.fixture(params=[*((kind, "passthrough") for kind in KINDS), ("memfd", "links"), ("dir", "links"), ("tmpfs", "links")], ids="-".join)
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    kind, path = request.param
    options = {"arena_kind": kind, **({"arena_path": str(tmp_path / "arena")} if kind == "dir" else {})}
    started = mounted(path, **options).start()
    try:
        check_data_path(started, path)
        yield started
    finally:
        started.kill()
        started.stop()


def sleep_on(slot: Slot, program: Callable[[str], str], page: str = "metadata.mem") -> subprocess.Popen[str]:
    """A client that has the record mapped and nothing open, and waits for a change that comes only at the end."""
    client = subprocess.Popen([program("futex"), str(slot / page), "gone"], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None and client.stdout.readline() == "waiting\n"
    state = Path(f"/proc/{client.pid}/stat")
    eventually(lambda: state.read_text().rsplit(")", 1)[1].split()[0] == "S", "the client sleeps")
    return client


def expect_woken(client: subprocess.Popen[str]) -> None:
    output, _ = client.communicate(timeout=20)
    assert output == "woken\n" and client.returncode == 0


@pytest.mark.parametrize("end", (remove_the_slot, end_the_daemon, abort_the_mount, kill_the_supervisor, kill_both))
def test_sleepers_are_woken(daemon: Daemon, program: Callable[[str], str], end: End) -> None:
    slot = Slot.make(daemon.path, "job")
    clients = [sleep_on(slot, program)]
    if daemon.data_path == PASSTHROUGH:
        clients.append(sleep_on(slot, program, "metadata.bin"))
    with open(slot / "metadata.bin", "rb"), open(slot / "metadata.mem", "rb"):  # or somebody else has it open
        other = sleep_on(Slot.make(daemon.path, "other"), program) if end is not remove_the_slot else None
        end(daemon, slot)
        for client in clients:
            expect_woken(client)
        if other is not None:
            expect_woken(other)


def test_sleepers_are_woken_when_the_owner_dies(daemon: Daemon, program: Callable[[str], str], agent: Agent) -> None:
    slot = Slot.make(daemon.path, "job")
    write_once(slot / "owner", str(agent.pid).encode())
    client = sleep_on(slot, program)
    agent.kill()
    expect_woken(client)
