# SPDX-License-Identifier: Apache-2.0
"""What every Python suite shares: private mounts, and a time limit for each test."""
from __future__ import annotations

import signal
import threading
from typing import Iterator

import pytest
from _pytest.terminal import TerminalReporter

import daemon
import skipped


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("time_limit", "seconds for each of set-up, call and tear-down of a test", default="60")


def pytest_configure(config: pytest.Config) -> None:
    daemon.private_mounts()
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    for line in skipped.lines:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def sanitized() -> bool:
    """Whether the daemon carries a sanitizer, which changes its memory and speed."""
    return b"__asan_init" in daemon.PYRMAPFS.read_bytes() or b"__tsan_init" in daemon.PYRMAPFS.read_bytes()


def limited(item: pytest.Item) -> Iterator[None]:
    """Fails the phase that takes too long.

    SIGALRM ends every wait that a signal can end. What no signal ends is a request that the daemon never
    answers: the watchdog kills the daemons, so that the kernel answers it.
    """
    marker = item.get_closest_marker("time_limit")
    seconds = float(marker.args[0]) if marker else float(item.config.getini("time_limit"))

    def expired(*_: object) -> None:
        pytest.fail(f"not done within {seconds:g} seconds")

    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    watchdog = threading.Timer(seconds + 10, daemon.kill_all)
    watchdog.daemon = True
    watchdog.start()
    yield
    watchdog.cancel()
    signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    yield from limited(item)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield from limited(item)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield from limited(item)
