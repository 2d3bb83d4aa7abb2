# SPDX-License-Identifier: Apache-2.0
"""What one user may have open, and what that costs the daemon: limits.open_per_user, limits.memory_per_user."""
from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Iterator

import pytest
from agent import Agent
from daemon import Daemon
from paths import PATHS, mounted
from slots import ANSWER, DATA, NONE, RESULT, Slot, eventually, metrics, number, refused, status
from standstill import stopped_helper

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

ANN, EVE = "30001", "30003"

OPEN = "fds.append(os.open(path, os.O_RDONLY))"


def resident(daemon: Daemon) -> int:
    """Bytes that the server has in memory."""
    lines = Path(f"/proc/{daemon.server}/status").read_text().splitlines()
    return next(number(line.split(":")[1]) for line in lines if line.startswith("VmRSS")) * 1024


def opened(stack: ExitStack, path: Path) -> int:
    """A descriptor that is closed however the test ends: with thousands of them all later tests would fail."""
    fd = os.open(path, os.O_RDONLY)
    stack.callback(os.close, fd)
    return fd


def many_slots(mount: Path, count: int) -> None:
    for index in range(count):
        os.mkdir(mount / f"{'n' * 200}{index}")


@pytest.fixture
def ann(agents: Callable[..., Agent]) -> Agent:
    agent = agents(ANN)
    agent.run("fds = []")
    return agent


@pytest.fixture
def eve(agents: Callable[..., Agent]) -> Agent:
    agent = agents(EVE)
    agent.run("fds = []")
    return agent


def test_open_files(path: str, ann: Agent, eve: Agent) -> None:
    with mounted(path, limits_open_per_user="16") as daemon:
        slot = Slot.make(daemon.path, "job").bring("DONE")
        files = [slot / "metadata.bin", slot / "metadata.txt", slot / "data.bin", slot / "result.npy", slot / "task",
                 daemon.path / ".pyrmap" / "metrics", daemon.path / ".pyrmap" / "graph"]
        for index in range(16):
            ann.run(OPEN, path=files[index % len(files)])
        for file in files:
            with refused(errno.EMFILE):
                ann.run(OPEN, path=file)
        assert "EMFILE" in slot.text["refused"] and "limits.open_per_user" in slot.text["refused"]
        assert metrics(daemon.path)['pyrmapfs_refusals_total{errno="EMFILE"}'] == 5
        eve.run(OPEN, path=files[0])
        held = [os.open(slot / "metadata.txt", os.O_RDONLY) for _ in range(40)]  # root
        ann.run("os.close(fds.pop())")
        eventually(lambda: ann.run("try:\n    " + OPEN + "\n    opened = 1\nexcept OSError:\n    opened = 0")
                   is None and ann.run("opened"), "what was closed is free again")
        for fd in held:
            os.close(fd)
        for agent in (ann, eve):
            agent.run("[os.close(fd) for fd in fds]")


MAP = """
fd = os.open(path, os.O_RDWR)
os.ftruncate(fd, 4096)
maps.append(Pages.of(fd, 4096))
os.close(fd)
"""


def test_mapped_arrays_of_earlier_rounds(path: str, ann: Agent, eve: Agent) -> None:
    """With memfds each costs the daemon a descriptor."""
    with mounted(path, arena_kind="memfd", limits_open_per_user="16") as daemon:
        ann.run("os.mkdir(path)\nmaps = []", path=daemon.path / "job")
        slot = Slot(daemon.path / "job")
        for _ in range(16):
            ann.run(MAP, path=slot / "data.bin")
            slot.flag(NONE)
        with refused(errno.EMFILE):
            ann.run(MAP, path=slot / "data.bin")
        assert "EMFILE" in slot.text["refused"] and "limits.open_per_user" in slot.text["refused"]
        eve.run("os.close(os.open(path, os.O_RDONLY))", path=slot / "metadata.bin")
        ann.run("[one.close() for one in maps]")
        for _ in range(16):
            ann.run(MAP, path=slot / "data.bin")
            slot.flag(NONE)
        ann.run("[one.close() for one in maps]")


