# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: the program that lies at its path by now takes over between two requests, and no client notices."""
from __future__ import annotations

import errno
import mmap
import os
import pty
import select
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any, Iterator

import pytest
from agent import Agent
from daemon import BUILD, PATH_OPTIONS, PYRMAPFS, Daemon, is_mounted, processes
from paths import check_data_path
from places import kill
from slots import ANSWER, DATA, INPUT, RESULT, STATES, Slot, eventually, number, refused, status

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NEXT = BUILD / "upgrades/next"
NEXT_VERSION = "99.0.0"
PLACES = [("passthrough", "tmpfs"), ("passthrough", "dir"), ("passthrough", "memfd"), ("links", "memfd"), ("links", "tmpfs"),
          ("page cache", "memfd")]
REFUSED = "the reload is refused, and the mount goes on as it was"


def install(daemon: Daemon, program: Path, mode: int = 0o755) -> None:
    """As a package does it: another file gets the name."""
    new = daemon.program.with_suffix(".new")
    shutil.copy(program, new)
    new.chmod(mode)
    new.rename(daemon.program)


def with_own_program(daemon: Daemon) -> Daemon:
    (daemon.directory / "bin").mkdir()
    daemon.program = daemon.directory / "bin/pyrmapfs"
    install(daemon, PYRMAPFS)
    return daemon


@pytest.fixture(params=PLACES, ids="-".join)
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    path, kind = request.param
    new = with_own_program(Daemon({"arena.kind": kind, "arena.capacity": "64M", **PATH_OPTIONS[path]}))
    if kind == "dir":
        new.options["arena.path"] = str(new.directory / "arena")
    with new:
        check_data_path(new, path.replace(" ", ""))
        yield new


@pytest.fixture
def simple() -> Iterator[Daemon]:
    with with_own_program(Daemon({"arena.capacity": "64M"})) as new:
        yield new


@pytest.fixture
def agent() -> Iterator[Agent]:
    other = Agent()
    yield other
    other.kill()


def version(daemon: Daemon) -> str:
    return status(daemon.path)["version"]


def reload(daemon: Daemon) -> None:
    os.kill(daemon.supervisor, signal.SIGHUP)


def upgrade(daemon: Daemon, program: Path = NEXT) -> None:
    before = number(status(daemon.path)["takeovers"])
    install(daemon, program)
    reload(daemon)
    eventually(lambda: number(status(daemon.path)["takeovers"]) == before + 1)


def refusals(daemon: Daemon) -> list[str]:
    return [line for line in daemon.log.read_text().splitlines() if REFUSED in line]


def refusal(daemon: Daemon) -> str:
    before = len(refusals(daemon))
    reload(daemon)
    eventually(lambda: len(refusals(daemon)) == before + 1)
    return refusals(daemon)[-1].split(f"{daemon.program}: ", 1)[1]


def was_published(slot: Slot, **fields: int) -> bool:
    """The kernel may have the end of a mapping still on its way to the daemon: EBUSY."""
    try:
        slot.write(**fields)
    except OSError as error:
        assert error.errno == errno.EBUSY
        return False
    return True


def test_no_client_notices(daemon: Daemon, agent: Agent) -> None:
    old = version(daemon)
    for state in STATES:
        Slot.make(daemon.path, state).bring(state)
    records = {state: Slot(daemon.path / state).raw for state in STATES}
    agent.start("open(path, 'rb').read()", path=daemon.path / "READY/result.bin")
    eventually(lambda: Slot(daemon.path / "READY").waiters())
    slot = Slot.make(daemon.path, "job")
    fd = os.open(slot / "data.bin", os.O_RDWR)
    os.ftruncate(fd, 4096)
    with mmap.mmap(fd, 4096) as page, open(slot / "metadata.bin", "rb", buffering=0) as file:
        file.read()
        poll = select.poll()
        poll.register(file, select.POLLIN)
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.extend(poll.poll(20000)))
        thread.start()
        page[:4] = b"by 1"
        supervisor = daemon.supervisor
        upgrade(daemon)
        assert version(daemon) == NEXT_VERSION != old and daemon.supervisor == supervisor
        page[4:8] = b"by 2"
        assert os.pwrite(fd, b"by write", 8) == 8
        assert not seen
        with refused(16):
            slot.write(flag=INPUT, dtype=5, input_length=4096)
    os.close(fd)
    eventually(lambda: was_published(slot, flag=INPUT, dtype=5, input_length=4096))
    thread.join()
    assert len(seen) == 1
    assert (slot / "data.bin").read_bytes()[:16] == b"by 1by 2by write"
    assert {state: Slot(daemon.path / state).raw for state in STATES} == records
    assert not agent.answered()
    Slot(daemon.path / "READY").answer()
    assert agent.result().encode("latin-1") == ANSWER.tobytes()
    assert Slot(daemon.path / "DONE").result().tolist() == ANSWER.tolist()


