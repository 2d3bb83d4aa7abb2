# SPDX-License-Identifier: Apache-2.0
"""What scripts and functions see, print and return, and how they fail, in a worker of either isolation."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, Optional

import numpy as np
import pytest

from pyrmap import RoundFailed, Slot
from serving import Keeper, eventually

SCRIPT = """
import os, sys, signal
import pyrmap

def plus(x, step=1, *more, times=1):
    return (x + step + sum(more)) * times

def talk(x):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(1, b"by descriptor\\n")
    return x

def boom(x):
    raise LookupError("no such thing: ä")

def environment(x):
    return [float(os.environ.get("A", 0)), float("HOME" in os.environ), float(os.path.exists("here.txt"))]

not_callable = 1

if __name__ == "__main__":
    @pyrmap.process_via_mmap
    def main(x):
        return x * len(sys.argv)

    main()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(params=["session", "process"])
def workers(request: pytest.FixtureRequest, job: Path) -> Iterator[Keeper]:
    with Keeper(job, "--isolation", request.param) as running:
        yield running


def publish(producer: Slot, value: object = 1) -> None:
    producer.produce(value)
    producer.publish()


def failure(producer: Slot) -> str:
    publish(producer)
    with pytest.raises(RoundFailed) as failed:
        producer.result(20)
    return str(failed.value)


def test_functions_and_whole_scripts(workers: Keeper, producer: Slot, job: Path, script: Path) -> None:
    runs: list[tuple[Optional[str], tuple[object, ...], dict[str, object], list[float]]] = [
        ("plus", (), {}, [2, 3]), ("plus", (2.5, 1), {}, [4.5, 5.5]), ("plus", (), {"kwargs": {"times": 3}}, [6, 9]),
        (None, (), {}, [1, 2]), (None, ("a", 1), {}, [3, 6])]
    for function, args, more, expected in runs:
        workers.run(job, script, function, *args, **more)
        publish(producer, [1, 2])
        assert producer.result(20).tolist() == expected
    assert workers.complaints == ""


def test_environment_and_directory(workers: Keeper, producer: Slot, job: Path, script: Path, tmp_path: Path) -> None:
    (tmp_path / "here.txt").touch()
    workers.run(job, script, "environment", env={"A": "7", "HOME": None}, cwd=str(tmp_path))
    publish(producer)
    assert producer.result(20).tolist() == [7, 0, 1]
    workers.run(job, script, "environment")
    publish(producer)
    assert producer.result(20).tolist()[0] == 0


def test_what_scripts_print_is_there_before_the_result(workers: Keeper, producer: Slot, job: Path, script: Path) -> None:
    workers.run(job, script, "talk")
    publish(producer)
    producer.result(20)
    eventually(lambda: sorted(workers.output.splitlines()) == ["by descriptor", "to stdout"] and
               "to stderr" in workers.complaints, "the output arrives")


@pytest.mark.parametrize("function, words", [
    ("boom", "^LookupError: no such thing: ä\nTraceback .*\n  File \"{script}\", line"),
    ("absent", "^AttributeError: {script} has no function 'absent'; it has boom, environment, plus"),
    ("not_callable", "^AttributeError: {script} has no function 'not_callable'"),
])
def test_failures(workers: Keeper, producer: Slot, job: Path, script: Path, function: str, words: str) -> None:
    for _ in range(2):
        workers.run(job, script, function)
        assert re.match("(?s)" + words.format(script=script), failure(producer))
    # The worker goes on.
    workers.run(job, script, "plus")
    publish(producer, [1])
    assert producer.result(20).tolist() == [2]
    assert len(workers.workers) == 1


@pytest.mark.parametrize("text, words", [
    ("raise SystemExit('enough')", "SystemExit: enough"),
    ("x = 1", "RuntimeError: the script ended without publishing a result"),
    ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'\nTraceback"),
    ("def f(:", r"(?s)SyntaxError: .*script.py, line 1"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
     r"worker \d+ exited before it published the result of round 1"),
    ("import os; os._exit(0)", r"worker \d+ exited before it published the result of round 1"),
])
def test_scripts_that_do_not_get_far(workers: Keeper, producer: Slot, job: Path, script: Path, text: str, words: str) -> None:
    script.write_text(text)
    workers.run(job, script)
    assert re.match(words, failure(producer))


def test_a_function_that_exits_without_an_error_has_no_result(workers: Keeper, producer: Slot, job: Path, script: Path) -> None:
    script.write_text("import sys\ndef f(x): sys.exit(0)\n")
    workers.run(job, script, function="f")
    assert failure(producer).startswith("SystemExit: f() exited without a result")


CRASHES = """
import ctypes, os, signal
def segv(x):
    return ctypes.string_at(8)
def abort(x):
    os.abort()
def kill(x):
    os.kill(os.getpid(), signal.SIGTERM)
def oom(x):
    os.kill(os.getpid(), signal.SIGKILL)
def status(x):
    os._exit(7)
"""


@pytest.mark.parametrize("function, words, line", [
    ("segv", r"killed by SIGSEGV \(Segmentation fault\)", "return ctypes.string_at"),
    ("abort", r"killed by SIGABRT \(Aborted\)", "os.abort"),
    ("kill", r"killed by SIGTERM \(Terminated\)", ""),
    ("oom", r"killed by SIGKILL \(.*memory was short", ""),
    ("status", "ended with exit status 7, .*os._exit", ""),
])
def test_the_error_says_of_what_the_process_of_a_run_died(producer: Slot, job: Path, script: Path, function: str, words: str,
                                                          line: str) -> None:
    script.write_text(CRASHES)
    with Keeper(job, "--isolation", "process") as workers:
        for _ in range(2):
            workers.run(job, script, function)
            text = failure(producer)
            assert re.match(r"worker \d+ exited before it published the result of round \d: it " + f"(was )?{words}", text)
            # What faulthandler says is there if it says anything, down to the line of the script and no further.
            assert ("Fatal Python error" in text) == bool(line)
            if line:
                number = next(i for i, code in enumerate(CRASHES.splitlines(), 1) if line in code)
                assert f'  File "{script}", line {number} in {function}\n' in text
                assert "pyrmap/run.py" not in text


def test_a_nul_does_not_cut_an_error(workers: Keeper, producer: Slot, job: Path, script: Path) -> None:
    script.write_text("def f(x):\n    raise ValueError('before' + chr(0) + 'after')\n")
    workers.run(job, script, "f")
    assert failure(producer).startswith("ValueError: before\\x00after\nTraceback")


def test_sparse_matrices_of_any_kind_come_by_columns(workers: Keeper, producer: Slot, job: Path, script: Path) -> None:
    script.write_text("from scipy import sparse\ndef f(x):\n    return sparse.eye(3)\n"
                      "def g(x):\n    return sparse.csr_array(sparse.eye(3))\n")
    for function in ("f", "g"):
        workers.run(job, script, function)
        publish(producer)
        result = producer.result(20)
        assert result.format == "csc" and result.toarray().tolist() == np.eye(3).tolist()


def test_a_missing_script(workers: Keeper, producer: Slot, job: Path, tmp_path: Path) -> None:
    workers.run(job, tmp_path / "none.py")
    assert failure(producer).startswith(f"FileNotFoundError: no such script: {tmp_path}/none.py\n")
