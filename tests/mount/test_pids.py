# SPDX-License-Identifier: Apache-2.0
"""Which clients the daemon can see: pid namespaces on either side of the mount, and a /proc that hides processes."""
from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest
from agent import Agent
from daemon import Daemon
from paths import CAPACITY, check_data_path, mounted
from slots import DATA, FAILED, FLOAT64, INPUT, RESULT, Slot, eventually, refused, write_once

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make pid namespaces and mount /proc")

SELF = "fd = os.open(path, os.O_WRONLY); os.write(fd, b'self'); os.close(fd)"
ROLES = ("owner", "worker")
ANN, BOB, GROUP = "30001", "30002", "30100"

NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child")


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    if subprocess.run([*NAMESPACE, "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("no pid namespace can be made here")


class ApartDaemon(Daemon):
    """In a separate pid namespace, as in a sidecar container: it sees none of the tests' processes."""

    def command(self) -> list[str]:
        return [*NAMESPACE, *super().command()]

    def stop(self) -> int:
        if self.process is not None and self.process.poll() is None:
            subprocess.run(["umount", str(self.path)], check=True)  # unshare passes no signal on
        return super().stop()


@pytest.fixture
def apart(path: str) -> Iterator[Slot]:
    with ApartDaemon(mounted(path).options) as daemon:
        check_data_path(daemon, path)
        yield Slot.make(daemon.path, "job")


def test_an_invisible_client_is_a_writer(apart: Slot) -> None:
    apart.write(dtype=FLOAT64)
    with open(apart / "data.bin", "r+b", buffering=0) as file:
        file.write(DATA.tobytes())
        with refused(errno.EBUSY):
            apart.flag(INPUT)
    apart.flag(INPUT)
    with open(apart / "result.bin", "r+b", buffering=0) as file:
        file.write(DATA.tobytes())
        os.ftruncate(file.fileno(), 8)  # through its own handle it is itself
        with refused(errno.EBUSY):
            apart.flag(RESULT)
        with refused(errno.EBUSY):
            open(apart / "result.bin", "r+b", buffering=0)
    apart.flag(RESULT)
    assert (apart / "result.bin").read_bytes() == DATA.tobytes()[:8]


@pytest.mark.parametrize("role", ROLES)
def test_an_invisible_client_cannot_be_named(apart: Slot, role: str) -> None:
    for text in (b"self", b"1", str(os.getpid()).encode()):
        with refused(errno.ESRCH):
            write_once(apart / role, text)
        assert "pid namespace" in apart.text["refused"]
    assert (apart / role).read_text() == ""


class Contained(Agent):
    """An agent in a pid namespace below the daemon's, as in a container. pid: as the daemon sees it."""

    def __init__(self, user: str | None = None, groups: str = "") -> None:
        super().__init__(user, groups, front=NAMESPACE)
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = int(children.read_text())


@pytest.fixture
def contained() -> Iterator[Contained]:
    agent = Contained()
    yield agent
    agent.kill()


@pytest.mark.parametrize("role", ROLES)
def test_a_contained_client_names_itself(slot: Slot, contained: Contained, role: str) -> None:
    assert contained.run("os.getpid()") == 1
    contained.run(SELF, path=slot / role)
    assert (slot / role).read_text() == f"{contained.pid}\n"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("text", (b"1", b"2"))
def test_a_number_from_a_container_is_nobody(slot: Slot, contained: Contained, role: str, text: bytes) -> None:
    with refused(errno.ESRCH):
        contained.run("fd = os.open(path, os.O_WRONLY)\ntry: os.write(fd, text)\nfinally: os.close(fd)",
                      path=slot / role, text=text)
    assert (slot / role).read_text() == ""
    assert "write self" in slot.text["refused"]


def test_a_contained_worker_dies(slot: Slot, contained: Contained) -> None:
    contained.run(SELF, path=slot / "worker")
    slot.publish(DATA)
    contained.kill()
    eventually(lambda: slot.record.flag == FAILED)
    assert str(contained.pid) in (slot / "error").read_text()


# --- hidepid ---


@pytest.fixture(params=("hidepid=2,gid=30999", "hidepid=1", "hidepid=ptraceable"))
def hiding(request: pytest.FixtureRequest) -> Iterator[None]:
    if subprocess.run(["mount", "-t", "proc", "-o", request.param, "proc", "/proc"],
                      stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip(f"/proc cannot be mounted with {request.param} here")
    yield
    subprocess.run(["umount", "/proc"], check=True)


@pytest.fixture
def hidden(hiding: None, path: str) -> Iterator[Daemon]:
    with mounted(path) as daemon:
        check_data_path(daemon, path)
        yield daemon


@pytest.mark.parametrize("role", ROLES)
def test_a_hidden_client_is_named(hidden: Daemon, agents: Callable[..., Agent], role: str) -> None:
    ann, bob = agents(ANN), agents(BOB)
    put = "fd = os.open(path, os.O_WRONLY)\ntry: os.write(fd, text)\nfinally: os.close(fd)"
    ann.run("os.mkdir(path)", path=hidden.path / "job")
    ann.run(SELF, path=hidden.path / "job" / role)
    assert (hidden.path / "job" / role).read_text() == f"{ann.pid}\n"
    ann.run(put, path=hidden.path / "job" / role, text=str(ann.pid).encode())
    with refused(errno.EPERM):
        ann.run(put, path=hidden.path / "job" / role, text=str(bob.pid).encode())


def test_groups_of_a_hidden_client(hidden: Daemon, agents: Callable[..., Agent]) -> None:
    source = Slot.make(hidden.path, "source")
    os.chown(source.path, 0, int(GROUP))
    os.chmod(source.path, 0o750)
    link = "os.mkdir(path); os.symlink('../source/data.bin', path + '/source')"
    agents(ANN, GROUP).run(link, path=hidden.path / "member")
    with refused(errno.EACCES):
        agents(BOB).run(link, path=hidden.path / "stranger")


THREADS = """
import threading
def fill():
    with open(path + "/data.bin", "r+b", buffering=0) as file:
        file.write(bytes(8))
thread = threading.Thread(target=fill); thread.start(); thread.join()
# The process that fills may read.
os.close(os.open(path + "/data.bin", os.O_RDONLY | os.O_NONBLOCK))
"""


def test_threads_of_a_hidden_client(hidden: Daemon, agents: Callable[..., Agent]) -> None:
    ann = agents(ANN)
    ann.run("os.mkdir(path)", path=hidden.path / "job")
    ann.run(THREADS, path=hidden.path / "job")


def test_a_users_own_daemon(hiding: None, agents: Callable[..., Agent], tmp_path: Path) -> None:
    """It sees its own user's processes, and those are its clients."""
    user = "nobody"
    if subprocess.run(["setpriv", "--reuid=nobody", "--clear-groups", "test", "-w", "/dev/fuse"]).returncode != 0:
        pytest.skip(f"/dev/fuse is not open to {user} here")
    with Daemon(CAPACITY, user=user) as daemon:
        agent, other = agents(user), agents(user)
        agent.run("os.mkdir(path)", path=daemon.path / "job")
        agent.run(THREADS, path=daemon.path / "job")
        for role in ROLES:
            agent.run(SELF, path=daemon.path / "job" / role)
            agent.run("fd = os.open(path, os.O_WRONLY); os.write(fd, text); os.close(fd)",
                      path=daemon.path / "job" / role, text=str(other.pid).encode())
            assert agent.run("open(path).read()", path=daemon.path / "job" / role) == f"{other.pid}\n"


FORKED = """
parent = os.open(path + "/result.bin", os.O_WRONLY)
child = os.fork()
if child == 0:
    try:
        os.close(os.open(path + "/result.bin", os.O_WRONLY))
        os._exit(0)
    except OSError as error:
        os._exit(error.errno)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def test_children_of_a_hidden_client_write_its_result(hidden: Daemon, agents: Callable[..., Agent]) -> None:
    ann = agents(ANN)
    ann.run("os.mkdir(path); os.chmod(path, 0o777)", path=hidden.path / "job")
    slot = Slot(hidden.path / "job")
    slot.publish(DATA)
    ann.run(FORKED, path=slot.path)
    assert ann.run("status") == 0
    with refused(errno.EBUSY):
        agents(ANN).run("os.open(path, os.O_WRONLY)", path=slot / "result.bin")


def test_a_contained_child_writes_its_parents_result(slot: Slot, contained: Contained) -> None:
    slot.publish(DATA)
    with open(slot / "result.bin", "r+b", buffering=0):
        contained.run("os.close(os.open(path, os.O_WRONLY))", path=slot / "result.bin")


def test_children_of_an_invisible_client_are_strangers(apart: Slot, agent: Agent) -> None:
    apart.publish(DATA)
    with open(apart / "result.bin", "r+b", buffering=0), refused(errno.EBUSY):
        agent.run("os.open(path, os.O_WRONLY)", path=apart / "result.bin")
