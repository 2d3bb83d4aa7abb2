# SPDX-License-Identifier: Apache-2.0
"""What .pyrmap/metrics measures: how long requests wait, publishes and rounds take, and what each user has."""
from __future__ import annotations

import errno
import os
import struct
import time
from pathlib import Path
from typing import Callable

import pytest
from agent import Agent
from slots import ANSWER, DATA, FAILED, FLOAT64, INPUT, NONE, RESULT, Slot, eventually, metrics, refused, write_once
from test_wait import park

WAIT, PUBLISH, COMPUTE = ("pyrmapfs_wait_seconds", "pyrmapfs_publish_seconds", "pyrmapfs_compute_seconds")
WRITE = "os.write(os.open(path, os.O_WRONLY), content.encode('latin-1'))"


def counts(mount: Path) -> tuple[float, ...]:
    """Of waits, publishes and outcomes. A histogram agrees with itself: the last bucket has all."""
    now = metrics(mount)
    for name in (WAIT, PUBLISH, COMPUTE):
        buckets = [value for key, value in now.items() if key.startswith(f"{name}_bucket")]
        assert len(buckets) == 16 and buckets == sorted(buckets) and buckets[-1] == now[f"{name}_count"]
    return tuple(now[f"{name}_count"] for name in (WAIT, PUBLISH, COMPUTE))


def more(before: tuple[float, ...], mount: Path) -> tuple[float, ...]:
    return tuple(after - one for one, after in zip(before, counts(mount)))


def test_a_wait(slot: Slot, agent: Agent, mount: Path) -> None:
    """However it ends. The sum has at least the time for which we know that the request was parked."""
    before, sum_before = counts(mount), metrics(mount)[f"{WAIT}_sum"]
    park(agent, slot, "data.bin")
    since = time.monotonic()
    assert more(before, mount)[0] == 0
    parked = time.monotonic() - since
    agent.interrupt()
    with refused(errno.EINTR):
        agent.result()
    assert more(before, mount)[0] == 1
    assert metrics(mount)[f"{WAIT}_sum"] - sum_before >= parked - 1e-6
    park(agent, slot, "data.bin")
    slot.publish()
    agent.result()
    assert more(before, mount)[0] == 2


def test_publishes(slot: Slot, mount: Path) -> None:
    """In all their forms, and nothing else that is written to the record."""
    before = counts(mount)
    slot.fill()
    write_once(slot / "metadata.bin", struct.pack("<qi", DATA.size, FLOAT64), 8)
    with refused(errno.EPROTO):
        slot.flag(RESULT)
    assert more(before, mount)[1] == 0
    slot.flag(INPUT)
    assert more(before, mount)[1] == 1
    slot.answer()
    assert more(before, mount)[1] == 2
    slot.flag(RESULT)  # it stays, so nothing was published
    slot.flag(NONE)
    assert more(before, mount)[1] == 2
    slot.send(INPUT, DATA)
    slot.send(RESULT, ANSWER)
    assert more(before, mount)[1] == 4
    slot.fill()
    write_once(slot / "metadata.txt", b"flag=0\n")
    assert more(before, mount)[1] == 5
    slot.flag(FAILED)
    assert more(before, mount)[1] == 5


def test_a_publish_that_waits_for_a_follower(slot: Slot, other: Slot, agent: Agent, mount: Path) -> None:
    """From the request on: the sum has the time for which it was parked."""
    os.symlink(slot / "data.bin", other / "source")
    slot.send(INPUT, DATA)
    slot.send(RESULT, ANSWER)
    before, sum_before = counts(mount), metrics(mount)[f"{PUBLISH}_sum"]
    agent.start(WRITE, path=slot / "metadata.bin", content=slot.image(INPUT, DATA).decode("latin-1"))
    eventually(lambda: slot.waiters() != [], "the publish is parked")
    since = time.monotonic()
    assert more(before, mount)[1] == 0
    parked = time.monotonic() - since
    other.send(RESULT, ANSWER)
    other.flag(NONE)
    agent.result()
    assert more(before, mount)[1] == 2
    assert metrics(mount)[f"{PUBLISH}_sum"] - sum_before >= parked - 1e-6


@pytest.mark.parametrize("began", ["READY", "COMPUTING"])
@pytest.mark.parametrize("outcome", [RESULT, FAILED])
def test_a_round_has_one_outcome(slot: Slot, mount: Path, began: str, outcome: int) -> None:
    before = counts(mount)
    slot.bring(began)
    assert more(before, mount)[2] == 0
    if outcome == FAILED:
        slot.flag(FAILED)
    elif began == "READY":
        slot.send(RESULT, ANSWER)
    else:
        slot.write(flag=RESULT, result_dtype=slot.record.dtype, result_length=ANSWER.size)
    assert more(before, mount)[2] == 1
    slot.flag(NONE)
    assert more(before, mount)[2] == 1


def test_a_cancelled_round_has_none(slot: Slot, mount: Path) -> None:
    before = counts(mount)
    slot.bring("READY")
    slot.flag(NONE)
    assert more(before, mount)[2] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_each_user(mount: Path, agents: Callable[..., Agent]) -> None:
    """Slots and bytes; a user who has none any more has no line."""
    agent = agents("daemon")
    uid = agent.run("os.geteuid()")
    slots, held = f'pyrmapfs_user_slots{{uid="{uid}"}}', f'pyrmapfs_user_bytes{{uid="{uid}"}}'
    assert slots not in metrics(mount)
    agent.run("os.mkdir(path)", path=mount / "theirs")
    slot = Slot(mount / "theirs")
    assert (metrics(mount)[slots], metrics(mount)[held]) == (1, 0)
    agent.run(WRITE, path=slot / "metadata.bin", content=slot.image(INPUT, DATA).decode("latin-1"))
    assert metrics(mount)[held] % 4096 == DATA.nbytes  # and a record page, where that is opened
    agent.run("os.rmdir(path)", path=slot.path)
    eventually(lambda: slots not in metrics(mount))
