# SPDX-License-Identifier: Apache-2.0
"""A warm exchange of ten doubles: a program in Python writes them, python3 -m pyrmap.worker adds one to each."""
from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

import numpy as np

PACKAGE = str(Path(__file__).resolve().parent.parent.parent / "packaging" / "python" / "src")
sys.path.insert(0, PACKAGE)

from pyrmap import Slot  # noqa: E402

ROUNDS = {"session": 2000, "process": 200}
PAUSED = 20
PAUSE = 0.1


def exchange(slot: Slot, rounds: int, pause: float) -> list[float]:
    """Seconds of each round."""
    times = []
    x = np.arange(10.0)
    for _ in range(rounds):
        time.sleep(pause)
        begin = time.perf_counter()
        slot.produce(x)
        slot.publish()
        result = slot.result(60)
        times.append(time.perf_counter() - begin)
        assert result[0] == 1
    return times


def exchanges(path: Path, isolation: str, requests: Callable[[], int]) -> tuple[float, float, float]:
    """Median seconds in a loop and with pauses, and requests per round in the loop."""
    with tempfile.TemporaryDirectory(prefix="pyrmapfs-bench-") as directory, Slot(path) as slot:
        script = Path(directory) / "script.py"
        script.write_text("def f(x):\n    return x + 1\n")
        (path / "task").write_text(json.dumps({"script": str(script), "function": "f"}))
        with subprocess.Popen([sys.executable, "-m", "pyrmap.worker", str(path), "--isolation", isolation,
                               "--parent", str(os.getpid())], env={**os.environ, "PYTHONPATH": PACKAGE}) as worker:
            exchange(slot, 20, 0)
            before = requests()
            loop = exchange(slot, ROUNDS[isolation], 0)
            counted = requests() - before
            paused = exchange(slot, PAUSED, PAUSE)
            worker.kill()
    return statistics.median(loop), statistics.median(paused), counted / ROUNDS[isolation]
