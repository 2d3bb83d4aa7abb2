# SPDX-License-Identifier: Apache-2.0
"""Kills the server and clients again and again while those exchange arrays, and reports what anybody noticed.

    torture.py ROUNDS [PATH KIND]

ROUNDS times the server is killed at a random moment, or, one time in ten, upgraded instead; and one time in three a client is killed
before, with or after it. Clients in C and Python (see trader.py) check every byte of every array; the successor of one that was killed goes
on where it was. Prints a line for each data path and kind of arena: kills of the server, upgrades, kills of producers, workers and others, steps
that the clients have done, bytes lost or changed, calls that failed, clients that hung, and how long it took until the mount answered again.
SIGINT and SIGTERM end it early, with the line.
Exit status 0: nothing was lost, nothing failed and nobody hung.
"""
from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "mount"), str(Path(__file__).resolve().parent.parent)]

from clients import MORTAL, Client, clients_of, end, end_at_once, picture  # noqa: E402
from daemon import PATH_OPTIONS, PYRMAPFS, Daemon, private_mounts  # noqa: E402
from paths import check_data_path  # noqa: E402
from slots import number, status  # noqa: E402

PLACES = (("passthrough", "tmpfs"), ("passthrough", "dir"), ("passthrough", "memfd"), ("links", "memfd"), ("links", "tmpfs"),
          ("links", "dir"), ("pagecache", "tmpfs"), ("pagecache", "memfd"))

# By a signal: what was done until then is reported.
asked_to_end: list[int] = []


class Report(NamedTuple):
    path: str
    kind: str
    kills: int
    upgrades: int
    clients: dict[str, int]  # kills of clients, by role
    steps: int
    failed: list[str]
    hung: list[str]
    recovery: list[float]  # ms
    lost: list[str]

    def line(self) -> str:
        times = sorted(self.recovery)
        at = [times[min(len(times) - 1, int(len(times) * part))] if times else 0.0 for part in (0.5, 0.99, 1)]
        others = self.clients["founder"] + self.clients["sleeper"]
        return (f"{self.path} {self.kind}: {self.kills} kills of the server, {self.upgrades} upgrades, kills of {self.clients['producer']} "
                f"producers, {self.clients['worker']} workers, {others} others; {self.steps} steps; {len(self.lost)} lost, "
                f"{len(self.failed)} failed, {len(self.hung)} hung; recovery ms: median {at[0]:.0f}, p99 {at[1]:.0f}, most {at[2]:.0f}")

    @property
    def is_good(self) -> bool:
        return not (self.failed or self.hung or self.lost)


def kill_server(daemon: Daemon) -> float:
    """Returns the milliseconds until the mount answers again."""
    server = daemon.server
    begin = time.monotonic()
    os.kill(server, signal.SIGKILL)
    number(status(daemon.path)["takeovers"])
    return (time.monotonic() - begin) * 1000


def upgrade(daemon: Daemon) -> None:
    """Puts another file in the program's place, and returns when that serves."""
    before = number(status(daemon.path)["takeovers"])
    new = daemon.program.with_suffix(".new")
    shutil.copy(PYRMAPFS, new)
    new.rename(daemon.program)
    os.kill(daemon.supervisor, signal.SIGHUP)
    while number(status(daemon.path)["takeovers"]) == before:
        time.sleep(0.001)


def upgradable(path: str, kind: str, directory: Path, **more: str) -> Daemon:
    """A daemon whose program is a copy, in whose place another one can be put."""
    options = {"arena.kind": kind, "arena.capacity": "512M", **PATH_OPTIONS["page cache" if path == "pagecache" else path],
               **({"arena.path": f"{directory}/arena"} if kind == "dir" else {}), **more}
    daemon = Daemon(options)
    daemon.program = Path(shutil.copy(PYRMAPFS, directory / "pyrmapfs"))
    return daemon


def complaints(daemon: Daemon, clients: list[Client]) -> tuple[list[str], list[str]]:
    """What was lost or changed, and what failed."""
    said = [line for client in clients for line in client.said()]
    log = [line for line in daemon.log.read_text().splitlines() if ": error: " in line]
    return [line for line in said if "Surprise" in line], [line for line in said if "Surprise" not in line] + log


def run(path: str, kind: str, rounds: int, seed: int) -> Report:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        recovery: list[float] = []
        hung: list[str] = []
        upgrades = 0
        with upgradable(path, kind, Path(name)) as daemon:
            check_data_path(daemon, path)
            clients = clients_of(daemon.path, Path(name), seed)
            try:
                while len(recovery) + upgrades < rounds and not (asked_to_end or hung or any(client.has_failed() for client in clients)):
                    time.sleep(draw.choice((0, draw.random() * 0.01, draw.random() * 0.1)))
                    mortal = [client for client in clients if client.may_be_killed]
                    victim = draw.choice(mortal) if mortal and draw.random() < 0.34 else None
                    moment = draw.choice(("before", "with", "after"))
                    if victim and moment != "after":
                        victim.kill()
                    if victim and moment == "before":
                        victim.succeed()
                    if draw.random() < 0.1:
                        upgrade(daemon)
                        upgrades += 1
                    else:
                        recovery.append(kill_server(daemon))
                    if victim and moment == "after":
                        victim.kill()
                    if victim and moment != "before":
                        victim.succeed()
                    if any([client.hangs() for client in clients]):
                        hung = picture(daemon, clients)
                hung += end(daemon, clients)
            finally:
                end_at_once(clients)
            assert number(status(daemon.path)["takeovers"]) == len(recovery) + upgrades
            lost, failed = complaints(daemon, clients)
            kills = {role: sum(client.kills for client in clients if client.role == role) for role in MORTAL}
            return Report(path, kind, len(recovery), upgrades, kills, sum(client.steps for client in clients), failed, hung, recovery,
                          lost)


def main(argv: list[str]) -> int:
    rounds = int(argv[1]) if len(argv) > 1 else 100
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    places = [(argv[2], argv[3])] if len(argv) > 3 else PLACES
    good = True
    private_mounts()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda caught, _: asked_to_end.append(caught))
    print(f"SEED={seed}", flush=True)
    for path, kind in places:
        report = run(path, kind, rounds, seed)
        print(report.line(), *report.lost, *report.failed, *report.hung, sep="\n  ", flush=True)
        good = good and report.is_good
        if asked_to_end:
            break
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
