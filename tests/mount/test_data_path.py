# SPDX-License-Identifier: Apache-2.0
"""Which data path a mount gets, and what the page cache costs where it has to be used."""
from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Callable

import pytest
from agent import Agent
from daemon import LINKS, PASSTHROUGH, Daemon
from pages import Pages
from paths import CAPACITY, check_data_path, mounted
from slots import INPUT, UINT8, Slot, metrics, write_once

MB = 1 << 20
READ_AHEAD = 128 << 10  # the kernel's, which only root can change
USER = "nobody"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


class Privileged(Daemon):
    """Run by an ordinary user with one capability."""

    def command(self) -> list[str]:
        line = super().command()
        program = line.index("--")
        return [*line[:program], "--inh-caps=+sys_admin", "--ambient-caps=+sys_admin", *line[program:]]


@pytest.mark.parametrize("kind, data_path", [(Privileged, PASSTHROUGH), (Daemon, LINKS)])
def test_passthrough_is_for_whom_the_kernel_lets(kind: type[Daemon], data_path: str, agents: Callable[..., Agent]) -> None:
    """The number of the user decides nothing."""
    with mounted("passthrough") as daemon:
        check_data_path(daemon, "passthrough")
    user = agents(USER)
    if user.run("os.access('/dev/fuse', os.R_OK | os.W_OK)") is False:
        pytest.skip(f"/dev/fuse is not open to {USER} here")
    with kind(CAPACITY, user=USER) as daemon:
        line = user.run("next(line for line in open(path) if line.startswith('data path'))",
                        path=daemon.path / ".pyrmap" / "status")
        assert line.startswith(f"data path: {data_path} (")
        assert data_path == PASSTHROUGH or "passthrough needs root (CAP_SYS_ADMIN)" in line
        user.run("""
os.mkdir(slot)
pages = Pages(slot + '/data.bin', 100000)
pages.store(b'a' * 100000)
pages.close()
with open(slot + '/metadata.txt', 'w') as metadata:
    metadata.write('dtype=uint8\\nflag=0\\n')
pages = Pages(slot + '/data.bin')
assert pages.load() == b'a' * 100000
pages.close()
os.rmdir(slot)
""", slot=daemon.path / "job")


# --- the page cache of FUSE ---

class Counted:
    """Requests of the kernel since it was made, without those that asking takes."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self.asking = self.now()
        self.asking = self.now() - self.asking
        self.start, self.asked = self.now(), 0

    def now(self) -> Counter[str]:
        found = metrics(self.mount)
        return Counter({name: int(found[f'pyrmapfs_requests_total{{op="{name}"}}']) for name in ("read", "write")})

    def of(self, name: str) -> int:
        self.asked += 1
        return self.now()[name] - self.start[name] - self.asked * self.asking[name]


@pytest.fixture
def plain(slot: Slot, path: str) -> Slot:
    if path != "pagecache":
        pytest.skip("about the page cache")
    return slot


def publish(slot: Slot, size: int) -> None:
    slot.write(flag=INPUT, dtype=UINT8, input_length=size, input_ndim=0, input_shape=(0,) * 4, order=0)


def test_written_in_large_pieces_and_not_read_before(plain: Slot, mount: Path) -> None:
    count = Counted(mount)
    write_once(plain / "data.bin", os.urandom(8 * MB))
    assert (count.of("write"), count.of("read")) == (8, 0)


def test_pages_are_kept_from_writing_to_reading(plain: Slot, mount: Path) -> None:
    """Nor does publishing drop them."""
    write_once(plain / "data.bin", content := os.urandom(2 * MB))
    publish(plain, len(content))
    count = Counted(mount)
    for _ in range(2):
        pages = Pages(plain / "data.bin")
        assert pages.load() == content
        pages.close()
    assert count.of("read") == 0


def test_a_first_store_reads_what_it_changes(plain: Slot, mount: Path) -> None:
    """The kernel cannot know that there are zeros: it fills its pages first, once. It reads around a page, or ahead of it: half
    of what it would read around is there already."""
    count = Counted(mount)
    pages = Pages(plain / "data.bin", MB)
    pages.store(content := os.urandom(MB))
    first = count.of("read")
    assert MB // READ_AHEAD <= first <= 2 * MB // READ_AHEAD
    pages.store(content)
    pages.close()
    assert count.of("read") == first
    publish(plain, MB)
    count = Counted(mount)
    pages = Pages(plain / "data.bin")
    assert pages.load() == content and count.of("read") == 0
    pages.close()