def test_an_open_that_waits_is_one_that_counts(path: str, ann: Agent, agents: Callable[..., Agent]) -> None:
    with mounted(path, limits_open_per_user="16") as daemon:
        slot = Slot.make(daemon.path, "job")
        waiting = agents(ANN)
        waiting.start("os.open(path, os.O_RDONLY)", path=slot / "result.bin")
        eventually(lambda: slot.waiters() == [(waiting.pid, "result.bin")])
        for _ in range(15):
            ann.run(OPEN, path=slot / "task")
        with refused(errno.EMFILE):
            ann.run(OPEN, path=slot / "task")
        os.kill(waiting.pid, signal.SIGUSR1)
        with refused(errno.EINTR):
            waiting.result()
        ann.run(OPEN, path=slot / "task")
        ann.run("[os.close(fd) for fd in fds]")


def test_one_text_for_all_that_look(path: str, sanitized: bool) -> None:
    """As many opens as there may be cost the daemon one text and their handles."""
    with mounted(path) as daemon:
        many_slots(daemon.path, 1000)
        for name in ("graph", "chains", "metrics"):
            file = daemon.path / ".pyrmap" / name
            size = len(file.read_bytes())
            before = resident(daemon)
            with ExitStack() as stack:
                fds = [opened(stack, file) for _ in range(500)]
                grown = resident(daemon) - before
                # A sanitizer's memory is its own.
                assert sanitized or grown < 500 * 16384, f"{name}: {size} bytes of text, {grown} for 500 opens"
                texts = {os.pread(fd, 1 << 20, 0) for fd in fds}
                assert name == "metrics" or len(texts) == 1
        assert size > 0


def test_memory_for_open_texts(path: str, ann: Agent, eve: Agent) -> None:
    with mounted(path, limits_memory_per_user="64K") as daemon:
        many_slots(daemon.path, 300)
        graph = daemon.path / ".pyrmap" / "graph"
        assert len(graph.read_bytes()) > 65536
        for _ in range(3):
            ann.run(OPEN, path=graph)  # the same text counts once
        slot = Slot.make(daemon.path, "job")
        for file in (graph, daemon.path / ".pyrmap" / "metrics", slot / "metadata.txt"):
            with refused(errno.EDQUOT):
                ann.run(OPEN, path=file)
        assert "EDQUOT" in slot.text["refused"] and "limits.memory_per_user" in slot.text["refused"]
        ann.run(OPEN, path=slot / "metadata.bin")  # has no text
        eve.run(OPEN, path=graph)
        fds = [os.open(graph, os.O_RDONLY)]  # root
        os.rmdir(slot.path)
        fds.append(os.open(graph, os.O_RDONLY))
        ann.run("[os.close(fd) for fd in fds]\nfds = []")
        eventually(lambda: ann.run("try:\n    " + OPEN + "\nexcept OSError:\n    pass", path=graph) is None
                   and ann.run("len(fds)"), "what was closed is free again")
        for fd in fds:
            os.close(fd)
        for agent in (ann, eve):
            agent.run("[os.close(fd) for fd in fds]")


def test_metadata_txt_of_a_busy_slot(path: str) -> None:
    """Ten thousand have it open: a page of them is shown, and how many more there are."""
    with mounted(path) as daemon:
        slot = Slot.make(daemon.path, "job")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], 12000), limits[1]))
        count = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500
        with ExitStack() as stack:
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
            for _ in range(count):
                opened(stack, slot / "task")
            text = (slot / "metadata.txt").read_text()
            assert len(slot.lines("open")) == 100 and len(text) < 16384
            assert int(slot.text["open_more"]) == count - 100
        eventually(lambda: slot.lines("open") == [])


WRITE = "fd = os.open(path, os.O_WRONLY)\ntry:\n    os.write(fd, text.encode())\nfinally:\n    os.close(fd)"


