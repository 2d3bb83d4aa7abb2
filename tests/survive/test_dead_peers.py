# SPDX-License-Identifier: Apache-2.0
"""Workers and owners that are killed: KILLS in the environment are more of them, SEED other ones."""
from __future__ import annotations

import os
import random

import pytest
from dead_peers import PATHS, run

KILLS = int(os.environ.get("KILLS", "60"))
SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.time_limit(120 + KILLS)
@pytest.mark.parametrize("path", PATHS)
def test_every_waiter_learns_it(path: str) -> None:
    report = run(path, KILLS, SEED)
    print(report.line())
    assert report.wrong == [] and report.kills == KILLS, SEED
