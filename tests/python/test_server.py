# SPDX-License-Identifier: Apache-2.0
"""The warm server: which run takes which round, what its scripts see, how they fail, how everything ends."""
from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyrmap import RoundFailed, Slot
from serving import Server, children, environment, eventually, running

SCRIPT = """
import os, random, sys, signal, time
import numpy as np
import pyrmap

count = 0

def plus(x, step=1, *more, times=1):
    return (x + step + sum(more)) * times

def counted(x):
    global count
    count += 1
    return count

def pid(x):
    return os.getpid()

def path(x):
    return x

def drawn(x):
    return [np.random.random(), random.random()]

def talk(x):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(1, b"by descriptor\\n")
    return x

def boom(x):
    raise LookupError("no such thing: ä")

def die(x):
    os.kill(os.getpid(), signal.SIGKILL)

def hang(x):
    print("hanging", flush=True)
    signal.pause()

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


def publish(producer: Slot, value: object) -> int:
    """Begins a round and publishes it; its number."""
    producer.produce(value)
    number = producer.record.round
    producer.publish()
    return number


def failure(producer: Slot) -> str:
    with pytest.raises(RoundFailed) as failed:
        producer.result(20)
    return str(failed.value)


def test_functions_and_whole_scripts(server: Server, producer: Slot, job: Path, script: Path) -> None:
    runs: list[tuple[str | None, tuple[object, ...], dict[str, object], list[float]]] = [
        ("plus", (), {}, [2, 3]), ("plus", (2.5, 1), {}, [4.5, 5.5]), ("plus", (), {"kwargs": {"times": 3}}, [6, 9]),
        (None, (), {}, [1, 2]), (None, ("a", 1), {}, [3, 6])]
    for function, args, more, expected in runs:
        publish(producer, [1, 2])
        server.run(job, script, function, *args, **more)
        assert producer.result(20).tolist() == expected
    assert server.complaints == ""


def test_the_task_file_says_what_to_run(server: Server, producer: Slot, job: Path, script: Path) -> None:
    task = {"script": str(script), "function": "plus", "args": [10], "kwargs": {"times": 2}}
    (job / "task").write_text(json.dumps(task))
    for _ in range(2):
        publish(producer, [1])
        server.send(run=str(job))
        assert producer.result(20).tolist() == [22]
    for text, words in (("", "ValueError: .*task is empty"), ("[1", "JSONDecodeError"),
                        ("[]", "ValueError: the task is no JSON"),
                        ('{"script": "a", "colour": 1}', "ValueError: unknown keys in the task: colour"),
                        ('{"script": "a", "kwargs": {"b": 1}}', "TypeError: named arguments need a function")):
        (job / "task").write_text(text)
        publish(producer, [1])
        server.send(run=str(job))
        with pytest.raises(RoundFailed, match=words):
            producer.result(20)


def test_each_run_is_fresh(server: Server, producer: Slot, job: Path, script: Path) -> None:
    pids = set()
    for _ in range(3):
        for function in ("counted", "pid"):
            publish(producer, [0])
            server.run(job, script, function)
            value = producer.result(20).tolist()[0]
            pids.add(value)
    assert 1 in pids and len(pids) == 4
    # As it is on disk now, also twice within a moment.
    for number in range(5):
        script.write_text(f"def f(x):\n    return x + {number}\n")
        publish(producer, [0])
        server.run(job, script, "f")
        assert producer.result(20).tolist() == [number]


def test_each_run_draws_numbers_of_its_own(server: Server, producer: Slot, job: Path, script: Path) -> None:
    numbers = set()
    for _ in range(4):
        publish(producer, [0])
        server.run(job, script, "drawn")
        numbers.update(producer.result(20).tolist())
    assert len(numbers) == 8


def test_environment_and_directory(server: Server, producer: Slot, job: Path, script: Path, tmp_path: Path) -> None:
    (tmp_path / "here.txt").touch()
    publish(producer, [0])
    server.run(job, script, "environment", env={"A": "7", "HOME": None}, cwd=str(tmp_path))
    assert producer.result(20).tolist() == [7, 0, 1]
    publish(producer, [0])
    server.run(job, script, "environment")
    assert producer.result(20).tolist()[0] == 0


def test_a_run_may_come_before_its_input(server: Server, producer: Slot, job: Path, script: Path) -> None:
    for number in range(100):
        # The slot is DONE, or about to be filled: either way the next input is meant.
        if number % 2:
            server.run(job, script, "plus")
            producer.produce([number])
        else:
            producer.produce([number])
            server.run(job, script, "plus")
        producer.publish()
        producer.wait(20)
        assert producer.result(20).tolist() == [number + 1]


def test_a_run_takes_its_round_and_no_other(server: Server, producer: Slot, job: Path, script: Path) -> None:
    task = {"script": str(script), "function": "plus"}
    for number in range(1, 100):
        assert producer.record.round == max(1, number - 1)
        if number % 2:
            server.send(run=str(job), round=number, task=task)
        producer.produce([number])
        if not number % 2:
            server.send(run=str(job), round=number, task=task)
        # One that comes too late has nothing to do, and says nothing.
        server.send(run=str(job), round=number - 1, task=task)
        producer.publish()
        assert producer.result(20).tolist() == [number + 1]
    assert server.stop() == 0
    assert (server.output, server.complaints) == ("", "")


def test_runs_of_one_slot_wait_for_each_other(server: Server, producer: Slot, job: Path, script: Path) -> None:
    for number in range(1, 21):
        server.send(run=str(job), round=number, task={"script": str(script), "function": "plus"})
    for number in range(1, 21):
        publish(producer, [number])
        assert producer.result(20).tolist() == [number + 1]


def test_what_scripts_print_is_there_before_the_result(server: Server, producer: Slot, job: Path, script: Path) -> None:
    publish(producer, [1])
    server.run(job, script, "talk")
    producer.result(20)
    eventually(lambda: "to stdout" in server.output and "to stderr" in server.complaints, "the output arrives")
    assert sorted(server.output.splitlines()) == ["by descriptor", "to stdout"]


@pytest.mark.parametrize("function, words", [
    ("boom", "^LookupError: no such thing: ä\nTraceback .*\n  File \"{script}\", line"),
    ("absent", "^AttributeError: {script} has no function 'absent'; it has boom, counted, die"),
    ("not_callable", "^AttributeError: {script} has no function 'not_callable'"),
    ("die", r"^worker \d+ exited before it published the result of round 1: it was killed by SIGKILL \(.*memory was short"),
])
def test_failures(server: Server, producer: Slot, job: Path, script: Path, function: str, words: str) -> None:
    for early in (False, True):
        if early:
            server.run(job, script, function)
        publish(producer, [1])
        if not early:
            server.run(job, script, function)
        with pytest.raises(RoundFailed, match="(?s)" + words.format(script=script).replace("round 1", "round [12]")):
            producer.result(20)
    # The server goes on.
    publish(producer, [1])
    server.run(job, script, "plus")
    assert producer.result(20).tolist() == [2]


@pytest.mark.parametrize("text, words", [
    ("raise SystemExit('enough')", "^SystemExit: enough"),
    ("x = 1", "^RuntimeError: the script ended without publishing a result"),
    ("import no_such_module", "^ModuleNotFoundError: No module named 'no_such_module'\nTraceback"),
    ("def f(:", r"(?s)^SyntaxError: .*script.py, line 1"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
     r"^worker \d+ exited before it published the result of round 1"),
    ("import os; os._exit(0)", r"^worker \d+ exited before it published the result of round 1"),
])
def test_scripts_that_do_not_get_far(server: Server, producer: Slot, job: Path, script: Path, text: str,
                                     words: str) -> None:
    script.write_text(text)
    publish(producer, [1])
    server.run(job, script)
    with pytest.raises(RoundFailed, match=words):
        producer.result(20)


CRASHES = """
import ctypes, os, signal
def segv(x):
    return ctypes.string_at(8)
