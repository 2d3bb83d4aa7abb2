# SPDX-License-Identifier: Apache-2.0
"""Mounts for the model's tests, on each data path that this user can test."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Iterator

import pytest

from daemon import Daemon

# Slots, agents and data paths as the tests of the mount have them.
sys.path.append(str(Path(__file__).resolve().parent.parent / "mount"))

from paths import PATHS, check_data_path, mounted  # noqa: E402


@pytest.fixture(params=PATHS)
def mount(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with mounted(request.param, log_level="warning") as running:
        check_data_path(running, request.param)
        yield running
