# SPDX-License-Identifier: Apache-2.0
"""Two users, each of whom leaves her own byte in all that she gets: arrays, what lies behind their ends, texts, pages of records.

Whatever one gets afterwards is zero, or what she has written herself. REUSES in the environment makes it longer: so many for each user.
"""
from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Callable

import pytest
from agent import Agent
from daemon import Daemon
from slots import usage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

USERS = {"30001": b"\xa5", "30003": b"\x5a"}
REUSES = int(os.environ.get("REUSES", "600"))

LEAVE = """
import random

PAGE = mmap.PAGESIZE

def opened(path, flags):
    return os.open(path, flags | os.O_CLOEXEC)

def put(path, content, flags=0):
    fd = opened(path, os.O_WRONLY | flags)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)

def get(path):
    fd = opened(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)

def mapped(path, size):
    fd = opened(path, os.O_RDWR)
    try:
        return Pages.of(fd, size)
    finally:
        os.close(fd)

def array(path, size, canary):
    # A new array: zero, to its end and behind it; afterwards it is full of canaries, to its end and behind it.
    fd = opened(path, os.O_RDWR)
    link = path[:-len("bin")] + "mem"
    pages = None
    try:
        assert os.read(fd, 1) == b"", "a new array is empty"
        os.ftruncate(fd, size)
        pages = mapped(link if os.path.lexists(link) else path, -(-size // PAGE) * PAGE)
        assert not pages.load().strip(b"\\0"), f"{path}: bytes of another one in {size} new ones, or behind them"
        assert not os.pread(fd, size + PAGE, 0).strip(b"\\0")
        pages.store(canary * pages.size)
    finally:
        if pages:
            pages.close()
        os.close(fd)

def grown(path, size, canary):
    # What the daemon adds to a file is zero, although the page was stored into behind its end.
    fd = opened(path, os.O_RDWR)
    try:
        os.ftruncate(fd, size + PAGE)
        content = os.pread(fd, size + 2 * PAGE, 0)
        assert content == canary * size + bytes(PAGE), f"{path}: bytes behind {size}"
    finally:
        os.close(fd)

def record(flag, length):
    return struct.pack("<iiqiiq", flag, 2, length, 5, 5, length) + bytes(96)

def text(slot, canary, chance):
    size = chance.randrange(1, 3000)
    put(f"{slot}/task", canary * size, os.O_TRUNC)
    assert get(f"{slot}/task") == canary * size
    os.truncate(f"{slot}/task", size + 1000)
    assert get(f"{slot}/task") == canary * size + bytes(1000), "what is added to a text is zero"
    os.unlink(f"{slot}/task")

def page(slot, canary, chance):
    # An array that stands in the page of the record, and then a shorter one.
    for size in (chance.randrange(1000, 1984), chance.randrange(1, 1000)):
        put(f"{slot}/metadata.bin", record(0, size) + canary * size)
        whole = get(f"{slot}/metadata.mem")
        assert whole[128:] == (canary * size).ljust(1984, b"\\0") + bytes(1984), "old bytes in the page"
        put(f"{slot}/metadata.bin", struct.pack("<i", -1))

def leave(root, name, canary, count):
    # How many arrays, ends of arrays, texts and pages it had.
    had = {"arrays": 0, "ends": 0, "texts": 0, "pages": 0}
    chance = random.Random(name)
    for number in range(count):
        slot = f"{root}/{name}-{number // 20}"
        if number % 20 == 0:
            os.mkdir(slot)
        size = chance.choice((1, 100, PAGE - 1, PAGE, PAGE + 1, chance.randrange(1, 40 * PAGE)))
        array(f"{slot}/data.bin", size, canary)
        had["arrays"] += 1
        way = chance.randrange(4)
        if way == 0:
            had["arrays"] += 1
            put(f"{slot}/metadata.bin", record(0, size))
            array(f"{slot}/result.bin", size, canary)
            put(f"{slot}/metadata.bin", record(1, size))
            assert get(f"{slot}/result.bin") == canary * min(size, 1 << 20)
        elif way == 1:
            had["ends"] += 1
            grown(f"{slot}/data.bin", size, canary)
        elif way == 2:
            had["texts"] += 1
            text(slot, canary, chance)
        put(f"{slot}/metadata.bin", struct.pack("<i", -1))
        page(slot, canary, chance)
        had["pages"] += 2
        if number % 20 == 19 or number == count - 1:
            os.rmdir(slot)
    return had
"""


@pytest.mark.time_limit(120 + REUSES / 10)
def test_no_byte_of_another_one(mount: Path, server: Daemon, agents: Callable[..., Agent]) -> None:
    people = {user: agents(user) for user in USERS}
    begin = time.monotonic()
    for user, agent in people.items():
        agent.run(LEAVE)
        agent.start("leave(root, name, canary, count)", root=mount, name=user, canary=USERS[user], count=REUSES)
    had: Counter[str] = Counter()
    for agent in people.values():
        had.update(agent.result(120 + REUSES / 10))
    assert all(count > REUSES // 4 for count in had.values()), had
    print(f"{dict(had)} reused in {time.monotonic() - begin:.0f} s on the {server.data_path}")
    assert usage(mount)["warm"] > 0, "what comes next comes from the pool"
