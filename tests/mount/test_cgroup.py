# SPDX-License-Identifier: Apache-2.0
"""A daemon whose memory cgroup has less than the arena: who asks for too much gets ENOSPC, and nobody is killed."""
from __future__ import annotations

import errno
import os
from typing import Iterator

import numpy as np
import pytest
from cgroups import Confined, Group, cgroup
from paths import PATHS, check_data_path, mounted
from slots import DATA, INPUT, NONE, RESULT, Slot, number, refused, status

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make cgroups")
MIB = 1 << 20
LIMIT = 128 * MIB


@pytest.fixture
def group() -> Iterator[Group]:
    with cgroup("memory", LIMIT) as made:
        yield made


def confined(group: Group, path: str, **options: str) -> Confined:
    daemon = Confined(mounted(path, **options).options)
    daemon.group = group
    return daemon


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["tmpfs", "memfd"])
def test_a_large_array(group: Group, path: str, kind: str) -> None:
    """The kernel would kill the daemon for it."""
    with confined(group, path, arena_capacity="1G", arena_kind=kind, arena_warm="0") as daemon:
        check_data_path(daemon, path)
        other, slot = Slot.make(daemon.path, "other"), Slot.make(daemon.path, "slot")
        other.send(INPUT, DATA)
        server = daemon.server
        with refused(errno.ENOSPC):
            os.truncate(slot / "data.bin", 400 * MIB)
        assert "ENOSPC" in slot.text["refused"]
        assert other.data().tolist() == DATA.tolist() and daemon.server == server
        os.truncate(slot / "data.bin", 40 * MIB)
        group.set_limit(2 * LIMIT)
        os.truncate(slot / "data.bin", 160 * MIB)


@pytest.mark.parametrize("size", [100_000, (1 << 20) - 4096 - 128])
@pytest.mark.parametrize("path", PATHS)
def test_many_small_arrays(group: Group, path: str, size: int) -> None:
    """Each alone is too small to ask for. When they go there is room again."""
    content = np.zeros(size, "u1")
    with confined(group, path, arena_capacity="1G", arena_warm="0", limits_slots="20000") as daemon:
        server = daemon.server
        slots: list[Slot] = []
        with refused(errno.ENOSPC):
            while len(slots) <= LIMIT // size:
                slots.append(Slot.make(daemon.path, str(len(slots))))
                slots[-1].send(INPUT, content)
        assert daemon.server == server and number(status(daemon.path)["slots"]) == len(slots)
        for slot in slots[:-1]:
            slot.flag(NONE)
        slots[-1].send(INPUT, content)
        slots[-1].send(RESULT, content)


def test_the_default_capacity_is_of_the_cgroup(group: Group) -> None:
    """Half of what it may have, and not half of the machine."""
    with made(group) as daemon:
        assert number(status(daemon.path)["capacity"]) == LIMIT // 2
        assert "memory cgroup" not in daemon.log.read_text()


def test_more_than_the_cgroup_is_told(group: Group) -> None:
    with made(group, **{"arena.capacity": "1G"}) as daemon:
        log = daemon.log.read_text()
        assert f"arena.capacity ({1 << 30} bytes) is more than the memory cgroup of pyrmapfs may have ({LIMIT} bytes)" in log
        assert "MemoryMax=" in log


def made(group: Group, **options: str) -> Confined:
    daemon = Confined(options)
    daemon.group = group
    return daemon
