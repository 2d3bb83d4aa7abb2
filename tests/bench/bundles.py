# SPDX-License-Identifier: Apache-2.0
"""What lists, tables and text cost that go to Python and come back, beside reticulate and beside files of R alone."""
from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Optional

from daemon import BUILD, PYRMAPFS
from table import table

PROGRAM = Path(__file__).resolve().parent / "bundles.R"
LIMIT = 60
CASES = {"ten": "ten doubles alone", "iris": "iris", "columns": "10 columns of 1e6 doubles", "sums": "their sums come back",
         "again": "passed on as they came from Python", "text": "1e6 strings", "dates": "1e6 dates", "factor": "a factor of 1e6"}


def measure(mount: Path, method: str, case: str) -> Optional[float]:
    """Median seconds, from a new R process; None where it takes longer than LIMIT altogether."""
    build = Path(BUILD).resolve()
    environment = {**os.environ, "PYRMAP_MOUNT": str(mount), "PYRMAPFS": str(PYRMAPFS), "PYTHON": sys.executable,
                   "PYRMAP_PYTHON": sys.executable, "R_LIBS": str(build / "r-library"), "PYTHONPATH": str(build / "python")}
    repeats = 300 if case in ("ten", "iris") else 7
    try:
        done = subprocess.run(["Rscript", "--vanilla", PROGRAM, method, case, str(repeats)], stdout=subprocess.PIPE, text=True,
                              check=True, timeout=LIMIT, env=environment)
    except subprocess.TimeoutExpired:
        return None
    return statistics.median(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("seconds"))


def tables(mount: Path) -> None:
    rows = []
    ten = measure(mount, "pyrmap", "ten")
    assert ten is not None
    for case, name in CASES.items():
        ours = ten if case == "ten" else measure(mount, "pyrmap", case)
        theirs = measure(mount, "reticulate", case)
        assert ours is not None
        rows.append([name, f"{ours * 1e3:.2f}", f"{ours / ten:.1f}", f"{theirs * 1e3:.2f}" if theirs else f"over {LIMIT} s",
                     f"{theirs / ours:.1f}" if theirs else ""])
    files = measure(mount, "rds", "columns")
    assert files is not None
    rows.append(["the 10 columns by saveRDS and readRDS", f"{files * 1e3:.2f}", f"{files / ten:.1f}", "", ""])
    table("Tables and text there and back: milliseconds", ["", "time", "times ten doubles", "reticulate", "times as fast"], rows)
