# SPDX-License-Identifier: Apache-2.0
"""Waiting: parked opens and what ends them, poll, select, epoll and the futex."""
from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from agent import Agent
from paths import check_data_path, mounted
from slots import ANSWER, DATA, FAILED, INPUT, NONE, Slot, eventually, number, refused, status, write_once
from standstill import stopped_helper

OPEN = "os.read(os.open(path, os.O_RDONLY), 1000)"


def park(agent: Agent, slot: Slot, file: str) -> None:
    """Lets the agent open a file, and returns once the daemon has parked it."""
    agent.start(OPEN, path=slot / file)
    eventually(lambda: (agent.pid, file) in slot.waiters(), "the open is parked")
    assert not agent.answered()


@pytest.mark.parametrize("file, content", [("data.bin", DATA), ("result.bin", ANSWER)])
def test_an_open_waits_for_its_turn(slot: Slot, agents: Callable[[], Agent], file: str, content) -> None:
    """From IDLE to the end: all waiters get it, and none earlier."""
    waiting = [agents() for _ in range(3)]
    for agent in waiting:
        park(agent, slot, file)
    slot.fill()
    assert not any(agent.answered() for agent in waiting)
    slot.flag(INPUT)
    if file == "result.bin":
        assert not any(agent.answered() for agent in waiting)
        slot.put("result.bin", ANSWER)
        assert not any(agent.answered() for agent in waiting)
        slot.flag(1)
    for agent in waiting:
        assert agent.result().encode("latin-1") == content.tobytes()
    assert slot.waiters() == []


def test_waiters_are_told_in_status(slot: Slot, agent: Agent, mount: Path) -> None:
    assert number(status(mount)["waiters"]) == 0
    park(agent, slot, "result.bin")
    assert number(status(mount)["waiters"]) == 1
    slot.bring("DONE")
    agent.result()
    assert number(status(mount)["waiters"]) == 0


def test_a_signal_ends_it(slot: Slot, agent: Agent) -> None:
    park(agent, slot, "data.bin")
    agent.interrupt()
    with refused(errno.EINTR):
        agent.result()
    eventually(lambda: slot.waiters() == [])
    slot.publish()
    assert agent.run(OPEN).encode("latin-1") == DATA.tobytes()


def uninterruptible(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].startswith("D")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may stop one thread of the server")
def test_a_signal_after_the_wait(path: str, agents: Callable[[], Agent]) -> None:
    """The peer has come, and the open waits for the helper thread only: the signal comes too late to end it."""
    with mounted(path, arena_capacity="16M", arena_warm="0") as daemon:
        full, slot, agent = Slot.make(daemon.path, "full"), Slot.make(daemon.path, "job"), agents()
        with open(full / "data.bin", "wb", buffering=0) as file, refused(errno.ENOSPC):
            while True:
                file.write(bytes(4096))
        agent.run("signal.signal(signal.SIGUSR1, lambda *_: None)")
        park(agent, slot, "data.bin")
        with stopped_helper(daemon.server):
            full.remove()  # the helper has to free it
            slot.send(INPUT, DATA)  # its bytes stand in the page: the open has to make the file, and finds no room
            eventually(lambda: slot.waiters() == [])
            assert not agent.answered()
            agent.interrupt()
            eventually(lambda: uninterruptible(agent.pid), "the kernel has sent the interrupt")
            assert number(status(daemon.path)["waiters"]) == 0 and not agent.answered()
        assert agent.result().encode("latin-1") == DATA.tobytes()
        slot.answer()
        assert number(status(daemon.path)["waiters"]) == 0


def test_the_system_call_itself_says_eintr(slot: Slot, program: Callable[[str], str]) -> None:
    """A C program with a handler sees EINTR, no restart."""
    waiter = subprocess.Popen([program("waiter"), "1", str(slot / "data.bin")], stdout=subprocess.PIPE)
    eventually(lambda: slot.waiters())
    waiter.send_signal(signal.SIGUSR1)
    assert json.loads(waiter.communicate(timeout=20)[0]) == {"EINTR": 1}
    assert slot.waiters() == []


