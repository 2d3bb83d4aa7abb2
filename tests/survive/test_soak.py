# SPDX-License-Identifier: Apache-2.0
"""A short soak: nothing goes wrong, and each sample and the picture are there."""
from __future__ import annotations

import csv
import os
import random
from pathlib import Path

import pytest
from daemon import BUILD
from soak import JUDGED, SHOWN, plot, run

SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not (BUILD / "r-library" / "pyrmap").exists(), reason="the R package is not built here")
@pytest.mark.time_limit(150)
def test_nothing_goes_wrong(tmp_path: Path) -> None:
    report = run("passthrough", "tmpfs", 8, SEED, tmp_path / "soak")
    print(report.line())
    assert report.wrong == [], SEED
    assert report.kills + report.upgrades > 0 and min(report.steps.values()) > 0
    with (tmp_path / "soak.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == report.samples and {*JUDGED, *SHOWN} < set(rows[0])
    assert all(float(rows[-1][name]) > 0 for name in JUDGED)
    plot(tmp_path / "soak")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
