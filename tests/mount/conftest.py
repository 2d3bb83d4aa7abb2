# SPDX-License-Identifier: Apache-2.0
"""Mounts, slots and other processes for the tests in here."""
from __future__ import annotations

import itertools
from pathlib import Path
from typing import Callable, Iterator

import pytest

from agent import Agent
from daemon import BUILD, Daemon
from paths import PATHS, check_data_path, mounted
from slots import Slot

_names = (f"slot-{count}" for count in itertools.count(1))


@pytest.fixture(scope="module", params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(path: str) -> Iterator[Daemon]:
    """One daemon for all tests of a module that need no special options."""
    with mounted(path) as daemon:
        check_data_path(daemon, path)
        yield daemon


@pytest.fixture(scope="module")
def mount(server: Daemon) -> Path:
    return server.path


@pytest.fixture
def slot(mount: Path) -> Iterator[Slot]:
    """A fresh slot, whose name no test had before."""
    fresh = Slot.make(mount, next(_names))
    yield fresh
    fresh.remove()


@pytest.fixture
def other(mount: Path) -> Iterator[Slot]:
    """A second one."""
    fresh = Slot.make(mount, next(_names))
    yield fresh
    fresh.remove()


@pytest.fixture
def agents() -> Iterator[Callable[..., Agent]]:
    """Starts other processes; none survives the test."""
    started: list[Agent] = []

    def start(user: str | None = None, groups: str = "") -> Agent:
        started.append(Agent(user, groups))
        return started[-1]

    yield start
    for agent in started:
        agent.kill()


@pytest.fixture
def agent(agents: Callable[..., Agent]) -> Agent:
    return agents()


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of a client program: tests/mount/NAME.c, built by make."""

    def find(name: str) -> str:
        built = BUILD / "tests" / "mount" / name
        assert built.exists(), f"{built} is missing: make builds it"
        return str(built)

    return find