def test_a_killed_waiter_is_gone(slot: Slot, agent: Agent) -> None:
    park(agent, slot, "result.bin")
    agent.kill()
    eventually(lambda: slot.waiters() == [])


def test_nonblocking_opens(slot: Slot) -> None:
    for file in ("data.bin", "result.bin"):
        with refused(errno.EAGAIN):
            os.open(slot / file, os.O_RDONLY | os.O_NONBLOCK)
    assert slot.waiters() == []
    slot.bring("DONE")
    for file in ("data.bin", "result.bin"):
        os.close(os.open(slot / file, os.O_RDONLY | os.O_NONBLOCK))


@pytest.mark.parametrize("cancel", (lambda slot: slot.flag(NONE), lambda slot: os.unlink(slot / "data.bin"),
                                    lambda slot: os.unlink(slot / "metadata.bin"), lambda slot: os.rmdir(slot.path)),
                         ids=("flag -1", "unlink data", "unlink metadata", "rmdir"))
def test_cancelled_waiters(slot: Slot, agents: Callable[[], Agent], cancel: Callable[[Slot], None]) -> None:
    waiting = [agents(), agents()]
    slot.bring("READY")
    for agent in waiting:
        park(agent, slot, "result.bin")
    cancel(slot)
    for agent in waiting:
        with refused(errno.ECANCELED):
            agent.result()


def test_rmdir_ends_the_waiters_of_an_idle_slot(slot: Slot, agents: Callable[[], Agent]) -> None:
    data, result = agents(), agents()
    park(data, slot, "data.bin")
    park(result, slot, "result.bin")
    os.rmdir(slot.path)
    for agent in (data, result):
        with refused(errno.ECANCELED):
            agent.result()


@pytest.mark.parametrize("fail", (lambda slot: slot.flag(FAILED), lambda slot: write_once(slot / "error", b"why\n"),
                                  lambda slot: write_once(slot / "metadata.txt", b"flag=2\n")),
                         ids=("flag 2", "error", "text"))
def test_waiters_of_a_failed_round(slot: Slot, agent: Agent, fail: Callable[[Slot], None]) -> None:
    slot.bring("COMPUTING")
    park(agent, slot, "result.bin")
    fail(slot)
    with refused(errno.EIO):
        agent.result()


@pytest.mark.parametrize("state", ("IDLE", "READY"))
def test_wait_timeout(path: str, agents: Callable[[], Agent], state: str) -> None:
    with mounted(path, handshake_wait_timeout="1") as daemon:
        check_data_path(daemon, path)
        slot = Slot.make(daemon.path, "slow").bring(state)
        with refused(errno.ETIMEDOUT):
            os.open(slot / "result.bin", os.O_RDONLY)
        assert slot.waiters() == [] and "ETIMEDOUT" in slot.text["refused"]
        agent = agents()
        agent.start(OPEN, path=slot / "result.bin")
        eventually(lambda: slot.waiters())
        if state == "IDLE":
            slot.publish()
        slot.answer()
        assert agent.result().encode("latin-1") == ANSWER.tobytes()
        agent.kill()


def test_no_waiting(path: str) -> None:
    """wait = no, for machines where crawlers walk the mount: nothing that reads everything hangs."""
    with mounted(path, handshake_wait="no") as daemon:
        check_data_path(daemon, path)
        for state in ("IDLE", "FILLING", "READY", "COMPUTING"):
            slot = Slot.make(daemon.path, state.lower()).bring(state)
            with refused(errno.EAGAIN):
                os.open(slot / "result.bin", os.O_RDONLY)
            assert "EAGAIN" in slot.text["refused"] and slot.waiters() == []
        walk = subprocess.run(["grep", "-r", "needle", str(daemon.path)], capture_output=True, text=True, timeout=30)
        assert "Resource temporarily unavailable" in walk.stderr
        done = Slot.make(daemon.path, "done").bring("DONE")
        assert np.array_equal(done.result(), ANSWER)


