# SPDX-License-Identifier: Apache-2.0
"""Several users on one mount: strangers, and two who share a group."""
from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import Callable, Iterator

import pytest
from agent import Agent
from daemon import Daemon
from paths import mounted
from slots import ANSWER, DATA, Slot, eventually, refused, usage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

ANN, BOB, EVE = "30001", "30002", "30003"
GROUP = "30100"

_names = (f"shared-{count}" for count in itertools.count())

PUBLISH = """
def put(path, content):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, content)
    os.close(fd)

def step(slot, file, content, flag):
    put(f"{slot}/{file}", content)
    put(f"{slot}/metadata.bin", struct.pack("<i", flag))

def get(path):
    with open(path, "rb") as file:
        return file.read()
"""


@pytest.fixture
def people(agents: Callable[..., Agent]) -> dict[str, Agent]:
    """Ann and Bob share a group, Eve does not."""
    found = {ANN: agents(ANN, GROUP), BOB: agents(BOB, GROUP), EVE: agents(EVE)}
    for agent in found.values():
        agent.run(PUBLISH)
    return found


@pytest.fixture
def private(mount: Path, people: dict[str, Agent]) -> Iterator[Path]:
    """A slot of Ann's that is nobody else's business, with a result in it."""
    slot = mount / next(_names)
    people[ANN].run("os.umask(0o077) and None; os.mkdir(slot)", slot=slot)
    yield slot
    Slot(slot).remove()


@pytest.fixture
def shared(mount: Path, people: dict[str, Agent]) -> Iterator[Path]:
    """A slot of Ann's for her group."""
    slot = mount / next(_names)
    people[ANN].run(f"os.umask(0o007)\nos.mkdir(slot)\nos.chown(slot, -1, {GROUP})", slot=slot)
    yield slot
    Slot(slot).remove()


def test_owners_are_their_creators(private: Path) -> None:
    for name in (".", "data.bin", "task", "result.txt"):
        seen = os.stat(private / name)
        assert (seen.st_uid, seen.st_gid) == (int(ANN), int(ANN))


@pytest.mark.parametrize("attempt", [
    "os.listdir(slot)", "os.stat(slot + '/data.bin')", "get(slot + '/metadata.txt')", "get(slot + '/result.txt')",
    "os.open(slot + '/data.bin', os.O_RDONLY | os.O_NONBLOCK)", "put(slot + '/metadata.bin', b'1234')",
    "put(slot + '/error', b'no')", "put(slot + '/task', b'evil')", "put(slot + '/owner', b'self')",
    "os.unlink(slot + '/data.bin')", "os.truncate(slot + '/data.bin', 0)",
])
def test_strangers_cannot_look_inside(private: Path, people: dict[str, Agent], attempt: str) -> None:
    people[ANN].run("step(slot, 'data.bin', data, 0)", slot=str(private), data=DATA.tobytes())
    before = Slot(private).raw
    with refused(errno.EACCES):
        people[EVE].run(attempt, slot=str(private))
    assert Slot(private).raw == before and Slot(private).state == "READY"


@pytest.mark.parametrize("attempt", ["os.rmdir(slot)", "os.rename(slot, slot + '-mine')", "os.chmod(slot, 0o777)",
                                     "os.chown(slot, os.getuid(), -1)", "os.utime(slot, (0, 0))",
                                     "os.chmod(slot + '/../' + os.path.basename(slot), 0o777)"])
def test_strangers_cannot_take_it(private: Path, people: dict[str, Agent], attempt: str) -> None:
    for stranger in (EVE, BOB):
        with refused(errno.EACCES, errno.EPERM):
            people[stranger].run(attempt, slot=str(private))
    assert os.stat(private).st_uid == int(ANN) and os.stat(private).st_mode & 0o777 == 0o700


def test_by_default_others_read_and_do_not_write(mount: Path, people: dict[str, Agent]) -> None:
    """umask 022: as with any directory."""
    slot = mount / next(_names)
    people[ANN].run("os.umask(0o022)\nos.mkdir(slot)\nstep(slot, 'data.bin', data, 0)", slot=str(slot),
                    data=DATA.tobytes())
    assert people[EVE].run("get(slot + '/data.bin')", slot=str(slot)).encode("latin-1") == DATA.tobytes()
    assert people[EVE].run("get(slot + '/data.txt')").startswith("1\n2\n")
    for attempt in ("put(slot + '/result.bin', b'x')", "put(slot + '/metadata.bin', b'\\2\\0\\0\\0')",
                    "put(slot + '/metadata.txt', b'flag=2')", "put(slot + '/error', b'no')",
                    "put(slot + '/worker', b'self')", "os.unlink(slot + '/data.bin')",
                    "os.rename(slot + '/result.bin', slot + '/data.bin')"):
        with refused(errno.EACCES, errno.EPERM):
            people[EVE].run(attempt)
    assert Slot(slot).state == "READY"
    Slot(slot).remove()


