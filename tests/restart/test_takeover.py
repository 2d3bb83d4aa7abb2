# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of the server alone: another one takes over, and no client sees an error or loses a byte."""
from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import struct
import subprocess
import threading
from pathlib import Path
from typing import Iterator

import numpy as np
import pytest
from agent import Agent
from daemon import BUILD, PASSTHROUGH, Daemon, is_mounted, processes
from paths import check_data_path, mounted
from slots import ANSWER, DATA, FAILED, INPUT, NONE, RESULT, STATES, Slot, eventually, metrics, number, pairs, refused, status

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PLACES = [("passthrough", "tmpfs"), ("passthrough", "dir"), ("passthrough", "memfd"), ("links", "memfd"), ("links", "tmpfs"),
          ("links", "dir"), ("pagecache", "tmpfs"), ("pagecache", "memfd")]


@pytest.fixture(params=PLACES, ids="-".join)
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    path, kind = request.param
    options = {"arena_kind": kind, **({"arena_path": str(tmp_path / "arena")} if kind == "dir" else {})}
    with mounted(path, **options) as started:
        check_data_path(started, path)
        yield started


@pytest.fixture(params=["root", "nobody"])
def background(request: pytest.FixtureRequest) -> Iterator[tuple[Path, str | None]]:
    """The mount point of a daemon that is nobody's child, and its user; None: root."""
    user = None if request.param == "root" else str(request.param)
    with Daemon({"arena.capacity": "64M"}, user=user) as daemon:
        assert daemon.stop() == 0
        command = [word for word in daemon.command() if word != "-f"]
        subprocess.run(command, check=True, timeout=30, stdin=subprocess.DEVNULL)
        yield daemon.path, user
        subprocess.run(["umount", "-i", str(daemon.path)], check=True, timeout=30)
        eventually(lambda: processes(daemon.path) == [])


@pytest.fixture
def agent() -> Iterator[Agent]:
    other = Agent()
    yield other
    other.kill()


def takeovers(daemon: Daemon) -> int:
    return number(status(daemon.path)["takeovers"])


def kill_server(daemon: Daemon) -> None:
    """SIGKILL; returns when the next server serves."""
    before, counted = daemon.server, takeovers(daemon)
    os.kill(before, signal.SIGKILL)
    assert takeovers(daemon) == counted + 1, "the answer comes from the next server"
    assert daemon.server != before


@contextlib.contextmanager
def frozen(daemon: Daemon) -> Iterator[None]:
    """The server gets no request in here, and is killed at the end."""
    server = daemon.server
    os.kill(server, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server, signal.SIGKILL)


def parked(slot: Slot, agent: Agent) -> None:
    eventually(lambda: agent.pid in [pid for pid, _ in slot.waiters()], "its open is parked")


def test_every_state_stays(daemon: Daemon) -> None:
    for state in STATES:
        Slot.make(daemon.path, state).bring(state)
    records = {state: Slot(daemon.path / state).raw for state in STATES}
    for _ in range(3):
        kill_server(daemon)
    assert {state: Slot(daemon.path / state).raw for state in STATES} == records
    assert {state: Slot(daemon.path / state).state for state in STATES} == {state: state for state in STATES}
    assert Slot(daemon.path / "READY").data().tolist() == DATA.tolist()
    assert Slot(daemon.path / "DONE").result().tolist() == ANSWER.tolist()
    Slot(daemon.path / "COMPUTING").answer()
    Slot(daemon.path / "FILLING").publish()
    told = metrics(daemon.path)
    assert (told["pyrmapfs_takeovers_total"], told["pyrmapfs_takeover_seconds_count"]) == (3, 3)
    assert told["pyrmapfs_takeover_seconds_sum"] > 0
    log = daemon.log.read_text()
    assert log.count("signal 9") == 3 and log.count("another one has taken over after") == 3


def test_a_parked_open_goes_on(daemon: Daemon, agent: Agent) -> None:
    slot = Slot.make(daemon.path, "job").bring("READY")
    agent.start("open(path, 'rb').read()", path=slot / "result.bin")
    parked(slot, agent)
    for _ in range(3):
        kill_server(daemon)
        parked(slot, agent)
    assert not agent.answered()
    slot.answer()
    assert agent.result().encode("latin-1") == ANSWER.tobytes()


def test_a_parked_open_can_be_interrupted(daemon: Daemon, agent: Agent) -> None:
    slot = Slot.make(daemon.path, "job").bring("READY")
    agent.start("os.open(path, os.O_RDONLY)", path=slot / "result.bin")
    parked(slot, agent)
    kill_server(daemon)
    parked(slot, agent)
    agent.interrupt()
    with pytest.raises(InterruptedError):
        agent.result()
    assert slot.waiters() == []


