# SPDX-License-Identifier: Apache-2.0
"""Every command of README.md, as it stands there. Its plain recipes in R and Python are tested with the packages' own."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest
from daemon import BUILD, PYRMAPFS, ROOT, Daemon, is_mounted
from session import Shell, blocks, constant, steps

MOUNT = Path("/mnt/pyrmap")

# The scripts that the examples in R name.
SCRIPTS = {
    "magnitude.py": "from pyrmap import process_via_mmap\n@process_via_mmap\ndef f(x):\n    return x.max()\nif __name__ == '__main__':\n    f()\n",
    "mean.py": "from pyrmap import process_via_mmap\n@process_via_mmap\ndef f(x):\n    return x.mean()\nif __name__ == '__main__':\n    f()\n",
    "clean.py": "from pyrmap import process_via_mmap\n@process_via_mmap\ndef f(x):\n    return x[x == x]\nif __name__ == '__main__':\n    f()\n",
    "scale.py": "from pyrmap import process_via_mmap\n@process_via_mmap\ndef f(x):\n    return x / 10\nif __name__ == '__main__':\n    f()\n",
    "score.py": "from pyrmap import process_via_mmap\n@process_via_mmap\ndef f(x):\n    return x.sum()\nif __name__ == '__main__':\n    f()\n",
    "model.py": "def fit(x):\n    return x['X'].sum() if isinstance(x, dict) else x.sum()\ndef predict(x):\n    return x * 2\n",
    "table.py": "def summary(x):\n    return x.describe()\n",
}
BEFORE = "x <- c(1, 2, NA, 4); n <- 4; p <- 2; X <- as.matrix(iris[1:4]);"


@pytest.fixture
def place() -> Iterator[Path]:
    """Nothing is mounted there yet. This process has a mount namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("the commands are root's")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/mnt"], check=True)
    MOUNT.mkdir()
    yield MOUNT
    for point in (MOUNT, MOUNT.parent):
        if is_mounted(point):
            subprocess.run(["umount", "-l", str(point)], check=True)


@pytest.fixture
def daemon(place: Path) -> Iterator[Path]:
    """One that is mounted there."""
    with Daemon({"arena.capacity": "256M"}) as running:
        subprocess.run(["mount", "--bind", str(running.path), str(place)], check=True)
        yield place
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYRMAP")}
    paths = os.pathsep.join([str(PYRMAPFS.parent), str(Path(sys.executable).parent), "/usr/sbin:/usr/bin:/sbin:/bin"])
    return {**kept, "PATH": paths, "R_LIBS": str((BUILD / "r-library").resolve()), "PYRMAP_PYTHON": sys.executable,
            "PYTHONPATH": str((BUILD / "python").resolve()), "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


def test_the_sessions(place: Path, tmp_path: Path) -> None:
    sessions = [block for block in blocks() if block.language == "console"]
    assert len(sessions) == 2
    shell = Shell(environment())
    shell.give(f"cd {tmp_path}")
    try:
        for session in sessions:
            shell.give("rm -rf /mnt/pyrmap/*/")
            for step in steps(session.text):
                said = shell.run(step._replace(command=step.command.replace("/tmp/", f"{tmp_path}/")))
                assert [constant(line) for line in said] == [constant(line) for line in step.shown if line], step.command
    finally:
        shell.give("cd /; umount -l /mnt/pyrmap")
        shell.process.communicate(timeout=20)
    assert "<svg" in (tmp_path / "chains.svg").read_text()


def test_the_calls_in_r(daemon: Path, work: Path) -> None:
    [calls] = [block.text for block in blocks() if block.language == "r" and "run_python_pipeline" in block.text]
    done = subprocess.run(["Rscript", "-e", BEFORE + "\n" + calls], cwd=work, env=environment(), capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[1] 6.4" in done.stdout and "$score\n[1] 0.7" in done.stdout


def test_a_served_model(daemon: Path, work: Path) -> None:
    [serve] = [block.text for block in blocks() if "pyrmap serve" in block.text]
    [ask] = [block.text for block in blocks() if block.language == "r" and 'slot = "predict"' in block.text]
    server = subprocess.Popen(["bash", "-c", "exec " + serve], cwd=work, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        waits = "while (!file.exists('/mnt/pyrmap/predict/worker') || !length(readLines('/mnt/pyrmap/predict/worker', warn = FALSE))) Sys.sleep(0.01)"
        done = subprocess.run(["Rscript", "-e", f"library(pyrmap); x <- 1:3; {waits}\n{ask}"], cwd=work, env=environment(),
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    finally:
        server.kill()
        server.communicate()
    assert (done.returncode, done.stdout) == (0, "[1] 2 4 6\n"), done.stderr


def test_the_decorated_function(daemon: Path, work: Path) -> None:
    [script] = [block.text for block in blocks() if block.language == "python" and "lib.process_with_mmap" in block.text]
    (work / "plus.py").write_text(script)
    done = subprocess.run(["Rscript", "-e", "library(pyrmap); run_python(c(1, 2), 'plus.py')"], cwd=work, env=environment(),
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert (done.returncode, done.stdout) == (0, "[1] 2 3\n"), done.stderr


def test_every_block_is_tested() -> None:
    """Here, in the suites of the packages, of the Slurm examples, or as a target that CI calls."""
    ci = (ROOT / ".ci/run").read_text()
    for block in blocks():
        if block.language == "sh":
            for line in block.text.splitlines():
                command = line.partition("  #")[0].strip()
                known = re.match(r"make (\w[\w-]*)$", command) or block.heading == "Past one machine" or "pyrmap serve" in command
                assert known or command.startswith(("cd ", "mkdir ")), command
                if command.startswith("make ") and command != "make demo":
                    assert f"{command}\n" in ci, command
        else:
            assert block.language in ("console", "r", "python", ""), block
    # `make check` runs the demo.
    assert re.search(r"tests/run .*\bdemo\b", (ROOT / "Makefile").read_text())


def test_named_files_and_targets_exist() -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`make ([\w-]+)`", text))
    assert len(targets) > 8
    for target in targets:
        assert re.search(rf"^(\.PHONY:.*\b|(?:\S+ )*){target}\b", makefile, re.MULTILINE), target
    for path in re.findall(r"`((?:packaging|examples|tests|conf|fs)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
