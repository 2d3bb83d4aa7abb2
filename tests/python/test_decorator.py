# SPDX-License-Identifier: Apache-2.0
"""Worker scripts without R: PYRMAP_SLOT=... python3 script.py, and python3 -m pyrmap run."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import pyrmap
from pyrmap import RoundFailed, Slot, process_via_mmap
from serving import environment, eventually

SCRIPT = """
from pyrmap import process_via_mmap

@process_via_mmap
def plus(x, step=1):
    print("adding", flush=True)
    return x + step

def boom(x, text="boom"):
    raise LookupError(text)

if __name__ == "__main__":
    plus()
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text))
    return path


def start(job: Path, *command: object) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, *map(str, command)], env=environment(PYRMAP_SLOT=str(job)),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def compute(producer: Slot, value: object, *command: object) -> tuple[int, str, str]:
    """One round with a process as the worker: its exit status and output."""
    with start(Path(producer.path), *command) as process:
        producer.produce(value)
        producer.publish()
        output, complaints = process.communicate(timeout=30)
        return process.returncode, output, complaints


def test_a_script_is_a_worker(producer: Slot, tmp_path: Path) -> None:
    script = write(tmp_path, SCRIPT)
    for start_value in (1.5, 2.5):
        status, output, complaints = compute(producer, [start_value], script)
        assert (status, output, complaints) == (0, "adding\n", "")
        assert producer.result().tolist() == [start_value + 1]


def test_with_arguments_it_is_the_plain_function() -> None:
    @process_via_mmap
    def scaled(x: float, by: float = 2) -> float:
        """Docstring."""
        return x * by

    assert scaled(3) == 6
    assert scaled(3, by=5) == 15
    assert scaled(x=1) == 2
    assert (scaled.__name__, scaled.__doc__) == ("scaled", "Docstring.")


def test_in_this_process(producer: Slot, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRMAP_SLOT", str(job))
    monkeypatch.setattr("pyrmap.process._current", None)
    seen = []

    @process_via_mmap
    def twice(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        seen.append((x.shape, x.dtype.name, x.flags.writeable, x.flags.f_contiguous))
        result = pyrmap.empty_result(x.shape, x.dtype)
        np.multiply(x, 2, out=result)
        return result

    producer.produce(np.asfortranarray([[1, 2, 3], [4, 5, 6]]))
    producer.publish()
    pyrmap.wait(timeout=5)
    twice()
    assert producer.result().tolist() == [[2, 4, 6], [8, 10, 12]]
    assert seen == [((2, 3), "int64", True, True)]
    pyrmap.current_slot().close()


@pytest.mark.parametrize("body, first, hint", [
    ("raise ValueError('no good')", "ValueError: no good", ""),
    ("raise KeyError", "KeyError", ""),
    ("return {'model': f}", "TypeError: element ['model'] is function, which has no counterpart in R", ""),
    ("np.memmap(os.environ['PYRMAP_SLOT'] + '/data.bin')", "OSError: [Errno 16]", "hint: a worker may only read data.bin"),
    ("sys.exit(3)", "SystemExit: 3", ""),
])
def test_an_exception_fails_the_round(producer: Slot, tmp_path: Path, body: str, first: str, hint: str) -> None:
    script = write(tmp_path, f"""
        import os, sys
        import numpy as np
        from pyrmap import process_via_mmap

        @process_via_mmap
        def f(x):
            {body}

        f()
        """)
    status, _, complaints = compute(producer, [1.0], script)
    assert status != 0
    with pytest.raises(RoundFailed) as failed:
        producer.wait(1)
    text = str(failed.value)
    assert text.startswith(first)
    # What was returned is judged when the function is done: no line of it is to blame.
    assert (f'File "{script}"' in text) == ("return" not in body)
    assert hint in text
    assert "SystemExit" in first or "Traceback" in complaints


def test_ctrl_c_ends_a_waiting_script_and_fails_a_computing_one(producer: Slot, job: Path, tmp_path: Path) -> None:
    waiting = write(tmp_path, SCRIPT)
    with start(job, waiting) as process:
        eventually(lambda: f"waiting={process.pid}" in (job / "metadata.txt").read_text(), "the script waits")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT
    computing = write(tmp_path, """
        import time
        from pyrmap import process_via_mmap

        @process_via_mmap
        def f(x):
            print("computing", flush=True)
            time.sleep(60)

        f()
        """)
    with start(job, computing) as process:
        producer.produce([1])
        producer.publish()
        assert process.stdout and process.stdout.readline() == "computing\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT
    with pytest.raises(RoundFailed, match="^KeyboardInterrupt\nTraceback"):
        producer.wait(5)


def test_without_a_slot_the_script_says_what_to_do(tmp_path: Path) -> None:
    variables = environment()
    variables.pop("PYRMAP_SLOT", None)
    done = subprocess.run([sys.executable, write(tmp_path, SCRIPT)], env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no slot: set PYRMAP_SLOT=/mnt/pyrmap/JOB" in done.stderr


def test_a_looping_worker(producer: Slot, tmp_path: Path) -> None:
    script = write(tmp_path, """
        import pyrmap

        with pyrmap.Slot() as slot:
            total = 0
            while True:
                slot.wait()
                total += slot.input().sum()
                slot.publish(total)
        """)
    with start(Path(producer.path), script) as process:
        for number in range(1, 200):
            producer.produce([number])
            producer.publish()
            assert producer.result(20).tolist() == [number * (number + 1) // 2]
        process.kill()


def test_run_a_script_or_a_function_by_hand(producer: Slot, job: Path, tmp_path: Path) -> None:
    script = write(tmp_path, SCRIPT)
    assert compute(producer, [1], "-m", "pyrmap", "run", script)[:2] == (0, "adding\n")
    assert producer.result().tolist() == [2]
    assert compute(producer, [1], "-m", "pyrmap", "run", f"{script}::plus", "--slot", job)[0] == 0
    assert producer.result().tolist() == [2]
    status, _, complaints = compute(producer, [1], "-m", "pyrmap", "run", f"{script}::boom", "argued")
    assert status == 1
    assert complaints.startswith("LookupError: argued\nTraceback")
    with pytest.raises(RoundFailed, match="LookupError: argued"):
        producer.wait(1)


def test_the_command_line_is_checked(tmp_path: Path) -> None:
    variables = environment()
    variables.pop("PYRMAP_SLOT", None)

    def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-m", "pyrmap", *arguments], env=variables, capture_output=True, text=True)

    assert call().returncode == 2
    assert "no slot: give --slot" in call("run", "script.py").stderr
    missing = call("run", "script.py", "--slot", str(tmp_path / "none"))
    assert missing.returncode == 1
    assert "not below a pyrmapfs mount" in missing.stderr
    assert os.environ.get("PYRMAP_SLOT") is None


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, pyrmap; assert 'numpy' not in sys.modules; dir(pyrmap)"
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)
    for name in pyrmap.__all__:
        assert getattr(pyrmap, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pyrmap.nothing
    assert Path(pyrmap.__file__).with_name("py.typed").exists()
