# SPDX-License-Identifier: Apache-2.0
"""What a call of run_python costs, beside reticulate and beside PyRMap's method: files, and a fresh Python each time.

PyRMap's method is done again as it is described: three files in /dev/shm, a flag in the first one, written by
writeBin and read as a whole, by a Python process that is started for each call. It is spared what PyRMap does on top (files
filled with zeros first, then mapped).
"""
from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daemon import BUILD, PYRMAPFS, Daemon, private_mounts  # noqa: E402
from table import machine, table  # noqa: E402

PROGRAM = Path(__file__).resolve().parent / "exchange.R"
LIMIT = 600
SMALL, MEDIUM, LARGE = 10, 10**6, 10**8
FILES = "PyRMap's method"


class Measured(NamedTuple):
    seconds: float
    growth: float


def measure(mount: Path, method: str, elements: int, repeats: int, pause: float = 0) -> Measured:
    """Median seconds of an exchange and growth of R's peak memory in bytes, from a new R process."""
    build = Path(BUILD).resolve()
    environment = {**os.environ, "PYRMAP_MOUNT": str(mount), "PYRMAPFS": str(PYRMAPFS), "PYTHON": sys.executable,
                   "PYRMAP_PYTHON": sys.executable, "R_LIBS": str(build / "r-library"),
                   "PYTHONPATH": str(build / "python")}
    with tempfile.TemporaryDirectory(prefix="pyrmapfs-bench-", dir="/dev/shm") as directory:
        done = subprocess.run(["Rscript", "--vanilla", PROGRAM, method, str(elements), str(repeats), str(pause),
                               directory],
                              stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT, env=environment)
    lines = [line.split() for line in done.stdout.splitlines() if line]
    numbers = {key: [float(line[1]) for line in lines if line[0] == key] for key in ("seconds", "memory")}
    return Measured(statistics.median(numbers["seconds"]), numbers["memory"][0])


def compare(title: str, base: str, rows: dict[str, Measured], unit: float, digits: int) -> None:
    table(title, ["", "time", "times as fast", "R's peak grows by"],
          ([name, f"{row.seconds * unit:.{digits}f}", f"{rows[base].seconds / row.seconds:.1f}",
            f"{row.growth / 1e6:.0f} MB"] for name, row in rows.items()))


def main() -> None:
    private_mounts()
    with Daemon({"arena.capacity": "8G", "arena.warm": "4G"}) as daemon:
        print(machine())
        small = {"pyrmap, a call now and then": measure(daemon.path, "plain", SMALL, 100, 0.03),
                 "pyrmap, calls in a loop": measure(daemon.path, "plain", SMALL, 500),
                 FILES: measure(daemon.path, "files", SMALL, 15)}
        compare(f"10 doubles there, x + 1 back: milliseconds (times as fast as {FILES})", FILES, small, 1e3, 2)

        calls = {"8 MB": measure(daemon.path, "hand_over", MEDIUM, 31),
                 "800 MB": measure(daemon.path, "hand_over", LARGE, 31),
                 "800 MB, while the last result is zeroed": measure(daemon.path, "at_once", LARGE, 31)}
        table("An array that lives in a slot there, an empty_result back: milliseconds", ["", "time", "times 8 MB"],
              [[name, f"{row.seconds * 1e3:.2f}", f"{row.seconds / calls['8 MB'].seconds:.2f}"]
               for name, row in calls.items()])

        large = {"pyrmap, result computed in place": measure(daemon.path, "in_place", LARGE, 11),
                 "pyrmap, return x + 1": measure(daemon.path, "plain", LARGE, 11),
                 "reticulate": measure(daemon.path, "reticulate", LARGE, 7),
                 FILES: measure(daemon.path, "files", LARGE, 3)}
        compare(f"800 MB of doubles there, x + 1 back, summed by R: seconds (times as fast as {FILES})",
                FILES, large, 1, 2)


if __name__ == "__main__":
    main()