def test_memory_for_writes_that_wait(path: str, ann: Agent, agents: Callable[..., Agent]) -> None:
    """A publish that waits for its follower is kept by the daemon, with all the comments in it."""
    text = ("#" * 1000 + "\n") * 60 + "flag=1\n"
    with mounted(path, limits_memory_per_user="64K") as daemon:
        second = agents(ANN)
        heads = []
        for name in ("one", "two"):
            head, tail = Slot.make(daemon.path, name), Slot.make(daemon.path, name + "-tail")
            os.symlink(f"../{name}/result.bin", tail / "source")
            head.bring("DONE")  # the tail has it, and nobody takes it from there
            head.publish(DATA)
            head.put("result.bin", ANSWER)
            os.chmod(head.path, 0o777)
            heads.append(head)
        ann.start(WRITE, path=heads[0] / "metadata.txt", text=text)
        eventually(lambda: heads[0].waiters() == [(ann.pid, "metadata.bin")])
        with refused(errno.EDQUOT):
            second.run(WRITE, path=heads[1] / "metadata.txt", text=text)
        assert heads[1].state == "COMPUTING" and "limits.memory_per_user" in heads[1].text["refused"]
        os.kill(ann.pid, signal.SIGUSR1)
        with refused(errno.EINTR):
            ann.result()
        second.start(WRITE, path=heads[1] / "metadata.txt", text=text)
        eventually(lambda: heads[1].waiters() == [(second.pid, "metadata.bin")])
        Slot(daemon.path / "two-tail").answer(ANSWER)
        Slot(daemon.path / "two-tail").result()
        second.result()
        assert heads[1].record.flag == RESULT


@pytest.fixture
def impatient_kernel(tmp_path: Path) -> Iterator[None]:
    """Other values of two sysctls, in this process's mount namespace only."""
    (tmp_path / "default_request_timeout").write_text("15\n")
    (tmp_path / "max_request_timeout").write_text("0\n")
    if not Path("/proc/sys/fs/fuse").is_dir():
        pytest.skip("this kernel has no sysctl fs.fuse")
    subprocess.run(["mount", "--bind", tmp_path, "/proc/sys/fs/fuse"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "/proc/sys/fs/fuse"], check=True)


def test_an_impatient_kernel(impatient_kernel: None, agents: Callable[..., Agent]) -> None:
    """What waits ends by itself, before the kernel ends the whole mount."""
    with mounted(PATHS[0]) as daemon:
        told = status(daemon.path)["request timeout"]
        assert told.startswith("waits end after 7.500 s") and "fs.fuse.default_request_timeout" in told
        slot, late, early = Slot.make(daemon.path, "job"), agents(), agents()
        late.start("os.open(path, os.O_RDONLY)", path=slot / "result.bin")
        early.start("os.open(path, os.O_RDONLY)", path=slot / "data.bin")
        eventually(lambda: len(slot.waiters()) == 2)
        slot.publish(DATA)
        early.result()  # what comes in time is not ended
        with refused(errno.ETIMEDOUT):
            late.result(seconds=60)
        assert "ETIMEDOUT" in slot.text["refused"] and "fs.fuse.default_request_timeout" in slot.text["refused"]
        assert slot.state == "READY" and slot.waiters() == []
        early.run("0")


SIZES = {
    "truncate": "os.truncate(path, 64 << 20)",
    "allocate": "os.posix_fallocate(fd, 0, 64 << 20)",
    "write": "os.pwrite(fd, b'x' * 4096, (64 << 20) - 4096)",
}


@pytest.mark.parametrize("path", PATHS)
def test_an_impatient_kernel_and_memory(path: str, impatient_kernel: None, agents: Callable[..., Agent]) -> None:
    """A request that waits for memory ends by itself, too, and finds the memory when it comes again."""
    with mounted(path) as daemon:
        slots = {name: Slot.make(daemon.path, name) for name in SIZES}
        clients = {name: agents() for name in SIZES}
        for name, slot in slots.items():
            clients[name].run("fd = os.open(path, os.O_RDWR | os.O_CREAT)", path=slot / "data.bin")
        with stopped_helper(daemon.server):
            for name, slot in slots.items():
                clients[name].start(SIZES[name], path=slot / "data.bin")
            for name, slot in slots.items():
                with refused(errno.ETIMEDOUT):
                    clients[name].result(seconds=60)
                told = slot.text["refused"]
                assert "reserve space" in told and "fs.fuse.default_request_timeout" in told
        for name, slot in slots.items():
            clients[name].run(SIZES[name], path=slot / "data.bin", seconds=60)
            assert clients[name].run("os.fstat(fd).st_size") == 64 << 20
            clients[name].run("os.close(fd)")
            assert slot.state == "FILLING"