def test_there_and_back_again(daemon: Daemon) -> None:
    slot = Slot.make(daemon.path, "job")
    used = []
    for turn in range(1, 5):
        slot.publish(DATA + turn)
        upgrade(daemon, NEXT if turn % 2 else PYRMAPFS)
        slot.answer(ANSWER + turn)
        assert slot.result().tolist() == (ANSWER + turn).tolist() and slot.record.round == turn
        used.append((number(status(daemon.path)["used"]), len(os.listdir(f"/proc/{daemon.supervisor}/fd"))))
    eventually(lambda: len(os.listdir(f"/proc/{daemon.supervisor}/fd")) <= used[0][1])
    assert used[2][0] == used[0][0] and used[3][0] == used[1][0]


def test_the_new_program_goes_on_when_its_server_is_killed(simple: Daemon) -> None:
    upgrade(simple)
    simple.program.unlink()
    os.kill(simple.server, signal.SIGKILL)
    assert version(simple) == NEXT_VERSION and status(simple.path)["takeovers"] == "2"


def test_the_mount_is_cleared_when_all_are_killed(simple: Daemon) -> None:
    upgrade(simple)
    eventually(lambda: len(simple.pids()) == 3, "one server and one keeper: those of before end")
    kill(simple, "both")
    eventually(lambda: not is_mounted(simple.path))
    simple.stop()
    simple.process = None


def test_while_clients_exchange(daemon: Daemon) -> None:
    """Ten programs under load: each round is exchanged, once."""
    slot = Slot.make(daemon.path, "job")
    rounds, stop = [0], threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            slot.send(INPUT, DATA + rounds[0])
            slot.send(RESULT, ANSWER + rounds[0])
            assert slot.result().tolist() == (ANSWER + rounds[0]).tolist()
            rounds[0] += 1

    thread = threading.Thread(target=exchange)
    thread.start()
    for turn in range(10):
        before = rounds[0]
        upgrade(daemon, NEXT if turn % 2 == 0 else PYRMAPFS)
        eventually(lambda: rounds[0] > before)
    stop.set()
    thread.join()
    assert slot.record.round == rounds[0]


def test_what_the_server_has_open_is_no_client_s(daemon: Daemon) -> None:
    """Small arrays that are opened by name are copied into segments all the time, while the program is tried."""
    slots = [Slot.make(daemon.path, f"job{number}") for number in range(3)]
    stop, errors = threading.Event(), []

    def exchange(slot: Slot) -> None:
        try:
            while not stop.is_set():
                slot.send(INPUT, DATA)
                assert (slot / "data.bin").read_bytes() == DATA.tobytes()
                slot.send(RESULT, ANSWER)
                assert (slot / "result.bin").read_bytes() == ANSWER.tobytes()
        except (AssertionError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=exchange, args=[slot]) for slot in slots]
    for thread in threads:
        thread.start()
    for turn in range(20):
        upgrade(daemon, NEXT if turn % 2 == 0 else PYRMAPFS)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("what,why", [
    ("missing", "No such file or directory"), ("not executable", "Permission denied"), ("a text", "Exec format error"),
    ("another program", "it does not say that it can go on with a running mount"),
    ("one that fails", "it does not say that it can go on with a running mount"), ("another index", "has the layout of another version")])
