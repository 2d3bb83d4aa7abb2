# SPDX-License-Identifier: Apache-2.0
"""Real cgroups for tests, of version 1 or 2."""
from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Iterator

import pytest
from daemon import Daemon
from slots import eventually


class Group:
    """One cgroup below the root of the hierarchy, which limits one thing."""

    def __init__(self, path: Path, limit: str) -> None:
        self.path = path
        self.limit = limit

    def set_limit(self, size: int) -> None:
        (self.path / self.limit).write_text(str(size))

    def processes(self) -> int:
        """Threads as well: what a limit of pids counts."""
        return int((self.path / "pids.current").read_text())


PLACES = {"memory": (("memory", "memory.limit_in_bytes"), ("", "memory.max"), ("unified", "memory.max")),
          "pids": (("pids", "pids.max"), ("", "pids.max"), ("unified", "pids.max"))}


@contextlib.contextmanager
def cgroup(what: str, size: int) -> Iterator[Group]:
    """Of "memory" or "pids". Skips where this machine lets nobody make one, and says why."""
    name = f"pyrmapfs-test-{os.getpid()}"
    tried = []
    for directory, limit in PLACES[what]:
        root = Path("/sys/fs/cgroup") / directory
        group = Group(root / name, limit)
        if not (root / "cgroup.procs").exists():
            tried.append(f"{root} is no cgroup")
            continue
        try:
            group.path.mkdir()
        except OSError as error:
            tried.append(f"{root}: {error.strerror}")
            continue
        try:
            group.set_limit(size)
        except OSError as error:
            group.path.rmdir()
            tried.append(f"{root} has no controller of {what} for children ({error.strerror})")
            continue
        break
    else:
        pytest.skip(f"no cgroup can be made that limits {what}: " + "; ".join(tried))
    try:
        yield group
    finally:
        # The kernel lets go of the last process a moment after it was waited for.
        eventually(lambda: (group.path / "cgroup.procs").read_text() == "", "the cgroup is empty")
        eventually(lambda: not gone(group.path))


def gone(path: Path) -> bool:
    """False once it is removed."""
    with contextlib.suppress(OSError):
        path.rmdir()
    return path.exists()


class Confined(Daemon):
    """A daemon in a cgroup; its clients are elsewhere."""

    group: Group

    def command(self) -> list[str]:
        return ["sh", "-c", 'echo $$ > "$0"/cgroup.procs && exec "$@"', str(self.group.path), *super().command()]
