# SPDX-License-Identifier: Apache-2.0
"""What the tests of the packages build."""
from __future__ import annotations

import os
import subprocess

from daemon import BUILD, ROOT

VERSION = next(line.split()[-1] for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("VERSION :="))


def make(*words: str, **more: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "BUILD", "PYTHONPATH")}
    done = subprocess.run(["make", "-s", *words, f"BUILD={BUILD}/deb-test"], cwd=ROOT, env={**environment, **more},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
