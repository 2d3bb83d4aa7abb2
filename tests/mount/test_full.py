# SPDX-License-Identifier: Apache-2.0
"""A machine that has nothing left: one client is told, all others go on, and it works again when the shortage ends."""
from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest
from agent import Agent
from cgroups import Confined, Group, cgroup
from daemon import Daemon
from paths import PATHS, check_data_path, mounted
from slots import ANSWER, DATA, INPUT, NONE, Slot, eventually, refused, status, usage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to limit the daemon")
MB = 1 << 20


# --- processes ---

@pytest.fixture
def group() -> Iterator[Group]:
    with cgroup("pids", 100) as made:
        yield made


def confined(group: Group, path: str) -> Confined:
    daemon = Confined(mounted(path, arena_capacity="64M").options)
    daemon.group = group
    return daemon


@pytest.mark.parametrize("room", [0, 1], ids=["no process", "no thread"])
@pytest.mark.parametrize("path", PATHS)
def test_no_process_for_the_next_server(group: Group, path: str, room: int, agent: Agent) -> None:
    """Clients wait, mappings go on, and the mount does as soon as there is one. room 1: a server, without its helper thread."""
    with confined(group, path) as daemon:
        check_data_path(daemon, path)
        slot = Slot.make(daemon.path, "job").bring("READY")
        agent.start("open(path, 'rb').read()", path=slot / "result.bin")
        eventually(lambda: slot.waiters() != [])
        supervisor, server = daemon.supervisor, daemon.server
        own = len(os.listdir(f"/proc/{server}/task"))
        os.kill(server, signal.SIGSTOP)
        group.set_limit(group.processes() - own + room)
        os.kill(server, signal.SIGKILL)
        eventually(lambda: "Resource temporarily unavailable" in daemon.log.read_text())
        assert not agent.answered() and daemon.process is not None and daemon.process.poll() is None
        group.set_limit(100)
        slot.answer()
        assert agent.result().encode("latin-1") == ANSWER.tobytes()
        assert daemon.supervisor == supervisor and daemon.server != server
        assert status(daemon.path)["takeovers"].split()[0] == "1"
        assert daemon.log.read_text().count("Resource temporarily unavailable") == 1


def test_a_stop_while_there_is_no_server(group: Group) -> None:
    with confined(group, PATHS[0]) as daemon:
        server = daemon.server
        own = len(os.listdir(f"/proc/{server}/task"))
        os.kill(server, signal.SIGSTOP)
        group.set_limit(group.processes() - own)
        os.kill(server, signal.SIGKILL)
        eventually(lambda: "no other one can be started" in daemon.log.read_text())
        assert daemon.stop() == 0


# --- descriptors ---

def each_file(slot: Slot) -> dict[str, Callable[[], object]]:
    """What takes a descriptor of the server, perhaps."""
    return {
        "open data.bin": lambda: os.close(os.open(slot / "data.bin", os.O_RDWR | os.O_NONBLOCK)),
        "read data.bin": lambda: (slot / "data.bin").read_bytes(),
        "size": lambda: os.truncate(slot / "data.bin", 8 * MB),
        "task": lambda: (slot / "task").write_text("x" * 100),
        "metadata.mem": lambda: slot.page(),
        "metadata.bin": lambda: slot.raw,
        "metadata.txt": lambda: slot.text,
        "publish": lambda: slot.flag(INPUT),
        "send": lambda: slot.send(INPUT, DATA.repeat(1000)),
        "worker": lambda: (slot / "worker").write_text("self"),
        "owner": lambda: (slot / "owner").write_text("self"),
        "views": lambda: ((slot / "data.txt").read_bytes(), (slot / "data.npy").read_bytes()),
        "mkdir": lambda: os.mkdir(slot.path.parent / "more"),
    }


