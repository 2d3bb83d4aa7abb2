# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is: every state, every step, the errno of each refusal, on every data path."""
from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest
from agent import Agent
from daemon import Daemon
from slots import (ANSWER, DATA, FAILED, FLOAT64, INPUT, NONE, RESULT, STATES, Record, Slot, eventually, metrics,
                   refused, usage, write_once)

STEPS = ("write data", "read data", "write result", "read result", "flag 0", "flag 1", "flag 2", "error", "flag -1")

# What each step does in each state: the next state, the errno, or a wait.
TABLE = """
            write data  read data  write result  read result  flag 0  flag 1  flag 2  error   flag -1
IDLE        FILLING     waits      EBUSY         waits        READY   EPROTO  EPROTO  EPROTO  IDLE
FILLING     FILLING     waits      EBUSY         waits        READY   EPROTO  EPROTO  EPROTO  IDLE
READY       EBUSY       READY      COMPUTING     waits        EPROTO  EPROTO  FAILED  FAILED  IDLE
COMPUTING   EBUSY       COMPUTING  COMPUTING     waits        EPROTO  DONE    FAILED  FAILED  EBUSY
DONE        FILLING     DONE       EBUSY         DONE         EPROTO  DONE    EPROTO  EPROTO  IDLE
FAILED      FILLING     FAILED     EBUSY         EIO          READY   EPROTO  FAILED  FAILED  IDLE
"""
CELLS = {line.split()[0]: dict(zip(STEPS, line.split()[1:])) for line in TABLE.strip().splitlines()[1:]}

FLAG_OF = {"IDLE": NONE, "FILLING": NONE, "READY": INPUT, "COMPUTING": INPUT, "DONE": RESULT, "FAILED": FAILED}


def open_and_close(path: Path, flags: int) -> None:
    os.close(os.open(path, flags))


def take_step(slot: Slot, step: str, text_twin: bool = False) -> None:
    """One step, by the record or by its text twin."""
    word, name = step.split() if " " in step else (step, "")
    if word == "flag" and text_twin:
        write_once(slot / "metadata.txt", f"flag={name}\n".encode())
    elif word == "flag":
        slot.flag(int(name))
    elif word == "error":
        write_once(slot / "error", b"it went wrong\n")
    else:
        open_and_close(slot / f"{name}.bin", os.O_WRONLY if word == "write" else os.O_RDONLY)


def finish(slot: Slot, state: str, step: str) -> None:
    """Goes on from a state until what `step` waits for is there."""
    if state in ("IDLE", "FILLING"):
        slot.publish()
    if step == "read result":
        slot.answer()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("step", STEPS)
def test_cell(slot: Slot, agents: Callable[[], Agent], state: str, step: str) -> None:
    slot.bring(state)
    before, outcome = slot.raw, CELLS[state][step]
    if outcome == "waits":
        agent = agents()
        file = step.split()[1] + ".bin"
        agent.start("os.read(os.open(path, os.O_RDONLY), 1000)", path=slot / file)
        eventually(lambda: (agent.pid, file) in slot.waiters(), "the open is parked")
        assert not agent.answered() and slot.raw == before and slot.state == state
        with refused(errno.EAGAIN):
            agents().run("os.open(path, os.O_RDONLY | os.O_NONBLOCK)", path=slot / file)
        finish(slot, state, step)
        expected = DATA if step == "read data" else ANSWER
        assert agent.result().encode("latin-1") == expected.tobytes()
    elif outcome.startswith("E"):
        with refused(getattr(errno, outcome)):
            take_step(slot, step)
        assert slot.raw == before and slot.state == state
    else:
        take_step(slot, step)
        assert slot.state == outcome and slot.record.flag == FLAG_OF[outcome]
        if step.startswith("flag") and state != outcome:
            assert slot.record.change != Record.unpack(before).change


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("value", (NONE, INPUT, RESULT, FAILED))
def test_flag_by_text(slot: Slot, state: str, value: int) -> None:
    """`echo flag=0 > metadata.txt` is judged as the record is."""
    slot.bring(state)
    before, outcome = slot.raw, CELLS[state][f"flag {value}"]
    if outcome.startswith("E"):
        with refused(getattr(errno, outcome)):
            take_step(slot, f"flag {value}", text_twin=True)
        assert slot.raw == before
    else:
        take_step(slot, f"flag {value}", text_twin=True)
    assert slot.state == (state if outcome.startswith("E") else outcome)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("step", [step for step in STEPS if step.startswith("flag")])
