# SPDX-License-Identifier: Apache-2.0
"""Clients that do anything at all to a live mount: the daemon lives, and everything works afterwards.

SEED in the environment starts another storm; STORM is the number of calls of each client.
"""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paths import PATHS, mounted
from slots import ANSWER, DATA, INPUT, RESULT, Record, Slot, eventually, metrics, status

SEED = int(os.environ.get("SEED", "1"))
STORM = int(os.environ.get("STORM", "20000"))
CLIENTS = 3
PROGRAM = str(Path(__file__).with_name("storm.py"))
LIMIT = 60 + STORM / 100


def exchange(slot: Slot) -> None:
    slot.publish()
    assert np.array_equal(slot.data(), DATA)
    slot.answer()
    assert np.array_equal(slot.result(), ANSWER)


def send(slot: Slot) -> None:
    """The same in one write each."""
    for count in range(2):
        slot.send(INPUT, DATA + count)
        assert np.array_equal(slot.data(), DATA + count)
        slot.send(RESULT, ANSWER)
        assert slot.page()[2112:2112 + ANSWER.nbytes] == ANSWER.tobytes()
        assert np.array_equal(slot.result(), ANSWER)


def check_page(slot: Slot) -> None:
    """It shows inline arrays as their files do, and nothing else."""
    page = slot.page()
    record = Record.unpack(page[:128])
    for file, offset, size in (("data.bin", 128, record.input_inline), ("result.bin", 2112, record.result_inline)):
        half = page[offset:offset + 1984]
        assert half[size:] == bytes(1984 - size)
        if size:
            assert (slot / file).read_bytes() == half[:size]


def check_works(mount: Path) -> None:
    """Fresh slots do all that a slot does, and nothing is left of the storm but what it left on purpose."""
    for name in os.listdir(mount):
        if name != ".pyrmap":
            os.chmod(mount / name, 0o755)
            check_page(Slot(mount / name))
            assert set(os.listdir(mount / name)) >= {"metadata.bin", "data.bin", "result.bin"}
            os.rmdir(mount / name)
    alone = Slot.make(mount, "alone")
    send(alone)
    alone.remove()
    first, second = Slot.make(mount, "first"), Slot.make(mount, "second")
    os.symlink("../first/result.bin", second / "source")
    for number in range(3):
        exchange(first)
        assert second.state == "READY" and np.array_equal(second.data(), ANSWER)
        second.answer()
        assert second.result().size and second.record.round == number + 1
    os.rename(first / "result.bin", Slot.make(mount, "third") / "data.bin")
    for name in ("first", "second", "third"):
        os.rmdir(mount / name)
    assert status(mount)["slots"].startswith("0 ") and metrics(mount)
    eventually(lambda: int(status(mount)["waiters"]) == 0, "nobody waits")


@pytest.mark.time_limit(2 * LIMIT)
@pytest.mark.parametrize("path", PATHS)
def test_storm(path: str) -> None:
    with mounted(path, arena_capacity="64M", arena_warm="8M", log_level="error") as daemon:
        clients = [subprocess.Popen([sys.executable, PROGRAM, str(daemon.path), str(SEED * 100 + number), str(STORM)],
                                    stdout=subprocess.PIPE) for number in range(CLIENTS)]
        try:
            done = [int(client.communicate(timeout=LIMIT)[0]) for client in clients]
        finally:
            for client in clients:
                client.kill()
        print(f"{done} of {STORM} calls went through, seed {SEED}")
        assert all(client.returncode == 0 for client in clients)
        assert min(done) > STORM / 10, "most of it is refused: this tests nothing"
        assert daemon.process is not None and daemon.process.poll() is None
        check_works(daemon.path)


