# SPDX-License-Identifier: Apache-2.0
"""What the mount costs: memory speed beside tmpfs without it, turns beside a pipe, requests per exchange.

Every number is a median. Ratios are to the row that is named in the table's title, from the same run.
"""
from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Iterator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daemon import BUILD, LINKS, PAGE_CACHE, PASSTHROUGH, PATH_OPTIONS, Daemon, private_mounts  # noqa: E402
from others import others_table  # noqa: E402
from table import machine, size_name, table  # noqa: E402
from warm import exchanges  # noqa: E402

PROGRAMS = Path(BUILD).resolve() / "tests" / "bench"
LIMIT = 300
MB = 1 << 20
REPEATS = {1 * MB: 51, 16 * MB: 21, 128 * MB: 9, 1024 * MB: 5}
ROUNDS = 3000

# Columns of the memory table: the phases of `memory` that each one adds up.
COLUMNS = {"sized and stored": (0, 1), "stored again": (2,), "loaded by the other": (3,), "loaded again": (4,)}
BASE = "new file in /dev/shm"

Speeds = dict[str, float]


def run(*command: object) -> list[list[float]]:
    """The numbers that a program prints, a list for each line."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT)
    return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]


def speeds(kind: str, path: object, size: int) -> Speeds:
    """GB/s in each column; the median ignores what happens only once, at a process's start."""
    phases = run(PROGRAMS / "memory", kind, path, size, REPEATS[size])
    return {column: size / 1e9 / statistics.median(sum(line[phase] for phase in which) for line in phases)
            for column, which in COLUMNS.items()}


@contextlib.contextmanager
def huge_tmpfs() -> Iterator[Path]:
    """A tmpfs as the arena mounts it, without the daemon."""
    with tempfile.TemporaryDirectory(prefix="pyrmapfs-bench-") as directory:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "huge=within_size,size=50%,mode=0700", "tmpfs", directory],
                       check=True)
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", directory], check=True)


@contextlib.contextmanager
def slot(data_path: str, warm: str) -> Iterator[Path]:
    """A slot on a private mount with the data path that the caller wants."""
    with Daemon({"arena.capacity": "6G", "arena.warm": warm, **PATH_OPTIONS[data_path]}) as daemon:
        assert f"data path: {data_path}" in (daemon.path / ".pyrmap" / "status").read_text()
        path = daemon.path / "bench"
        path.mkdir()
        yield path
        path.rmdir()


def memory(size: int, root: bool) -> dict[str, Speeds]:
    """Speeds of one size, row by row of the table."""
    rows = {"anonymous memory (memcpy)": speeds("ram", "-", size),
            BASE: speeds("file", f"/dev/shm/pyrmapfs-bench-{os.getpid()}", size)}
    if root:
        with huge_tmpfs() as directory:
            rows["tmpfs with huge pages, new file"] = speeds("reserved", directory / "file", size)
            rows["tmpfs with huge pages, its pages kept"] = speeds("kept", directory / "file", size)
        with slot(PASSTHROUGH, "0") as path:
            rows["mount, passthrough, fresh segment"] = speeds("slot", path, size)
        with slot(PASSTHROUGH, "4G") as path:
            rows["mount, passthrough, warm segment"] = speeds("warm", path, size)
    with slot(LINKS, "0") as path:
        rows["mount, links, fresh segment"] = speeds("slot", path, size)
    with slot(LINKS, "4G") as path:
        rows["mount, links, warm segment"] = speeds("warm", path, size)
    with slot(PAGE_CACHE, "0") as path:
        rows["mount, page cache, fresh segment"] = speeds("slot", path, size)
    return rows


def memory_table(size: int, root: bool) -> None:
    rows = memory(size, root)
    table(f"{size_name(size)}: GB/s (times a {BASE})", ["where the array lies", *COLUMNS],
          ([name, *(f"{speed:.1f} ({speed / rows[BASE][column]:.1f})" for column, speed in row.items())]
           for name, row in rows.items()))


def requests(mount: Path) -> Counter[str]:
    """Requests that the daemon has answered so far, by operation."""
    text = (mount / ".pyrmap" / "metrics").read_text()
    return Counter({op: int(count) for op, count in
                    re.findall(r'^pyrmapfs_requests_total\{op="(\w+)"\} (\d+)$', text, re.MULTILINE)})