def test_sizes_and_readers(path: str, tmp_path: Path) -> None:
    """A size is true or 0, as in /proc; and programs that ask for it first read all the same."""
    with mounted(path) as daemon:
        many_slots(daemon.path, 50)
        directory = daemon.path / ".pyrmap"
        os.symlink(f"../{'n' * 200}0/result.bin", daemon.path / f"{'n' * 200}1" / "source")
        assert os.stat(directory / "config").st_size == len((directory / "config").read_bytes())
        for name in ("graph", "chains"):
            assert os.stat(directory / name).st_size == 0
            text = (directory / name).read_bytes()
            assert os.stat(directory / name).st_size == len(text) > 0
            for known in (True, False):
                if not known:
                    os.rename(daemon.path / f"{'n' * 200}40", daemon.path / f"{'m' * 200}40")
                    os.rename(daemon.path / f"{'m' * 200}40", daemon.path / f"{'n' * 200}40")
                    assert os.stat(directory / name).st_size == 0
                assert subprocess.run(["cat", directory / name], capture_output=True, check=True).stdout == text
        for name in ("graph", "chains", "status", "metrics", "config"):
            subprocess.run(["cp", directory / name, tmp_path / name], check=True)
            copy = (tmp_path / name).read_text()
            last = subprocess.run(["tail", "-n", "1", directory / name], capture_output=True, check=True, text=True)
            first = subprocess.run(["head", "-n", "1", directory / name], capture_output=True, check=True, text=True)
            count = subprocess.run(["wc", "-l", directory / name], capture_output=True, check=True, text=True)
            assert copy.splitlines()[0] == first.stdout.rstrip("\n")
            assert copy.splitlines()[-1].split()[0] == last.stdout.split()[0]
            assert int(count.stdout.split()[0]) == len(copy.splitlines())


def test_a_long_text_is_what_it_was_when_opened(path: str) -> None:
    """Small reads, seeks back, and changes in between: the text is the one of the open."""
    with mounted(path) as daemon:
        many_slots(daemon.path, 400)
        with open(daemon.path / ".pyrmap" / "graph", "rb", buffering=0) as file:
            text = b"".join(iter(lambda: file.read(1000), b""))
            os.rmdir(daemon.path / f"{'n' * 200}7")
            file.seek(0)
            assert b"".join(iter(lambda: file.read(4096), b"")) == text
        assert (daemon.path / ".pyrmap" / "graph").read_bytes() != text
        assert number(status(daemon.path)["slots"]) == 399


def test_no_descriptor_left(path: str) -> None:
    """The daemon has none for an open: that changes nothing, and the next one works."""
    with mounted(path) as daemon:
        slot = Slot.make(daemon.path, "job").bring("READY")
        before = {key: slot.text[key] for key in ("flag", "state", "round", "input_length")}
        limits = resource.prlimit(daemon.server, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.server, resource.RLIMIT_NOFILE, (3, limits[1]))
        with refused(errno.EMFILE):
            os.open(slot / "result.bin", os.O_RDWR)
        with refused(errno.EMFILE):
            os.truncate(slot / "result.bin", 8)
        resource.prlimit(daemon.server, resource.RLIMIT_NOFILE, limits)
        assert {key: slot.text[key] for key in before} == before
        assert "EMFILE" in slot.text["refused"] and "descriptor" in slot.text["refused"]
        os.close(os.open(slot / "result.bin", os.O_RDWR))
        assert slot.text["state"].startswith("COMPUTING")
