# SPDX-License-Identifier: Apache-2.0
"""Programs that know nothing of slots, at data.bin and result.bin while these may be written: fio, and any order of the calls that a
file has, by one process and by two, against a model of the bytes.

STEPS: calls in each history, SEED: where they begin. Of stress-ng's file stressors none takes a file that is there: all make names of
their own, which a slot has no place for.
"""
from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import pytest
from agent import Agent
from slots import INPUT, RESULT, UINT8, Slot

STEPS = int(os.environ.get("STEPS", "400"))
SEED = int(os.environ.get("SEED", "1"))
MOST = 300_000
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE, INSERT = 1, 2, 8, 16, 32
_libc = ctypes.CDLL(None, use_errno=True)

# The states in which a file may be written.
TURNS = {"FILLING": "data.bin", "COMPUTING": "result.bin"}


@pytest.fixture(params=TURNS)
def turn(slot: Slot, request: pytest.FixtureRequest) -> Iterator[tuple[Slot, str]]:
    """A slot in such a state, and the file."""
    slot.bring(request.param)
    yield slot, TURNS[request.param]


def publish(slot: Slot, file: str, size: int) -> np.ndarray:
    """All of the file; what others read of it then."""
    if file == "data.bin":
        slot.write(flag=INPUT, dtype=UINT8, input_length=size, input_ndim=0, order=0)
        return slot.data()
    slot.write(flag=RESULT, result_dtype=UINT8, result_length=size, result_ndim=0)
    return slot.result()


@pytest.mark.parametrize("engine", ["psync", "mmap"])
def test_fio(turn: tuple[Slot, str], path: str, engine: str, tmp_path: Path) -> None:
    """It writes blocks with checksums at random places, and reads them back."""
    if shutil.which("fio") is None:
        pytest.skip("fio is not installed")
    slot, file = turn
    size = 4 << 20
    with open(slot / file, "r+b") as stream:
        stream.truncate(size)
        # A link leads to the pages as long as somebody has the array open.
        place = file.replace(".bin", ".mem") if path == "links" and engine == "mmap" else file
        done = subprocess.run(["fio", "--name=outside", f"--filename={slot / place}", f"--size={size}", "--rw=randwrite",
                               "--bsrange=512-64k", f"--ioengine={engine}", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0",
                               "--fallocate=none", "--allow_file_create=0", f"--randseed={SEED}", "--output-format=terse"],
                              capture_output=True, text=True, timeout=50, cwd=tmp_path)
        assert not list(tmp_path.iterdir())
        assert done.returncode == 0, done.stdout + done.stderr
        before = stream.read()
    assert len(before) == size and any(before)
    assert publish(slot, file, size).tobytes() == before


class Party:
    """A process that has the file open, as the other party sees it."""

    def __init__(self, agent: Agent, path: Path) -> None:
        self.agent = agent
        self.path = str(path)
        agent.run("libc = __import__('ctypes').CDLL(None, use_errno=True)")
        self.reopen()

    def run(self, code: str) -> object:
        return self.agent.run(code)

    def reopen(self) -> None:
        self.run("os.close(fd) if 'fd' in globals() else None")
        self.run(f"fd = os.open({self.path!r}, os.O_RDWR)")

    def mapped(self, size: int, code: str) -> object:
        """code, with the file mapped as m."""
        self.run(f"m = mmap.mmap(fd, {size})")
        try:
            return self.run(code)
        finally:
            self.run("m.close()")


