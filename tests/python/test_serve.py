# SPDX-License-Identifier: Apache-2.0
"""python3 -m pyrmap serve: a function that others reach by the path of a slot."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import numpy as np
import pytest

from pyrmap import RoundFailed, Slot
from serving import Program, environment, eventually, running


@pytest.fixture
def path(mount: Path, job: Path) -> Iterator[Path]:
    """Where a slot will be."""
    yield mount / f"{job.name}-served"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    script = tmp_path / "model.py"
    script.write_text("import os\nprint('loading')\nfactor = 2\ndef predict(x):\n    return [x[0] * factor, os.getpid()]\n")
    return script


def served(path: Path, function: str, *options: str) -> Program:
    program = Program(["-m", "pyrmap", "serve", function, str(path), *options], {})
    eventually(lambda: f"{path} is served" in program.complaints, "it says so")
    return program


def ask(slot: Slot, value: object) -> list[float]:
    slot.produce(value)
    slot.publish()
    return slot.result(30).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_makes_the_slot_and_takes_it_along(path: Path, script: Path, end: signal.Signals) -> None:
    program = served(path, f"{script}::predict")
    with Slot(path) as first, Slot(path) as second:
        for number in range(3):
            assert ask(first, [number]) == [2 * number, program.process.pid]
            assert ask(second, [number]) == [2 * number, program.process.pid]
    program.process.send_signal(end)
    assert program.collected() == (0 if end == signal.SIGINT else -end)
    assert program.output == "loading\n"
    assert "Traceback" not in program.complaints
    eventually(lambda: not path.exists(), "the slot is gone")


def test_ctrl_c_in_a_run_fails_the_round(job: Path, script: Path) -> None:
    script.write_text("import time\ndef predict(x):\n    print('here', flush=True)\n    while True: time.sleep(0.01)\n")
    program = served(job, f"{script}::predict")
    with Slot(job) as slot:
        slot.produce([1])
        slot.publish()
        eventually(lambda: "here" in program.output, "it runs")
        program.process.send_signal(signal.SIGINT)
        with pytest.raises(RoundFailed, match="^KeyboardInterrupt"):
            slot.result(30)
    assert program.collected() == 0
    assert "Traceback" not in program.complaints


def test_a_slot_that_was_there_stays(job: Path, script: Path) -> None:
    program = served(job, f"{script}::predict")
    with Slot(job) as slot:
        assert ask(slot, [4])[0] == 8
        # What `task` says is no order to this one.
        (job / "task").write_text('{"script": "/nowhere.py"}')
        assert ask(slot, [4])[0] == 8
    program.process.send_signal(signal.SIGINT)
    assert program.collected() == 0
    assert job.exists()


@pytest.mark.parametrize("isolation", ["session", "process"])
def test_a_new_version_is_served(path: Path, script: Path, tmp_path: Path, isolation: str) -> None:
    helper = tmp_path / "helper.py"
    helper.write_text("factor = 2\n")
    script.write_text("import helper, os\ndef predict(x):\n    return [x[0] * helper.factor, os.getppid()]\n")
    program = served(path, f"{script}::predict", "--isolation", isolation)
    with Slot(path) as slot:
        for factor in (2, 3, 4):
            helper.write_text(f"factor = {factor}\n")
            assert ask(slot, [5]) == [5 * factor, program.process.pid if isolation == "process" else os.getpid()]
        # One that does not load fails the round, and is no end.
        helper.write_text("factor = \n")
        with pytest.raises(RoundFailed, match="^SyntaxError"):
            ask(slot, [5])
        helper.write_text("factor = 5\n")
        assert ask(slot, [5])[0] == 25
    assert running(program.process.pid)
    program.process.send_signal(signal.SIGINT)
    assert program.collected() == 0


def test_a_function_of_a_module(path: Path) -> None:
    program = served(path, "numpy.linalg::norm")
    with Slot(path) as slot:
        assert ask(slot, np.array([3.0, 4.0])) == [5]
    program.process.send_signal(signal.SIGINT)
    assert program.collected() == 0


@pytest.mark.parametrize("function, status, words", [
    ("{script}", 2, "there is no function in"), ("{script}::none", 1, "has no function 'none'; it has predict"),
    ("/nowhere.py::f", 1, "FileNotFoundError: no such script: /nowhere.py"),
    ("no_such_module::f", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
])
def test_what_cannot_be_served(path: Path, script: Path, function: str, status: int, words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pyrmap", "serve", function.format(script=script), str(path)],
                          env=environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == status
    assert words in done.stderr
    eventually(lambda: not path.exists(), "no slot is left")


def test_a_place_that_is_no_mount(tmp_path: Path, script: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pyrmap", "serve", f"{script}::predict", str(tmp_path / "slot")],
                          env=environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "is not below a pyrmapfs mount" in done.stderr