def abort(x):
    os.abort()
def kill(x):
    os.kill(os.getpid(), signal.SIGTERM)
def status(x):
    os._exit(7)
"""


@pytest.mark.parametrize("function, words, line", [
    ("segv", r"killed by SIGSEGV \(Segmentation fault\)", "return ctypes.string_at"),
    ("abort", r"killed by SIGABRT \(Aborted\)", "os.abort"),
    ("kill", r"killed by SIGTERM \(Terminated\)", ""),
    ("status", "ended with exit status 7, .*os._exit", ""),
])
def test_the_error_says_of_what_a_worker_died(server: Server, producer: Slot, job: Path, script: Path, function: str,
                                              words: str, line: str) -> None:
    script.write_text(CRASHES)
    for early in (False, True):
        if early:
            server.run(job, script, function)
        publish(producer, [1])
        if not early:
            server.run(job, script, function)
        text = failure(producer)
        assert re.match(r"worker \d+ exited before it published the result of round \d: it " + f"(was )?{words}", text)
        # What faulthandler says is there if it says anything, down to the line of the script and no further.
        assert ("Fatal Python error" in text) == bool(line)
        if line:
            number = next(i for i, code in enumerate(CRASHES.splitlines(), 1) if line in code)
            assert f'  File "{script}", line {number} in {function}\n' in text
            assert "pyrmap/worker.py" not in text


def test_a_nul_does_not_cut_an_error(server: Server, producer: Slot, job: Path, script: Path) -> None:
    script.write_text("def f(x):\n    raise ValueError('before' + chr(0) + 'after')\n")
    publish(producer, [1])
    server.run(job, script, "f")
    assert failure(producer).startswith("ValueError: before\\x00after\nTraceback")


def test_a_sparse_matrix_is_told_how_to_become_an_array(server: Server, producer: Slot, job: Path, script: Path) -> None:
    script.write_text("from scipy import sparse\ndef f(x):\n    return sparse.eye(3)\n"
                      "def g(x):\n    return sparse.csr_array(sparse.eye(3))\ndef h(x):\n    return sparse.eye(3).toarray()\n")
    for function in ("f", "g"):
        publish(producer, [1])
        server.run(job, script, function)
        assert re.match(r"TypeError: scipy.sparse.* is sparse: return its .toarray\(\)", failure(producer))
    publish(producer, [1])
    server.run(job, script, "h")
    assert producer.result(20).tolist() == np.eye(3).tolist()


def test_a_missing_script(server: Server, producer: Slot, job: Path, tmp_path: Path) -> None:
    publish(producer, [1])
    server.run(job, tmp_path / "none.py")
    assert failure(producer).startswith(f"FileNotFoundError: no such script: {tmp_path}/none.py\n")


def test_a_worker_that_dies_before_the_input_came(server: Server, producer: Slot, job: Path, script: Path) -> None:
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    producer.produce([1])
    server.send(run=str(job), round=1, task={"script": str(script)})
    eventually(lambda: (job / "worker").read_text() != "", "a worker is there")
    producer.publish()
    assert "exited before it published the result of round 1" in failure(producer)


def test_cancel_kills_the_worker_and_what_it_started(server: Server, producer: Slot, job: Path, script: Path) -> None:
    script.write_text(textwrap.dedent("""
        import os, subprocess, time
        def f(x):
            child = subprocess.Popen(["sleep", "1000"])
            print(os.getpid(), child.pid, flush=True)
            child.wait()
        """))
    publish(producer, [1])
    server.run(job, script, "f")
    server.run(job, script, "f")
    pids = eventually(lambda: [int(pid) for pid in server.output.split()], "the script runs")
    server.send(cancel=str(job))
    assert "exited before it published" in failure(producer)
    eventually(lambda: not any(map(running, pids)), "both are gone")
    script.write_text(SCRIPT)
    publish(producer, [1])
    server.run(job, script, "plus")
    assert producer.result(20).tolist() == [2]
    # The run that was dropped printed nothing.
    assert len(server.output.split()) == 2, (server.output, server.complaints)


def test_slots_run_at_the_same_time(server: Server, mount: Path, job: Path, script: Path) -> None:
    with Slot(job) as producer, Slot.create(mount / f"{job.name}-other") as other:
        publish(producer, [1])
        server.run(job, script, "hang")
        eventually(lambda: "hanging" in server.output, "the first runs")
        publish(other, [2])
        server.run(Path(other.path), script, "plus")
        assert other.result(20).tolist() == [3]
        server.send(cancel=str(job))
        os.rmdir(other.path)


def test_a_new_slot_of_the_same_name(server: Server, mount: Path, script: Path) -> None:
    path = mount / "again"
    for number in range(4):
        with Slot.create(path) as producer:
            for _ in range(2):
                publish(producer, [number])
                server.run(path, script, "plus")
                assert producer.result(20).tolist() == [number + 1]
        path.rmdir()
        if number % 2:
            server.send(forget=str(path))
    assert server.complaints == ""


def test_a_slot_that_is_removed_is_no_failure(server: Server, mount: Path, script: Path) -> None:
    path = mount / "removed"
    path.mkdir()
    server.run(path, script, "plus")
    waiting = eventually(lambda: re.search(r"^waiting=(\d+)", (path / "metadata.txt").read_text(), re.MULTILINE), "it waits")
    worker = int(waiting[1])
    path.rmdir()
    eventually(lambda: not running(worker), "the worker ends")
    assert server.stop() == 0
    assert server.complaints == ""


def test_failures_as_results(server: Server, producer: Slot, job: Path, script: Path) -> None:
    mark = "0123456789abcdef" * 2

    def compute(value: object, function: str) -> np.ndarray[Any, Any]:
        number = publish(producer, value)
        server.send(run=str(job), round=number, errors=mark, task={"script": str(script), "function": function})
        return producer.result(20)

    assert compute([1], "plus").tolist() == [2]
    told = compute([1], "boom")
    lines = bytes(told).decode().splitlines()
    assert lines[:4] == [mark, str(job), "LookupError: no such thing: ä", "Traceback (most recent call last):"]
    assert bytes(compute(told, "boom")) == bytes(told)
    assert bytes(compute([1], "absent")).decode().startswith(f"{mark}\n{job}\nAttributeError: {script} has no function")
    # Bytes that are not marked are data.
    assert compute(np.zeros(5, "uint8"), "path").tolist() == [0] * 5


def test_deaths_are_told_where_the_commands_come_from(producer: Slot, job: Path, script: Path) -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "pyrmap.server"]
    with subprocess.Popen(command, stdin=theirs.fileno(), env=environment()) as process, ours:
        theirs.close()
        number = publish(producer, [1])
        run = {"run": str(job), "round": number, "errors": "mark", "task": {"script": str(script), "function": "die"}}
        ours.sendall(json.dumps(run).encode() + b"\n")
        assert "exited" in failure(producer)
        with ours.makefile("rb") as lines:
            assert json.loads(lines.readline()) == {"died": str(job), "round": number, "status": signal.SIGKILL}
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(20) == 0


def test_bad_commands_are_reported_and_skipped(server: Server, producer: Slot, job: Path, script: Path) -> None:
    server.commands.write(b"no json\n{}\n[]\n{\"run\": 7}\n{\"run\": \"/x\", \"round\": \"1\"}\n\xff\n")
    publish(producer, [1])
    server.run(job, script, "plus")
    assert producer.result(20).tolist() == [2]
    server.stop()
    lines = server.complaints.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("pyrmap.server: bad command ") for line in lines)


def test_modules_can_be_loaded_before(server: Server, producer: Slot, job: Path, script: Path) -> None:
    server.send(preload=["colorsys", "no_such_module"])
    eventually(lambda: "cannot preload no_such_module: ModuleNotFoundError" in server.complaints, "the complaint")
    script.write_text("import sys\ndef f(x):\n    return 'colorsys' in sys.modules\n")
    publish(producer, [1])
    server.run(job, script, "f")
    assert producer.result(20).tolist() == [1]


def test_nothing_is_left_at_the_end(producer: Slot, job: Path, script: Path) -> None:
    with Server() as server:
        publish(producer, [1])
        server.run(job, script, "hang")
        eventually(lambda: "hanging" in server.output, "the script runs")
        pids = children(server.process.pid)
        assert pids
        assert server.stop() == 0
    assert not any(map(running, pids))
    assert "exited before it published" in failure(producer)


def test_a_killed_server_leaves_no_worker(producer: Slot, job: Path, script: Path) -> None:
    with Server() as server:
        publish(producer, [1])
        server.run(job, script, "hang")
        eventually(lambda: "hanging" in server.output, "the script runs")
        pids = children(server.process.pid)
        server.process.kill()
        assert "exited before it published" in failure(producer)
        eventually(lambda: not any(map(running, pids)), "the workers are gone")


def test_ctrl_c_is_for_others(server: Server, producer: Slot, job: Path, script: Path) -> None:
    for _ in range(2):
        publish(producer, [1])
        server.run(job, script, "plus")
        assert producer.result(20).tolist() == [2]
        server.process.send_signal(signal.SIGINT)


def test_without_numpy_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('none here')")
    done = subprocess.run([sys.executable, "-m", "pyrmap.server"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, env={**environment(), "PYTHONPATH": f"{tmp_path}:{environment()['PYTHONPATH']}"})
    assert done.returncode == 3
    assert "NumPy is missing for " in done.stderr and "apt install python3-numpy" in done.stderr
