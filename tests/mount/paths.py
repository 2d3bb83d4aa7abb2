# SPDX-License-Identifier: Apache-2.0
"""The data paths that this user can test, and daemons on them."""
from __future__ import annotations

import os

import pytest
from daemon import LINKS, PAGE_CACHE, PASSTHROUGH, Daemon

# Root tests all data paths. Any other user has links, through fusermount3: test_user.py runs suites so.
PATHS = ("passthrough", "pagecache", "links") if os.geteuid() == 0 else ("user",)
DATA_PATH = {"passthrough": PASSTHROUGH, "pagecache": PAGE_CACHE, "links": LINKS, "user": LINKS}

CAPACITY = {"arena.capacity": "512M", "arena.warm": "64M"}


def mounted(path: str, **options: str) -> Daemon:
    """A daemon on this data path, not yet started. Options: arena_capacity="64M" is arena.capacity=64M."""
    chosen = {key.replace("_", ".", 1): value for key, value in options.items()}
    if path == "pagecache":
        chosen.update({"path.passthrough": "off", "path.links": "off"})
    if path == "links":
        chosen["path.passthrough"] = "off"
    return Daemon({**CAPACITY, **chosen})


def check_data_path(daemon: Daemon, path: str) -> None:
    """Skips where the kernel has no passthrough; any other surprise is a failure."""
    if path == "passthrough" and daemon.data_path != PASSTHROUGH:
        release = tuple(int(part) for part in os.uname().release.split(".")[:2])
        assert release < (6, 9), (daemon.path / ".pyrmap" / "status").read_text()
        pytest.skip("passthrough needs Linux 6.9")
    assert daemon.data_path == DATA_PATH[path]