def test_flag_by_whole_record(slot: Slot, state: str, step: str) -> None:
    """128 bytes with nothing but the flag changed do what its four bytes do."""
    slot.bring(state)
    before, outcome = slot.raw, CELLS[state][step]
    whole = Record.unpack(before)._replace(flag=int(step.split()[1])).pack()
    if outcome.startswith("E"):
        with refused(getattr(errno, outcome)):
            write_once(slot / "metadata.bin", whole)
        assert slot.raw == before
    else:
        write_once(slot / "metadata.bin", whole)
    assert slot.state == (state if outcome.startswith("E") else outcome)


@pytest.mark.parametrize("file, allowed", [("data.bin", ("IDLE", "FILLING", "DONE", "FAILED")),
                                           ("result.bin", ("READY", "COMPUTING"))])
@pytest.mark.parametrize("state", STATES)
def test_truncate_is_writing(slot: Slot, file: str, allowed: tuple[str, ...], state: str) -> None:
    """truncate(2) is legal only where opening for writing is, and has the same effect on the state."""
    slot.bring(state)
    size = os.stat(slot / file).st_size
    if state in allowed:
        os.truncate(slot / file, 4096)
        assert os.stat(slot / file).st_size == 4096
        assert slot.state == CELLS[state]["write " + file.split(".")[0]]
    else:
        with refused(errno.EBUSY):
            os.truncate(slot / file, 4096)
        assert os.stat(slot / file).st_size == size and slot.state == state


def test_opening_for_both_is_writing(slot: Slot) -> None:
    slot.bring("READY")
    with refused(errno.EBUSY):
        os.open(slot / "data.bin", os.O_RDWR)
    open_and_close(slot / "result.bin", os.O_RDWR)
    assert slot.state == "COMPUTING"


def test_truncating_open_is_writing(slot: Slot) -> None:
    """O_RDONLY|O_TRUNC, and `> data.bin`, must not empty a published array."""
    slot.bring("READY")
    for flags in (os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_TRUNC):
        with refused(errno.EBUSY):
            os.open(slot / "data.bin", flags)
    assert slot.data().tolist() == DATA.tolist()


def test_empty_input(slot: Slot) -> None:
    slot.write(flag=INPUT, input_length=0)
    assert slot.state == "READY" and slot.record.input_length == 0
    assert slot.data().size == 0


def test_empty_result_at_once(slot: Slot) -> None:
    """READY -> DONE without opening result.bin, if the result has no elements."""
    slot.bring("READY")
    slot.write(flag=RESULT, result_length=0)
    assert slot.state == "DONE" and slot.record.result_length == 0
    assert slot.result().size == 0


def test_writer_may_read_what_it_writes(slot: Slot, agent: Agent) -> None:
    writing = os.open(slot / "data.bin", os.O_WRONLY)
    os.write(writing, DATA.tobytes())
    reading = os.open(slot / "data.bin", os.O_RDONLY)
    assert os.read(reading, 1000) == DATA.tobytes()
    with refused(errno.EAGAIN):
        agent.run("os.open(path, os.O_RDONLY | os.O_NONBLOCK)", path=slot / "data.bin")
    os.close(writing)
    slot.flag(INPUT)
    os.close(reading)


def test_result_has_one_writer(slot: Slot, agent: Agent) -> None:
    slot.bring("READY")
    agent.run("fd = os.open(path, os.O_WRONLY)", path=slot / "result.bin")
    assert slot.state == "COMPUTING"
    with refused(errno.EBUSY):
        os.open(slot / "result.bin", os.O_WRONLY)
    agent.run("again = os.open(path, os.O_WRONLY); os.close(again); os.close(fd)")
    open_and_close(slot / "result.bin", os.O_WRONLY)


def write_half(agent: Agent, slot: Slot, begin: int, end: int) -> None:
    """As multiprocessing's children do it, with the file's name."""
    agent.run("fd = os.open(path, os.O_RDWR); os.pwrite(fd, data, offset); os.close(fd)", path=slot / "result.bin",
              data=ANSWER.tobytes()[begin:end], offset=begin)