def test_a_blocked_publish_goes_on(daemon: Daemon, agent: Agent) -> None:
    """A stream: the source's next input waits until the follower's outcome was taken."""
    source, sink = Slot.make(daemon.path, "source"), Slot.make(daemon.path, "sink")
    os.symlink("../source/data.bin", sink / "source")
    source.publish()
    assert sink.state == "READY"
    source.answer()
    source.fill(DATA + 1)
    agent.start("os.pwrite(os.open(path, os.O_WRONLY), flag, 0)", path=source / "metadata.bin", flag=struct.pack("<i", 0))
    parked(source, agent)
    kill_server(daemon)
    parked(source, agent)
    sink.answer()
    assert sink.result().tolist() == ANSWER.tolist()
    assert agent.result() == 4
    assert sink.state == "READY" and sink.data().tolist() == (DATA + 1).tolist()
    assert source.record.round == 2 and sink.record.round == 2


def test_open_files_stay_open(daemon: Daemon) -> None:
    """What is read and written through them, by read(2), write(2) and mappings, is the same file's."""
    slot = Slot.make(daemon.path, "job")
    fd = os.open(slot / "data.bin", os.O_RDWR)
    os.ftruncate(fd, 8192)
    with mmap.mmap(fd, 8192) as page:
        page[0:8] = b"01234567"
        kill_server(daemon)
        page[8:16] = b"89abcdef"
        page[4096:4104] = b"fresh up"
        assert os.pwrite(fd, b"written!", 16) == 8
        page.flush()
        with refused(16):  # EBUSY: it is open and mapped
            slot.write(flag=INPUT, dtype=5, input_length=8192)
    kill_server(daemon)
    with refused(16):
        slot.write(flag=INPUT, dtype=5, input_length=8192)
    os.ftruncate(fd, 4104)
    os.close(fd)
    kill_server(daemon)
    slot.write(flag=INPUT, dtype=5, input_length=4104)
    kill_server(daemon)
    content = (slot / "data.bin").read_bytes()
    assert content[:24] == b"0123456789abcdefwritten!" and content[4096:] == b"fresh up"


def test_a_mapping_alone_counts_as_a_writer(daemon: Daemon) -> None:
    """Closed, but mapped: on the page-cache path the kernel sends RELEASE when the mapping goes."""
    slot = Slot.make(daemon.path, "job")
    fd = os.open(slot / "data.bin", os.O_RDWR)
    os.ftruncate(fd, 8)
    page = mmap.mmap(fd, 8)
    os.close(fd)
    kill_server(daemon)
    with refused(16):
        slot.write(flag=INPUT, dtype=5, input_length=8)
    page[:] = b"by store"
    page.close()
    eventually(lambda: slot.record.flag == NONE)
    slot.write(flag=INPUT, dtype=5, input_length=8)
    assert (slot / "data.bin").read_bytes() == b"by store"


def test_readers_of_an_earlier_round_keep_it(daemon: Daemon) -> None:
    slot = Slot.make(daemon.path, "job").bring("DONE")
    with open(slot / "result.bin", "rb") as old, open(slot / "data.bin", "rb") as first:
        slot.publish(DATA + 1)
        slot.answer(ANSWER + 1)
        kill_server(daemon)
        assert np.frombuffer(old.read()).tolist() == ANSWER.tolist()
        assert np.frombuffer(first.read()).tolist() == DATA.tolist()
    assert slot.result().tolist() == (ANSWER + 1).tolist()
    kill_server(daemon)
    assert slot.result().tolist() == (ANSWER + 1).tolist()


def test_a_small_array_that_is_open_is_the_slot_s(daemon: Daemon) -> None:
    """It stands in the index, and the pages that clients have open of it are a copy, of which the index knows nothing."""
    source, sink = Slot.make(daemon.path, "source"), Slot.make(daemon.path, "sink")
    os.symlink("../source/result.bin", sink / "source")
    for turn in range(1, 4):
        source.send(INPUT, DATA + turn)
        source.send(RESULT, ANSWER + turn)  # waits until the last outcome was taken
        with open(sink / "data.bin", "rb") as given:
            kill_server(daemon)
            assert os.fstat(given.fileno()).st_ino == os.stat(source / "result.bin").st_ino
            sink.send(RESULT, ANSWER - turn)
            with open(sink / "result.bin", "rb") as file:
                kill_server(daemon)
                assert np.frombuffer(file.read()).tolist() == (ANSWER - turn).tolist()
            assert np.frombuffer(given.read()).tolist() == (ANSWER + turn).tolist()
    assert sink.record.round == 3


