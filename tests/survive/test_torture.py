# SPDX-License-Identifier: Apache-2.0
"""A short torture: ROUNDS in the environment makes it longer, SEED makes it another one."""
from __future__ import annotations

import os
import random

import pytest
from torture import PLACES, run

ROUNDS = int(os.environ.get("ROUNDS", "25"))
SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.time_limit(300 + ROUNDS)
@pytest.mark.parametrize("path,kind", PLACES)
def test_nobody_notices(path: str, kind: str) -> None:
    report = run(path, kind, ROUNDS, SEED)
    print(report.line())
    assert report.is_good and report.kills + report.upgrades == ROUNDS, (SEED, report)
