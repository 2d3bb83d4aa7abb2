# SPDX-License-Identifier: Apache-2.0
"""What a call of run_python costs, beside reticulate and beside PyRMap's method: files, and a fresh Python each time.

PyRMap's method is repeated from its description: three files in /dev/shm, a flag in the first one, written by
writeBin and read as a whole, by a Python process that is started for each call. What PyRMap does besides is left out: it
fills the files with zeros first and then maps them.
"""
from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bundles  # noqa: E402
from daemon import BUILD, PYRMAPFS, Daemon, as_user, private_mounts, processes  # noqa: E402
from fs import PROGRAMS, ROUNDS, requests, run  # noqa: E402
from table import machine, table  # noqa: E402

PROGRAM = Path(__file__).resolve().parent / "exchange.R"
LIMIT = 600
SMALL, MEDIUM, LARGE = 10, 10**6, 10**8
FILES = "PyRMap's method"


class Measured(NamedTuple):
    seconds: float
    growth: float
    requests: float
    grown: list[float]


def measure(mount: Path, method: str, elements: int, repeats: int, pause: float = 0, user: str | None = None) -> Measured:
    """From a new R process: median seconds of an exchange and growth of R's peak memory in bytes; and, where it uses the mount,
    requests for an exchange, and by how much all of them made memory, descriptors and slots larger. user: whose process it is."""
    build = Path(BUILD).resolve()
    environment = {**os.environ, "PYRMAP_MOUNT": str(mount), "PYRMAPFS": str(PYRMAPFS), "PYTHON": sys.executable,
                   "DAEMON": " ".join(map(str, processes(mount))),
                   "PYRMAP_PYTHON": sys.executable, "R_LIBS": str(build / "r-library"),
                   "PYTHONPATH": str(build / "python")}
    with tempfile.TemporaryDirectory(prefix="pyrmapfs-bench-", dir="/dev/shm") as directory:
        if user is not None:
            shutil.chown(directory, user)
        done = subprocess.run([*(as_user(user) if user is not None else []), "Rscript", "--vanilla", PROGRAM, method, str(elements), str(repeats), str(pause),
                               directory],
                              stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT, env=environment)
    lines = [line.split() for line in done.stdout.splitlines() if line]
    numbers = {key: [float(word) for line in lines if line[0] == key for word in line[1:]]
               for key in ("seconds", "memory", "requests", "grown")}
    return Measured(statistics.median(numbers["seconds"]), numbers["memory"][0], sum(numbers["requests"]), numbers["grown"])


def turn(mount: Path) -> float:
    """Median seconds of two writes, ten doubles in each, and two wakes between two programs in C."""
    slot = mount / "bench"
    slot.mkdir()
    try:
        return statistics.median(line[0] for line in run(PROGRAMS / "handshake", "futex", "send", slot, ROUNDS))
    finally:
        slot.rmdir()


def small_table(mount: Path) -> None:
    rows = {"10 doubles in a loop": measure(mount, "plain", SMALL, 3000),
            "the same, 100 ms apart": measure(mount, "plain", SMALL, 50, 0.1),
            "8 KB in a loop": measure(mount, "plain", 1024, 3000),
            "10 doubles, a script that imports scikit-learn and pandas": measure(mount, "imports", SMALL, 500),
            "10 doubles, a script that has loaded 500 MB": measure(mount, "model", SMALL, 500),
            "10 doubles, isolation = \"process\"": measure(mount, "process", SMALL, 300),
            FILES: measure(mount, "files", SMALL, 15)}
    loop, files, floor = rows["10 doubles in a loop"], rows[FILES], turn(mount)
    table("There, x + 1 back: milliseconds", ["", "time", f"times as fast as {FILES}", "times 10 doubles in a loop",
                                              "times two writes and two wakes in C", "requests"],
          ([name, f"{row.seconds * 1e3:.3f}", f"{files.seconds / row.seconds:.0f}", f"{row.seconds / loop.seconds:.1f}",
            f"{row.seconds / floor:.1f}", f"{row.requests:.1f}" if row.grown else ""] for name, row in rows.items()))


def least_requests(mount: Path) -> float:
    """What the daemon answers for an exchange of 8 MB of which both sides make no call too much."""
    def counted(rounds: int) -> int:
        before = sum(requests(mount).values())
        subprocess.run([PROGRAMS / "least", mount, str(rounds)], check=True, timeout=LIMIT)
        return sum(requests(mount).values()) - before

    return (counted(110) - counted(10)) / 100


def growth_table(mount: Path) -> None:
    rows = {f"{count} calls": measure(mount, "plain", SMALL, count).grown for count in (1000, 11000, 21000)}
    table("What calls with 10 doubles have made larger", ["", "R", "its worker", "daemon", "descriptors", "slots"],
          ([name, *(f"{memory / 1e3:.0f} KB" for memory in grown[:3]), *(f"{count:.0f}" for count in grown[3:])]
           for name, grown in rows.items()))


def stream_table(mount: Path) -> None:
    rows = {"pushed into pyrmap_pipeline": measure(mount, "stream", SMALL, 3000), "written to a pipe": measure(mount, "pipe", SMALL, 3000)}
    table("A stream of inputs of 80 bytes: thousands a second", ["", "rate"],
          ([name, f"{1e-3 / row.seconds:.1f}"] for name, row in rows.items()))


def compare(title: str, base: str, rows: dict[str, Measured], unit: float, digits: int) -> None:
    table(title, ["", "time", "times as fast", "R's peak grows by"],
          ([name, f"{row.seconds * unit:.{digits}f}", f"{rows[base].seconds / row.seconds:.1f}",
            f"{row.growth / 1e6:.0f} MB"] for name, row in rows.items()))


def main() -> None:
    private_mounts()
    with Daemon({"arena.capacity": "8G", "arena.warm": "4G"}) as daemon:
        print(machine())
        small_table(daemon.path)
        growth_table(daemon.path)
        stream_table(daemon.path)
        bundles.tables(daemon.path)

        calls = {"8 MB": measure(daemon.path, "hand_over", MEDIUM, 31),
                 "800 MB": measure(daemon.path, "hand_over", LARGE, 31),
                 "800 MB, while the last result is zeroed": measure(daemon.path, "at_once", LARGE, 31)}
        at_once = measure(daemon.path, "at_once", MEDIUM, 100)
        table("An array that lives in a slot there, an empty_result back: milliseconds", ["", "time", "times 8 MB"],
              [[name, f"{row.seconds * 1e3:.2f}", f"{row.seconds / calls['8 MB'].seconds:.2f}"]
               for name, row in calls.items()])
        print(f"\nRequests that the daemon answers for such an exchange of 8 MB: {at_once.requests:.1f}; the least that one needs: "
              f"{least_requests(daemon.path):.1f}")

        large = {"pyrmap, result computed in place": measure(daemon.path, "in_place", LARGE, 11),
                 "pyrmap, return x + 1": measure(daemon.path, "plain", LARGE, 11),
                 "reticulate": measure(daemon.path, "reticulate", LARGE, 7),
                 FILES: measure(daemon.path, "files", LARGE, 3)}
        compare(f"800 MB of doubles there, x + 1 back, summed by R: seconds (times as fast as {FILES})",
                FILES, large, 1, 2)


if __name__ == "__main__":
    main()