@pytest.mark.parametrize("kind", ["tmpfs", "dir", "memfd"])
@pytest.mark.parametrize("path", PATHS)
def test_no_descriptor(path: str, kind: str, tmp_path: Path) -> None:
    """Of all that asks for one, some get EMFILE and nothing else; an exchange that is under way goes on."""
    options = {"arena_path": str(tmp_path / "arena")} if kind == "dir" else {}
    with mounted(path, arena_kind=kind, arena_capacity="64M", **options) as daemon:
        busy = Slot.make(daemon.path, "busy").bring("READY")
        result = os.open(busy / "result.bin", os.O_RDWR)
        os.pwrite(result, ANSWER.tobytes(), 0)
        server = daemon.server
        limits = resource.prlimit(server, resource.RLIMIT_NOFILE)
        told = set()
        for name in each_file(busy):
            slot = Slot.make(daemon.path, name.replace(" ", "-"))
            slot.fill()
            resource.prlimit(server, resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                each_file(slot)[name]()
            except OSError as error:
                assert error.errno == errno.EMFILE, name
                told.add(name)
            finally:
                resource.prlimit(server, resource.RLIMIT_NOFILE, limits)
            if name in told:
                each_file(slot)[name]()
        assert "size" in told or kind == "memfd"
        os.close(result)
        busy.write(flag=1, result_length=ANSWER.size, result_dtype=2)
        assert busy.result().tolist() == ANSWER.tolist() and daemon.server == server


# --- disks ---

@contextlib.contextmanager
def disk(tmp_path: Path, options: str) -> Iterator[Path]:
    """A small one, on which the arena lies."""
    point = tmp_path / "disk"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "disk", str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


@contextlib.contextmanager
def on_disk(path: str, tmp_path: Path, options: str) -> Iterator[Daemon]:
    with disk(tmp_path, options) as point, mounted(path, arena_kind="dir", arena_path=str(point / "arena"),
                                                   arena_capacity="1G", arena_warm="0") as daemon:
        check_data_path(daemon, path)
        yield daemon


@pytest.mark.parametrize("path", PATHS)
def test_a_full_disk(path: str, tmp_path: Path) -> None:
    """By sizes, by writes and by arrays in one write: ENOSPC each time, and what is there stays."""
    with on_disk(path, tmp_path, "size=24m") as daemon:
        kept, slot = Slot.make(daemon.path, "kept").bring("DONE"), Slot.make(daemon.path, "slot")
        assert slot.record.flag == NONE  # whose page is on the disk as well
        with refused(errno.ENOSPC):
            os.truncate(slot / "data.bin", 40 * MB)
        for flags in (os.O_RDWR, os.O_WRONLY):
            fd = os.open(slot / "data.bin", flags | os.O_TRUNC)
            with refused(errno.ENOSPC):
                for _ in range(40):
                    os.write(fd, bytes(MB))
            os.close(fd)
            with refused(errno.ENOSPC):
                for count in range(40):
                    Slot.make(daemon.path, f"more-{count}").send(INPUT, DATA.repeat(20000))
            assert kept.data().tolist() == DATA.tolist() and kept.result().tolist() == ANSWER.tolist()
            assert slot.state == "FILLING"
            for name in daemon.path.glob("more-*"):
                os.rmdir(name)
            slot.flag(NONE)
        slot.publish()
        kept.publish()
        kept.answer()


@pytest.mark.parametrize("path", PATHS)
def test_a_disk_without_inodes(path: str, tmp_path: Path) -> None:
    with on_disk(path, tmp_path, "size=24m,nr_inodes=40") as daemon:
        kept = Slot.make(daemon.path, "kept").bring("DONE")
        slots = []
        with refused(errno.ENOSPC):
            for count in range(40):
                slots.append(Slot.make(daemon.path, f"more-{count}"))
                slots[-1].publish()
        assert len(slots) > 8
        assert kept.data().tolist() == DATA.tolist() and kept.result().tolist() == ANSWER.tolist()
        for slot in slots[:6]:
            slot.remove()
        eventually(lambda: os.statvfs(daemon.options["arena.path"]).f_ffree >= 5, "their files are gone")
        kept.publish()
        kept.answer()
        slots[-1].publish()
        assert slots[-1].data().tolist() == DATA.tolist()


def test_a_disk_too_full_for_more_slots(tmp_path: Path) -> None:
    """The index cannot grow: mkdir says so, and all slots stay."""
    with on_disk("passthrough", tmp_path, "size=6m") as daemon:
        with refused(errno.ENOSPC):
            for count in range(5000):
                Slot.make(daemon.path, f"slot-{count}")
        names = [path for path in daemon.path.iterdir() if path.name[0] != "."]
        assert len(names) == count > 100
        os.rmdir(names[0])
        Slot.make(daemon.path, "again").send(INPUT, DATA)


# --- no page is missing where a client may look ---

SIZE = 2 * MB
HOLES = {
    "punched through the mount": "holed = os.open(path, os.O_RDWR)\npunch(holed)",
    "punched by the link": "holed = os.open(path, os.O_RDWR)\ntry: punch(os.open(mem, os.O_RDWR))\nexcept FileNotFoundError: pass",
    "cut and grown by the link": "holed = os.open(path, os.O_RDWR)\ntry: os.truncate(mem, 1); os.truncate(mem, size)\n"
                                 "except FileNotFoundError: pass",
    "grown by the link": "holed = os.open(path, os.O_RDWR)\ntry: os.truncate(mem, 2 * size)\nexcept FileNotFoundError: pass",
    "written beyond the end": "holed = os.open(path, os.O_WRONLY)\nos.pwrite(holed, b'x', 2 * size - 1)",
    "a hole in place of pages behind the end": "holed = os.open(path, os.O_RDWR)\n"
                                               "try:\n    fd = os.open(mem, os.O_RDWR)\n    punch(fd)\n"
                                               "    libc.fallocate(fd, 1, ctypes.c_long(size), ctypes.c_long(1 << 16))\n"
                                               "except FileNotFoundError: pass",
}
CLIENT = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

def punch(fd):
    libc.fallocate(fd, 3, ctypes.c_long(1 << 16), ctypes.c_long(1 << 16))

first = os.open("/dev/null", os.O_RDONLY)

def close_all():
    os.closerange(first, 1000)
"""


def fill_up(mount: Path) -> None:
    """Until the arena has no page left."""
    taken, size = 0, MB
    while size >= 4096:
        slot = Slot.make(mount, f"filler-{taken}")
        taken += 1
        try:
            os.truncate(slot / "data.bin", size)
        except OSError as error:
            assert error.errno == errno.ENOSPC
            size //= 2


@pytest.mark.parametrize("how", HOLES)
@pytest.mark.parametrize("kind", ["tmpfs", "dir"])
@pytest.mark.parametrize("path", PATHS)
def test_no_hole_is_published(path: str, kind: str, how: str, tmp_path: Path, agents: Callable[..., Agent]) -> None:
    """However a client made one, a reader can touch each page of what is published, in an arena that has none left."""
    with contextlib.ExitStack() as stack:
        options = {"arena_path": str(stack.enter_context(disk(tmp_path, "size=16m")) / "arena")} if kind == "dir" else {}
        daemon = stack.enter_context(mounted(path, arena_kind=kind, arena_capacity="16M", arena_warm="0", **options))
        check_data_path(daemon, path)
        writer, reader = agents("nobody"), agents("nobody")
        writer.run(CLIENT)
        slot = Slot(daemon.path / "job")
        writer.run("os.mkdir(job)\nfd = os.open(path, os.O_RDWR)\nos.pwrite(fd, b'1' * size, 0)\nos.close(fd)\n" + HOLES[how], job=slot.path,
                   path=slot / "data.bin", mem=slot / "data.mem", size=SIZE)
        image = slot.record._replace(flag=INPUT, dtype=5, input_length=-1).pack()
        fill_up(daemon.path)
        writer.run("close_all()")
        try:
            writer.run("fd = os.open(record, os.O_WRONLY)\nos.pwrite(fd, image, 0)", record=slot / "metadata.bin", image=image)
        except OSError as error:
            assert error.errno == errno.ENOSPC and slot.state == "FILLING"
            slot.flag(NONE)
        else:
            size = os.stat(slot / "data.bin").st_size
            assert size >= SIZE
            assert reader.run("len(Pages(path).load())", path=slot / "data.bin") == size
            if path == "links":
                assert reader.run("len(Pages(path).load())", path=slot / "data.mem") == size
        assert usage(daemon.path)["used"] <= 16 * MB


@pytest.mark.parametrize("kind", ["tmpfs", "dir", "memfd"])
@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_cut_under_a_reader(path: str, kind: str, tmp_path: Path, agents: Callable[..., Agent]) -> None:
    """Its mapping keeps each page, whatever its own user tries, and when the round is over."""
    options = {"arena_path": str(tmp_path / "arena")} if kind == "dir" else {}
    with mounted(path, arena_kind=kind, arena_capacity="64M", arena_warm="0", **options) as daemon:
        check_data_path(daemon, path)
        writer, reader = agents("nobody"), agents("nobody")
        slot = Slot(daemon.path / "job")
        content = b"0123456789abcdef" * (SIZE // 16)
        writer.run("os.mkdir(job)\nfd = os.open(path, os.O_RDWR)\nos.pwrite(fd, content * (size // 16), 0)\nos.close(fd)\n", job=slot.path,
                   path=slot / "data.bin", content=b"0123456789abcdef", size=SIZE)
        slot.write(flag=INPUT, dtype=5, input_length=SIZE)
        reader.run("view = Pages(path)\nheld = os.open(path, os.O_RDONLY)", path=slot / "data.bin")

        def intact() -> bool:
            return bool(reader.run("view.load() == content * (view.size // 16)", content=content[:16]))

        for source in ("os.truncate(path, 0)", "os.truncate(path, 4096)", "os.open(path, os.O_RDWR | os.O_TRUNC)",
                       "os.open(path, os.O_WRONLY | os.O_TRUNC)"):
            with refused(errno.EBUSY):
                writer.run(source, path=slot / "data.bin")
            assert intact()
        if path == "links":
            for source in ("os.truncate(path, 0)", "os.open(path, os.O_RDWR)", "os.open(path, os.O_WRONLY | os.O_TRUNC)"):
                with refused(errno.EBUSY):
                    writer.run(source, path=slot / "data.mem")
                with refused(errno.EACCES if kind == "tmpfs" else errno.EBUSY):  # the others let no other user in
                    reader.run(source, path=slot / "data.mem")
                assert intact()
        slot.flag(NONE)
        writer.run("os.truncate(path, 8)", path=slot / "data.bin")
        assert intact()
        os.unlink(slot / "data.bin")
        os.rmdir(slot.path)
        assert intact()
