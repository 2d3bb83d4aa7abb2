# SPDX-License-Identifier: Apache-2.0
""".pyrmap/events: who reads it learns what happens to slots, at once, and waits in between."""
from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest
from agent import Agent
from paths import mounted
from slots import DATA, INPUT, NONE, Slot, eventually, refused

READ = "os.read(fd, 65536)"
KEPT = 2048


def opened(mount: Path, flags: int = os.O_NONBLOCK) -> int:
    return os.open(mount / ".pyrmap/events", os.O_RDONLY | flags)


@pytest.fixture
def events(mount: Path) -> Iterator[int]:
    """Open for reading without waiting."""
    fd = opened(mount)
    yield fd
    os.close(fd)


def taken(fd: int) -> list[dict[str, Any]]:
    """All that there is."""
    text = b""
    while True:
        try:
            text += os.read(fd, 65536)
        except BlockingIOError:
            return [json.loads(line) for line in text.splitlines()]


def short(event: dict[str, Any]) -> str:
    return {"made": "made", "removed": "removed", "transition": f"{event.get('from')}>{event.get('to')}",
            "failure": f"{event.get('from')}>{event.get('to')}", "refusal": str(event.get("errno"))}[event["event"]]


def test_a_round(slot: Slot, events: int) -> None:
    """Each transition in its order, and once: of which slot and round, when, by whom."""
    slot.bring("DONE")
    slot.flag(NONE)
    found = taken(events)
    assert [short(event) for event in found] == ["IDLE>FILLING", "FILLING>READY", "READY>COMPUTING", "COMPUTING>DONE", "DONE>IDLE"]
    assert {(event["slot"], event["pid"], event["uid"]) for event in found} == {(slot.path.name, os.getpid(), os.geteuid())}
    assert [event["round"] for event in found] == [1, 1, 1, 1, slot.record.round]
    times = [event["time"] for event in found]
    assert times == sorted(times) and times[0].endswith("Z")
    assert taken(events) == []


def test_refusals_and_failures(slot: Slot, events: int) -> None:
    slot.bring("READY")
    with refused(errno.EBUSY):
        os.open(slot / "data.bin", os.O_WRONLY)
    (slot / "error").write_text("it broke\nin the middle\n")
    found = taken(events)
    assert [short(event) for event in found][2:] == ["EBUSY", "READY>FAILED"]
    told = slot.text["refused"].split(" ", 2)[2]
    assert told == f"{found[2]['operation']} EBUSY {found[2]['reason']}"
    assert (found[3]["event"], found[3]["reason"]) == ("failure", "it broke")


def test_a_slot_comes_and_goes(mount: Path, events: int) -> None:
    slot = Slot.make(mount, "coming and going")
    os.rmdir(slot.path)
    assert [(event["event"], event["slot"]) for event in taken(events)] == [("made", slot.path.name), ("removed", slot.path.name)]


def test_what_a_chain_does_has_no_pid(slot: Slot, other: Slot, events: int) -> None:
    os.symlink(slot / "result.bin", other / "source")
    slot.bring("DONE")
    found = taken(events)
    delivered = [event for event in found if event["slot"] == other.path.name]
    assert [short(event) for event in delivered] == ["IDLE>READY"] and "pid" not in delivered[0]
    assert found.index(delivered[0]) > [short(event) for event in found].index("COMPUTING>DONE")


def test_it_begins_now(slot: Slot, mount: Path) -> None:
    """And each reader has all from then on."""
    first = opened(mount)
    slot.fill()
    second = opened(mount)
    slot.flag(NONE)
    try:
        assert [len(taken(fd)) for fd in (first, second)] == [2, 1]
    finally:
        os.close(first)
        os.close(second)


def test_cat_prints_at_once(slot: Slot, mount: Path) -> None:
    """Line by line, while it goes on to wait."""
    with subprocess.Popen(["cat", mount / ".pyrmap/events"], stdout=subprocess.PIPE, text=True) as cat:
        assert cat.stdout is not None
        def prints() -> bool:
            """Once it has opened the file."""
            slot.fill()
            slot.flag(NONE)
            return bool(select.select([cat.stdout], [], [], 0)[0])

        eventually(prints)
        made = Slot.make(mount, "the last one")
        while json.loads(cat.stdout.readline())["slot"] != made.path.name:
            pass
        os.rmdir(made.path)
        assert json.loads(cat.stdout.readline())["event"] == "removed" and cat.poll() is None
        cat.send_signal(signal.SIGINT)
        assert cat.wait(20) == -signal.SIGINT