def test_children_write_parts_of_the_result(slot: Slot, agent: Agent) -> None:
    """The test is the worker, and the agents are its children: what they write is there when all have let go."""
    second = Agent()
    try:
        slot.bring("READY")
        size = len(ANSWER.tobytes())
        with open(slot / "result.bin", "r+b", buffering=0) as own:
            own.truncate(size)
            write_half(agent, slot, 0, 8)
            agent.run("kept = os.open(path, os.O_RDWR)", path=slot / "result.bin")
            # A child of the same parent is a stranger to the other one, as long as nobody has named the worker.
            with refused(errno.EBUSY):
                write_half(second, slot, 8, size)
            with refused(errno.EBUSY):
                open_and_close(slot / "result.bin", os.O_WRONLY)
            (slot / "worker").write_text("self")
            write_half(second, slot, 8, size)
            open_and_close(slot / "result.bin", os.O_WRONLY)
            with refused(errno.EBUSY):
                slot.flag(RESULT)
        with refused(errno.EBUSY):
            slot.flag(RESULT)
        agent.run("os.close(kept)")
        slot.write(flag=RESULT, result_dtype=FLOAT64, result_length=len(ANSWER))
        assert slot.result().tolist() == ANSWER.tolist()
    finally:
        second.kill()


def test_a_stranger_writes_no_result_with_the_worker(slot: Slot, agent: Agent) -> None:
    """Nor does a parent that is no worker: R, say, whose child computes."""
    slot.bring("READY")
    agent.run("os.write(os.open(path, os.O_WRONLY), b'self')", path=slot / "worker")
    agent.run("fd = os.open(path, os.O_WRONLY)", path=slot / "result.bin")
    other = Agent()
    try:
        for open_result in (lambda: open_and_close(slot / "result.bin", os.O_WRONLY),
                            lambda: other.run("os.open(path, os.O_WRONLY)", path=slot / "result.bin"),
                            lambda: other.run("os.truncate(path, 8)", path=slot / "result.bin")):
            with refused(errno.EBUSY):
                open_result()
    finally:
        other.kill()


def test_result_writer_that_is_killed_makes_room(slot: Slot, agent: Agent) -> None:
    slot.bring("READY")
    agent.run("fd = os.open(path, os.O_WRONLY)", path=slot / "result.bin")
    agent.kill()
    slot.answer()
    assert slot.result().tolist() == ANSWER.tolist()


PUBLISH = (("data.bin", INPUT, "FILLING", "READY"), ("result.bin", RESULT, "COMPUTING", "DONE"))


def to_be_written(slot: Slot, file: str) -> None:
    if file == "result.bin":
        slot.bring("READY")


@pytest.mark.parametrize("file, value, during, after", PUBLISH)
def test_publish_needs_close(slot: Slot, file: str, value: int, during: str, after: str) -> None:
    to_be_written(slot, file)
    fd = os.open(slot / file, os.O_WRONLY)
    os.write(fd, DATA.tobytes())
    duplicate = os.dup(fd)
    os.close(fd)
    with refused(errno.EBUSY):
        slot.flag(value)
    assert slot.state == during
    os.close(duplicate)
    slot.flag(value)
    assert slot.state == after


MAP = """
pages = Pages(path, 40)
pages.store(content)
"""


@pytest.mark.parametrize("file, value, during, after", PUBLISH)
@pytest.mark.parametrize("ends_by", ("munmap", "kill"))
def test_publish_needs_munmap_in_any_process(slot: Slot, agent: Agent, file: str, value: int, during: str,
                                             after: str, ends_by: str) -> None:
    """A mapping outlives close, and keeps its file writable: publishing waits until it is gone."""
    to_be_written(slot, file)
    agent.run(MAP, path=slot / file, content=DATA.tobytes())
    with refused(errno.EBUSY):
        slot.flag(value)
    with refused(errno.EBUSY):
        agent.run("os.pwrite(os.open(record, os.O_WRONLY), flag, 0)", record=slot / "metadata.bin",
                  flag=struct.pack("<i", value))
    assert slot.state == during
    if ends_by == "munmap":
        agent.run("pages.close()")
    else:
        agent.kill()
    slot.flag(value)
    assert slot.state == after
    assert (slot / file).read_bytes() == DATA.tobytes()


@pytest.mark.parametrize("file, value, during, after", PUBLISH)
def test_publish_sees_an_inherited_mapping(slot: Slot, agent: Agent, file: str, value: int, during: str,
                                           after: str) -> None:
    """fork keeps the mapping: the parent's munmap is not enough."""
    to_be_written(slot, file)
    agent.run(MAP + "child = os.fork()\nif child == 0:\n    signal.pause()\n    os._exit(0)\n", path=slot / file,
              content=DATA.tobytes())
    agent.run("pages.close()")
    with refused(errno.EBUSY):
        slot.flag(value)
    assert slot.state == during
    agent.run("os.kill(child, signal.SIGKILL) or os.waitpid(child, 0)")
    slot.flag(value)
    assert slot.state == after


