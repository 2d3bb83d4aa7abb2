# SPDX-License-Identifier: Apache-2.0
"""What lists, tables and text cost that go to Python and come back, beside reticulate and beside files of R alone."""
from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Optional

from daemon import BUILD, PYRMAPFS
from fs import PROGRAMS, run
from table import table

PROGRAM = Path(__file__).resolve().parent / "bundles.R"
LIMIT = 60
COLUMNS = 80_000_000
CASES = {"ten": "ten doubles alone", "iris": "iris", "columns": "10 columns of 1e6 doubles", "sums": "their sums come back",
         "lives": "the same from a pyrmap_array",
         "again": "passed on as they came from Python", "text": "1e6 strings", "dates": "1e6 dates", "factor": "a factor of 1e6"}


class Measured(NamedTuple):
    seconds: float
    copied: list[float]  # bytes: by R into the slot, by Python into the result, by R out of it


def measure(mount: Path, method: str, case: str) -> Optional[Measured]:
    """Median seconds, and the bytes that were copied, from a new R process; None where it takes longer than LIMIT altogether."""
    build = Path(BUILD).resolve()
    environment = {**os.environ, "PYRMAP_MOUNT": str(mount), "PYRMAPFS": str(PYRMAPFS), "PYTHON": sys.executable,
                   "PYRMAP_PYTHON": sys.executable, "R_LIBS": str(build / "r-library"), "PYTHONPATH": str(build / "python")}
    repeats = 300 if case in ("ten", "iris") else 7
    try:
        done = subprocess.run(["Rscript", "--vanilla", PROGRAM, method, case, str(repeats)], stdout=subprocess.PIPE, text=True,
                              check=True, timeout=LIMIT, env=environment)
    except subprocess.TimeoutExpired:
        return None
    lines = [line.split() for line in done.stdout.splitlines()]
    return Measured(statistics.median(float(line[1]) for line in lines if line[0] == "seconds"),
                    [float(word) for line in lines if line[0] == "copied" for word in line[1:]])


def copies(mount: Path) -> float:
    """Median seconds of two programs in C that do no more than copy the ten columns there and back."""
    slot = mount / "bench"
    slot.mkdir()
    try:
        return statistics.median(line[0] for line in run(PROGRAMS / "copies", slot, COLUMNS, 15))
    finally:
        slot.rmdir()


def megabytes(sizes: list[float]) -> str:
    return " + ".join(f"{size / 1e6:.4g}" if size >= 1e4 else "0" if not size else "< 0.01" for size in sizes)


def tables(mount: Path) -> None:
    rows = []
    ten = measure(mount, "pyrmap", "ten")
    assert ten is not None
    once = ten.seconds

    def add(name: str, ours: Measured, theirs: str = "", times: str = "") -> None:
        rows.append([name, f"{ours.seconds * 1e3:.2f}", f"{ours.seconds / once:.1f}", theirs, times, megabytes(ours.copied)])

    for case, name in CASES.items():
        ours = ten if case == "ten" else measure(mount, "pyrmap", case)
        theirs = measure(mount, "reticulate", case)
        assert ours is not None
        add(name, ours, f"{theirs.seconds * 1e3:.2f}" if theirs else f"over {LIMIT} s", f"{theirs.seconds / ours.seconds:.1f}" if theirs else "")
        if case == "columns":
            add("the least for it: two copies in C", Measured(copies(mount), [COLUMNS, COLUMNS, 0]))
    files = measure(mount, "rds", "columns")
    assert files is not None
    add("the 10 columns by saveRDS and readRDS", files)
    table("Tables and text there and back: milliseconds; MB copied by R, by Python and by R again",
          ["", "time", "times ten doubles", "reticulate", "times as fast", "copied"], rows)