def readable(fd: int, seconds: float = 0) -> dict[str, bool]:
    """What each of the three says about a descriptor."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    epoll = select.epoll()
    epoll.register(fd, select.EPOLLIN)
    answers = {"poll": bool(poll.poll(seconds * 1000)), "select": bool(select.select([fd], [], [], seconds)[0]),
               "epoll": bool(epoll.poll(seconds))}
    epoll.close()
    return answers


YES = {"poll": True, "select": True, "epoll": True}
NO = {"poll": False, "select": False, "epoll": False}


def test_poll_tells_of_changes_since_the_last_read(slot: Slot) -> None:
    """As sysfs attributes do it: readable until read, then again at the next change."""
    fd = os.open(slot / "metadata.bin", os.O_RDONLY)
    os.pread(fd, 128, 0)
    assert readable(fd) == NO
    slot.fill()
    slot.flag(INPUT)
    assert readable(fd, 10) == YES and readable(fd) == YES
    os.pread(fd, 128, 0)
    assert readable(fd) == NO
    with refused(errno.EPROTO):
        slot.flag(INPUT)
    assert readable(fd) == NO
    os.close(fd)


def test_each_handle_has_its_own_memory(slot: Slot) -> None:
    first, second = (os.open(slot / "metadata.bin", os.O_RDONLY) for _ in range(2))
    for fd in (first, second):
        os.pread(fd, 128, 0)
    slot.publish()
    os.pread(first, 128, 0)
    assert readable(first) == NO and readable(second) == YES
    os.close(first)
    os.close(second)


def system_call(pid: int) -> str:
    """The number of the call that a process sleeps in, or "running"."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[0]


@pytest.mark.parametrize("how", ("poll", "select", "epoll"))
def test_poll_wakes(slot: Slot, agent: Agent, how: str) -> None:
    """The change comes while a client sleeps in the call."""
    agent.run("fd = os.open(path, os.O_RDONLY)", path=slot / "metadata.bin")
    agent.run(f"waiter = select.{how if how != 'select' else 'poll'}(); waiter.register(fd, select.POLLIN)")
    wait = "bool(select.select([fd], [], [], 20)[0])" if how == "select" else "bool(waiter.poll(20000))"
    for step in (slot.publish, slot.answer, slot.publish):
        agent.run("len(os.pread(fd, 128, 0))")
        at_rest = eventually(lambda: (call := system_call(agent.pid)) != "running" and call)
        agent.start(wait)
        eventually(lambda: system_call(agent.pid) not in (at_rest, "running"), "it sleeps in the call")
        step()
        assert agent.result() is True


def test_edge_triggered_epoll_wakes(slot: Slot) -> None:
    """Each change is an edge for those who read after each."""
    fd = os.open(slot / "metadata.bin", os.O_RDONLY)
    slot.fill()
    os.pread(fd, 128, 0)
    epoll = select.epoll()
    epoll.register(fd, select.EPOLLIN | select.EPOLLET)
    assert not epoll.poll(0)
    steps: list[Callable[[], None]] = [lambda: slot.flag(INPUT), slot.answer, lambda: slot.flag(NONE)]
    for step in steps:
        step()
        assert epoll.poll(10)
        os.pread(fd, 128, 0)
    epoll.close()
    os.close(fd)


