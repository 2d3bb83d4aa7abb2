# SPDX-License-Identifier: Apache-2.0
"""The data paths beside each other: what R's calls, a turn, and stores and loads cost on each of them, as root and as an ordinary user."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daemon import LINKS, PAGE_CACHE, PASSTHROUGH, PATH_OPTIONS, Daemon, as_user, private_mounts  # noqa: E402
from fs import PROGRAMS  # noqa: E402
from r import FILES, LARGE, SMALL, measure  # noqa: E402
from table import machine, size_name, table  # noqa: E402

USER = "nobody"
SIZES = {8 << 10: 201, 1 << 20: 51, 128 << 20: 9, 1 << 30: 5}
ROUNDS = 3000


class Place(NamedTuple):
    """Where it is measured: a data path, and whose daemon and clients it has; None: root's."""

    data_path: str
    user: str | None = None


PLACES = {"passthrough": Place(PASSTHROUGH), "links": Place(LINKS), "links, ordinary user": Place(LINKS, USER),
          "page cache": Place(PAGE_CACHE)}


def numbers(user: str | None, *command: object) -> list[list[float]]:
    """What a program prints, as that user: a list for each line."""
    words = [*(as_user(user) if user is not None else []), *map(str, command)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def in_c(daemon: Daemon, place: Place) -> dict[str, float]:
    """Seconds of what programs in C do."""
    slot = daemon.path / "bench"
    subprocess.run([*(as_user(place.user) if place.user else []), "mkdir", slot], check=True)
    wait = "poll" if place.data_path == PAGE_CACHE else "futex"
    rows = {"two writes and two wakes": median([line[0] for line in numbers(place.user, PROGRAMS / "handshake", wait, "send", slot,
                                                                           ROUNDS)])}
    for size, repeats in SIZES.items():
        name = size_name(size) if size >= 1 << 20 else f"{size >> 10} KB"
        # A small segment does not come from the warm pool: a new file is cheaper.
        lines = numbers(place.user, PROGRAMS / "memory", "warm" if size >= 1 << 20 else "slot", slot, size, repeats)
        rows[f"{name}: sized and stored"] = median([line[0] + line[1] for line in lines])
        rows[f"{name}: loaded by the other"] = median([line[3] for line in lines])
    return rows


def in_r(daemon: Daemon, place: Place) -> dict[str, float]:
    """Seconds of R's calls."""
    def seconds(method: str, elements: int, repeats: int) -> float:
        return measure(daemon.path, method, elements, repeats, user=place.user).seconds

    return {"R, 10 doubles": seconds("plain", SMALL, 2000), "R, 8 KB": seconds("plain", 1024, 2000),
            "R, 800 MB, computed in place": seconds("in_place", LARGE, 9), "R, 800 MB, return x + 1": seconds("plain", LARGE, 9)}


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("tests/bench/paths.py needs root: it mounts as root and as an ordinary user")
    private_mounts()
    print(machine())
    measured = {}
    for name, place in PLACES.items():
        with Daemon({"arena.capacity": "8G", "arena.warm": "4G", **PATH_OPTIONS[place.data_path]}, user=place.user) as daemon:
            if place.user is None:
                assert re.search(f"data path: +{place.data_path}", (daemon.path / ".pyrmap" / "status").read_text())
            measured[name] = {**in_c(daemon, place), **in_r(daemon, place)}
            if place == PLACES["passthrough"]:
                peers = {"10 doubles": (FILES, "files", SMALL, 15), "800 MB": (FILES, "files", LARGE, 3),
                         "800 MB by reticulate": ("reticulate", "reticulate", LARGE, 5)}
                others = {f"{who}, {what.split(' by')[0]}": measure(daemon.path, method, elements, repeats).seconds
                          for what, (who, method, elements, repeats) in peers.items()}
    base = measured["passthrough"]
    table("Milliseconds (times passthrough)", ["", *PLACES],
          ([row, *(f"{rows[row] * 1e3:.3g} ({rows[row] / base[row]:.2f})" for rows in measured.values())] for row in base))
    table("Times as fast", ["", *PLACES],
          ([f"R, {ours} beside {other}", *(f"{others[other] / rows[f'R, {ours}']:.1f}" for rows in measured.values())]
           for ours, other in (("10 doubles", f"{FILES}, 10 doubles"), ("800 MB, computed in place", f"{FILES}, 800 MB"),
                               ("800 MB, computed in place", "reticulate, 800 MB"), ("800 MB, return x + 1", f"{FILES}, 800 MB"),
                               ("800 MB, return x + 1", "reticulate, 800 MB"))))


if __name__ == "__main__":
    main()