def test_an_array_is_taken_by_those_who_may_open_it(mount: Path, people: dict[str, Agent]) -> None:
    """Who may read metadata.bin has not got the arrays by that."""
    slot = mount / next(_names)
    people[ANN].run(f"os.umask(0o022)\nos.mkdir(slot)\nos.chown(slot, -1, {GROUP})\nstep(slot, 'data.bin', data, 0)", slot=str(slot),
                    data=DATA.tobytes())
    for mode, allowed in ((0o644, (ANN, BOB, EVE)), (0o640, (ANN, BOB)), (0o600, (ANN,)), (0o044, (BOB, EVE))):
        os.chmod(slot / "data.bin", mode)
        for name, agent in people.items():
            take = "os.pread(os.open(slot + '/metadata.bin', os.O_RDONLY), 200, 1 << 28)[128:].decode('latin-1')"
            if name in allowed:
                assert agent.run(take, slot=str(slot)).encode("latin-1") == DATA.tobytes()
                continue
            with refused(errno.EACCES):
                agent.run(take, slot=str(slot))
            assert " open data.bin for reading EACCES " in Slot(slot).text["refused"]
    Slot(slot).remove()


def test_two_who_share_a_group(shared: Path, people: dict[str, Agent]) -> None:
    """R and Python as different users: the whole exchange, and Eve has no part in it."""
    ann, bob, eve = people[ANN], people[BOB], people[EVE]
    ann.run("step(slot, 'data.bin', data, 0)", slot=str(shared), data=DATA.tobytes())
    assert bob.run("get(slot + '/data.bin')", slot=str(shared)).encode("latin-1") == DATA.tobytes()
    bob.run("put(slot + '/worker', b'self')")
    bob.run("step(slot, 'result.bin', answer, 1)", answer=ANSWER.tobytes())
    assert ann.run("get(slot + '/result.bin')").encode("latin-1") == ANSWER.tobytes()
    with refused(errno.EACCES):
        eve.run("get(slot + '/result.bin')", slot=str(shared))
    for name in ("data.bin", "result.bin"):
        assert (os.stat(shared / name).st_uid, os.stat(shared / name).st_gid) == (int(ANN), int(GROUP))
    ann.run("step(slot, 'data.bin', data, 0)")
    assert Slot(shared).record.round == 2


def test_a_member_may_not_give_the_slot_away(shared: Path, people: dict[str, Agent]) -> None:
    for attempt in ("os.rmdir(slot)", "os.rename(slot, slot + 'x')", "os.chmod(slot, 0o777)"):
        with refused(errno.EACCES, errno.EPERM):
            people[BOB].run(attempt, slot=str(shared))


def test_chown_within_ones_groups(shared: Path, people: dict[str, Agent]) -> None:
    people[ANN].run("os.chown(slot, -1, os.getgid())", slot=str(shared))
    assert os.stat(shared / "data.bin").st_gid == int(ANN)
    with refused(errno.EPERM):
        people[ANN].run(f"os.chown(slot, -1, {EVE})")
    with refused(errno.EPERM):
        people[ANN].run(f"os.chown(slot, {BOB}, -1)")


def test_results_move_between_ones_own_slots_only(mount: Path, people: dict[str, Agent], shared: Path) -> None:
    """rename needs both slots to be writable, like any rename."""
    mine = mount / next(_names)
    people[EVE].run("os.mkdir(slot)", slot=str(mine))
    Slot(shared).bring("DONE")
    with refused(errno.EACCES):
        people[EVE].run("os.rename(theirs + '/result.bin', slot + '/data.bin')", theirs=str(shared))
    people[BOB].run("os.mkdir(own)", own=str(mine) + "-bob")
    people[BOB].run("os.rename(theirs + '/result.bin', own + '/data.bin')", theirs=str(shared))
    assert Slot(mount / (mine.name + "-bob")).state == "FILLING" and Slot(shared).state == "IDLE"
    os.rmdir(mine)
    os.rmdir(str(mine) + "-bob")


