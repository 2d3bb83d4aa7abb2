# SPDX-License-Identifier: Apache-2.0
"""Lets clients of all kinds work for long while the server is killed and upgraded now and then, and looks for what grows.

    soak.py MINUTES [PATH KIND [FILE]]

Clients are those of torture.py, in C and Python, and two R processes, one that calls run_python and one with a pyrmap_pipeline, with their
workers. Each 5 to 10 seconds, and now and then only after a minute, the server is killed or upgraded. Each second a line is added to FILE.csv
(by default build/soak.csv): memory and descriptors of the processes of the filesystem, the arena, slots, parked requests. At the end FILE.png
shows them. Exit status 0: every byte was right, no call failed, nobody hung, nothing is left in the arena, and at rest, when the clients have
ended and their slots are gone, memory, descriptors and the arena's own files are what they were at rest before the first client, but for less than 1 %.
How far a line through the samples goes is shown as well: it follows how much else the machine has to do, too.
"""
from __future__ import annotations

import csv
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, NamedTuple

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "mount"), str(Path(__file__).resolve().parent.parent)]

from clients import HERE, Client, clients_of, end, end_at_once, picture  # noqa: E402
from daemon import BUILD, Daemon, private_mounts  # noqa: E402
from paths import check_data_path  # noqa: E402
from slots import eventually, metrics, number, status  # noqa: E402
from torture import complaints, kill_server, upgradable, upgrade  # noqa: E402

# What must be at the end what it was, and what is shown besides.
JUDGED = ("anonymous", "files", "descriptors")
SHOWN = ("rss", "pss", "used", "warm", "slots", "parked", "clients_rss")
DRIFT = 0.01
REST_SECONDS = 30
# Samples that stand together depend on each other: a line goes through the means of so many blocks of them.
BLOCKS = 60


class Drift(NamedTuple):
    """As parts of the mean."""

    part: float
    error: float

    def __str__(self) -> str:
        return f"{100 * self.part:+.2f} +- {100 * self.error:.2f} %"


class Report(NamedTuple):
    seconds: float
    kills: int
    upgrades: int
    steps: dict[str, int]  # by language
    wrong: list[str]
    rest: dict[str, tuple[float, float]]  # at the start, and at the end
    drift: dict[str, Drift]
    samples: int

    def line(self) -> str:
        steps = ", ".join(f"{count} {language}" for language, count in self.steps.items())
        drift = ", ".join(f"{name} {part}" for name, part in self.drift.items())
        rest = ", ".join(f"{name} {before:.0f} and {after:.0f}" for name, (before, after) in self.rest.items())
        return (f"{self.seconds / 60:.1f} minutes, {self.kills} kills of the server, {self.upgrades} upgrades; steps: {steps}; "
                f"{len(self.wrong)} wrong; at rest before and after: {rest}; lines go by {drift}")


def memory_of(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    values = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines}
    return {"rss": values["Rss"], "pss": values["Pss"], "anonymous": values["Anonymous"]}


def family(pid: int) -> list[int]:
    pids = [pid]
    for parent in pids:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            pids += [int(child) for child in children.read_text().split()]
    return pids


def try_sample(daemon: Daemon, clients: list[Client]) -> dict[str, float]:
    row: dict[str, float] = dict.fromkeys(("rss", "pss", "anonymous", "descriptors", "clients_rss", "server_rss", "server_anonymous",
                                           "server_descriptors"), 0)
    server = daemon.server
    for pid in daemon.pids():
        found = {**memory_of(pid), "descriptors": len(os.listdir(f"/proc/{pid}/fd"))}
        for name, value in found.items():
            row[name] += value
            if pid == server and name != "pss":
                row[f"server_{name}"] = value
    for client in clients:
        row["clients_rss"] += sum(memory_of(pid)["rss"] for pid in family(client.process.pid))
    values = metrics(daemon.path)
    row.update({name: values[f"pyrmapfs_{name}_bytes"] for name in ("used", "warm", "files")})
    row["slots"] = sum(value for name, value in values.items() if name.startswith("pyrmapfs_slots{"))
    row["parked"] = values["pyrmapfs_waiters"]
    row["takeovers"] = values["pyrmapfs_takeovers_total"]
    return row


def sample(daemon: Daemon, clients: list[Client]) -> dict[str, float]:
    """Again, if a process of it ended meanwhile."""
    for _ in range(100):
        try:
            return try_sample(daemon, clients)
        except (OSError, KeyError):
            time.sleep(0.01)
    raise RuntimeError("processes come and go too fast to be measured")


