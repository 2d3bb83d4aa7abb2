# SPDX-License-Identifier: Apache-2.0
"""Which round a script answers, and when: run by hand, by `python3 -m pyrmap run`, by a worker."""
from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import pytest

from pyrmap import RoundCancelled, RoundFailed, Slot
from pyrmap.mapping import COPY_LIMIT
from serving import Keeper, environment, eventually

HEAD = """
import atexit, os, sys, threading, time
import numpy as np
import pyrmap
from pyrmap import process_via_mmap

@process_via_mmap
def f(x):
    x += 1
    return x

@process_via_mmap
def g(x):
    return x * 100
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "script.py"


@pytest.fixture(params=["session", "process"])
def keeper(request: pytest.FixtureRequest, job: Path) -> Iterator[Keeper]:
    """What R starts to run scripts."""
    with Keeper(job, "--isolation", request.param) as running:
        yield running


def write(script: Path, text: str) -> None:
    script.write_text(HEAD + textwrap.dedent(text))


def publish(producer: Slot, value: object) -> None:
    producer.produce(value)
    producer.publish()


def start(job: Path, *command: object) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, *map(str, command)], env=environment(PYRMAP_SLOT=str(job)),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_by_hand_each_call_is_a_round(producer: Slot, job: Path, script: Path) -> None:
    write(script, "f()\ng()\nf()\n")
    with start(job, script) as process:
        for value, result in ((1, 2), (2, 200), (3, 4)):
            publish(producer, [value])
            assert producer.result(30).tolist() == [result]
        assert process.wait(30) == 0


@pytest.mark.parametrize("end, result", [
    ("g()\nf()", 6), ("f()\ng()", 500), ("for i in range(4): f()", 6), ("f()\nsys.exit()", 6), ("g()\nsys.exit(0)\nf()", 500),
    ("atexit.register(g)\nf()", 500), ("f()\nthreading.Thread(target=g).start()", 500),
    ("f()\nif os.fork(): os.wait()", 6), ("try: g()\nfinally: f()", 6),
    ("list(step() for step in (f, g, f, g))", 500), ("steps = (step() for step in (f, g))\nnext(steps)", 6),
])
def test_a_run_publishes_once_at_its_end(producer: Slot, job: Path, script: Path, end: str, result: int) -> None:
    write(script, f"atexit.register(lambda: print('last'))\n{end}\n")
    for _ in range(2):
        publish(producer, [5])
        done = subprocess.run([sys.executable, "-m", "pyrmap", "run", str(script)], env=environment(PYRMAP_SLOT=str(job)),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == "last"
        assert producer.result(5).tolist() == [result]


@pytest.mark.parametrize("end, words", [
    ("f()\nraise LookupError('afterwards')", "^LookupError: afterwards\nTraceback"),
    ("f()\nsys.exit(4)", "^SystemExit: 4"), ("f()\nsys.exit('bad')", "^SystemExit: bad"),
    ("f()\npyrmap.current_slot().fail('no')", "^no$"),
    ("f()\nos._exit(0)", "exited before it published the result"),
])
def test_what_fails_after_the_last_call_fails_the_round(producer: Slot, job: Path, script: Path, keeper: Keeper,
                                                        end: str, words: str) -> None:
    write(script, end)
    for run in ("program", "worker"):
        publish(producer, [5])
        if run == "worker":
            keeper.run(job, script)
        else:
            subprocess.run([sys.executable, "-m", "pyrmap", "run", str(script)], env=environment(PYRMAP_SLOT=str(job)),
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        with pytest.raises(RoundFailed, match=words):
            producer.result(30)


def test_a_result_waits_for_the_end_of_the_script(keeper: Keeper, producer: Slot, job: Path, script: Path,
                                                  tmp_path: Path) -> None:
    write(script, f"f()\nprint('computed', flush=True)\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.005)\n"
                  "print('end')\n")
    publish(producer, [5])
    keeper.run(job, script)
    eventually(lambda: "computed" in keeper.output, "the function returns")
    assert producer.record.flag == 0
    (tmp_path / "go").touch()
    assert producer.result(30).tolist() == [6]
    eventually(lambda: "end" in keeper.output, "the output arrives")


@pytest.mark.parametrize("how", ["f()", "pyrmap.Slot(os.environ['PYRMAP_SLOT']).input()",
                                 "pyrmap.Slot(os.environ['PYRMAP_SLOT']).publish(-1.0)",
                                 "pyrmap.current_slot().empty_result(3)", "pyrmap.current_slot().fail('late')",
                                 "pyrmap.wait()"])
@pytest.mark.parametrize("where", ["thread", "program"])
def test_what_is_left_of_a_run_takes_part_in_no_other(keeper: Keeper, producer: Slot, job: Path, script: Path,
                                                      tmp_path: Path, where: str, how: str) -> None:
    write(script, f"""
        def attempt():
            while not os.path.exists({str(tmp_path / 'go')!r}):
                time.sleep(0.005)
            try:
                {how}
                print("answered", flush=True)
            except pyrmap.RoundCancelled as error:
                print("cancelled", flush=True)

        def thread(x):
            threading.Thread(target=attempt).start()
            return x + 1

        def program(x):
            import subprocess
            text = "import sys; sys.path.insert(0, " + repr(os.path.dirname(__file__)) + "); import script; script.attempt()"
            child = subprocess.Popen([sys.executable, "-c", text])
            threading.Thread(target=child.wait).start()
            return x + 1

        def plain(x):
            return x + 2
        """)
    publish(producer, [1.0])
    keeper.run(job, script, where)
    assert producer.result(30).tolist() == [2]
    keeper.run(job, script, "plain")
    publish(producer, [2.0])
    (tmp_path / "go").touch()
    assert producer.result(30).tolist() == [4]
    if where == "program" or "process" in keeper.options:
        # A worker ends what was left before it takes the next round, whether or not it has tried by then.
        assert "answered" not in keeper.output
    else:
        eventually(lambda: keeper.output.endswith("\n"), "the attempt is made")
        assert keeper.output == "cancelled\n"


@pytest.mark.parametrize("length", [3, COPY_LIMIT // 8 + 1])
def test_a_kept_result_can_be_replaced(producer: Slot, worker: Slot, length: int) -> None:
    publish(producer, [1.0])
    worker.input()
    held = worker.empty_result(length)
    held[:] = 7
    worker.keep(held)
    assert worker.keeps and not worker.finished
    other = worker.empty_result(length + 5)
    assert not other.any()
    # The first array is the program's own from now on.
    assert (held == 7).all()
    other[:] = 8
    worker.keep(other)
    del other
    worker.keep([1, 2, 3])
    worker.keep(np.arange(float(length)))
    assert (held == 7).all()
    assert producer.record.flag == 0
    worker.publish()
    assert worker.finished and not worker.keeps
    assert np.array_equal(producer.result(), np.arange(float(length)))


def test_a_kept_array_is_published_as_it_is_at_the_end(producer: Slot, worker: Slot) -> None:
    for length in (3, COPY_LIMIT // 8 + 1):
        publish(producer, [1.0])
        worker.input()
        held = worker.empty_result(length)
        worker.keep(held)
        held[:] = np.arange(length)
        worker.publish()
        assert np.array_equal(held, np.arange(length))
        assert np.array_equal(producer.result(), np.arange(length))


def test_a_step_of_a_cancelled_round_says_so(producer: Slot, worker: Slot) -> None:
    """Whatever errno the filesystem has for it."""
    publish(producer, [1.0])
    worker.input()
    worker.empty_result(3)
    os.unlink(f"{producer.path}/data.bin")
    publish(producer, [2.0])
    with pytest.raises(RoundCancelled, match="round 1 "):
        worker.publish(np.zeros(4))
    assert (producer.record.flag, producer.record.round) == (0, 2)


def test_an_input_again_is_as_it_was_published(producer: Slot, worker: Slot) -> None:
    publish(producer, [1.0, 2.0])
    x = worker.input()
    x += 5
    assert worker.input().tolist() == [6, 7]
    assert worker.input_again().tolist() == [1, 2]
    assert worker.input().tolist() == [1, 2]
    assert x.tolist() == [6, 7]
    worker.publish(0)


def test_a_slot_of_a_run_is_about_its_round(producer: Slot, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRMAP_SLOT", str(job))
    monkeypatch.setenv("PYRMAP_ROUND", "1")
    publish(producer, [1.0])
    early, late = Slot(), Slot()
    early.publish(early.input() + 1)
    assert producer.result().tolist() == [2]
    publish(producer, [2.0])
    attempts: list[Callable[[], object]] = [late.input, late.wait, lambda: late.publish(0), lambda: late.fail("no"),
                                            lambda: late.empty_result(1)]
    for attempt in attempts:
        with pytest.raises(RoundCancelled):
            attempt()
    assert (producer.record.flag, producer.record.round) == (0, 2)
    monkeypatch.delenv("PYRMAP_ROUND")
    with Slot() as free:
        free.publish(free.input() + 1)
    assert producer.result().tolist() == [3]
    early.close()
    late.close()