def test_publishing_straight_after_munmap_never_fails(slot: Slot, agent: Agent) -> None:
    """No false alarm, however soon: own mappings and those of another process."""
    agent.run("record = os.open(path, os.O_WRONLY)", path=slot / "metadata.bin")
    for count in range(150):
        agent.run(MAP + "pages.close()", path=slot / "data.bin", content=DATA.tobytes())
        slot.flag(INPUT)
        agent.run(MAP + "pages.close()\nos.pwrite(record, flag, 0)\n", path=slot / "result.bin",
                  content=ANSWER.tobytes(), flag=struct.pack("<i", RESULT))
        assert slot.result().tolist() == ANSWER.tolist(), count


TIMER_OF_A_NEIGHBOUR = "import time\nwhile True:\n    time.sleep(0.00002)\n"
MANY_PUBLISHES = """
record = os.open(path + "/metadata.bin", os.O_WRONLY)
for _ in range(4000):
    pages = Pages(path + "/data.bin", 40000)
    pages.touch()
    pages.close()
    os.pwrite(record, flag, 0)
    os.pwrite(record, none, 0)
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="only two cores run client and server at once")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give the server its priority back")
def test_publishing_straight_after_munmap_never_fails_on_a_busy_core(slot: Slot, agent: Agent,
                                                                     server: Daemon) -> None:
    """The kernel ends the write-back of a mapping before it sends RELEASE: the client can come in between."""
    one, other = sorted(os.sched_getaffinity(0))[:2]
    before = os.sched_getaffinity(server.server)
    os.sched_setaffinity(server.server, {one})
    os.sched_setscheduler(server.server, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(agent.pid, {other})
    neighbour = subprocess.Popen([sys.executable, "-c", TIMER_OF_A_NEIGHBOUR],
                                 preexec_fn=lambda: os.sched_setaffinity(0, {one}))
    try:
        agent.run(MANY_PUBLISHES, seconds=100, path=slot.path, flag=struct.pack("<iiqi", INPUT, 2, -1, 5),
                  none=struct.pack("<i", NONE))
    finally:
        neighbour.kill()
        neighbour.wait()
        os.sched_setscheduler(server.server, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(server.server, before)


def test_read_only_use_does_not_hinder_publishing(slot: Slot) -> None:
    writing = os.open(slot / "data.bin", os.O_WRONLY)
    os.write(writing, DATA.tobytes())
    reading = os.open(slot / "data.bin", os.O_RDONLY)
    os.close(writing)
    slot.flag(INPUT)
    slot.answer()
    assert os.pread(reading, 1000, 0) == DATA.tobytes()
    os.close(reading)


def test_order_of_checks(slot: Slot) -> None:
    """The transition first, then who still writes, then whether the record fits."""
    fd = os.open(slot / "data.bin", os.O_WRONLY)
    os.write(fd, DATA.tobytes())
    with refused(errno.EPROTO):
        slot.write(flag=RESULT, result_length=77)
    with refused(errno.EBUSY):
        slot.write(flag=INPUT, input_length=77)
    os.close(fd)
    with refused(errno.EINVAL):
        slot.write(flag=INPUT, input_length=77)
    assert slot.state == "FILLING"
    slot.write(flag=INPUT, input_length=5)


MAY_TAKE = ("IDLE", "DONE", "FAILED")


@pytest.mark.parametrize("state", STATES)
def test_rename_moves_the_result(slot: Slot, other: Slot, state: str) -> None:
    """result.bin becomes another slot's data.bin: the same segment, not a byte copied."""
    slot.publish()
    slot.answer(ANSWER.astype("f4"))
    other.bring(state)
    segment, used = os.stat(slot / "result.bin").st_ino, usage(slot.path.parent)["used"]
    before = other.raw
    if state not in MAY_TAKE:
        with refused(errno.EBUSY):
            os.rename(slot / "result.bin", other / "data.bin")
        assert other.raw == before and other.state == state and slot.state == "DONE"
        return
    os.rename(slot / "result.bin", other / "data.bin")
    assert (slot.state, other.state) == ("IDLE", "FILLING")
    assert os.stat(other / "data.bin").st_ino == segment
    assert usage(slot.path.parent)["used"] <= used
    assert (slot.record.flag, slot.record.result_length, other.record.dtype) == (NONE, -1, 1)
    other.flag(INPUT)
    assert other.data().tolist() == ANSWER.tolist() and other.record.input_length == 5