def test_what_cannot_go_on_is_refused(simple: Daemon, what: str, why: str) -> None:
    slot, old, server = Slot.make(simple.path, "job").bring("READY"), version(simple), simple.server
    if what == "missing":
        simple.program.unlink()
    elif what == "a text":
        text = simple.directory / "text"
        text.write_text("no program\n")
        install(simple, text)
    else:
        install(simple, {"not executable": NEXT, "another program": Path("/bin/true"), "one that fails": Path("/bin/false"),
                         "another index": BUILD / "upgrades/other-index"}[what], 0o644 if what == "not executable" else 0o755)
    assert why in refusal(simple)
    assert simple.server == server and version(simple) == old and status(simple.path)["takeovers"] == "0"
    slot.answer()
    upgrade(simple)
    assert version(simple) == NEXT_VERSION and slot.result().tolist() == ANSWER.tolist()


def test_the_old_program_goes_on_if_the_new_server_dies(daemon: Daemon, agent: Agent) -> None:
    old, slot = version(daemon), Slot.make(daemon.path, "job").bring("READY")
    agent.start("open(path, 'rb').read()", path=slot / "result.bin")
    eventually(slot.waiters)
    install(daemon, BUILD / "upgrades/dies")
    reload(daemon)
    eventually(lambda: "the old one goes on" in daemon.log.read_text())
    assert version(daemon) == old
    slot.answer()
    assert agent.result().encode("latin-1") == ANSWER.tobytes()
    upgrade(daemon)
    assert version(daemon) == NEXT_VERSION


def test_it_reads_the_configuration_again() -> None:
    daemon = with_own_program(Daemon())
    file = daemon.directory / "conf"
    file.write_text("[arena]\ncapacity = 64M\n[handshake]\nwait_timeout = 0\n")
    daemon.arguments = ["-c", os.path.relpath(file)]
    with daemon:
        config = daemon.path / ".pyrmap/config"
        file.write_text("[arena]\ncapacity = 32M\n[handshake]\nwait_timeout = 0.1\n[limits]\nslots_per_user = 2\n")
        reload(daemon)
        eventually(lambda: "wait_timeout = 0.100" in config.read_text())
        assert "capacity = 64M" in config.read_text() and "slots_per_user = 2" in config.read_text()
        assert "arena.capacity = 32M needs another start of the mount; until then it is 64M" in daemon.log.read_text()
        slot = Slot.make(daemon.path, "job").bring("READY")
        with refused(110):
            (slot / "result.bin").read_bytes()
        file.write_text("[arena]\ncapacity = a lot\n")
        assert ":2: arena.capacity: 'a lot' is not a size" in refusal(daemon)
        assert "wait_timeout = 0.100" in config.read_text()


@pytest.mark.parametrize("user", [None, "nobody"], ids=["root", "nobody"])
def test_in_the_background(user: str | None, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user runs it: from a directory that it leaves, with a path that is relative to that."""
    with with_own_program(Daemon({"arena.capacity": "64M"}, user=user)) as daemon:
        (daemon.directory / "conf").write_text("[limits]\nslots_per_user = 7\n")
        assert daemon.stop() == 0
        monkeypatch.chdir(daemon.directory)
        command = [word for word in daemon.command() if word != "-f"]
        subprocess.run([*command[:-1], "-c", "conf", command[-1]], check=True, timeout=30, stdin=subprocess.DEVNULL)
        client = Agent(user)
        supervisor = next(pid for pid in processes(daemon.path)
                          if Path(f"/proc/{pid}/comm").read_text() not in ("pyrmapfs-server\n", "pyrmapfs-keeper\n"))
        install(daemon, NEXT)
        os.kill(supervisor, signal.SIGHUP)
        eventually(lambda: f"version: {NEXT_VERSION}\n" in client.run("open(path).read()", path=daemon.path / ".pyrmap/status"))
        assert "slots_per_user = 7" in client.run("open(path).read()", path=daemon.path / ".pyrmap/config")
        client.kill()
        subprocess.run(["umount", "-i", str(daemon.path)], check=True, timeout=30)
        eventually(lambda: processes(daemon.path) == [])


def test_a_terminal_that_goes_ends_it() -> None:
    """The kernel sends the same signal then, and that is no wish for another program."""
    daemon = Daemon({"arena.capacity": "64M"})
    try:
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(daemon.program, daemon.command())
        text = b""
        while b"ready" not in text:
            text += os.read(terminal, 4096)
        assert is_mounted(daemon.path)
        os.close(terminal)
        os.waitpid(pid, 0)
        assert not is_mounted(daemon.path)
    finally:
        daemon.stop()
        shutil.rmtree(daemon.directory, ignore_errors=True)
