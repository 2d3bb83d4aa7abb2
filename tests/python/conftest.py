# SPDX-License-Identifier: Apache-2.0
"""Mounts and slots for the tests of the Python package."""
from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import sys
from pathlib import Path
from typing import Iterator

import pytest

from daemon import LINKS, PAGE_CACHE, PASSTHROUGH, PATH_OPTIONS, ROOT, Daemon

if importlib.util.find_spec("pyrmap") is None:
    sys.path.insert(0, str(ROOT / "packaging" / "python" / "src"))

from pyrmap import Slot  # noqa: E402
from serving import Keeper  # noqa: E402

# Root tests all data paths; any other user has no passthrough, through fusermount3.
PATHS = (PASSTHROUGH, LINKS, PAGE_CACHE) if os.geteuid() == 0 else (LINKS, PAGE_CACHE)

_names = (f"python-{count}" for count in itertools.count(1))


@pytest.fixture(scope="module", params=PATHS)
def data_path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def mount(data_path: str) -> Iterator[Path]:
    """One mount for a module's tests."""
    options = {"arena.capacity": "1G", "arena.warm": "256M"}
    with Daemon({**options, **PATH_OPTIONS[data_path]}) as daemon:
        if daemon.data_path != data_path:
            pytest.skip("this kernel has no passthrough")
        yield daemon.path


@pytest.fixture
def job(mount: Path) -> Iterator[Path]:
    """The path of a fresh slot, whose name no test had before."""
    path = mount / next(_names)
    path.mkdir()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def producer(job: Path) -> Iterator[Slot]:
    with Slot(job) as slot:
        yield slot


@pytest.fixture
def worker(job: Path) -> Iterator[Slot]:
    """The other side of the same slot, in the same process."""
    slot = Slot(job)
    yield slot
    slot.close()


@pytest.fixture
def keeper(job: Path) -> Iterator[Keeper]:
    """The workers of the test's slot."""
    with Keeper(job) as running:
        yield running