class History:
    """Calls at random, and what the bytes are after each of them."""

    def __init__(self, parties: list[Party], draw: random.Random) -> None:
        self.parties = parties
        self.draw = draw
        self.bytes = bytearray()

    def range(self, limit: int) -> tuple[int, int]:
        first = self.draw.randrange(limit)
        return first, self.draw.randrange(min(limit - first, 20_000)) + 1

    def step(self) -> str:
        """One call by one of the parties; its name."""
        party = self.draw.choice(self.parties)
        name = self.draw.choice(("write", "write", "read", "truncate", "store", "load", "allocate", "refused", "copy", "seek", "sync", "reopen"))
        call: Callable[[Party], None] = getattr(self, name)
        call(party)
        return name

    def write(self, party: Party) -> None:
        first, count = self.range(MOST - 20_000)
        fill = self.draw.randrange(1, 256)
        assert party.run(f"os.pwrite(fd, bytes([{fill}]) * {count}, {first})") == count
        self.bytes += bytes(max(0, first + count - len(self.bytes)))
        self.bytes[first:first + count] = bytes([fill]) * count

    def read(self, party: Party) -> None:
        first, count = self.range(MOST)
        assert party.run(f"os.pread(fd, {count}, {first}).hex()") == bytes(self.bytes[first:first + count]).hex()

    def truncate(self, party: Party) -> None:
        size = self.draw.randrange(MOST)
        party.run(f"os.ftruncate(fd, {size})")
        self.bytes = self.bytes[:size] + bytes(max(0, size - len(self.bytes)))

    def store(self, party: Party) -> None:
        if self.bytes:
            first, count = self.range(len(self.bytes))
            fill = self.draw.randrange(1, 256)
            party.mapped(len(self.bytes), f"m[{first}:{first + count}] = bytes([{fill}]) * {count}")
            self.bytes[first:first + count] = bytes([fill]) * count

    def load(self, party: Party) -> None:
        if self.bytes:
            first, count = self.range(len(self.bytes))
            assert party.mapped(len(self.bytes), f"m[{first}:{first + count}].hex()") == bytes(self.bytes[first:first + count]).hex()

    def allocate(self, party: Party) -> None:
        first, count = self.range(MOST - 20_000)
        mode = self.draw.choice((0, KEEP_SIZE))
        assert party.run(f"libc.fallocate(fd, {mode}, __import__('ctypes').c_long({first}), __import__('ctypes').c_long({count}))") == 0
        if mode == 0:
            self.bytes += bytes(max(0, first + count - len(self.bytes)))

    def refused(self, party: Party) -> None:
        """What would leave a hole, or move bytes: a mapping could meet either."""
        first, count = self.range(MOST)
        mode = self.draw.choice((PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, COLLAPSE, INSERT))
        said = party.run(f"[libc.fallocate(fd, {mode}, __import__('ctypes').c_long({first & ~4095}), "
                         f"__import__('ctypes').c_long({(count | 4095) + 1})), __import__('ctypes').get_errno()]")
        assert said == [-1, errno.EOPNOTSUPP]

    def copy(self, party: Party) -> None:
        """By the kernel, from a file elsewhere. (From a handle like these it would copy what it has cached: see pyrmapfs(7).)"""
        first, count = self.range(MOST - 20_000)
        fill = self.draw.randrange(1, 256)
        party.run("source = os.memfd_create('source')")
        party.run(f"os.write(source, bytes([{fill}]) * {count})")
        party.run(f"os.lseek(fd, {first}, os.SEEK_SET)")
        assert party.run(f"os.sendfile(fd, source, 0, {count})") == count
        party.run("os.close(source)")
        self.bytes += bytes(max(0, first + count - len(self.bytes)))
        self.bytes[first:first + count] = bytes([fill]) * count

    def seek(self, party: Party) -> None:
        if self.bytes:
            assert party.run("[os.lseek(fd, 0, os.SEEK_END), os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 0, os.SEEK_HOLE)]") == [
                len(self.bytes), 0, len(self.bytes)]

    def sync(self, party: Party) -> None:
        if self.bytes:
            party.mapped(len(self.bytes), "m.flush()")
        party.run("os.fsync(fd)")

    def reopen(self, party: Party) -> None:
        party.reopen()


@pytest.mark.time_limit(60 + STEPS / 100)
@pytest.mark.parametrize("count", [1, 2])
def test_any_order_of_calls(turn: tuple[Slot, str], agents: Callable[..., Agent], path: str, count: int) -> None:
    slot, file = turn
    # The descendants of the worker may write parts of its result.
    (slot / "worker").write_text("self")
    with open(slot / file, "r+b"):
        parties = [Party(agents(), slot / file) for _ in range(count)]
        history = History(parties, random.Random(f"{SEED} {path} {file} {count}"))
        parties[0].run("os.ftruncate(fd, 0)")
        for number in range(STEPS):
            name = history.step()
            if number % 50 == 49 or number == STEPS - 1:
                assert parties[0].run("os.fstat(fd).st_size") == len(history.bytes), (number, name)
                assert parties[-1].run(f"os.pread(fd, {MOST}, 0).hex()") == bytes(history.bytes).hex(), (number, name)
        for party in parties:
            party.run("os.close(fd)")
    assert publish(slot, file, len(history.bytes)).tobytes() == bytes(history.bytes)
