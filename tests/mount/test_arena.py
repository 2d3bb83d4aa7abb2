# SPDX-License-Identifier: Apache-2.0
"""The arena in its three kinds: reservation, the warm pool, accounting, quotas."""
from __future__ import annotations

import errno
import itertools
import mmap
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import pytest
from agent import Agent
from daemon import PASSTHROUGH, Daemon
from pages import Pages
from paths import PATHS, check_data_path, mounted
from slots import (ANSWER, DATA, INPUT, NONE, RESULT, Slot, eventually, metrics, number, refused, status, usage)

MB = 1 << 20
CAPACITY = 48 * MB
WARM = 12 * MB
KINDS = ("tmpfs", "dir", "memfd") if os.geteuid() == 0 else ("dir", "memfd")

_names = (f"arena-{count}" for count in itertools.count())


@pytest.fixture(scope="module", params=[(kind, path) for kind in KINDS for path in PATHS
                                         if (kind, path) != ("tmpfs", "links")],
                ids=lambda param: "-".join(param))
def arena(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A small arena of each kind on each data path."""
    kind, path = request.param
    options = {"arena_kind": kind, "arena_capacity": str(CAPACITY), "arena_warm": str(WARM)}
    if kind == "dir":
        options["arena_path"] = str(tmp_path_factory.mktemp("arena"))
    with mounted(path, **options) as daemon:
        check_data_path(daemon, path)
        yield daemon


@pytest.fixture
def mount(arena: Daemon) -> Iterator[Path]:
    """Empty before each test: nothing of the last one is in use any more."""
    yield arena.path
    for name in os.listdir(arena.path):
        if not name.startswith("."):
            os.rmdir(arena.path / name)
    eventually(lambda: usage(arena.path)["used"] < 2 * MB, "the arena is empty again")


@pytest.fixture
def slot(mount: Path) -> Slot:
    return Slot.make(mount, next(_names))


def sized(slot: Slot, size: int, file: str = "data.bin") -> None:
    """Opens a file for writing and gives it its size."""
    fd = os.open(slot / file, os.O_RDWR)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)


def test_kind(arena: Daemon, mount: Path) -> None:
    assert status(mount)["arena"].split()[0] == arena.options["arena.kind"]
    assert usage(mount)["capacity"] == CAPACITY


def test_enospc_comes_at_ftruncate(mount: Path, slot: Slot) -> None:
    """What does not fit is refused, the size stays as it was, and what fits still does."""
    fd = os.open(slot / "data.bin", os.O_RDWR)
    os.ftruncate(fd, MB)
    for size in (CAPACITY + 1, 1 << 40, 2**63 - 1):
        with refused(errno.ENOSPC, errno.EFBIG):
            os.ftruncate(fd, size)
        assert os.fstat(fd).st_size == MB
    os.ftruncate(fd, CAPACITY // 2)
    assert usage(mount)["used"] >= CAPACITY // 2
    os.ftruncate(fd, 8)
    os.close(fd)
    slot.flag(INPUT)
    assert slot.record.input_length == 1


def test_a_full_arena_never_kills_a_client(mount: Path, agents: Callable[[], Agent]) -> None:
    """Sizes are given until ENOSPC; then each page of each mapping can be stored to."""
    agent = agents()
    agent.run("views = []")
    taken, size = 0, 3 * MB + 12345
    with refused(errno.ENOSPC):
        while True:
            agent.run("views.append(Pages(path, size))", path=Slot.make(mount, next(_names)) / "data.bin", size=size)
            taken += size
    assert taken > CAPACITY * 0.7
    agent.run("for view in views:\n    view.touch()\n")
    assert agent.run("sum(view.load().count(1) for view in views)") == taken // size * (size // 4096 + 1)
    agent.run("for view in views:\n    view.close()\n")


@pytest.mark.parametrize("how", ("write", "pwrite far", "posix_fallocate", "fallocate"))
def test_other_ways_to_be_too_large(mount: Path, slot: Slot, how: str) -> None:
    """ENOSPC at the call, or at publishing, and never more than the capacity."""
    path, size = slot / "data.bin", CAPACITY + MB
    with refused(errno.ENOSPC, errno.EFBIG):
        if how == "write":
            slot.put("data.bin", bytes(size))
        elif how == "fallocate":
            done = subprocess.run(["fallocate", "-l", str(size), str(path)], capture_output=True, text=True)
            if done.returncode != 0 and "No space left" in done.stderr:
                raise OSError(errno.ENOSPC, done.stderr)
        else:
            fd = os.open(path, os.O_WRONLY)
            try:
                if how == "posix_fallocate":
                    os.posix_fallocate(fd, 0, size)
                else:
                    os.pwrite(fd, b"12345678", size)
            finally:
                os.close(fd)
        slot.flag(INPUT)
    assert slot.state == "FILLING"
    slot.flag(NONE)
    eventually(lambda: usage(mount)["used"] < 2 * MB, "what was too much is given back")
    slot.publish()


def fill(path: Path, flags: int, error: int) -> int:
    """Bytes that write(2) accepts before it fails with that error."""
    fd = os.open(path, flags)
    written = 0
    try:
        with refused(error):
            while True:
                written += os.write(fd, bytes(MB))
    finally:
        os.close(fd)
    return written


@pytest.mark.parametrize("flags", (os.O_RDWR, os.O_WRONLY), ids=("rw", "w"))
def test_write_stops_at_the_capacity(mount: Path, slot: Slot, flags: int) -> None:
    """In each kind of arena, bytes that a write accepted have their pages, and count."""
    written = fill(slot / "data.bin", flags, errno.ENOSPC)
    assert CAPACITY * 0.9 < written <= CAPACITY
    assert written == os.stat(slot / "data.bin").st_size <= usage(mount)["used"] <= CAPACITY
    slot.write(flag=INPUT, dtype=5)
    assert slot.record.input_length == written


def test_a_hole_never_kills_a_client(mount: Path, slot: Slot, agent: Agent) -> None:
    """A client writes the last byte and maps the file without a look at its size; then another fills the arena."""
    agent.run("fd = os.open(path, os.O_RDWR); os.pwrite(fd, b'x', size - 1)\n"
              "hole = Pages.of(fd, size)\nos.close(fd)", path=slot / "data.bin", size=12 * MB)
    fill(Slot.make(mount, next(_names)) / "data.bin", os.O_RDWR, errno.ENOSPC)
    agent.run("hole.touch(); hole.close()")


def test_what_grows_is_zero(arena: Daemon, slot: Slot) -> None:
    """Bytes stored beyond the end, in the last page, are no data when the file gets longer."""
    if arena.data_path != PASSTHROUGH:
        pytest.skip("on the page-cache path the last page is the kernel's own")
    fd = os.open(slot / "data.bin", os.O_RDWR)
    os.ftruncate(fd, 100)
    view = Pages.of(fd, 100)
    view.touch_beyond()
    os.ftruncate(fd, 3000)
    assert os.pread(fd, 4096, 100) == bytes(2900)
    view.touch_beyond()
    os.pwrite(fd, b"x", 5000)
    assert os.pread(fd, 4096, 3000) == bytes(2000) + b"x"
    view.close()
    os.close(fd)


def test_fallocate_within(mount: Path, slot: Slot) -> None:
    fd = os.open(slot / "data.bin", os.O_RDWR)
    os.posix_fallocate(fd, 0, 4 * MB)
    assert os.fstat(fd).st_size == 4 * MB and usage(mount)["used"] >= 4 * MB
    os.close(fd)
    subprocess.run(["fallocate", "-l", str(6 * MB), str(slot / "data.bin")], check=True)
    assert os.stat(slot / "data.bin").st_size == 6 * MB


MEMMAP = """
import sys
import numpy as np
path, elements = sys.argv[1], int(sys.argv[2])
array = np.memmap(path, dtype="f8", mode="w+", shape=(elements,))
print("mapped", flush=True)
sys.stdin.readline()
array[:] = 1.5
del array
print("stored", flush=True)
"""


def memmap(slot: Slot, size: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", MEMMAP, str(slot / "data.bin"), str(size // 8)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_numpy_memmap_has_its_pages(mount: Path, slot: Slot) -> None:
    """mode="w+" seeks and writes one byte: the rest is a hole, filled before anybody maps it."""
    size = CAPACITY * 5 // 8
    client = memmap(slot, size)
    assert client.stdout is not None and client.stdout.readline() == "mapped\n"
    assert usage(mount)["used"] >= size
    with refused(errno.ENOSPC):
        sized(Slot.make(mount, next(_names)), CAPACITY // 2)
    out, errors = client.communicate("go\n", timeout=30)
    assert (out, client.returncode) == ("stored\n", 0), errors
    slot.flag(INPUT)
    assert slot.record.input_length == size // 8 and (slot.data() == 1.5).all()


def test_numpy_memmap_that_does_not_fit(mount: Path, slot: Slot, arena: Daemon) -> None:
    """An exception in Python, not a SIGBUS; the log says why."""
    client = memmap(slot, 2 * CAPACITY)
    out, errors = client.communicate("go\n", timeout=30)
    assert client.returncode == 1 and "mapped" not in out, (client.returncode, out, errors)
    assert "ValueError" in errors or "OSError" in errors
    assert usage(mount)["used"] < CAPACITY
    if "ValueError" in errors:
        assert slot.path.name in arena.log.read_text()


def test_holes_read_as_zeros(slot: Slot) -> None:
    fd = os.open(slot / "data.bin", os.O_WRONLY)
    os.pwrite(fd, b"end.....", 5 * MB)
    os.close(fd)
    slot.flag(INPUT)
    content = (slot / "data.bin").read_bytes()
    assert len(content) == 5 * MB + 8 and content.endswith(b"end.....") and not any(content[:5 * MB])


def test_nobody_sees_an_earlier_rounds_bytes(mount: Path) -> None:
    """Freed pages come back zeroed, in whatever size and order they are asked for again."""
    rng = np.random.default_rng(3)
    for count in range(30):
        slot = Slot.make(mount, next(_names))
        size = int(rng.choice([100, 4096, 100_000, MB, 5 * MB]))
        for file, value in (("data.bin", INPUT), ("result.bin", 1)):
            fd = os.open(slot / file, os.O_RDWR)
            for part in (size // 3, size):
                os.ftruncate(fd, part)
                with mmap.mmap(fd, part) as view:
                    assert not np.frombuffer(view[:], "u1").any(), f"{file} of slot {count}"
            with mmap.mmap(fd, size) as view:
                view[:] = b"\xa5" * size
            os.ftruncate(fd, size // 2)
            os.ftruncate(fd, size)
            assert not any(os.pread(fd, size, size // 2))
            os.close(fd)
            slot.write(flag=value, dtype=5, input_length=size) if value == INPUT else slot.flag(value)
        slot.remove() if count % 3 else None


def test_pages_go_back(mount: Path) -> None:
    """Beyond the warm limit, freed memory is the machine's again."""
    large = [Slot.make(mount, next(_names)) for _ in range(10)]
    for one in large:
        sized(one, 4 * MB)
    for one in large:
        one.remove()
    eventually(lambda: usage(mount)["used"] < MB)
    eventually(lambda: usage(mount)["warm"] <= WARM)


def test_warm_pages_are_no_loss(arena: Daemon, mount: Path) -> None:
    """The warm pool is given up before a client gets ENOSPC."""
    for size in (MB, 3 * MB, 5 * MB):
        slot = Slot.make(mount, next(_names))
        sized(slot, size)
        slot.remove()
    if arena.options["arena.kind"] != "dir":
        eventually(lambda: usage(mount)["warm"] > 0)
    sized(Slot.make(mount, next(_names)), CAPACITY - 3 * MB)


def backing_files(daemon: Daemon) -> dict[int, int]:
    """Bytes of each file that the arena has, by its inode: those below its directory, or its memfds."""
    blocks: dict[int, int] = {}
    for pid in daemon.pids():
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if (fd / "self").is_symlink():  # /proc, which is no arena
                    continue
                name = os.readlink(fd)  # what a server keeps for the next one is not the arena's
                files = fd.rglob("*") if fd.is_dir() else [fd] if "memfd:" in name and "memfd:kept-" not in name else []
                seen = [os.stat(file) for file in files]
            except FileNotFoundError:
                continue
            blocks.update({hash((one.st_dev, one.st_ino)): one.st_blocks * 512 for one in seen
                           if stat.S_ISREG(one.st_mode)})
    return blocks


def kernels_count(daemon: Daemon) -> int:
    """What the kernel says that the arena takes."""
    return sum(backing_files(daemon).values())


def all_of(told: dict[str, int]) -> int:
    return told["used"] + told["warm"] + told["files"]


def test_freed_pages_are_kept_warm(arena: Daemon, mount: Path, slot: Slot) -> None:
    """What rounds give back, later rounds take: a few files serve them all."""
    if arena.options["arena.kind"] == "dir":
        pytest.skip("files on a disk are not kept warm")
    large: set[int] = set()
    for _ in range(30):
        sized(slot, 4 * MB)
        slot.flag(INPUT)
        slot.write(flag=RESULT, result_length=0)
        large |= {file for file, size in backing_files(arena).items() if size >= 4 * MB}
        eventually(lambda: abs(kernels_count(arena) - all_of(usage(mount))) < MB)
    assert 1 <= len(large) <= 8, "of 30 without a warm pool"


def test_the_accounts_add_up(arena: Daemon, mount: Path) -> None:
    """status, metrics, df and the kernel say the same, however the files grew."""

    def agree() -> bool:
        told, measured, df = usage(mount), metrics(mount), os.statvfs(mount)
        return told["used"] + told["free"] == told["capacity"] == df.f_blocks * df.f_frsize and \
            told["warm"] <= told["free"] and df.f_bavail == df.f_bfree == told["free"] // df.f_frsize and \
            [measured[f"pyrmapfs_{key}_bytes"] for key in ("capacity", "used", "warm")] == \
            [told[key] for key in ("capacity", "used", "warm")] and \
            abs(kernels_count(arena) - all_of(told)) <= MB

    eventually(agree, "empty")
    used, slots = usage(mount)["used"], [Slot.make(mount, next(_names)) for _ in range(4)]
    sized(slots[0], 3 * MB)
    slots[1].put("data.bin", bytes(2 * MB))
    fd = os.open(slots[2] / "data.bin", os.O_WRONLY)
    os.pwrite(fd, b"x", 4 * MB)
    os.close(fd)
    for one in slots[1:3]:
        one.write(flag=INPUT, dtype=5)
    slots[3].bring("DONE")
    eventually(agree, "with data")
    grown = usage(mount)["used"] - used
    assert 9 * MB <= grown <= 12 * MB
    for one in slots:
        one.remove()
    eventually(agree, "after")
    eventually(lambda: usage(mount)["used"] <= used)


def test_small_arrays_are_small(mount: Path) -> None:
    """Huge pages are for huge arrays: a hundred results of 40 bytes do not fill the arena."""
    before = usage(mount)["used"]
    for _ in range(100):
        Slot.make(mount, next(_names)).bring("DONE")
    assert usage(mount)["used"] - before <= 200 * 4096 + MB


def test_pages_that_are_mapped_are_not_reused(mount: Path, slot: Slot, agents: Callable[[], Agent]) -> None:
    """A mapping alone, of a slot that is gone, keeps its bytes, however much others write."""
    agent = agents()
    slot.put("data.bin", b"\x5a" * (2 * MB))
    slot.write(flag=INPUT, dtype=5)
    agent.run("view = Pages(path)", path=slot / "data.bin")
    slot.remove()
    for _ in range(20):
        passing = Slot.make(mount, next(_names))
        passing.put("data.bin", b"\xff" * (2 * MB))
        passing.remove()
    assert agent.run("view.load().count(0x5a)") == 2 * MB
    agent.kill()


def test_pages_that_are_mapped_for_writing_are_not_reused(mount: Path, slot: Slot, agents: Callable[[], Agent]) -> None:
    """A client that keeps a writable mapping of a past round writes into no other client's data."""
    agent = agents()
    agent.run("late = Pages(path, size)", path=slot / "data.bin", size=2 * MB)
    slot.remove()
    for _ in range(20):
        passing = Slot.make(mount, next(_names))
        sized(passing, 2 * MB)
        agent.run("late.store(b'!' * size)")
        passing.write(flag=INPUT, dtype=5)
        assert not any((passing / "data.bin").read_bytes())
        passing.remove()
    agent.kill()


@pytest.mark.skipif("passthrough" not in PATHS, reason="needs passthrough")
def test_pages_outlive_the_mount(agents: Callable[[], Agent]) -> None:
    """A client that has opened or mapped a result through passthrough goes on reading it when the daemon is gone."""
    agent = agents()
    with mounted("passthrough") as daemon:
        check_data_path(daemon, "passthrough")
        Slot.make(daemon.path, "last").bring("DONE")
        agent.run("fd = os.open(path, os.O_RDONLY)\nview = Pages(path)", path=daemon.path / "last" / "result.bin")
    for source in ("view.load()", "os.pread(fd, 1000, 0)"):
        assert agent.run(source).encode("latin-1") == ANSWER.tobytes()


@pytest.mark.parametrize("huge", ("yes", "no"))
def test_huge_pages_or_not(huge: str) -> None:
    """Either way the data is right and the accounts are in 4 KiB steps for small arrays."""
    with mounted(PATHS[0], arena_huge_pages=huge) as daemon:
        slot = Slot.make(daemon.path, "large")
        array = np.random.default_rng(1).normal(size=3 * MB)
        slot.publish(array)
        slot.answer(array + 1)
        assert np.array_equal(slot.result(), array + 1)
        eventually(lambda: 48 * MB <= usage(daemon.path)["used"] <= 54 * MB)


def test_one_daemon_to_a_directory(tmp_path: Path) -> None:
    options = {"arena_kind": "dir", "arena_path": str(tmp_path / "arena")}
    with mounted(PATHS[0], **options):
        second = mounted(PATHS[0], **options)
        with pytest.raises(RuntimeError) as refusal:
            second.start()
        assert str(tmp_path / "arena") in str(refusal.value)


def test_bytes_per_user() -> None:
    """EDQUOT at ftruncate; bytes that are given back may be taken again."""
    with mounted(PATHS[0], limits_bytes_per_user="8M") as daemon:
        first, second = (Slot.make(daemon.path, name) for name in ("first", "second"))
        sized(first, 5 * MB)
        with refused(errno.EDQUOT):
            sized(second, 5 * MB)
        assert os.stat(second / "data.bin").st_size == 0
        sized(second, 2 * MB)
        first.remove()
        sized(second, 7 * MB)
        second.flag(NONE)
        sized(second, 8 * MB - 65536)
        with refused(errno.EDQUOT):
            second.put("data.bin", bytes(9 * MB))
            second.flag(INPUT)
        second.flag(NONE)
        second.put("data.bin", bytes(2 * MB))
        second.flag(INPUT)
        with refused(errno.EDQUOT):
            sized(second, 7 * MB, "result.bin")


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_per_user_counts_what_write_adds(kind: str, path: str, tmp_path: Path) -> None:
    options = {"arena_path": str(tmp_path / "arena")} if kind == "dir" else {}
    with mounted(path, limits_bytes_per_user="8M", arena_kind=kind, arena_capacity="64M", **options) as daemon:
        slot, other = (Slot.make(daemon.path, name) for name in ("slot", "other"))
        for flags in (os.O_RDWR, os.O_WRONLY):
            assert 7 * MB <= fill(slot / "data.bin", flags, errno.EDQUOT) <= 8 * MB
            slot.flag(NONE)
        # Two sizes of nearly 2^63 make no room for anything.
        fds = [os.open(one / "data.bin", os.O_RDWR) for one in (slot, other)]
        for fd in fds:
            with refused(errno.EDQUOT, errno.EFBIG):
                os.pwrite(fd, b"x", (1 << 63) - 40 * MB)
        with refused(errno.EDQUOT):
            os.ftruncate(fds[0], 45 * MB)
        for fd in fds:
            os.close(fd)


PUT = """
def put(name, content):
    fd = os.open(slot + "/" + name, os.O_WRONLY)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
def test_texts_are_on_an_account(agents: Callable[..., Agent]) -> None:
    """A user that fills all slots with texts meets the end of the share, and nobody else does."""
    with mounted(PATHS[0], arena_capacity="32M", arena_warm="0", limits_bytes_per_user="4M") as daemon:
        greedy, other = agents("30001"), agents("30002")
        for agent in (greedy, other):
            agent.run(PUT)
        count = 0
        with refused(errno.EDQUOT):
            while True:
                greedy.run("os.mkdir(slot)\nput('data.bin', bytes(800))\nput('metadata.bin', struct.pack('<i', 0))\n"
                           "put('task', b't' * 4096)\nput('error', b'e' * 40000)\nput('error', b'e' * 65536)",
                           slot=daemon.path / f"greedy-{count}")
                count += 1
        assert 30 < count < 64
        other.run("os.mkdir(slot)\nput('data.bin', bytes(800))\nput('metadata.bin', struct.pack('<i', 0))\n"
                  "put('task', b't')\nput('error', b'e' * 65536)", slot=daemon.path / "other")


@pytest.mark.parametrize("kind", KINDS)
def test_rounds_that_are_still_mapped_count(kind: str, path: str, tmp_path: Path) -> None:
    """Charged to the slot's owner, and in `used`, until the mapping goes."""
    options = {"arena_path": str(tmp_path / "arena")} if kind == "dir" else {}
    with mounted(path, limits_bytes_per_user="8M", arena_kind=kind, arena_capacity="64M", **options) as daemon:
        slot = Slot.make(daemon.path, "slot")
        held = Pages(slot / "data.bin", 5 * MB)
        held.store(b"held")
        slot.flag(NONE)
        assert usage(daemon.path)["used"] >= 5 * MB
        with refused(errno.EDQUOT):
            sized(slot, 5 * MB)
        slot.remove()
        slot = Slot.make(daemon.path, "slot")
        with refused(errno.EDQUOT):
            sized(slot, 5 * MB)
        assert held.load()[:4] == b"held"
        held.close()
        sized(slot, 5 * MB)


class FewDescriptors(Daemon):
    """One that may have 256 descriptors open, and cannot raise that."""

    def command(self) -> list[str]:
        return ["sh", "-c", 'ulimit -n 256 && exec "$0" "$@"', *super().command()]


def test_memfds_leave_descriptors() -> None:
    """A pool of many small files does not use the descriptors up."""
    with FewDescriptors({"arena.kind": "memfd", "arena.capacity": "256M", "arena.warm": "128M"}) as daemon:
        for _ in range(4):
            slots = [Slot.make(daemon.path, f"slot-{count}") for count in range(150)]
            for slot in slots:
                sized(slot, 100_000)
            for slot in slots:
                slot.remove()
        assert 0 < usage(daemon.path)["warm"] <= 256 // 8 * 102_400
        Slot.make(daemon.path, "last").publish()


def test_slots_per_user_and_in_all() -> None:
    with mounted(PATHS[0], limits_slots_per_user="3") as daemon:
        slots = [Slot.make(daemon.path, f"slot-{count}") for count in range(3)]
        with refused(errno.EDQUOT):
            os.mkdir(daemon.path / "one-more")
        assert f"one-more: refused to make a slot for process {os.getpid()}" in daemon.log.read_text()
        assert "all 3 slots of limits.slots_per_user" in daemon.log.read_text()
        slots[1].remove()
        os.mkdir(daemon.path / "one-more")
    with mounted(PATHS[0], limits_slots="3") as daemon:
        for count in range(3):
            os.mkdir(daemon.path / f"slot-{count}")
        with refused(errno.ENOSPC):
            os.mkdir(daemon.path / "one-more")
        assert "(all 3 slots of limits.slots are in use)" in daemon.log.read_text()
        assert status(daemon.path)["slots"].startswith("3 of 3 (") and number(status(daemon.path)["refusals"]) == 1
        assert metrics(daemon.path)["pyrmapfs_slots_limit"] == 3
        assert np.array_equal(Slot(daemon.path / "slot-1").bring("DONE").data(), DATA)


def test_sigbus_would_be_noticed(agents: Callable[[], Agent], tmp_path: Path) -> None:
    """The tests above rely on this: an agent that stores beyond a file's end dies, and the test learns it."""
    agent = agents()
    (tmp_path / "file").write_bytes(b"x" * 8192)
    agent.run("fd = os.open(path, os.O_RDWR); view = mmap.mmap(fd, 8192); os.ftruncate(fd, 0)", path=tmp_path / "file")
    with pytest.raises(AssertionError, match="gone"):
        agent.run("view[5000]")
    assert agent.process.wait(20) == -signal.SIGBUS
