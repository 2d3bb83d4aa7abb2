# SPDX-License-Identifier: Apache-2.0
"""owner and worker: their death ends a round or a slot."""
from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from agent import Agent
from slots import ANSWER, DATA, FAILED, INPUT, NONE, Slot, eventually, refused, write_once

SELF = "fd = os.open(path, os.O_WRONLY); os.write(fd, b'self'); os.close(fd)"
ONCE = SELF.replace("self", "self once")

ROLES = ("owner", "worker")


def dead_pid() -> int:
    child = subprocess.Popen(["true"])
    child.wait(20)
    return child.pid


@pytest.mark.parametrize("role", ROLES)
def test_binding_is_by_self_or_by_number(slot: Slot, agent: Agent, role: str) -> None:
    assert (slot / role).read_text() == ""
    agent.run(SELF, path=slot / role)
    assert (slot / role).read_text() == f"{agent.pid}\n" and slot.text[role] == str(agent.pid)
    for text in (f"{os.getpid()}", f"{os.getpid()}\n"):
        write_once(slot / role, text.encode())
        assert (slot / role).read_text() == f"{os.getpid()}\n"
    write_once(slot / role, b"self\n")
    assert (slot / role).read_text() == f"{os.getpid()}\n"
    os.truncate(slot / role, 0)
    assert (slot / role).read_text() == ""


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("text", (b"", b"me", b"0", b"-1", b"1 2", b"12x", b"0x1", b" ", b"1.5",
                                  b"99999999999999999999", b"2147483648", b"self self", b"\0", b"\xff", b"1" * 5000))
def test_junk_is_refused(slot: Slot, role: str, text: bytes) -> None:
    write_once(slot / role, b"self")
    if text:
        with refused(errno.EINVAL, errno.EFBIG):
            write_once(slot / role, text)
    assert (slot / role).read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("role", ROLES)
def test_nobody_of_that_number(slot: Slot, role: str) -> None:
    with refused(errno.ESRCH):
        write_once(slot / role, str(dead_pid()).encode())
    assert (slot / role).read_text() == ""


@pytest.mark.parametrize("role", ROLES)
def test_another_users_process(slot: Slot, agents: Callable[..., Agent], role: str) -> None:
    """Only processes of the same user can be named; root may name any."""
    if os.geteuid() != 0:
        with refused(errno.EPERM):
            write_once(slot / role, b"1")
        return
    stranger = agents("65534")
    os.chown(slot.path, 65534, 65534)
    with refused(errno.EPERM):
        stranger.run("fd = os.open(path, os.O_WRONLY); os.write(fd, pid)", path=slot / role,
                     pid=str(os.getpid()).encode())
    assert (slot / role).read_text() == ""
    stranger.run(SELF, path=slot / role)
    write_once(slot / role, b"")
    write_once(slot / role, str(stranger.pid).encode())
    assert (slot / role).read_text() == f"{stranger.pid}\n"


@pytest.mark.parametrize("state", ("READY", "COMPUTING"))
def test_a_dead_worker_fails_the_round(slot: Slot, agents: Callable[[], Agent], state: str) -> None:
    """The round fails at once, with a text that names the worker; every waiter gets an error."""
    worker, waiter = agents(), agents()
    slot.publish()
    slot.answer()
    slot.bring(state)
    worker.run(SELF, path=slot / "worker")
    waiter.start("os.open(path, os.O_RDONLY)", path=slot / "result.bin")
    eventually(lambda: slot.waiters())
    assert os.stat(slot / "error").st_size == 0
    worker.kill()
    with refused(errno.EIO):
        waiter.result()
    assert os.stat(slot / "error").st_size == len(slot.error) > 0
    assert slot.state == "FAILED" and slot.record.flag == FAILED
    assert slot.error == f"worker {worker.pid} exited before it published the result of round 2\n"
    assert slot.text["failure"].startswith(f"worker-died pid={worker.pid} status=")
    with refused(errno.EIO):
        os.open(slot / "result.bin", os.O_RDONLY)
    slot.flag(INPUT)
    slot.answer()


def test_failures_in_words_for_programs(mount: Path, slot: Slot, agents: Callable[[], Agent]) -> None:
    def failure(failed: Slot) -> list[str]:
        return failed.lines("failure")

    follower = Slot.make(mount, "follower of it")
    os.symlink(f"../{slot.path.name}/result.bin", follower / "source")
    assert failure(slot) == failure(follower) == []
    slot.publish()
    (slot / "error").write_text("ValueError\n")
    assert failure(slot) == ["client"] and failure(follower) == [f"source {slot.path.name}"]
    with refused(errno.EINVAL):
        write_once(slot / "metadata.txt", b"failures=0\n")
    write_once(slot / "metadata.txt", b"failure=client\n")  # only shown
    slot.flag(INPUT)
    assert failure(slot) == failure(follower) == []
    worker = agents()
    worker.run(SELF, path=slot / "worker")
    worker.kill()
    eventually(lambda: slot.state == "FAILED")
    assert failure(slot)[0].startswith(f"worker-died pid={worker.pid} status=")
    follower.remove()


def test_a_worker_of_one_round_may_go_after_it(slot: Slot, agent: Agent) -> None:
    slot.bring("READY")
    agent.run(ONCE, path=slot / "worker")
    assert (slot / "worker").read_text() == f"{agent.pid} once\n"
    slot.answer()
    assert (slot / "worker").read_text() == ""
    agent.kill()
    slot.publish()
    assert slot.state == "READY"
    slot.answer()
    assert slot.state == "DONE" and slot.error == ""