def drift_of(rows: list[dict[str, float]], name: str) -> Drift:
    """How far a line through the samples goes, from the second tenth of them to the end. A server that is young has less memory than
    an old one, so chance alone gives a line some slope: its standard error."""
    rows = rows[len(rows) // 10:]
    count = min(BLOCKS, len(rows) // 2)
    blocks = [rows[i * len(rows) // count:(i + 1) * len(rows) // count] for i in range(count)]
    seconds, values = ([statistics.fmean(row[column] for row in block) for block in blocks] for column in ("seconds", name))
    mean = statistics.fmean(values)
    line = statistics.linear_regression(seconds, values)
    rest = sum((value - line.intercept - line.slope * second) ** 2 for second, value in zip(seconds, values))
    error = math.sqrt(rest / (count - 2) / sum((second - statistics.fmean(seconds)) ** 2 for second in seconds))
    span = (seconds[-1] - seconds[0]) / mean if mean else 0.0
    return Drift(line.slope * span, error * span)


def at_rest(daemon: Daemon) -> dict[str, float]:
    """Of a server that has just begun: the least of a few, which differ by some pages."""
    samples = []
    for _ in range(5):
        kill_server(daemon)
        samples.append(sample(daemon, []))
    return {name: min(one[name] for one in samples) for name in samples[0]}


def arena_is_empty(daemon: Daemon, empty: int) -> list[str]:
    """What clients had mapped goes a moment after they have."""
    try:
        eventually(lambda: number(status(daemon.path)["used"]) == empty, seconds=REST_SECONDS)
    except AssertionError:
        return [f"{status(daemon.path)['used']} are left in the arena, where {empty} bytes were used at the start"]
    return []


def r_environment() -> dict[str, str]:
    build = BUILD.resolve()
    return {**os.environ, "R_LIBS": str(build / "r-library"), "PYTHONPATH": str(build / "python"), "PYRMAP_PYTHON": sys.executable}


def gaps(draw: random.Random) -> Iterator[float]:
    """Seconds between two kills. A server that lives longer shows what it would gather."""
    while True:
        yield 60 if draw.random() < 0.1 else 5 + 5 * draw.random()


def disturb(daemon: Daemon, draw: random.Random) -> bool:
    """Returns whether the server was killed; else it was upgraded."""
    if draw.random() < 0.25:
        upgrade(daemon)
        return False
    kill_server(daemon)
    return True


def run(path: str, kind: str, seconds: float, seed: int, file: Path) -> Report:
    draw = random.Random(seed)
    wrong: list[str] = []
    rows: list[dict[str, float]] = []
    done = [0, 0]
    with tempfile.TemporaryDirectory() as name, file.with_suffix(".csv").open("w") as table, \
            upgradable(path, kind, Path(name), **{"arena.warm": "64M"}) as daemon:
        check_data_path(daemon, path)
        # One upgrade has been made at the end, too: the supervisor that it starts has other pages.
        upgrade(daemon)
        before = at_rest(daemon)
        empty = number(status(daemon.path)["used"])
        clients = clients_of(daemon.path, Path(name), seed)
        clients += [Client(Path(name), daemon.path, role, seed, "r", r_environment()) for role in ("calls", "pipeline")]
        begin = time.monotonic()
        pauses = gaps(draw)
        due = begin + min(next(pauses), seconds / 4)
        writer = None
        try:
            while not wrong and (time.monotonic() < begin + seconds or not all(client.steps for client in clients)):
                time.sleep(min(1, seconds / 20))
                if time.monotonic() > due:
                    done[disturb(daemon, draw)] += 1
                    due = time.monotonic() + min(next(pauses), seconds / 4)
                rows.append({"seconds": time.monotonic() - begin, **sample(daemon, clients)})
                writer = writer or csv.DictWriter(table, list(rows[0]))
                if len(rows) == 1:
                    writer.writeheader()
                writer.writerow(rows[-1])
                table.flush()
                if any([client.hangs() for client in clients]):
                    wrong = picture(daemon, clients)
                wrong += [f"{client.name} has ended" for client in clients if client.has_failed()]
            wrong += end(daemon, clients)
        finally:
            end_at_once(clients)
        wrong += [line for lines in complaints(daemon, clients) for line in lines]
        for slot in daemon.path.glob("[!.]*"):
            shutil.rmtree(slot)
        wrong += arena_is_empty(daemon, empty)
        after = at_rest(daemon)
        elapsed = time.monotonic() - begin
        steps = {language: sum(client.steps for client in clients if client.language == language) for language in ("c", "python", "r")}
    drift = {column: drift_of(rows, column) for column in JUDGED + SHOWN}
    rest = {column: (before[column], after[column]) for column in (*JUDGED, "used", "slots", "parked")}
    wrong += [f"{column} grows from {first:.0f} to {last:.0f}" for column, (first, last) in rest.items()
              if last - first > DRIFT * first]
    return Report(elapsed, done[1], done[0], steps, wrong, rest, drift, len(rows))


def plot(file: Path) -> None:
    subprocess.run(["Rscript", "--vanilla", str(HERE / "soak_plot.R"), str(file.with_suffix(".csv")), str(file.with_suffix(".png"))],
                   check=True, timeout=120)


def main(argv: list[str]) -> int:
    minutes = float(argv[1]) if len(argv) > 1 else 60
    path, kind = (argv[2], argv[3]) if len(argv) > 3 else ("passthrough", "tmpfs")
    file = Path(argv[4] if len(argv) > 4 else BUILD / "soak")
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    private_mounts()
    print(f"SEED={seed}", flush=True)
    report = run(path, kind, 60 * minutes, seed, file)
    print(report.line(), *report.wrong, sep="\n  ", flush=True)
    plot(file)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
