# SPDX-License-Identifier: Apache-2.0
"""A user who takes all that there is to take gets its own share, is told which limit that is, and nobody else notices."""
from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from agent import Agent
from daemon import Daemon, as_user
from paths import mounted
from slots import DATA, Slot, eventually, metrics, refused, status, usage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

ANN, EVE = "30001", "30003"  # Eve is the hostile one
MB = 1 << 20

ROUND = """
def put(path, content):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, content)
    os.close(fd)

def round(slot, data):
    os.mkdir(slot)
    put(f"{slot}/data.bin", data)
    put(f"{slot}/metadata.bin", struct.pack("<i", 0))
    put(f"{slot}/result.bin", data)
    put(f"{slot}/metadata.bin", struct.pack("<i", 1))
    with open(f"{slot}/result.bin", "rb") as file:
        assert file.read() == data
    os.rmdir(slot)
"""

# Does it until it is refused. The errno is the value.
UNTIL_REFUSED = """
def until_refused(take):
    try:
        while True:
            take()
    except OSError as error:
        return error.errno
"""

MAP = """
def map_one(path, size):
    fd = os.open(path, os.O_RDWR)
    try:
        os.ftruncate(fd, size)
        maps.append(Pages.of(fd, size))
    finally:
        os.close(fd)

def map_and_drop(slot, size):
    map_one(f"{slot}/data.bin", size)
    put(f"{slot}/metadata.bin", struct.pack("<i", -1))
"""


@pytest.fixture
def ann(agents: Callable[..., Agent]) -> Agent:
    agent = agents(ANN)
    agent.run(ROUND)
    return agent


@pytest.fixture
def eves(agents: Callable[..., Agent]) -> Callable[[], Agent]:
    """Processes of hers."""

    def start() -> Agent:
        agent = agents(EVE)
        for source in (ROUND, UNTIL_REFUSED, MAP):
            agent.run(source)
        return agent

    return start


@pytest.fixture
def eve(eves: Callable[[], Agent]) -> Agent:
    return eves()


def expect_undisturbed(daemon: Daemon, ann: Agent) -> None:
    ann.run("round(slot, data)", slot=daemon.path / "anns", data=DATA.tobytes())


def descriptors(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.server}/fd"))