def test_rename_within_a_slot(slot: Slot) -> None:
    """`mv result.bin data.bin`: the answer is the next question."""
    slot.publish()
    matrix = DATA.tobytes() + ANSWER.tobytes()
    slot.put("result.bin", matrix)
    slot.write(flag=RESULT, result_length=10, result_ndim=2, result_shape=(5, 2, 0, 0), order=2)
    round_before = slot.record.round
    os.rename(slot / "result.bin", slot / "data.bin")
    record = slot.record
    assert slot.state == "FILLING" and record.round == round_before + 1
    assert (record.dtype, record.input_length, record.input_ndim, record.input_shape[:2], record.order & 1) == \
        (FLOAT64, 10, 2, (5, 2), 1)
    slot.flag(INPUT)
    assert (slot / "data.bin").read_bytes() == matrix
    slot.answer()


@pytest.mark.parametrize("state", [state for state in STATES if state != "DONE"])
def test_rename_needs_a_result(slot: Slot, other: Slot, state: str) -> None:
    slot.bring(state)
    before = slot.raw
    with refused(errno.EBUSY, errno.EPROTO):
        os.rename(slot / "result.bin", other / "data.bin")
    assert slot.raw == before and (slot.state, other.state) == (state, "IDLE")


@pytest.mark.parametrize("file", ("data.bin", "result.bin", "metadata.bin"))
@pytest.mark.parametrize("state", STATES)
def test_unlink_cancels(slot: Slot, file: str, state: str) -> None:
    slot.bring(state)
    before = slot.record
    os.unlink(slot / file)
    assert slot.state == "IDLE" and slot.record.flag == NONE
    assert os.stat(slot / "data.bin").st_size == 0 and os.stat(slot / "result.bin").st_size == 0
    assert slot.record.round == before.round + (state not in ("IDLE", "FILLING"))
    slot.publish()
    slot.answer()
    assert slot.result().tolist() == ANSWER.tolist()


@pytest.mark.parametrize("state", ("FILLING", "READY", "DONE", "FAILED"))
def test_flag_minus_one_drops_the_data(slot: Slot, state: str) -> None:
    slot.bring(state)
    before = slot.record
    slot.flag(NONE)
    assert os.stat(slot / "data.bin").st_size == 0 and os.stat(slot / "result.bin").st_size == 0
    assert slot.record.round == before.round + (state != "FILLING")
    assert slot.record.input_length == -1


def test_unlink_clears_texts(slot: Slot) -> None:
    write_once(slot / "task", b"do it")
    write_once(slot / "owner", b"self")
    slot.bring("READY")
    write_once(slot / "error", b"no")
    for name in ("task", "error", "owner", "worker"):
        os.unlink(slot / name)
        assert (slot / name).read_bytes() == b""
    assert slot.state == "FAILED"


def test_unlink_of_a_view_does_nothing(slot: Slot) -> None:
    slot.bring("DONE")
    before = slot.raw
    for name in ("data.txt", "result.txt", "data.npy", "result.npy", "metadata.txt"):
        os.unlink(slot / name)
        assert (slot / name).stat().st_size > 0
    assert slot.raw == before


def test_retry_gives_the_same_input(slot: Slot) -> None:
    """FAILED -> READY: same round, same data, error text gone."""
    slot.bring("READY")
    write_once(slot / "error", b"not today\n")
    before = slot.record
    slot.flag(INPUT)
    assert slot.state == "READY" and slot.record.round == before.round and slot.error == ""
    assert slot.data().tolist() == DATA.tolist()
    slot.answer()
    assert slot.state == "DONE"


def test_next_round_of_a_done_slot(slot: Slot) -> None:
    slot.bring("DONE")
    first = slot.record.round
    slot.publish(DATA + 1)
    assert slot.record.round == first + 1 and slot.data().tolist() == (DATA + 1).tolist()
    with refused(errno.EAGAIN):
        os.open(slot / "result.bin", os.O_RDONLY | os.O_NONBLOCK)
    slot.answer(ANSWER + 1)
    assert slot.result().tolist() == (ANSWER + 1).tolist()


def test_refusals_are_counted_and_explained(slot: Slot, mount: Path) -> None:
    before = metrics(mount)
    slot.bring("READY")
    with refused(errno.EPROTO):
        slot.flag(INPUT)
    with refused(errno.EBUSY):
        os.open(slot / "data.bin", os.O_WRONLY)
    after = metrics(mount)
    for name in ("EPROTO", "EBUSY"):
        key = f'pyrmapfs_refusals_total{{errno="{name}"}}'
        assert after[key] == before.get(key, 0) + 1
    assert slot.text["refusals"] == "2"
    told = slot.text["refused"]
    assert str(os.getpid()) in told.split() and "EBUSY" in told
