# SPDX-License-Identifier: Apache-2.0
"""Links for other users than the daemon's: what each of them reaches by a path, and for how long."""
from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest
from agent import Agent
from daemon import LINKS, Daemon
from paths import mounted
from slots import Slot, eventually, refused, status, usage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

ANN, BOB, EVE = "30001", "30002", "30003"
GROUP = "30100"
ROUNDS = int(os.environ.get("CANARY_ROUNDS", "300"))
PLACES = Path("/run/pyrmapfs")

_names = (f"linked-{count}" for count in itertools.count())

TOOLS = """
from contextlib import contextmanager
SIZE = 200000

@contextmanager
def opened(path, flags=os.O_RDWR):
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)

def record(slot, **fields):
    with opened(slot + "/metadata.txt", os.O_WRONLY) as fd:
        os.write(fd, "".join(f"{key}={value}\\n" for key, value in fields.items()).encode())

def publish(slot, name):
    if name == "data":
        record(slot, flag=0, dtype="uint8", input_length=-1)
    else:
        record(slot, flag=1, result_dtype="uint8", result_length=-1)

def by_link_mapped(path, content):
    with opened(path + ".bin") as fd:
        os.ftruncate(fd, len(content))
        pages = Pages(path + ".mem", len(content))
    pages.store(content)
    pages.close()

def by_link_written(path, content):
    with opened(path + ".bin") as fd:
        os.ftruncate(fd, len(content))
        with opened(path + ".mem", os.O_WRONLY) as link:
            assert os.pwrite(link, content, 0) == len(content)

def by_file_mapped(path, content):
    pages = Pages(path + ".bin", len(content))
    pages.store(content)
    pages.close()

def by_file_written(path, content):
    with opened(path + ".bin", os.O_WRONLY) as fd:
        assert os.pwrite(fd, content, 0) == len(content)

def read(path):
    with open(path, "rb") as file:
        return file.read()

def file_read(path):
    return read(path + ".bin")

def file_mapped(path):
    pages = Pages(path + ".bin")
    try:
        return pages.load()
    finally:
        pages.close()

def link_read(path):
    with opened(path + ".bin", os.O_RDONLY):
        assert os.readlink(path + ".mem").startswith("/")
        return read(path + ".mem")

def link_mapped(path):
    with opened(path + ".bin", os.O_RDONLY):
        pages = Pages(path + ".mem")
    try:
        return pages.load()
    finally:
        pages.close()

def target_of(path, flags=os.O_RDONLY):
    with opened(path + ".bin", flags):
        return os.readlink(path + ".mem")

def outcome(path, flags=os.O_RDONLY):
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "open"
"""