def test_texts_and_views_stay_open(daemon: Daemon) -> None:
    slot = Slot.make(daemon.path, "job").bring("DONE")
    slot.put("task", b"multiply")
    with open(slot / "result.npy", "rb") as npy, open(slot / "data.txt") as text, open(slot / "task", "r+") as task, \
            open(slot / "metadata.txt") as report, open(daemon.path / ".pyrmap" / "config") as config, \
            open(daemon.path / ".pyrmap" / "status") as status_file:
        kill_server(daemon)
        assert np.load(npy).tolist() == ANSWER.tolist()
        assert [float(line) for line in text] == DATA.tolist()
        assert task.read() == "multiply" and "state=DONE" in report.read() and "[arena]" in config.read()
        assert pairs(status_file.read())["takeovers"].isdigit(), "it does not say that none is possible"
        task.seek(0)
        task.write("MULTIPLY")
    assert (slot / "task").read_text() == "MULTIPLY"


def test_a_poll_goes_on(daemon: Daemon) -> None:
    slot = Slot.make(daemon.path, "job").bring("READY")
    with open(slot / "metadata.bin", "rb", buffering=0) as file:
        file.read()
        poll = select.poll()
        poll.register(file, select.POLLIN)
        assert poll.poll(0) == []
        seen: list[object] = []
        thread = threading.Thread(target=lambda: seen.extend(poll.poll(20000)))
        thread.start()
        for _ in range(3):
            kill_server(daemon)
        assert not seen
        slot.answer()
        thread.join()
        assert seen == [(file.fileno(), select.POLLIN)]
        file.seek(0)
        assert struct.unpack_from("<i", file.read())[0] == RESULT


def test_events_tell_of_it(daemon: Daemon, agent: Agent) -> None:
    slot = Slot.make(daemon.path, "job").bring("READY")
    agent.run("fd = os.open(path, os.O_RDONLY)", path=daemon.path / ".pyrmap" / "events")
    agent.start("os.read(fd, 65536)")
    kill_server(daemon)
    assert '"event":"takeover"' in agent.result()
    slot.answer()
    assert '"event":"transition"' in agent.run("os.read(fd, 65536)")


def test_futex_waiters_go_on(daemon: Daemon) -> None:
    if daemon.data_path not in (PASSTHROUGH, "links"):
        pytest.skip("on the page-cache path clients fall back to poll")
    slot = Slot.make(daemon.path, "job").bring("READY")
    client = subprocess.Popen([BUILD / "tests/mount/futex", str(slot / "metadata.mem"), "1", "-1"],
                              stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None and client.stdout.readline() == "waiting\n"
    for _ in range(3):
        kill_server(daemon)
    slot.answer()
    assert client.stdout.readline() in ("woken\n", "seen\n") and client.stdout.readline() == "waiting\n"
    kill_server(daemon)
    slot.flag(NONE)
    assert client.stdout.readline() in ("woken\n", "seen\n") and client.wait(20) == 0


def test_a_change_that_the_server_could_not_tell_of(daemon: Daemon) -> None:
    """Clients that map the page see it whole again, whenever the server was killed."""
    slot = Slot.make(daemon.path, "job").bring("READY")
    with open(slot / "metadata.mem", "rb") as file, mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ) as page:
        for flag in (NONE, INPUT):
            if flag == INPUT:
                slot.publish()
            else:
                slot.flag(flag)
            kill_server(daemon)
            eventually(lambda: page[:128] == slot.raw)
            assert slot.record.change % 2 == 0


def test_requests_that_came_while_nobody_served(daemon: Daemon, agent: Agent) -> None:
    """They were read by nobody, or by the server that was killed: each is done once."""
    slot = Slot.make(daemon.path, "job")
    with frozen(daemon):
        agent.start("os.mkdir(path)", path=daemon.path / "other")
    assert agent.result() is None
    assert (daemon.path / "other").is_dir()
    slot.fill()
    with frozen(daemon):
        agent.start("os.pwrite(os.open(path, os.O_WRONLY), flag, 0)", path=slot / "metadata.bin",
                    flag=struct.pack("<iiqi", INPUT, 2, DATA.size, 2))
    assert agent.result() == 20
    assert slot.state == "READY" and slot.record.round == 1


def test_a_read_that_asks_for_the_size_meanwhile(daemon: Daemon, agent: Agent) -> None:
    """The kernel knows the array as an empty one, and asks again when its client reads."""
    slot = Slot.make(daemon.path, "job").bring("READY")
    agent.start("fd = os.open(path, os.O_RDONLY)", path=slot / "result.bin")
    parked(slot, agent)
    slot.send(RESULT, ANSWER)
    agent.result()
    path = daemon.data_path
    with frozen(daemon):
        agent.start("os.read(fd, 1000)")
        if path != PASSTHROUGH:
            eventually(lambda: "request_wait" in Path(f"/proc/{agent.pid}/wchan").read_text(), "it waits for the server")
    assert agent.result().encode("latin-1") == ANSWER.tobytes()
    assert takeovers(daemon) == 1, "a read that went past the server may come before its successor"


