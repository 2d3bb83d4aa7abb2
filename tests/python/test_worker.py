# SPDX-License-Identifier: Apache-2.0
"""The worker that stays: what it keeps from run to run, what it brings back, how it ends."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest

from daemon import PAGE_CACHE
from pyrmap import RoundFailed, Slot
from serving import Keeper, Worker, children, environment, eventually, running


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "script.py"


@pytest.fixture
def isolated(job: Path) -> Iterator[Keeper]:
    with Keeper(job, "--isolation", "process") as keeper:
        yield keeper


def write(script: Path, text: str) -> None:
    script.write_text(textwrap.dedent(text))


def ask(producer: Slot, value: object = 0) -> Any:
    """One round's result."""
    producer.produce(value)
    producer.publish()
    return producer.result(30).tolist()


def failure(producer: Slot) -> str:
    with pytest.raises(RoundFailed) as failed:
        ask(producer)
    return str(failed.value)


def test_a_model_that_is_loaded_at_the_top_stays(keeper: Keeper, producer: Slot, script: Path, tmp_path: Path) -> None:
    write(script, """
        print("loading")
        model = 3
        count = 0
        def predict(x):
            global count
            count += 1
            return x * model + count
        """)
    keeper.run(None, script, "predict")
    assert [ask(producer, [10]) for _ in range(3)] == [[31], [32], [33]]
    # A new version of the file is a new module.
    script.write_text(script.read_text().replace("model = 3", "model = 4"))
    assert ask(producer, [10]) == [41]
    eventually(lambda: keeper.output == "loading\nloading\n", "it is loaded twice")
    # A file that is changed again at once, by as many bytes, is another one.
    for model in (5, 6, 7):
        status = script.stat()
        script.write_text(script.read_text().replace(f"model = {model - 1}", f"model = {model}"))
        os.utime(script, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert ask(producer, [10]) == [10 * model + 1]
    assert len(keeper.workers) == 1


def test_a_script_that_fails_to_load_is_loaded_again(keeper: Keeper, producer: Slot, script: Path, tmp_path: Path) -> None:
    write(script, f"""
        import os
        if not os.path.exists({str(tmp_path / 'ready')!r}):
            raise LookupError("not yet")
        def f(x):
            return x + 1
        """)
    keeper.run(None, script, "f")
    assert failure(producer).startswith("LookupError: not yet\nTraceback")
    (tmp_path / "ready").touch()
    assert ask(producer, [1]) == [2]


def test_a_whole_script_has_a_main_of_its_own(keeper: Keeper, producer: Slot, script: Path) -> None:
    write(script, """
        import __main__, colorsys, sys
        from pyrmap import process_via_mmap
        fresh = "used" not in globals() and __main__.__dict__ is globals()
        kept = hasattr(colorsys, "used")
        used = colorsys.used = True

        @process_via_mmap
        def f(x):
            return [float(fresh), float(kept), float(len(sys.argv))]

        if __name__ == "__main__":
            f()
        """)
    keeper.run(None, script, None, "a", "b")
    assert [ask(producer) for _ in range(3)] == [[1, 0, 3], [1, 1, 3], [1, 1, 3]]
    script.write_text("import sys\nfrom pyrmap import process_via_mmap\n@process_via_mmap\ndef f(x): return 9.0\nf()\n")
    assert ask(producer) == [9]


def test_a_module_whose_file_changed_is_not_used_again(keeper: Keeper, producer: Slot, script: Path, tmp_path: Path) -> None:
    helper = tmp_path / "pack" / "helper.py"
    helper.parent.mkdir()
    (helper.parent / "__init__.py").touch()
    helper.write_text("value = 1\n")
    write(script, """
        import os
        from pack import helper
        loads = 0
        def f(x):
            global loads
            loads += 1
            return [helper.value, loads, os.getpid()]
        """)
    keeper.run(None, script, "f")
    first = ask(producer)
    assert first[:2] == [1, 1]
    for value in (2, 3):
        helper.write_text(f"value = {value}\n")
        # The same process, bound as before, that has forgotten everything.
        assert ask(producer) == [value, 1, first[2]]
    helper.unlink()
    assert failure(producer).startswith("ImportError: cannot import name 'helper'")
    helper.write_text("value = 5\n")
    assert ask(producer)[0] == 5
    assert len(keeper.workers) == 1
    keeper.worker.process.kill()


def test_scripts_with_helpers_of_the_same_name(keeper: Keeper, producer: Slot, tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "helper.py").write_text(f"name = {ord(place)}\n")
        (tmp_path / place / "script.py").write_text("import helper\ndef f(x): return helper.name\n")
    for place in ("a", "b", "b", "a"):
        keeper.run(None, tmp_path / place / "script.py", "f")
        assert ask(producer) == [ord(place)]


CHANGES = {
    "argv": ("sys.argv.append('x')", "len(sys.argv)"),
    "path": ("sys.path.insert(0, '/nowhere')", "'/nowhere' in sys.path"),
    "environment": ("os.environ['COLOUR'] = 'red'; del os.environ['HOME']",
                    "('COLOUR' in os.environ) + 2 * ('HOME' in os.environ)"),
    "directory": ("os.chdir('/')", "os.getcwd() == '/'"),
    "a directory that is gone": ("os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')", "os.stat('.').st_nlink == 0"),
    "handlers": ("signal.signal(signal.SIGUSR1, lambda *_: None)", "signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL"),
    "ctrl-c": ("signal.signal(signal.SIGINT, signal.SIG_IGN)",
               "signal.getsignal(signal.SIGINT) is not signal.default_int_handler"),
    "mask": ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])", "len(signal.pthread_sigmask(signal.SIG_BLOCK, []))"),
    "alarm": ("signal.setitimer(signal.ITIMER_REAL, 1000)", "signal.getitimer(signal.ITIMER_REAL)[0] > 0"),
    "warnings": ("warnings.simplefilter('error')", "warnings.filters[0][0] == 'error'"),
    "errstate": ("np.seterr(all='raise')", "np.geterr()['over'] == 'raise'"),
    "streams": ("sys.stdout = sys.stderr = None", "sys.stdout is None or sys.stderr is None"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("whole", [False, True])
def test_what_a_run_changes_is_as_it_was_for_the_next(keeper: Keeper, producer: Slot, script: Path, tmp_path: Path, what: str,
                                                      whole: bool) -> None:
    change, look = CHANGES[what]
    write(script, f"""
        import os, signal, sys, warnings
        import numpy as np
        from pyrmap import process_via_mmap

        def f(x):
            before = float({look})
            {change}
            return [before, float({look})]

        if __name__ == "__main__":
            process_via_mmap(f)()
        """)
    keeper.run(None, script, None if whole else "f", cwd=str(tmp_path))
    first, second = ask(producer), ask(producer)
    assert first == second
    assert first[0] != first[1]
    assert len(keeper.workers) == 1


def test_random_numbers_are_drawn_afresh(keeper: Keeper, producer: Slot, script: Path) -> None:
    write(script, """
        import random
        import numpy as np
        def f(x):
            drawn = [random.random(), np.random.random()]
            random.seed(1)
            np.random.seed(1)
            return drawn
        """)
    keeper.run(None, script, "f")
    drawn = [number for _ in range(4) for number in ask(producer)]
    assert len(set(drawn)) == 8


def test_what_warns_once_warns_in_each_run(keeper: Keeper, producer: Slot, script: Path) -> None:
    write(script, """
        import warnings
        def f(x):
            for _ in range(2):
                warnings.warn("careful")
            return x
        """)
    keeper.run(None, script, "f")
    for _ in range(2):
        ask(producer)
    eventually(lambda: keeper.complaints.count("UserWarning: careful") == 2, "it warns once in each")


@pytest.mark.parametrize("isolation", ["session", "process"])
def test_warnings_go_where_the_parent_wants_them(job: Path, producer: Slot, script: Path, tmp_path: Path, isolation: str) -> None:
    """Each is a line that stands in the pipe when the round ends, from the process of a run and from a worker that began anew."""
    (tmp_path / "helper.py").touch()
    write(script, """
        import helper, os, subprocess, warnings
        import numpy as np
        def f(x):
            with warnings.catch_warnings(record=True) as caught:
                warnings.warn("caught")
            warnings.warn("caref\u00fcl\\nof this", FutureWarning)
            np.exp(x)
            warnings.showwarning = None
            left = subprocess.run(["ls", "/proc/self/fd"], stdout=subprocess.PIPE, text=True).stdout
            return [len(caught), float(os.environ["FD"] in left.split())]
        """)
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    (job / "task").write_text(json.dumps({"script": str(script), "function": "f"}))
    with subprocess.Popen([sys.executable, "-m", "pyrmap.worker", str(job), "--isolation", isolation, "--parent", str(os.getpid()),
                           "--warnings-fd", str(theirs)], env=environment(FD=str(theirs)), pass_fds=[theirs],
                          stderr=subprocess.PIPE, text=True) as process:
        for round_ in range(3):
            assert ask(producer, [1e3]) == [1, 0]
            lines = [json.loads(line) for line in os.read(ours, 65536).splitlines()]
            assert [(line["category"], line["message"]) for line in lines] == [
                ("FutureWarning", "caref\u00fcl\nof this"), ("RuntimeWarning", "overflow encountered in exp")]
            assert [(line["file"], line["line"]) for line in lines] == [(str(script), 7), (str(script), 8)]
            (tmp_path / "helper.py").write_text("#" * round_)
        process.kill()
        assert process.communicate()[1] == ""
    os.close(ours)
    os.close(theirs)


def test_the_environment_is_the_tasks(keeper: Keeper, producer: Slot, script: Path) -> None:
    write(script, "import os\ndef f(x):\n    return [float(os.environ.get('A', -1)), float('HOME' in os.environ)]\n")
    keeper.run(None, script, "f", env={"A": "7", "HOME": None})
    assert ask(producer) == [7, 0]
    keeper.run(None, script, "f")
    assert ask(producer) == [-1, 1]


@pytest.mark.parametrize("isolation", ["session", "process"])
def test_the_number_of_the_round_takes_no_more_room(keeper: Keeper, producer: Slot, script: Path, isolation: str) -> None:
    """setenv(3) keeps every value for ever. Programs that a run starts, in whichever way, see the round of today."""
    write(script, """
        import ctypes, os, subprocess
        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_void_p
        def f(x):
            seen = subprocess.run(["sh", "-c", "echo $PYRMAP_ROUND"], stdout=subprocess.PIPE, text=True).stdout
            copied = subprocess.run(["sh", "-c", "echo $PYRMAP_ROUND"], stdout=subprocess.PIPE, text=True, env={**os.environ}).stdout
            return [float(getenv(b"PYRMAP_ROUND")), float(seen), float(copied)]
        """)
    keeper.run(None, script, "f", isolation=isolation)
    seen = [ask(producer) for _ in range(3)]
    rounds = [float(round_) for round_ in range(1, 4)]
    assert [one[1] for one in seen] == [one[2] for one in seen] == rounds
    assert len({one[0] for one in seen}) == 1


def test_numbers_of_threads_are_the_callers(job: Path, producer: Slot, script: Path) -> None:
    write(script, """
        import os
        def f(x):
            return [float(os.environ.get(name, -1)) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")]
        """)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    expected = [float(os.environ.get(name, -1)) for name in names]
    with Keeper(job) as keeper:
        keeper.run(None, script, "f")
        assert ask(producer) == expected
    with Keeper(job, **dict.fromkeys(names, "3")) as keeper:
        keeper.run(None, script, "f")
        assert ask(producer) == [3, 3, 3]


def test_a_function_of_a_module(keeper: Keeper, producer: Slot, tmp_path: Path) -> None:
    keeper.run(None, None, "norm", module="numpy.linalg")
    assert ask(producer, [3.0, 4.0]) == [5]
    keeper.run(None, None, "norm", 1, module="numpy.linalg")
    assert ask(producer, [3.0, 4.0]) == [7]
    (tmp_path / "beside.py").write_text("def f(x): return x + 1\n")
    keeper.run(None, None, "f", module="beside", cwd=str(tmp_path))
    assert ask(producer, [1.0]) == [2]
    (tmp_path / "beside.py").write_text("def f(x): return x + 2\n")
    assert ask(producer, [1.0]) == [3]
    keeper.run(None, None, "f", module="no_such_module")
    assert failure(producer).startswith("ModuleNotFoundError: No module named 'no_such_module'")
    keeper.run(None, None, "no", module="numpy.linalg")
    assert failure(producer).startswith("AttributeError: numpy.linalg has no function 'no'; it has")


def test_arguments_are_as_the_task_has_them(keeper: Keeper, producer: Slot, script: Path) -> None:
    write(script, "def f(x, y, *, z):\n    y.append(1)\n    z[0, 0] += 1\n    return [len(y), z[0, 0]]\n")
    keeper.run(None, script, "f", [], kwargs={"z": [[1.0]]},
               arrays=[{"at": ["kwargs", "z"], "shape": [1, 1], "dtype": "float64"}])
    assert [ask(producer) for _ in range(3)] == [[1, 2]] * 3


def test_a_task_that_is_too_long_stands_in_a_file(keeper: Keeper, producer: Slot, job: Path, script: Path,
                                                  tmp_path: Path) -> None:
    write(script, "def f(x, text):\n    return len(text)\n")
    long = tmp_path / "task.json"
    keeper.run(None, script, "f", "short")
    assert ask(producer) == [5]
    for length in (10000, 20000):
        long.write_text(json.dumps({"script": str(script), "function": "f", "args": ["x" * length]}))
        (job / "task").write_text(json.dumps({"file": str(long)}))
        assert ask(producer) == [length]
    long.unlink()
    assert failure(producer).startswith("FileNotFoundError: ")


@pytest.mark.parametrize("task, words", [
    ("", "ValueError: .*task is empty"), ("[1", "JSONDecodeError"), ("[]", "ValueError: the task is no JSON"),
    ('{"script": "a", "colour": 1}', "ValueError: unknown keys in the task: colour"),
    ('{"script": "a", "kwargs": {"b": 1}}', "TypeError: named arguments need a function"),
    ('{"module": "a"}', "ValueError: a task that names a module has a function"),
    ('{"script": "a", "isolation": "none"}', "ValueError: the task's isolation"),
    ('{"function": "a"}', "ValueError: the task names no script"),
])
def test_tasks_that_cannot_be_done(keeper: Keeper, producer: Slot, job: Path, script: Path, task: str, words: str) -> None:
    write(script, "def f(x):\n    return x + 1\n")
    keeper.run(None, script, "f")
    assert ask(producer, [1]) == [2]
    (job / "task").write_text(task)
    with pytest.raises(RoundFailed, match=words):
        ask(producer)
    keeper.run(None, script, "f")
    assert ask(producer, [1]) == [2]
    assert len(keeper.workers) == 1


@pytest.mark.parametrize("isolation", ["session", "process"])
@pytest.mark.parametrize("end, words, survives", [
    ("sys.exit(4)", "SystemExit: 4", True), ("sys.exit('reason')", "SystemExit: reason", True),
    ("exit(3)", "SystemExit: 3", True), ("raise KeyError(1)", "KeyError: 1", True),
    ("os._exit(3)", r"worker \d+ exited before it published the result of round 1", False),
    ("os.kill(os.getpid(), signal.SIGKILL)", r"worker \d+ exited before it published the result of round 1", False),
    ("ctypes.string_at(8)", r"worker \d+ exited before it published the result of round 1", False),
])
@pytest.mark.parametrize("whole", [False, True])
def test_a_script_that_ends_its_process(job: Path, producer: Slot, script: Path, isolation: str, end: str, words: str,
                                        survives: bool, whole: bool) -> None:
    write(script, f"import ctypes, os, signal, sys\ndef f(x):\n    {end}\nif __name__ == '__main__':\n    f(1)\n")
    with Keeper(job, "--isolation", isolation) as keeper:
        keeper.run(None, script, None if whole else "f")
        with pytest.raises(RoundFailed, match=f"^{words}"):
            ask(producer)
        if not survives and isolation == "session":
            keeper.worker.process.wait(20)
        write(script, "def f(x):\n    return x + 1\n")
        keeper.run(None, script, "f")
        assert ask(producer, [1]) == [2]
        assert len(keeper.workers) == (1 if survives or isolation == "process" else 2)


def test_in_a_process_for_each_run_nothing_is_left(isolated: Keeper, producer: Slot, script: Path) -> None:
    write(script, """
        import colorsys, os, threading
        def f(x):
            count = colorsys.count = getattr(colorsys, "count", 0) + 1
            threading.Thread(target=threading.Event().wait).start()
            os.environ["COUNT"] = os.environ.get("COUNT", "") + "1"
            return [count, len(os.environ["COUNT"]), os.getpid(), os.getppid()]
        """)
    isolated.run(None, script, "f")
    results = [ask(producer) for _ in range(3)]
    assert [result[:2] for result in results] == [[1, 1]] * 3
    assert len({result[2] for result in results}) == 3
    assert {result[3] for result in results} == {isolated.pid}
    # Two are gone, the last one has a thread that does not end.
    assert [running(int(result[2])) for result in results] == [False, False, True]


def test_a_task_says_how_it_is_isolated(keeper: Keeper, producer: Slot, script: Path) -> None:
    write(script, """
        import os
        count = 0
        def f(x):
            global count
            count += 1
            return [count, os.getpid()]
        """)
    counts = []
    for isolation in ("session", "session", "process", "process", "session", "session"):
        keeper.run(None, script, "f", isolation=isolation)
        count, pid = ask(producer)
        assert (pid == keeper.pid) == (isolation == "session")
        counts.append(count)
    # A run in its own process begins afresh, and so does the session that follows it.
    assert counts == [1, 2, 1, 1, 1, 2]


def test_what_a_run_leaves_ends_before_the_next(keeper: Keeper, producer: Slot, script: Path) -> None:
    write(script, """
        import os, subprocess
        def f(x):
            # The second is no child of this process, nor of its group.
            first = subprocess.Popen(["sleep", "1000"])
            text = "import subprocess as s; print(s.Popen(['sleep', '1000'], start_new_session=True, stdout=2).pid)"
            second = subprocess.run(["python3", "-c", text], stdout=subprocess.PIPE, text=True).stdout
            return [first.pid, int(second)]
        def g(x):
            return 0
        """)
    keeper.run(None, script, "f")
    pids = [int(pid) for pid in ask(producer)]
    assert all(map(running, pids))
    keeper.run(None, script, "g")
    ask(producer)
    assert not any(map(running, pids))
    assert children(keeper.pid) == []


@pytest.mark.parametrize("isolation", ["session", "process"])
def test_a_daemon_that_a_run_leaves_ends_before_the_next(job: Path, producer: Slot, script: Path, isolation: str) -> None:
    """The daemon's parent has ended, so the daemon became a child of the worker."""
    write(script, """
        import subprocess
        def f(x):
            text = "import subprocess as s; print(s.Popen(['sleep', '1000'], start_new_session=True, stdout=2).pid)"
            return int(subprocess.run(["python3", "-c", text], stdout=subprocess.PIPE, text=True).stdout)
        def g(x):
            return 0
        """)
    with Keeper(job, "--isolation", isolation) as keeper:
        keeper.run(None, script, "f")
        [pid] = ask(producer)
        assert running(pid)
        keeper.run(None, script, "g")
        ask(producer)
        assert not running(pid)


def test_threads_of_a_module_go_on(keeper: Keeper, producer: Slot, script: Path) -> None:
    write(script, """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        def f(x):
            return pool.submit(lambda: float(x[0]) + 1).result()
        """)
    keeper.run(None, script, "f")
    assert [ask(producer, [n]) for n in range(3)] == [[1], [2], [3]]


def test_a_pool_that_nobody_ends_does_not_keep_a_script_from_its_end(keeper: Keeper, producer: Slot, script: Path) -> None:
    write(script, """
        from concurrent.futures import ThreadPoolExecutor
        from pyrmap import process_via_mmap
        pool = ThreadPoolExecutor(2)
        @process_via_mmap
        def f(x):
            return list(pool.map(lambda value: value + 1, x.tolist()))
        f()
        """)
    keeper.run(None, script)
    assert [ask(producer, [1, n]) for n in range(3)] == [[2, n + 1] for n in range(3)]


def test_an_exit_function_of_a_module_is_not_the_scripts(keeper: Keeper, producer: Slot, script: Path, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("import atexit\natexit.register(print, 'helper')\n")
    write(script, """
        import atexit, helper
        from pyrmap import process_via_mmap
        @atexit.register
        def last():
            print("script", flush=True)
        atexit.register(print, "never")
        atexit.unregister(print)
        process_via_mmap(lambda x: x)()
        """)
    keeper.run(None, script)
    ask(producer)
    ask(producer)
    eventually(lambda: keeper.output.count("script\n") >= 2, "both have ended")
    assert keeper.output == "script\nscript\n"


def test_a_failed_round_that_is_published_again(keeper: Keeper, producer: Slot, job: Path, script: Path, tmp_path: Path) -> None:
    write(script, f"import os\ndef f(x):\n    assert os.path.exists({str(tmp_path / 'go')!r})\n    return x + 1\n")
    keeper.run(None, script, "f")
    for _ in range(2):
        assert failure(producer).startswith("AssertionError")
    number = producer.record.round
    (tmp_path / "go").touch()
    fd = os.open(job / "metadata.bin", os.O_WRONLY)
    os.write(fd, (0).to_bytes(4, "little"))
    os.close(fd)
    assert producer.result(30).tolist() == [1]
    assert producer.record.round == number


def test_a_round_that_was_published_before_the_worker_came(job: Path, producer: Slot, script: Path) -> None:
    write(script, "def f(x):\n    return x + 1\n")
    (job / "task").write_text(json.dumps({"script": str(script), "function": "f"}))
    producer.produce([1])
    producer.publish()
    with Worker(job):
        assert producer.result(30).tolist() == [2]


def test_it_ends_with_its_slot(mount: Path, job: Path, script: Path) -> None:
    write(script, "def f(x):\n    return x + 1\n")
    path = mount / f"{job.name}-gone"
    with Slot.create(path) as producer, Keeper(path) as keeper:
        keeper.run(None, script, "f")
        ask(producer)
        path.rmdir()
        assert keeper.worker.process.wait(20) == 0
        assert keeper.complaints == ""


def test_a_slot_that_is_not_there(mount: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pyrmap.worker", str(mount / "nowhere")], env=environment(),
                          capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("isolation", ["session", "process"])
@pytest.mark.parametrize("subreaper", [False, True])
def test_it_dies_with_its_parent(producer: Slot, job: Path, script: Path, isolation: str, subreaper: bool) -> None:
    write(script, "import os, signal\ndef f(x):\n    print(os.getpid(), flush=True)\n    signal.pause()\n")
    (job / "task").write_text(json.dumps({"script": str(script), "function": "f"}))
    text = f"""
        import ctypes, os, subprocess, sys
        if {subreaper}:
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
            if os.fork():
                os.wait()
                while True:
                    try: os.wait()
                    except ChildProcessError: sys.exit()
        print(os.getpid(), flush=True)
        worker = subprocess.Popen([sys.executable, "-m", "pyrmap.worker", {str(job)!r}, "--isolation", {isolation!r},
                                   "--parent", str(os.getpid())])
        print(worker.pid, flush=True)
        worker.wait()
        """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], env=environment(), stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        parent, worker = (int(process.stdout.readline()) for _ in range(2))
        producer.produce([1])
        producer.publish()
        runner = int(process.stdout.readline())
        assert (runner == worker) == (isolation == "session")
        os.kill(parent, signal.SIGKILL)
        with pytest.raises(RoundFailed, match=f"worker {worker} exited before it published"):
            producer.result(30)
        eventually(lambda: not running(worker) and not running(runner), "both are gone")


def test_a_parent_that_is_gone_already(job: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pyrmap.worker", str(job), "--parent", "1"], env=environment(), timeout=30)
    assert done.returncode == 0


def test_modules_can_be_loaded_before(job: Path, producer: Slot, script: Path) -> None:
    write(script, "import sys\ndef f(x):\n    return float('colorsys' in sys.modules)\n")
    with Keeper(job, "--preload", "colorsys", "--preload", "no_such_module") as keeper:
        keeper.run(None, script, "f")
        assert ask(producer) == [1]
        assert "cannot preload no_such_module: ModuleNotFoundError" in keeper.complaints


def test_streams_of_rounds(keeper: Keeper, producer: Slot, script: Path) -> None:
    write(script, "def f(x):\n    return x + 1\n")
    keeper.run(None, script, "f")
    for number in range(300):
        assert ask(producer, np.full(10, number)) == [number + 1] * 10
    assert (keeper.output, keeper.complaints) == ("", "")


def requests(mount: Path, op: str = r"\w+") -> int:
    """How many the daemon has answered, of that operation or of all."""
    text = (mount / ".pyrmap" / "metrics").read_text()
    return sum(int(count) for count in re.findall(rf'^pyrmapfs_requests_total\{{op="{op}"\}} (\d+)$', text, re.MULTILINE))


def test_a_result_gets_its_size_once(mount: Path, keeper: Keeper, producer: Slot, script: Path) -> None:
    """What is published as it was mapped is not cut; the beginning of it is."""
    write(script, "import pyrmap\ndef f(x, part):\n    return pyrmap.empty_result(300_000)[:part]\n")
    for part, sizes in ((300_000, 1), (200_000, 2)):
        keeper.run(None, script, "f", part)
        before = requests(mount, "setattr")
        for _ in range(5):
            assert len(ask(producer)) == part
        assert requests(mount, "setattr") - before == 5 * sizes


@pytest.mark.parametrize("lengths, expected", (((1, 10, 248), 2), ((249, 1000, 16384), 4)))
def test_a_small_exchange_is_few_requests(mount: Path, data_path: str, keeper: Keeper, producer: Slot, script: Path,
                                          lengths: tuple[int, ...], expected: int) -> None:
    """The producer's write and the worker's, where pages are mapped; a read of each if the page has no room."""
    if data_path == PAGE_CACHE:
        pytest.skip("there the record is read and polled")
    write(script, "def f(x):\n    x += 1\n    return x\n")
    keeper.run(None, script, "f")
    for length in lengths:
        ask(producer, np.zeros(length))
        counts = [requests(mount), requests(mount)]
        for number in range(10):
            assert ask(producer, np.full(length, number)) == [number + 1] * length
        counts.append(requests(mount))
        assert counts[2] - counts[1] == counts[1] - counts[0] + 10 * expected