def handshake(wait: str, what: str, path: Path) -> tuple[float, dict[str, float]]:
    """Median seconds of a round, and requests per round by operation."""
    before = requests(path.parent)
    rounds = run(PROGRAMS / "handshake", wait, what, path, ROUNDS)
    counted = requests(path.parent) - before
    per_round = {op: count / ROUNDS for op, count in counted.most_common() if count >= ROUNDS / 10}
    return statistics.median(line[0] for line in rounds), per_round


def handshake_table(root: bool) -> None:
    pipe = statistics.median(line[0] for line in run(PROGRAMS / "handshake", "pipe", "turn", "-", ROUNDS))
    rows = [["pipe ping-pong", f"{pipe * 1e6:.0f} (1.0)", "", "", "", "", ""]]
    ways = [(PASSTHROUGH, "futex"), (PASSTHROUGH, "poll")] if root else []
    for data_path, wait in [*ways, (LINKS, "futex"), (PAGE_CACHE, "poll")]:
        with slot(data_path, "64M") as path:
            turn, turn_requests = handshake(wait, "turn", path)
            exchange, exchange_requests = handshake(wait, "exchange", path)
            sent, sent_requests = handshake(wait, "send", path)
        rows.append([f"{data_path}, {wait}", f"{turn * 1e6:.0f} ({turn / pipe:.1f})",
                     f"{exchange * 1e6:.0f} ({exchange / pipe:.1f})",
                     f"{sent * 1e6:.0f} ({sent / pipe:.1f})",
                     f"{sum(turn_requests.values()):.1f}",
                     f"{sum(exchange_requests.values()):.1f}: "
                     + ", ".join(f"{op} {count:.1f}" for op, count in exchange_requests.items()),
                     f"{sum(sent_requests.values()):.1f}"])
    table("Taking turns: microseconds (times a pipe ping-pong), and requests that the daemon answers",
          ["two processes", "a turn and back", "10 doubles and back", "in one write each", "requests per turn", "per exchange",
           "in one write each"], rows)


PIECES = {"64 KB pieces": 64 << 10, "1 MB pieces": 1 << 20}


def write_table(root: bool) -> None:
    """A file gets 128 MB by write(2): past the daemon, or through it, as a file that can be mapped does."""
    def speed(mode: str, path: Path, piece: int) -> float:
        total = 128 * MB
        return total / 1e9 / statistics.median(line[0] for line in run(PROGRAMS / "write", mode, path, piece, total, 9))

    shm = Path(f"/dev/shm/pyrmapfs-bench-{os.getpid()}")
    rows = {BASE: [speed("w", shm, piece) for piece in PIECES.values()]}
    shm.unlink()
    if root:
        for name, mode in (("passthrough, open for writing", "w"), ("passthrough, open for both", "rw")):
            with slot(PASSTHROUGH, "0") as path:
                rows[name] = [speed(mode, path / "data.bin", piece) for piece in PIECES.values()]
    with slot(PAGE_CACHE, "0") as path:
        rows["page cache"] = [speed("w", path / "data.bin", piece) for piece in PIECES.values()]
    table(f"write(2) of 128 MB: GB/s (times a {BASE})", ["where it goes", *PIECES],
          ([name, *(f"{one:.2f} ({one / base:.2f})" for one, base in zip(row, rows[BASE]))]
           for name, row in rows.items()))


def warm_table(root: bool) -> None:
    rows = []
    for data_path in (PASSTHROUGH, LINKS, PAGE_CACHE) if root else (LINKS, PAGE_CACHE):
        for isolation in ("session", "process"):
            with slot(data_path, "64M") as path:
                loop, paused, count = exchanges(path, isolation, lambda: sum(requests(path.parent).values()))
            rows.append([f"{data_path}, isolation {isolation}", f"{loop * 1e6:.0f}", f"{paused * 1e6:.0f}", f"{count:.1f}"])
    table("10 doubles from Python to python3 -m pyrmap.worker and back: microseconds, requests per exchange",
          ["how", "in a loop", "now and then", "requests"], rows)


def main() -> None:
    private_mounts()
    root = os.geteuid() == 0
    if not root:
        print("Not root: the passthrough path and a tmpfs beside it need to be, and are left out.")
    print(machine())
    available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    for size in REPEATS:
        if available and size * 6 > int(available[1]) * 1024:
            print(f"\n{size_name(size)}: left out, there is not enough free memory.")
            continue
        memory_table(size, root)
    write_table(root)
    handshake_table(root)
    warm_table(root)
    others_table(root)


if __name__ == "__main__":
    main()