def test_pids_of_others(shared: Path, people: dict[str, Agent]) -> None:
    """A member of the group may name itself, and nobody else."""
    for pid in (people[ANN].pid, people[EVE].pid, os.getpid(), 1):
        with refused(errno.EPERM):
            people[BOB].run("put(slot + '/worker', pid)", slot=str(shared), pid=str(pid).encode())
    people[BOB].run("put(slot + '/worker', b'self')")
    assert Slot(shared).text["worker"] == str(people[BOB].pid)
    people[ANN].run("step(slot, 'data.bin', data, 0)", slot=str(shared), data=DATA.tobytes())
    people[BOB].run("put(slot + '/worker', b'self')")
    people[BOB].kill()
    eventually(lambda: Slot(shared).state == "FAILED")


def test_everybody_sees_the_daemons_own_view(mount: Path, people: dict[str, Agent]) -> None:
    for name in ("status", "metrics", "config"):
        assert people[EVE].run("len(get(path))", path=mount / ".pyrmap" / name) > 0


def test_privileges_of_the_slots_user_are_enough(mount: Path, people: dict[str, Agent]) -> None:
    """No privileges: mkdir, a round, rmdir."""
    slot = mount / next(_names)
    eve = people[EVE]
    eve.run("os.mkdir(slot)\nstep(slot, 'data.bin', data, 0)\nstep(slot, 'result.bin', data, 1)", slot=str(slot),
            data=DATA.tobytes())
    assert eve.run("get(slot + '/result.bin')").encode("latin-1") == DATA.tobytes()
    eve.run("os.chmod(slot, 0o700)\nos.rename(slot, slot + '-new')\nos.rmdir(slot + '-new')")


SIZE = "fd = os.open(slot + '/' + file, os.O_WRONLY)\ntry:\n    os.ftruncate(fd, size)\nfinally:\n    os.close(fd)"


def test_one_users_quota_is_not_anothers(path: str, people: dict[str, Agent]) -> None:
    with mounted(path, limits_bytes_per_user="8M", limits_slots_per_user="4") as daemon:
        for name in (ANN, EVE):
            for count in range(4):
                people[name].run("os.mkdir(slot)", slot=str(daemon.path / f"{name}-{count}"))
            with refused(errno.EDQUOT):
                people[name].run("os.mkdir(slot + '-5')")
            people[name].run(SIZE, slot=str(daemon.path / f"{name}-0"), file="data.bin", size=7 << 20)
            with refused(errno.EDQUOT):
                people[name].run(SIZE, slot=str(daemon.path / f"{name}-1"), file="data.bin", size=7 << 20)
        people[ANN].run("os.rmdir(slot)", slot=str(daemon.path / f"{ANN}-0"))
        people[ANN].run(SIZE, slot=str(daemon.path / f"{ANN}-1"), file="data.bin", size=7 << 20)
        with refused(errno.EDQUOT):
            people[EVE].run(SIZE, slot=str(daemon.path / f"{EVE}-1"), file="data.bin", size=7 << 20)
        for name in (ANN, EVE, *people):
            people[name].run("fd = None")


def test_pages_of_others_come_back_zeroed(mount: Path, people: dict[str, Agent]) -> None:
    """What Ann's slot held is not in what Eve gets next, although the pages are the same."""
    for count in range(5):
        secret = mount / next(_names)
        people[ANN].run("os.mkdir(slot)\nput(slot + '/data.bin', b'secret! ' * 200000)\nos.rmdir(slot)",
                        slot=str(secret))
        eventually(lambda: usage(mount)["warm"] > 0)
        loot = mount / next(_names)
        people[EVE].run("os.mkdir(slot)\nfd = os.open(slot + '/data.bin', os.O_RDWR)\nos.ftruncate(fd, 1600000)",
                        slot=str(loot))
        assert people[EVE].run("sum(map(bool, os.pread(fd, 1600000, 0)))") == 0, count
        people[EVE].run("os.close(fd)\nos.rmdir(slot)")


@pytest.mark.parametrize("allow", ("yes", "no"))
def test_allow_other(path: str, agents: Callable[..., Agent], allow: str) -> None:
    with mounted(path, mount_allow_other=allow) as daemon:
        stranger = agents(EVE)
        if allow == "no":
            with refused(errno.EACCES):
                stranger.run("os.listdir(path)", path=daemon.path)
        else:
            assert stranger.run("os.listdir(path)", path=daemon.path) == [".pyrmap"]
        os.mkdir(daemon.path / "own")
        stranger.kill()


def test_root_mode(path: str, agents: Callable[..., Agent], server: Daemon) -> None:
    """A stricter root: a user who may not write there makes no slots."""
    with mounted(path, mount_root_mode="0755") as daemon:
        stranger = agents(EVE)
        with refused(errno.EACCES):
            stranger.run("os.mkdir(path)", path=daemon.path / "mine")
        os.mkdir(daemon.path / "ours")
        stranger.kill()
    assert os.stat(server.path).st_mode & 0o7777 == 0o1777
