# SPDX-License-Identifier: Apache-2.0
"""Workers in other languages, written from pyrmapfs(7) alone: bits from Python and R come back as they were sent."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import pytest
from daemon import ROOT, Daemon
from paths import PATHS, check_data_path, mounted
from pyrmap import RoundFailed
from pyrmap import Slot as PythonSlot
from slots import Slot, eventually

WORKERS = {"perl": ["perl", str(ROOT / "examples/perl/reverse.pl")], "node": ["node", str(ROOT / "examples/node/reverse.js")]}
# Bits that a careless program changes: NaNs with a payload (R's NA is one), signed zeros, the ends of each range.
DOUBLES = np.array([0x7FF00000000007A2, 0x7FF8000000000001, 0xFFF8000000000000, 0x8000000000000000, 0, 1, 0x7FEFFFFFFFFFFFFF,
                    0x7FF0000000000000, 0x3FF0000000000001], dtype="u8").view("f8")
ARRAYS = {
    "float64": DOUBLES,
    "float32": np.array([0x7FA00001, 0xFFC00000, 0x80000000, 1, 0x7F7FFFFF], dtype="u4").view("f4"),
    "int32": np.array([-2**31, -1, 0, 1, 2**31 - 1], dtype="i4"),
    "int64": np.array([-2**63, -1, 0, 2**53 + 1, 2**63 - 1], dtype="i8"),
    "uint8": np.arange(256, dtype="u1"),
    "a matrix": np.arange(12.0).reshape(3, 4),
    "column by column": np.asfortranarray(np.arange(12, dtype="i4").reshape(3, 4)),
    "four dimensions": np.arange(24.0).reshape(2, 1, 3, 4),
    "nothing": np.zeros(0),
    "more than goes in one write": np.arange(300_000, dtype="f8"),
}

Start = Callable[[Path, int], "subprocess.Popen[bytes]"]


@pytest.fixture(params=PATHS)
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with mounted(request.param, arena_capacity="256M") as daemon:
        check_data_path(daemon, request.param)
        yield daemon


@pytest.fixture(params=WORKERS)
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts the worker of one language, for so many rounds of a slot."""
    command = WORKERS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    running: list[subprocess.Popen[bytes]] = []

    def begin(slot: Path, rounds: int) -> "subprocess.Popen[bytes]":
        running.append(subprocess.Popen([*command, str(slot), str(rounds)], stdin=subprocess.DEVNULL))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


def test_bits_from_python(daemon: Daemon, start: Start) -> None:
    """Every type and shape, many rounds of one slot and one worker."""
    slot = Slot.make(daemon.path, "reverse")
    worker = start(slot.path, len(ARRAYS))
    with PythonSlot(slot.path) as producer:
        for name, array in ARRAYS.items():
            producer.produce(array)
            producer.publish()
            producer.wait()
            result = np.asarray(producer.result())
            assert (result.dtype, result.shape) == (array.dtype, array.shape), name
            # The elements as they follow each other in memory.
            assert result.ravel(order="K").tobytes() == array.ravel(order="K")[::-1].tobytes(), name
    assert worker.wait(30) == 0


def test_bits_from_r(daemon: Daemon, start: Start) -> None:
    """run_python() asks whoever serves in the slot: R's NA, NaN and -0 come back, a logical and a matrix as such."""
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    slot = Slot.make(daemon.path, "reverse")
    script = r"""
library(pyrmap)
slot <- commandArgs(TRUE)[1]
ask <- function(x) run_python(x, slot = slot, na = "keep")
same <- function(x) stopifnot(identical(ask(x), rev(x), num.eq = FALSE, single.NA = FALSE))
same(c(NA, NaN, -0, 0, Inf, -Inf, .Machine$double.xmin, 5e-324, pi))
same(c(NA, -.Machine$integer.max, 0L, .Machine$integer.max))
stopifnot(identical(run_python(c(TRUE, TRUE, FALSE), slot = slot), c(FALSE, TRUE, TRUE)))
same(as.raw(0:255))
same(as.double(1:300000))
m <- matrix(c(1.5, NA, 3, 4, 5, 6), 2)
stopifnot(identical(ask(m), matrix(rev(m), 2)))
cat("all", "the", "same")
"""
    worker = start(slot.path, 6)
    environment = {**os.environ, "PYRMAP_MOUNT": str(daemon.path)}
    done = subprocess.run(["Rscript", "--vanilla", "-e", script, str(slot.path)], env=environment, capture_output=True, text=True,
                          timeout=50, stdin=subprocess.DEVNULL)
    assert done.stdout == "all the same", done.stderr
    assert worker.wait(30) == 0


def test_what_it_cannot_compute(daemon: Daemon, start: Start) -> None:
    """The round fails with its text, and the worker goes on with the next."""
    slot = Slot.make(daemon.path, "reverse")
    start(slot.path, 1)
    with PythonSlot(slot.path) as producer:
        producer.produce({"a": np.zeros(3)})
        producer.publish()
        with pytest.raises(RoundFailed, match="one array of numbers"):
            producer.wait()
            producer.result()
        producer.produce(np.arange(3.0))
        producer.publish()
        producer.wait()
        assert np.asarray(producer.result()).tolist() == [2, 1, 0]


def test_a_killed_worker(daemon: Daemon, start: Start) -> None:
    """It has named itself: its death fails the round that waits for it."""
    slot = Slot.make(daemon.path, "reverse")
    worker = start(slot.path, 1)
    eventually(lambda: slot.text.get("worker") == str(worker.pid))
    worker.send_signal(signal.SIGSTOP)
    slot.publish()
    worker.kill()
    worker.wait()
    eventually(lambda: slot.state == "FAILED")
    assert slot.text["failure"].startswith(f"worker-died pid={worker.pid} ")