@pytest.mark.parametrize("page", ("metadata.mem", "metadata.bin"))
def test_futex_on_change(slot: Slot, path: str, program: Callable[[str], str], page: str) -> None:
    """A C program maps the record and sleeps on `change`: the daemon's wake reaches it."""
    if path == "pagecache" or path != "passthrough" and page == "metadata.bin":
        pytest.skip("on the page-cache path clients fall back to poll")
    waiter = subprocess.Popen([program("futex"), str(slot / page), "0", "1", "0", "1"],
                              stdout=subprocess.PIPE, text=True)
    assert waiter.stdout is not None
    for step in (slot.publish, slot.answer, slot.publish, slot.answer):
        assert waiter.stdout.readline() == "waiting\n"
        eventually(lambda: Path(f"/proc/{waiter.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S")
        step()
        assert waiter.stdout.readline() == "woken\n"
    assert waiter.wait(20) == 0
    waiter.stdout.close()


def test_a_parked_open_does_not_hinder_its_slot(slot: Slot, agent: Agent) -> None:
    park(agent, slot, "result.bin")
    for name in os.listdir(slot.path):
        os.stat(slot / name)
        if name not in ("data.bin", "result.bin", "data.mem", "result.mem"):
            (slot / name).read_bytes()
    slot.bring("READY")
    slot.answer()
    assert agent.result().encode("latin-1") == ANSWER.tobytes()


@pytest.mark.time_limit(120)
def test_a_thousand_parked_opens(mount: Path, slot: Slot, program: Callable[[str], str]) -> None:
    """They cost the others nothing, and end as they should: answered, cancelled, killed."""
    parked = [Slot.make(mount, f"parked-{count}") for count in range(10)]
    waiters = subprocess.Popen([program("waiter"), "1000", *(str(one / "result.bin") for one in parked)],
                               stdout=subprocess.PIPE)
    eventually(lambda: number(status(mount)["waiters"]) == 1000, "all are parked", seconds=60)
    for count in range(50):
        slot.publish(DATA + count)
        slot.answer(ANSWER + count)
        assert slot.result().tolist() == (ANSWER + count).tolist()
    assert number(status(mount)["waiters"]) == 1000
    assert len(parked[0].waiters()) <= 100
    for one in parked[:4]:
        one.publish()
        one.answer()
    for one in parked[4:7]:
        one.publish()
        one.flag(FAILED)
    for one in parked[7:]:
        os.rmdir(one.path)
    told = json.loads(waiters.communicate(timeout=60)[0])
    assert told == {"ok": 400, "EIO": 300, "ECANCELED": 300}
    assert number(status(mount)["waiters"]) == 0
    for one in parked[:7]:
        one.remove()


@pytest.mark.time_limit(120)
def test_a_thousand_killed_waiters(slot: Slot, mount: Path, program: Callable[[str], str]) -> None:
    waiters = subprocess.Popen([program("waiter"), "1000", str(slot / "data.bin")], stdout=subprocess.DEVNULL)
    eventually(lambda: number(status(mount)["waiters"]) == 1000, "all are parked", seconds=60)
    waiters.kill()
    waiters.wait(20)
    eventually(lambda: number(status(mount)["waiters"]) == 0, "no request is parked")
    slot.publish()
    slot.answer()


def test_a_step_with_many_followers_is_one_step(mount: Path) -> None:
    """It takes many turns of the daemon's loop, but every look sees it done, also at the follower that is served last."""
    head, others = Slot.make(mount, "head"), [Slot.make(mount, f"follower{index}") for index in range(400)]
    last_first = (others[0], others[-1], *others)
    for other in others:
        os.symlink("../head/result.bin", other / "source")
    head.bring("DONE")
    for other in last_first:
        assert other.text["state"].startswith("READY")
        assert (other / "data.bin").stat().st_size == ANSWER.nbytes
    head.bring("READY")
    (head / "error").write_text("no luck")
    for other in last_first:
        other.flag(NONE)
    os.rmdir(head.path)
    for other in last_first:
        assert not os.path.lexists(other / "source")
        assert other.text["state"].startswith("FAILED")
        assert other.text["failure"] == "source head"
    for other in others:
        os.rmdir(other.path)