def test_a_worker_and_an_owner_are_watched(daemon: Daemon) -> None:
    worker, owner, dead = Agent(), Agent(), Agent()
    slot, owned, lost = (Slot.make(daemon.path, name).bring("READY") for name in ("job", "owned", "lost"))
    (slot / "worker").write_text(str(worker.pid))
    (owned / "owner").write_text(str(owner.pid))
    (lost / "worker").write_text(str(dead.pid))
    with frozen(daemon):
        dead.kill()
    eventually(lambda: lost.state == "FAILED")
    kill_server(daemon)
    assert slot.state == "READY" and owned.state == "READY" and slot.text["worker"].split()[0] == str(worker.pid)
    worker.kill()
    eventually(lambda: slot.state == "FAILED")
    assert str(worker.pid) in slot.error
    owner.kill()
    eventually(lambda: not owned.path.exists())


def test_a_failed_round_is_tried_again(daemon: Daemon) -> None:
    """Its input is protected from writers where clients reach it by a link, also from a server that would make it safe once more."""
    slot = Slot.make(daemon.path, "job")
    large = np.arange(100_000.0)
    slot.publish(large)
    slot.flag(FAILED)
    kill_server(daemon)
    slot.flag(INPUT)
    assert slot.state == "READY" and np.array_equal(slot.data(), large)
    slot.answer()
    assert np.array_equal(slot.result(), ANSWER)


def test_who_fills_may_read(daemon: Daemon, agent: Agent) -> None:
    slot = Slot.make(daemon.path, "job")
    agent.run("fd = os.open(path, os.O_WRONLY); os.write(fd, b'mine'); os.close(fd)", path=slot / "data.bin")
    kill_server(daemon)
    assert agent.run("open(path, 'rb').read()", path=slot / "data.bin") == "mine"


def test_chains_go_on(daemon: Daemon) -> None:
    names = [f"stage-{i}" for i in range(5)]
    slots = [Slot.make(daemon.path, name) for name in names]
    for first, second in zip(slots, slots[1:]):
        os.symlink(f"../{first.path.name}/result.bin", second / "source")
    slots[0].publish()
    for step, slot in enumerate(slots):
        kill_server(daemon)
        assert slot.state == "READY" and slot.data().tolist() == (DATA + step).tolist()
        slot.answer(DATA + step + 1)
    assert [os.readlink(slot / "source") for slot in slots[1:]] == [f"../{name}/result.bin" for name in names[:-1]]
    assert slots[-1].result().tolist() == (DATA + 5).tolist()


def test_nothing_is_left_of_servers_that_were_killed(daemon: Daemon) -> None:
    """No descriptor, no page, no registration: else a round could not be published, or the arena would fill up."""
    slot = Slot.make(daemon.path, "job")

    def one_round() -> int:
        slot.publish(np.arange(100000.0))
        kill_server(daemon)
        slot.answer(np.arange(100000.0))
        kill_server(daemon)
        assert slot.result().size == 100000
        return number(status(daemon.path)["used"])

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{daemon.server}/fd"))

    used, count = [one_round() for _ in range(3)][-1], descriptors()
    assert [one_round() for _ in range(3)][-1] == used
    eventually(lambda: descriptors() <= count, "the supervisor has closed the pipe to the last one")


def test_the_mount_point_shows_nothing_below(daemon: Daemon, agent: Agent) -> None:
    """While nobody serves clients wait: nothing gets to the directory that the mount hides."""
    with frozen(daemon):
        assert is_mounted(daemon.path)
        agent.start("os.mkdir(path)", path=daemon.path / "job")
    agent.result()
    assert daemon.stop() == 0
    assert list(daemon.path.iterdir()) == []


def server_at(point: Path) -> int:
    return next(pid for pid in processes(point) if Path(f"/proc/{pid}/comm").read_text() == "pyrmapfs-server\n")


def test_in_the_background(background: tuple[Path, str | None]) -> None:
    """As a service or a user runs it: with its privileges dropped, and no terminal."""
    point, user = background
    client = Agent(user)
    client.run("os.mkdir(job)\nfd = os.open(job + '/data.bin', os.O_RDWR)", job=point / "job")
    for _ in range(3):
        os.kill(server_at(point), signal.SIGKILL)
        client.run("os.pwrite(fd, b'12345678', 0)")
    client.run("os.close(fd)")
    assert "takeovers: 3\n" in client.run("open(status).read()", status=point / ".pyrmap" / "status")
    client.kill()