@contextlib.contextmanager
def passable() -> Iterator[Path]:
    """A directory that others may go through; pytest shuts the one of its tmp_path whenever it starts."""
    made = Path(tempfile.mkdtemp(prefix="pyrmapfs-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def place() -> Iterator[Path]:
    with passable() as made:
        yield made


@pytest.fixture(scope="module", params=("tmpfs", "dir"))
def server(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with passable() as place, linked(request.param, place) as daemon:
        assert daemon.data_path == LINKS and "all users" in status(daemon.path)["data path"]
        yield daemon


def linked(kind: str, directory: Path, **options: str) -> Daemon:
    if kind == "dir":
        options["arena_path"] = str(directory / "arena")
    return mounted("links", arena_kind=kind, **options)


@pytest.fixture
def lasting(server: Daemon) -> bool:
    return status(server.path)["arena"] == "dir"


@pytest.fixture
def people(agents: Callable[..., Agent]) -> dict[str, Agent]:
    """Ann and Bob share a group, Eve does not."""
    found = {ANN: agents(ANN, GROUP), BOB: agents(BOB, GROUP), EVE: agents(EVE)}
    for agent in found.values():
        agent.run(TOOLS)
    return found


def make(agent: Agent, path: Path, mask: int) -> None:
    agent.run(f"os.umask({mask})\nos.mkdir(slot)\nos.chown(slot, -1, {GROUP})", slot=path)


@pytest.fixture
def shared(server: Daemon, people: dict[str, Agent]) -> Iterator[Path]:
    """A slot of Ann's for her group."""
    path = server.path / next(_names)
    make(people[ANN], path, 0o007)
    yield path
    Slot(path).remove()


# --- what a mode gives ---

def test_names_cannot_be_listed_or_guessed(shared: Path, people: dict[str, Agent]) -> None:
    people[ANN].run("by_file_written(slot + '/data', b'a' * SIZE)\npublish(slot, 'data')", slot=shared)
    target = people[BOB].run("target_of(slot + '/data')", slot=shared)
    page = people[BOB].run("os.readlink(slot + '/metadata.mem')")
    for path in (target, page):
        assert people[BOB].run("read(path)[:1]", path=path)
        for directory in (os.path.dirname(path), *(["/run/pyrmapfs"] if path.startswith("/run/pyrmapfs") else [])):
            for name in (BOB, EVE):
                assert people[name].run("outcome(path)", path=directory) == "EACCES"
                with refused(errno.EACCES):
                    people[name].run("os.mkdir(path + '/mine')")
        stem, secret = path.rsplit("-", 1)
        assert len(secret) == 16 and not os.path.exists(stem)
        assert os.stat(path).st_uid == 0 and not os.stat(path).st_mode & 0o007


def test_only_who_may_read_the_slot_reaches_its_pages(shared: Path, people: dict[str, Agent]) -> None:
    people[ANN].run("by_file_written(slot + '/data', b'a' * SIZE)\npublish(slot, 'data')", slot=shared)
    target = people[ANN].run("target_of(slot + '/data')")
    page = people[ANN].run("os.readlink(slot + '/metadata.mem')")
    for path in (target, page):
        assert people[EVE].run("outcome(path)", path=path) == "EACCES"
        # Bob may read the slot, but he has not come through it yet.
        assert people[BOB].run("outcome(path)", path=path) == "EACCES"
    assert people[BOB].run("target_of(slot + '/data')", slot=shared) == target
    assert people[BOB].run("os.readlink(slot + '/metadata.mem')") == page
    for path in (target, page):
        assert people[BOB].run("outcome(path)", path=path) == "open"
        assert people[EVE].run("outcome(path)", path=path) == "EACCES"


@pytest.mark.parametrize("name", ("data", "result"))
def test_nobody_opens_what_is_published_for_writing(shared: Path, people: dict[str, Agent], lasting: bool,
                                                    name: str) -> None:
    """Not even the slot's owner, who is not the owner of the pages."""
    ann, bob = people[ANN], people[BOB]
    if name == "result":
        ann.run("by_file_written(slot + '/data', b'a' * SIZE)\npublish(slot, 'data')", slot=shared)
    ann.run("fd = os.open(path + '.bin', os.O_RDWR)\nos.ftruncate(fd, SIZE)", path=shared / name)
    target = ann.run("os.readlink(path + '.mem')")
    if lasting:
        assert target == f"{name}.bin"  # nothing but the daemon holds her to the capacity there
    else:
        assert ann.run("outcome(target, os.O_RDWR)", target=target) == "open"
        assert bob.run("outcome(target, os.O_RDWR)", target=target) == "EACCES"
    ann.run("os.close(fd)\npublish(slot, name)", slot=shared, name=name)
    target = ann.run("target_of(path)")
    assert bob.run("target_of(path)", path=shared / name) == target
    for agent in (ann, bob):
        assert agent.run("outcome(target)", target=target) == "open"
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
            assert agent.run("outcome(target, flags)", flags=flags) == "EACCES"
        for attempt in ("os.chmod(target, 0o666)", "os.truncate(target, 0)", "os.unlink(target)", "os.utime(target)",
                        "os.chown(target, os.getuid(), -1)"):
            with refused(errno.EPERM, errno.EACCES):
                agent.run(attempt)
        with refused(errno.EACCES):  # nor can they make the daemon wait for a lease
            agent.run("with opened(target, os.O_RDONLY) as fd:\n    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)")


def test_what_is_mapped_for_writing_is_not_published(shared: Path, people: dict[str, Agent], lasting: bool) -> None:
    if lasting:
        pytest.skip("in a directory others write through the daemon")
    people[ANN].run("with opened(path + '.bin') as fd:\n    os.ftruncate(fd, SIZE)\n"
                    "    held = Pages(path + '.mem', SIZE)", path=shared / "data", slot=shared)
    with refused(errno.EBUSY):
        people[ANN].run("publish(slot, 'data')")
    people[ANN].run("held.close()\npublish(slot, 'data')")


CHANGES: dict[str, tuple[str, str]] = {
    "chmod": ("os.chmod(slot, 0o700)", "os.chmod(slot, 0o770)"),
    "chmod data.bin": ("os.chmod(slot + '/data.bin', 0o600)", "os.chmod(slot + '/data.bin', 0o660)"),
    "chgrp": ("os.chown(slot, -1, os.getgid())", f"os.chown(slot, -1, {GROUP})"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_mode_reaches_the_pages(shared: Path, people: dict[str, Agent], change: str) -> None:
    narrow, wide = CHANGES[change]
    ann, bob = people[ANN], people[BOB]
    ann.run("by_file_written(slot + '/data', b'a' * SIZE)\npublish(slot, 'data')", slot=shared)
    bob.run("fd = os.open(slot + '/data.bin', os.O_RDONLY)\ntarget = os.readlink(slot + '/data.mem')\n"
            "pages = Pages(target)", slot=shared)
    assert bob.run("outcome(target)") == "open"
    ann.run(narrow)
    assert bob.run("outcome(target)") == "EACCES"
    if change == "chmod data.bin":  # else the slot itself is shut
        assert bob.run("os.readlink(slot + '/data.mem')") == "data.bin"
        assert bob.run("outcome(target)") == "EACCES"
    assert bob.run("pages.load() == b'a' * SIZE")  # he has it mapped, as he has the file open
    assert ann.run("link_read(slot + '/data') == b'a' * SIZE")
    ann.run(wide)
    assert bob.run("os.readlink(slot + '/data.mem') == target and outcome(target)") == "open"
    bob.run("os.close(fd)\npages.close()")


def test_who_gets_the_slot_gets_its_pages(shared: Path, people: dict[str, Agent]) -> None:
    people[ANN].run("by_file_written(slot + '/data', b'a' * SIZE)\npublish(slot, 'data')", slot=shared)
    target = people[ANN].run("target_of(slot + '/data')")
    os.chown(shared, int(EVE), int(EVE))
    assert people[ANN].run("outcome(target)", target=target) == "EACCES"
    assert people[EVE].run("target_of(slot + '/data')", slot=shared) == target
    assert people[EVE].run("outcome(target)", target=target) == "open"


def test_pages_that_are_written_again_are_shut_first(server: Path, shared: Path, people: dict[str, Agent]) -> None:
    """A result that moved: who read it then must not see what becomes of it."""
    ann, bob = people[ANN], people[BOB]
    ann.run("by_file_written(slot + '/data', b'a')\npublish(slot, 'data')\n"
            "by_file_written(slot + '/result', b'r' * SIZE)\npublish(slot, 'result')", slot=shared)
    target = bob.run("target_of(slot + '/result')", slot=shared)
    assert bob.run("outcome(target)", target=target) == "open"
    ann.run("os.rename(slot + '/result.bin', slot + '/data.bin')\nfd = os.open(slot + '/data.bin', os.O_RDWR)")
    assert bob.run("outcome(target)") == "EACCES"
    ann.run("os.close(fd)")


def test_a_follower_reads_by_the_mode_of_its_own_slot(server: Daemon, shared: Path, people: dict[str, Agent]) -> None:
    """Bob may read Ann's result, and shows it to everybody."""
    open_slot = server.path / next(_names)
    people[BOB].run("os.umask(0o022)\nos.mkdir(slot)\nos.symlink(feed, slot + '/source')", slot=open_slot,
                    feed=f"../{shared.name}/result.bin")
    people[ANN].run("by_file_written(slot + '/data', b'a')\npublish(slot, 'data')\n"
                    "by_file_written(slot + '/result', b'r' * SIZE)\npublish(slot, 'result')", slot=shared)
    assert people[EVE].run("link_mapped(slot + '/data') == b'r' * SIZE", slot=open_slot)
    with refused(errno.EACCES):
        people[EVE].run("target_of(slot + '/result')", slot=shared)
    Slot(open_slot).remove()


# --- both ways of one round, by two users ---

WRITERS = ("by_link_mapped", "by_link_written", "by_file_mapped", "by_file_written")
READERS = ("file_read", "file_mapped", "link_read", "link_mapped")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", ("data", "result"))
def test_two_users_see_the_same_bytes(shared: Path, people: dict[str, Agent], name: str, writer: str,
                                      reader: str) -> None:
    """Ann writes in one way, Bob reads in another; before that the kernel has had other bytes of the file."""
    ann, bob = people[ANN], people[BOB]
    ann.run("one, two = bytes(range(256)) * 900, bytes(range(255, -1, -1)) * 900", slot=shared)
    bob.run("one, two = bytes(range(256)) * 900, bytes(range(255, -1, -1)) * 900")
    if name == "result":
        ann.run("by_file_written(slot + '/data', b'a')\npublish(slot, 'data')")
    for before in WRITERS:
        ann.run(f"{before}(path, one)", path=shared / name)
        assert ann.run("with opened(path + '.bin') as fd:\n    seen = os.pread(fd, len(one), 0)") is None
        assert ann.run("seen == one")
    ann.run(f"{writer}(path, two)\npublish(slot, name)", name=name)
    assert bob.run(f"{reader}(path) == two", path=shared / name)
    assert bob.run("read(path + '.npy')[-len(two):] == two")


# --- rounds ---

CANARY = """
from collections import deque

def wait_for(metadata, wanted):
    '''Until that round has an input: an array of the last one can be opened before.'''
    changes = select.poll()
    changes.register(metadata, select.POLLIN)
    while True:
        flag, round = struct.unpack_from("<i28xQ", os.pread(metadata, 128, 0))
        if (flag, round) == (0, wanted):
            return
        changes.poll()

def run(own, other, canary, rounds):
    '''Fills own slot with a byte of this round, checks the other's, and what is kept of earlier rounds.'''
    kept, files = deque(), set()
    metadata = os.open(other + "/metadata.bin", os.O_RDONLY)
    for round in range(1, rounds + 1):
        mine, theirs = bytes([canary + round % 100]) * SIZE, bytes([102 - canary + round % 100]) * SIZE
        with opened(own + "/data.bin") as fd:
            os.ftruncate(fd, SIZE)
            name = own + "/data.mem" if by_link else own + "/data.bin"
            with opened(name) as link:
                files.add(os.fstat(link).st_ino)
                pages = Pages.of(link, SIZE)
        assert pages.load() == bytes(SIZE), f"round {round}: fresh pages with something in them"
        pages.store(mine)
        pages.close()
        publish(own, "data")
        wait_for(metadata, round)
        with opened(other + "/data.bin", os.O_RDONLY):
            path = os.readlink(other + "/data.mem")
            held = os.open(path, os.O_RDONLY)
            pages = Pages(path)
        assert pages.load() == theirs, f"round {round}: not the other's bytes"
        kept.append((pages, held, path, theirs))
        if len(kept) > 6:
            pages, held, path, content = kept.popleft()
            pages.close()
            os.close(held)
            try:
                held = os.open(path, os.O_RDONLY)
            except OSError as error:
                assert error.errno in (errno.ENOENT, errno.EACCES), error
            else:
                assert os.pread(held, SIZE, 0) == content, f"round {round}: a path shows another round"
                os.close(held)
        for pages, held, path, content in kept:
            assert pages.load() == content and os.pread(held, SIZE, 0) == content, f"round {round}: a kept round changed"
        record(other, flag=1, result_dtype="uint8", result_length=0)
        with opened(own + "/result.bin", os.O_RDONLY):
            pass
    for pages, held, path, content in kept:
        pages.close()
        os.close(held)
    os.close(metadata)
    return len(files)
"""


@pytest.mark.time_limit(60 + ROUNDS // 20)
def test_no_round_shows_in_another(server: Daemon, people: dict[str, Agent], lasting: bool) -> None:
    """Two users whose pages are recycled for each other. CANARY_ROUNDS=100000 takes some minutes."""
    rounds = ROUNDS if not lasting else min(ROUNDS, 300)
    slots = {ANN: server.path / next(_names), BOB: server.path / next(_names)}
    for name in (ANN, BOB):
        make(people[name], slots[name], 0o007)
        people[name].run(CANARY, by_link=not lasting)
    for name, other, canary in ((ANN, BOB, 1), (BOB, ANN, 101)):
        people[name].start("run(own, other, canary, rounds)",
                           own=slots[name], other=slots[other], canary=canary, rounds=rounds)
    files = []
    while any(people[name].pending for name in slots):  # one that fails would let the other wait
        files += [people[name].result() for name in slots if people[name].pending and people[name].answered(0.1)]
    if not lasting:
        assert sum(files) < 2 * rounds, "no array had recycled pages"
    for path in slots.values():
        Slot(path).remove()


def test_recycled_pages_are_granted_to_nobody(people: dict[str, Agent]) -> None:
    """Eve read the round that had them, and would know the path of the next one."""
    with mounted("links") as daemon:
        first, second = daemon.path / "first", daemon.path / "second"
        people[ANN].run("os.umask(0o022)\nos.mkdir(slot)\nby_link_written(slot + '/data', b'a' * SIZE)\n"
                        "publish(slot, 'data')", slot=first)
        path = people[EVE].run("target_of(slot + '/data')", slot=first)
        assert people[EVE].run("outcome(path)", path=path) == "open"
        number = os.stat(path).st_ino
        Slot(first).remove()
        eventually(lambda: usage(daemon.path)["warm"] > 0)
        people[ANN].run("os.umask(0o077)\nos.mkdir(slot)\nfd = os.open(slot + '/data.bin', os.O_RDWR)\n"
                        "os.ftruncate(fd, SIZE)", slot=second)
        path = people[ANN].run("os.readlink(slot + '/data.mem')")
        assert os.stat(path).st_ino == number, "it has recycled pages"
        assert people[ANN].run("outcome(path)", path=path) == "open"
        assert people[EVE].run("outcome(path)", path=path) == "EACCES"
        people[ANN].run("os.close(fd)")


def test_a_file_with_a_users_attributes_is_not_recycled(people: dict[str, Agent]) -> None:
    """The next user could read them. A file without them is, as the second round shows."""
    with mounted("links") as daemon:
        slot = daemon.path / "job"
        people[ANN].run("os.umask(0o077)\nos.mkdir(slot)", slot=slot)
        numbers = []
        for mark in (False, True, False):
            path = people[ANN].run("fd = os.open(slot + '/data.bin', os.O_RDWR)\nos.ftruncate(fd, SIZE)") or \
                people[ANN].run("os.readlink(slot + '/data.mem')")
            if mark:
                try:
                    people[ANN].run("os.setxattr(path, 'user.note', b'x')", path=path)
                except OSError as error:
                    assert error.errno == errno.ENOTSUP
                    pytest.skip("this kernel's tmpfs has no attributes of users")
            numbers.append(os.stat(path).st_ino)
            assert os.listxattr(path).count("user.note") == int(mark)
            people[ANN].run("os.close(fd)")
            Slot(slot).flag(-1)
            eventually(lambda: usage(daemon.path)["warm"] > 0 if not mark else not os.path.exists(path))
        assert numbers[0] == numbers[1] != numbers[2]


# --- the place ---

def places() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if line.split()[4].startswith(f"{PLACES}/")}


def directories() -> set[str]:
    return set(os.listdir(PLACES)) if PLACES.exists() else set()


def server_of(daemon: Daemon) -> int:
    return next(pid for pid in daemon.pids() if Path(f"/proc/{pid}/comm").read_text() == "pyrmapfs-server\n")


def kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


ENDS: dict[str, Callable[[Daemon], Any]] = {
    "stop": lambda daemon: os.kill(daemon.supervisor, signal.SIGTERM),
    "umount": lambda daemon: subprocess.run(["umount", str(daemon.path)], check=True),
    "the supervisor is killed": lambda daemon: kill([daemon.supervisor]),
    "both are killed": lambda daemon: kill([daemon.supervisor, server_of(daemon)]),
}


@pytest.mark.parametrize("end", ENDS)
def test_no_mount_is_left(end: str, agents: Callable[..., Agent]) -> None:
    """Whoever has pages mapped keeps them."""
    before, others = places(), directories()
    daemon = mounted("links").start()
    try:
        slot = Slot.make(daemon.path, "job")
        slot.publish(np.frombuffer(content := os.urandom(1 << 20), "u1"))
        reader = agents(EVE)
        os.chmod(slot.path, 0o755)
        reader.run(TOOLS)
        reader.run("with opened(path + '.bin', os.O_RDONLY):\n    pages = Pages(path + '.mem')", path=slot / "data")
        assert len(places() - before) == 2
        ENDS[end](daemon)
        eventually(lambda: places() == before and directories() <= others, "the mounts go")
        assert reader.run("pages.load()[:100]") == content[:100].decode("latin-1")
    finally:
        daemon.kill()
        daemon.stop()


def test_what_killed_daemons_left_is_cleared_by_the_next() -> None:
    before, others = places(), directories()
    with mounted("links") as living:
        daemon = mounted("links").start()
        used = places()
        daemon.kill()
        daemon.stop()
        assert places() == used, "nobody was left to clear them"
        with mounted("links") as third:
            now = places()
            assert len(now - before) == 4 and len(directories() - others) == 2
            assert len(now & used - before) == 2, "those of a living daemon stay"
            assert third.data_path == living.data_path == LINKS
    assert places() == before and directories() <= others


def test_passthrough_needs_no_place(server: Daemon) -> None:
    before = places()
    with mounted("passthrough") as daemon:
        if daemon.data_path != LINKS:
            assert places() == before


# --- directories ---

def test_a_directory_that_others_may_not_enter(place: Path, people: dict[str, Agent]) -> None:
    (place / "arena").mkdir(mode=0o700)
    with linked("dir", place) as daemon:
        assert "for the daemon's user only" in status(daemon.path)["data path"]
        assert (place / "arena").stat().st_mode & 0o777 == 0o700
        slot = Slot.make(daemon.path, "job")
        slot.publish()
        os.chmod(slot.path, 0o755)
        assert people[EVE].run("target_of(path)", path=slot / "data") == "data.bin"
        with open(slot / "data.bin", "rb"):
            assert os.readlink(slot / "data.mem").startswith(str(place))


def test_granted_pages_after_a_restart(place: Path, people: dict[str, Agent]) -> None:
    """The path stays, the right to it has to be asked for again."""
    with linked("dir", place) as daemon:
        slot = Slot.make(daemon.path, "job")
        slot.publish(np.frombuffer(content := os.urandom(100000), "u1"))
        os.chmod(slot.path, 0o755)
        target = people[EVE].run("target_of(path)", path=slot / "data")
        assert people[EVE].run("outcome(target)", target=target) == "open"
    again = Daemon(daemon.options)
    with again:
        slot = Slot(again.path / "job")
        assert people[EVE].run("outcome(target)") == "EACCES"
        assert people[EVE].run("target_of(path) == target and link_read(path)", path=slot / "data") == \
            content.decode("latin-1")
        slot.remove()
