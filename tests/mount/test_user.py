# SPDX-License-Identifier: Apache-2.0
"""The same promises for a user without privileges, who mounts through fusermount3."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator

import pytest
import skipped
from daemon import PYRMAPFS, as_user

HERE = Path(__file__).resolve().parent
USER = "nobody"

SUITES = ("test_handshake.py", "test_tree.py", "test_record.py", "test_wait.py", "test_rounds.py", "test_alive.py",
          "test_bad.py", "test_times.py", "test_page.py", "test_links.py")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the caller is an ordinary user already")


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="pyrmapfs-test-"))
    made.chmod(0o1777)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def as_nobody(directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(directory), "HOME": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(as_user(USER) + list(argv), env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def allowed(directory: Path) -> None:
    """Skips where this machine lets no ordinary user mount anything."""
    if shutil.which("fusermount3") is None:
        pytest.skip("fusermount3 is not installed")
    if as_nobody(directory, "test", "-w", "/dev/fuse").returncode != 0:
        pytest.skip(f"/dev/fuse is not open to {USER} here")
    if as_nobody(directory, "test", "-x", str(PYRMAPFS)).returncode != 0:
        pytest.skip(f"{USER} may not run {PYRMAPFS}")


@pytest.mark.time_limit(240)
@pytest.mark.parametrize("suite", SUITES)
def test_suite_as_an_ordinary_user(allowed: None, directory: Path, suite: str) -> None:
    run = as_nobody(directory, sys.executable, "-m", "pytest", "-q", "-x", "-rs", "--tb=short", str(HERE / suite))
    assert run.returncode == 0, f"{suite} as {USER}:\n{run.stdout[-10000:]}{run.stderr[-2000:]}"
    assert " passed" in run.stdout
    skipped.collect(run.stdout)