def test_a_read_waits(slot: Slot, mount: Path, agent: Agent) -> None:
    """Until something happens, or a signal comes."""
    agent.run("fd = os.open(path, os.O_RDONLY)", path=mount / ".pyrmap/events")
    agent.start(READ)
    assert not agent.answered(0.05)
    agent.interrupt()
    with refused(errno.EINTR):
        agent.result()
    agent.start(READ)
    assert not agent.answered()
    slot.fill()
    assert short(json.loads(agent.result())) == "IDLE>FILLING"
    agent.start(READ)
    agent.kill()


def test_poll(slot: Slot, events: int, mount: Path, agent: Agent) -> None:
    """It is readable exactly while there is something to read."""
    with pytest.raises(BlockingIOError):
        os.read(events, 100)
    assert select.select([events], [], [], 0)[0] == []
    slot.fill()
    assert select.select([events], [], [], 0)[0] == [events]
    assert len(taken(events)) == 1
    assert select.select([events], [], [], 0)[0] == []
    agent.run("fd = os.open(path, os.O_RDONLY); p = select.poll(); p.register(fd, select.POLLIN)", path=mount / ".pyrmap/events")
    agent.start("p.poll(20000)")
    assert not agent.answered(0.05)
    slot.flag(NONE)
    assert agent.result()[0][1] == select.POLLIN
    assert short(json.loads(agent.run(READ))) == "FILLING>IDLE"


def test_many_readers(slot: Slot, mount: Path, agents: Callable[[], Agent]) -> None:
    """More than are answered in one turn, in one process and in several."""
    fds = [opened(mount) for _ in range(100)]
    waiting = [agents() for _ in range(3)]
    for agent in waiting:
        agent.run("fd = os.open(path, os.O_RDONLY)", path=mount / ".pyrmap/events")
        agent.start(READ)
    slot.fill()
    for agent in waiting:
        assert short(json.loads(agent.result())) == "IDLE>FILLING"
    for fd in fds:
        assert [short(event) for event in taken(fd)] == ["IDLE>FILLING"]
        os.close(fd)


def test_a_slow_reader_is_told(slot: Slot, events: int) -> None:
    """How much it has missed; then come those that are kept."""
    more = 40
    fd = os.open(slot / "metadata.bin", os.O_WRONLY)
    for _ in range((KEPT + more) // 2):
        assert os.write(fd, slot.image(INPUT, DATA)) and os.pwrite(fd, np.int32(NONE).tobytes(), 0)
        os.lseek(fd, 0, os.SEEK_SET)
    os.close(fd)
    found = taken(events)
    assert found[0] == {"missed": more} and len(found) == 1 + KEPT
    slot.fill()
    assert len(taken(events)) == 1


def test_small_reads_make_up_the_lines(slot: Slot, events: int) -> None:
    slot.bring("DONE")
    text = b""
    while select.select([events], [], [], 0)[0]:
        text += os.read(events, 7)
    assert [short(json.loads(line)) for line in text.splitlines()][-1] == "COMPUTING>DONE"


def test_it_is_read_only_and_has_no_places(mount: Path) -> None:
    assert os.stat(mount / ".pyrmap/events").st_mode & 0o7777 == 0o444
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
        with refused(errno.EACCES, errno.EPERM):
            os.open(mount / ".pyrmap/events", flags)
    fd = opened(mount)
    with refused(errno.ESPIPE):
        os.lseek(fd, 0, os.SEEK_SET)
    os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_others_see_their_slots_only(slot: Slot, events: int, mount: Path, agents: Callable[..., Agent]) -> None:
    agent = agents("daemon")
    agent.run("fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)", path=mount / ".pyrmap/events")
    slot.bring("READY")
    with refused(errno.EAGAIN):
        agent.run(READ)
    assert agent.run("select.select([fd], [], [], 0)[0]") == []
    agent.run("os.mkdir(path)", path=mount / "of another user")
    assert short(json.loads(agent.run(READ))) == "made"
    assert [event["slot"] for event in taken(events)] == [slot.path.name] * 2 + ["of another user"]
    agent.run("os.rmdir(path)", path=mount / "of another user")


def test_without_waiting(path: str) -> None:
    """Where opens do not wait, for those who walk through the mount, reads of events do not either."""
    with mounted(path, handshake_wait="no") as daemon:
        fd = os.open(daemon.path / ".pyrmap/events", os.O_RDONLY)
        with refused(errno.EAGAIN):
            os.read(fd, 100)
        Slot.make(daemon.path, "job")
        assert b'"made"' in os.read(fd, 1000)
        os.close(fd)


def test_the_end_of_the_daemon(path: str, agents: Callable[[], Agent]) -> None:
    """Whoever waits gets an error, and the daemon does not wait for anybody."""
    agent = agents()
    with mounted(path) as daemon:
        agent.run("fd = os.open(path, os.O_RDONLY)", path=daemon.path / ".pyrmap/events")
        agent.start(READ)
        Slot.make(daemon.path, "job")
        agent.result()
        agent.start(READ)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        with refused(errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV):
            agent.result()