@pytest.mark.parametrize("round_is", ("cancelled", "failed", "dropped"))
def test_a_worker_of_one_round_is_cleared_when_that_ends(slot: Slot, agent: Agent, round_is: str) -> None:
    slot.bring("IDLE" if round_is == "dropped" else "READY")
    agent.run(ONCE, path=slot / "worker")
    if round_is == "dropped":
        # An input that was never published leaves the round as it was, and the worker in it.
        slot.fill()
        slot.flag(NONE)
        assert (slot / "worker").read_text() == f"{agent.pid} once\n"
        slot.publish()
    slot.flag(NONE if round_is != "failed" else FAILED)
    assert (slot / "worker").read_text() == ""


def test_a_worker_stays_for_rounds_to_come(slot: Slot, agent: Agent) -> None:
    """Rounds that it never touched: nobody waits for a process that is gone."""
    agent.run(SELF, path=slot / "worker")
    for _ in range(2):
        slot.publish()
        slot.answer()
    assert (slot / "worker").read_text() == f"{agent.pid}\n"
    slot.publish()
    agent.kill()
    eventually(lambda: slot.state == "FAILED")
    assert slot.error == f"worker {agent.pid} exited before it published the result of round 3\n"


def test_a_worker_that_ends_between_rounds_is_no_failure(slot: Slot, agent: Agent) -> None:
    slot.bring("READY")
    agent.run(SELF, path=slot / "worker")
    slot.answer()
    agent.kill()
    eventually(lambda: (slot / "worker").read_text() == "")
    slot.publish()
    assert slot.state == "READY"


def test_an_owner_is_for_good(slot: Slot) -> None:
    with refused(errno.EINVAL):
        write_once(slot / "owner", b"self once")


def test_a_worker_that_holds_files_open(slot: Slot, agent: Agent) -> None:
    """Its descriptors and mappings go with it; the retry starts clean."""
    slot.bring("READY")
    agent.run(SELF, path=slot / "worker")
    agent.run("fd = os.open(path, os.O_RDWR); os.ftruncate(fd, 80); pages = mmap.mmap(fd, 80); pages[:] = b'x' * 80",
              path=slot / "result.bin")
    agent.kill()
    eventually(lambda: slot.state == "FAILED")
    slot.flag(INPUT)
    assert os.stat(slot / "result.bin").st_size == 0
    slot.answer()
    assert slot.result().tolist() == ANSWER.tolist()


def test_the_last_worker_named_counts(slot: Slot, agents: Callable[[], Agent]) -> None:
    first, second = agents(), agents()
    slot.bring("READY")
    first.run(SELF, path=slot / "worker")
    second.run(SELF, path=slot / "worker")
    first.kill()
    assert slot.state == "READY"
    second.kill()
    eventually(lambda: slot.state == "FAILED")
    assert str(second.pid) in slot.error


def test_a_worker_that_is_cleared_may_go(slot: Slot, agent: Agent) -> None:
    slot.bring("READY")
    agent.run(SELF, path=slot / "worker")
    os.unlink(slot / "worker")
    agent.kill()
    slot.put("result.bin", ANSWER)
    assert slot.state == "COMPUTING"


def test_a_dead_owner_removes_the_slot(mount: Path, agents: Callable[[], Agent]) -> None:
    """The name goes, waiters are told, open handles keep their pages."""
    owner, waiter = agents(), agents()
    slot = Slot.make(mount, "owned")
    slot.bring("READY")
    owner.run(SELF, path=slot / "owner")
    reading = os.open(slot / "data.bin", os.O_RDONLY)
    waiter.start("os.open(path, os.O_RDONLY)", path=slot / "result.bin")
    eventually(lambda: slot.waiters())
    owner.kill()
    with refused(errno.ECANCELED):
        waiter.result()
    eventually(lambda: not slot.path.exists())
    assert "owned" not in os.listdir(mount)
    assert os.pread(reading, 1000, 0) == DATA.tobytes()
    os.close(reading)
    Slot.make(mount, "owned").remove()


def test_an_owner_of_many(mount: Path, agent: Agent) -> None:
    slots = [Slot.make(mount, f"owned-{count}") for count in range(50)]
    for slot in slots:
        agent.run(SELF, path=slot / "owner")
    agent.kill()
    eventually(lambda: not any(slot.path.exists() for slot in slots))


def test_owner_and_worker_at_once(slot: Slot, agents: Callable[[], Agent]) -> None:
    """R owns, Python works: the worker's death fails the round, the owner's removes the slot."""
    owner, worker = agents(), agents()
    owner.run(SELF, path=slot / "owner")
    slot.bring("COMPUTING")
    worker.run(SELF, path=slot / "worker")
    worker.kill()
    eventually(lambda: slot.state == "FAILED")
    assert (slot / "owner").read_text() == f"{owner.pid}\n"
    owner.kill()
    eventually(lambda: not slot.path.exists())


def test_writing_error_fails_the_round(slot: Slot) -> None:
    """At once with the text so far; more of it may follow."""
    slot.bring("COMPUTING")
    with open(slot / "error", "wb", buffering=0) as error:
        error.write(b"ValueError: no\n")
        assert slot.state == "FAILED" and slot.error == "ValueError: no\n"
        error.write(b"  line 2\n")
    assert slot.error == "ValueError: no\n  line 2\n"
    assert os.stat(slot / "error").st_size == len(slot.error)


def test_a_next_round_has_no_error(slot: Slot) -> None:
    slot.bring("READY")
    write_once(slot / "error", b"no\n")
    slot.fill()
    assert slot.error == "" and slot.state == "FILLING"