@pytest.mark.time_limit(120)
def test_forty_thousand_handles(path: str, ann: Agent, eves: Callable[[], Agent]) -> None:
    share, of_each = 40_000, 15_000
    with mounted(path, limits_open_per_user=str(share)) as daemon:
        slot = Slot.make(daemon.path, "job").bring("DONE")
        files = [str(slot / name) for name in ("metadata.bin", "metadata.txt", "data.bin", "result.npy", "task")]
        before = descriptors(daemon)
        several = [eves() for _ in range(-(-share // of_each))]
        for eve in several:
            eve.run(f"files, fds = {files!r}, []\n"
                    f"__import__('resource').setrlimit(__import__('resource').RLIMIT_NOFILE, ({of_each + 100},) * 2)")
        for eve in several[:-1]:
            eve.run(f"fds.extend(os.open(files[index % 5], os.O_RDONLY) for index in range({of_each}))", seconds=60)
        eve = several[-1]
        take = "until_refused(lambda: fds.append(os.open(files[len(fds) % 5], os.O_RDONLY)))"
        assert eve.run(take, seconds=60) == errno.EMFILE
        assert eve.run("len(fds)") == share - of_each * (len(several) - 1)
        assert "limits.open_per_user" in slot.text["refused"]
        assert descriptors(daemon) - before < 20, "the daemon has one for an array, not for a handle"
        expect_undisturbed(daemon, ann)
        eve.run("os.close(fds.pop())")
        # The kernel tells the daemon of a close afterwards.
        eventually(lambda: eve.run("until_refused(lambda: fds.append(os.open(files[0], os.O_RDONLY)))") == errno.EMFILE
                   and eve.run("len(fds)") == share - of_each * (len(several) - 1), "what was closed is free again")
        for eve in several:
            eve.kill()
        eventually(lambda: descriptors(daemon) <= before, "nothing is left of them", 60)


@pytest.mark.time_limit(120)
def test_ten_thousand_parked_opens(path: str, program: Callable[[str], str], ann: Agent) -> None:
    share, wanted = 8_000, 10_000
    with mounted(path, limits_open_per_user=str(share)) as daemon:
        slot = Slot.make(daemon.path, "job")
        crowd = subprocess.Popen([*as_user(EVE), program("waiter"), str(wanted), str(slot / "result.bin")],
                                 stdout=subprocess.PIPE)
        eventually(lambda: metrics(daemon.path).get('pyrmapfs_refusals_total{errno="EMFILE"}', 0) == wanted - share
                   and int(status(daemon.path)["waiters"].split()[0]) == share, "all have tried", 60)
        expect_undisturbed(daemon, ann)
        slot.remove()
        assert json.loads(crowd.communicate(timeout=60)[0]) == {"ECANCELED": share, "EMFILE": wanted - share}
        expect_undisturbed(daemon, ann)


@pytest.mark.time_limit(120)
def test_slots_in_a_loop(path: str, ann: Agent, eve: Agent) -> None:
    share = 16_384  # the default
    with mounted(path) as daemon:
        eve.run(f"root, names = {str(daemon.path)!r}, []")
        take = "until_refused(lambda: (os.mkdir(f'{root}/eve-{len(names)}'), names.append(0)))"
        assert eve.run(take, seconds=100) == errno.EDQUOT
        assert eve.run("len(names)") == share
        expect_undisturbed(daemon, ann)
        eve.run("os.rmdir(f'{root}/eve-0')\nos.mkdir(f'{root}/eve-0')")
        with refused(errno.EDQUOT):
            eve.run("os.mkdir(f'{root}/one-more')")


@pytest.mark.parametrize("how", ["maps", "maps and drops"])
def test_mappings_for_ever(path: str, ann: Agent, eve: Agent, how: str) -> None:
    """Of one array in each slot, or of one round after the other."""
    share = 64 * MB
    with mounted(path, arena_capacity="160M", arena_warm="0", limits_bytes_per_user=str(share)) as daemon:
        eve.run(f"root, maps = {str(daemon.path)!r}, []")
        if how == "maps":
            take = f"(os.mkdir(f'{{root}}/eve-{{len(maps)}}'), map_one(f'{{root}}/eve-{{len(maps)}}/data.bin', {MB}))"
        else:
            eve.run("os.mkdir(f'{root}/eve')")
            take = f"map_and_drop(f'{{root}}/eve', {MB})"
        assert eve.run(f"until_refused(lambda: {take})", seconds=60) == errno.EDQUOT
        assert 60 <= eve.run("len(maps)") <= 64
        assert usage(daemon.path)["used"] <= share + MB
        expect_undisturbed(daemon, ann)
        ann.run("os.mkdir(slot)\nfd = os.open(slot + '/data.bin', os.O_RDWR)\nos.ftruncate(fd, size)\nos.close(fd)",
                slot=daemon.path / "large", size=60 * MB)
        eve.run("[one.close() for one in maps]\nmaps = []")
        if how == "maps and drops":
            eve.run(take)


def test_what_is_not_for_clients(server: Daemon, mount: Path, eve: Agent) -> None:
    """Processes, descriptors and memory of the daemon, and where the arena is."""
    for pid in server.pids():
        for name in ("fd", "mem", "maps", "environ", "root", "map_files"):
            with refused(errno.EACCES, errno.EPERM):
                eve.run("os.listdir(path) if os.path.isdir(path) else open(path).read(1)", path=f"/proc/{pid}/{name}")
        with refused(errno.EPERM):
            eve.run("libc = __import__('ctypes').CDLL(None, use_errno=True)\n"
                    f"if libc.ptrace(16, {pid}, None, None) < 0:\n"
                    "    raise OSError(__import__('ctypes').get_errno(), 'ptrace')")
