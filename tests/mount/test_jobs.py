# SPDX-License-Identifier: Apache-2.0
"""A slot knows the job of its maker, from real cgroups of version 2."""
from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator

import pytest
from agent import Agent
from daemon import ROOT
from paths import mounted
from slots import DATA, INPUT, NONE, Slot, eventually, metrics, number, refused, status

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make cgroups")


def hierarchy() -> Path:
    """Where version 2 is mounted; skips where it is not, or lets nobody make a group."""
    for path in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (path / "cgroup.controllers").exists():
            probe = path / f"pyrmapfs-probe-{os.getpid()}"
            try:
                probe.mkdir()
            except OSError as error:
                pytest.skip(f"no cgroup can be made in {path}: {error.strerror}")
            probe.rmdir()
            return path
    pytest.skip("cgroup2 is not mounted")


def hierarchies() -> list[Path]:
    """Those in which a group can be made here, of either version."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[words.index("-") + 1] in ("cgroup", "cgroup2") and "cpuset" not in words[-1]:
            probe = Path(words[4]) / f"pyrmapfs-probe-{os.getpid()}"
            with contextlib.suppress(OSError):
                probe.mkdir()
                probe.rmdir()
                found.append(probe.parent)
    return found


def gone(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()


@pytest.fixture
def in_group(agents: Callable[[], Agent]) -> Iterator[Callable[..., Agent]]:
    """Gives an agent in a cgroup of that path, made for it, below `place` or where version 2 is mounted."""
    made: list[Path] = []
    inside: list[Agent] = []

    def start(name: str, place: Path | None = None) -> Agent:
        place = place or hierarchy()
        for part in name.split("/"):
            place /= part
            if not place.exists():
                place.mkdir()
                made.append(place)
        agent = agents()
        (place / "cgroup.procs").write_text(str(agent.pid))
        inside.append(agent)
        return agent

    yield start
    for agent in inside:
        agent.kill()
    for path in reversed(made):
        eventually(lambda: gone(path), f"{path} is removed")


NUMBER = os.getpid()  # of jobs that are nobody else's


@pytest.mark.parametrize("group, job", [
    (f"job_{NUMBER}/step_0/task_0", f"job_{NUMBER}"), (f"run-p{NUMBER}.service", f"run-p{NUMBER}.service"),
    (f"docker-{NUMBER:064x}.scope", f"container-{NUMBER:064x}"[:22])])
def test_the_maker_s_job(mount: Path, in_group: Callable[..., Agent], group: str, job: str) -> None:
    """Whoever works with the slot later."""
    agent = in_group(group)
    agent.run("os.mkdir(path)", path=mount / "made in a job")
    slot = Slot(mount / "made in a job")
    key = f'pyrmapfs_job_slots{{made_in="{job}"}}'
    try:
        assert slot.text["job"] == job and metrics(mount)[key] == 1
        slot.send(INPUT, DATA)
        os.rename(slot.path, mount / "renamed")
        slot = Slot(mount / "renamed")
        assert slot.text["job"] == job and metrics(mount)[key] == 1
    finally:
        os.rmdir(slot.path)
    assert key not in metrics(mount)


def test_a_job_is_no_key_to_write(slot: Slot) -> None:
    """metadata.txt can be written back as it was read."""
    text = slot.path.joinpath("metadata.txt").read_bytes()
    (slot / "metadata.txt").write_bytes(text + b"job=another\n")
    assert slot.text.get("job") != "another"


def test_it_outlives_the_server(path: str, in_group: Callable[..., Agent], tmp_path: Path) -> None:
    options = {"arena_kind": "dir", "arena_path": str(tmp_path / "arena"), "arena_capacity": "64M"}
    with mounted(path, **options) as daemon:
        in_group(f"job_{NUMBER}").run("os.mkdir(path)", path=daemon.path / "job")
    with mounted(path, limits_bytes_per_job="1M", **options) as daemon:
        assert Slot(daemon.path / "job").text["job"] == f"job_{NUMBER}"
        with refused(errno.EDQUOT):
            sized(daemon.path / "job", 2 << 20)
        assert metrics(daemon.path)[f'pyrmapfs_job_slots{{made_in="job_{NUMBER}"}}'] == 1


def sized(slot: Path, size: int) -> None:
    fd = os.open(slot / "data.bin", os.O_RDWR)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)


def test_bytes_of_a_job(path: str, in_group: Callable[..., Agent]) -> None:
    """However many slots it has, whoever fills them and by whatever way; another job has a share as well."""
    with mounted(path, limits_bytes_per_job="8M") as daemon:
        for name, job in (("a", NUMBER), ("b", NUMBER), ("other", f"{NUMBER}0")):
            in_group(f"{name}/job_{job}").run("os.mkdir(path)", path=daemon.path / name)
        slot = Slot(daemon.path / "b")
        sized(daemon.path / "a", 5 << 20)
        with refused(errno.EDQUOT):
            sized(slot.path, 5 << 20)
        assert f"it is more than limits.bytes_per_job allows job_{NUMBER}" in slot.text["refused"]
        sized(daemon.path / "other", 5 << 20)
        assert metrics(daemon.path)[f'pyrmapfs_job_bytes{{made_in="job_{NUMBER}"}}'] >= 5 << 20
        for flags in (os.O_RDWR, os.O_WRONLY):
            fd = os.open(slot / "data.bin", flags)
            with refused(errno.EDQUOT):
                for _ in range(8):
                    os.write(fd, bytes(1 << 20))
            os.close(fd)
            slot.flag(NONE)
        os.rmdir(daemon.path / "a")
        sized(slot.path, 7 << 20)


def test_what_is_left_of_a_job_is_removed(mount: Path, in_group: Callable[..., Agent], slot: Slot) -> None:
    """pyrmapctl gc --job, as an epilog uses it."""
    agent = in_group(f"job_{NUMBER}")
    for name in ("a", "b"):
        agent.run("os.mkdir(path)", path=mount / name)
    Slot(mount / "a").bring("READY")
    command = [sys.executable, "-c", "import sys; from pyrmapctl.main import main; sys.exit(main())", "gc", "--older", "0", "--job",
               f"job_{NUMBER}", "--state", "IDLE,FILLING,READY,COMPUTING,DONE,FAILED", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "packaging/ctl"), "PYRMAP_MOUNT": str(mount)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    removed = json.loads(done.stdout)["removed"]
    assert {(one["slot"], one["job"]) for one in removed} == {("a", f"job_{NUMBER}"), ("b", f"job_{NUMBER}")}
    assert slot.path.name in os.listdir(mount) and not {"a", "b"} & set(os.listdir(mount))


# --- the end of a job ---


def end(agent: Agent, group: Path) -> None:
    """The last process of the job ends, and whoever made its cgroup removes that."""
    agent.kill()
    for path in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
        eventually(lambda path=path: gone(path), f"{path} is removed")  # type: ignore[misc]
    eventually(lambda: gone(group), f"{group} is removed")


def left(mount: Path) -> set[str]:
    return set(os.listdir(mount)) - {".pyrmap"}


@pytest.mark.parametrize("version", ("cgroup2", "cgroup"))
def test_slots_go_with_their_job(path: str, in_group: Callable[..., Agent], version: str) -> None:
    """Not with a step of it; and those of other jobs, of no job and of a scope stay."""
    places = [place for place in hierarchies() if (place / "cgroup.controllers").exists() == (version == "cgroup2")]
    if not places:
        pytest.skip(f"no group can be made in a hierarchy of type {version}")
    job, other = (places[0] / f"slurm-{NUMBER}" / name for name in (f"job_{NUMBER}", f"job_{NUMBER}0"))
    with mounted(path, arena_capacity="64M") as daemon:
        step = in_group(f"{job.parent.name}/{job.name}/step_0", place=places[0])
        step.run("os.mkdir(path)", path=daemon.path / "first")
        second = in_group(f"{job.parent.name}/{job.name}/step_1", place=places[0])
        for name in [f"slot-{count}" for count in range(40)]:  # more than go in one turn
            second.run("os.mkdir(path)", path=daemon.path / name)
        neighbour = in_group(f"{job.parent.name}/{other.name}", place=places[0])
        neighbour.run("os.mkdir(path)", path=daemon.path / "neighbour")
        scope = in_group(f"run-u{NUMBER}.scope", place=places[0])
        scope.run("os.mkdir(path)", path=daemon.path / "scope")
        reader = in_group(f"slurm-{NUMBER}/job_{NUMBER}1", place=places[0])
        reader.start("os.open(path, os.O_RDONLY)", path=daemon.path / "first/result.bin")
        eventually(lambda: Slot(daemon.path / "first").text.get("waiting"), "it waits")
        end(scope, places[0] / f"run-u{NUMBER}.scope")
        end(step, job / "step_0")
        end(neighbour, other)
        eventually(lambda: "neighbour" not in left(daemon.path), "a job of one slot is over")
        assert len(left(daemon.path)) == 42 and not reader.answered()
        end(second, job)
        eventually(lambda: left(daemon.path) == {"scope"}, "the slots of the job are gone")
        with refused(errno.ECANCELED):
            reader.result()
        assert not [key for key in metrics(daemon.path) if f"job_{NUMBER}" in key]


def test_slots_of_scopes_go_where_it_is_asked_for(path: str, in_group: Callable[..., Agent]) -> None:
    name = f"run-u{NUMBER}.scope"
    with mounted(path, limits_remove_with_job="all") as daemon:
        agent = in_group(name)
        agent.run("os.mkdir(path)", path=daemon.path / "slot")
        os.mkdir(daemon.path / "no job's")
        end(agent, hierarchy() / name)
        eventually(lambda: left(daemon.path) == {"no job's"}, "its slot is gone")


def test_a_job_of_the_same_number(path: str, in_group: Callable[..., Agent]) -> None:
    """Slurm runs it again: what it made before is gone, what it makes now is not."""
    name = f"job_{NUMBER}"
    with mounted(path) as daemon:
        agent = in_group(name)
        agent.run("os.mkdir(path)", path=daemon.path / "before")
        end(agent, hierarchy() / name)
        in_group(name).run("os.mkdir(path)", path=daemon.path / "now")
        eventually(lambda: "before" not in left(daemon.path), "the first one is over")
        assert left(daemon.path) == {"now"}


def test_jobs_that_end_while_nobody_looks(path: str, in_group: Callable[..., Agent], tmp_path: Path) -> None:
    """The next server removes their slots; one with the same number is another job; one that lasts is watched on."""
    options = {"arena_kind": "dir", "arena_path": str(tmp_path / "arena"), "arena_capacity": "64M"}
    names = {name: f"job_{NUMBER}{digit}" for digit, name in enumerate(("over", "again", "lasts"))}
    with mounted(path, **options) as daemon:
        agents = {name: in_group(group) for name, group in names.items()}
        for name, agent in agents.items():
            agent.run("os.mkdir(path)", path=daemon.path / name)
        in_group(f"run-u{NUMBER}.scope").run("os.mkdir(path)", path=daemon.path / "scope")
    for name in ("over", "again"):
        end(agents[name], hierarchy() / names[name])
    (hierarchy() / names["again"]).mkdir()
    try:
        with mounted(path, **options) as daemon:
            eventually(lambda: left(daemon.path) == {"lasts", "scope"}, "what was over is gone")
            os.kill(daemon.server, signal.SIGKILL)
            assert number(status(daemon.path)["takeovers"]) == 1
            assert left(daemon.path) == {"lasts", "scope"}
            end(agents["lasts"], hierarchy() / names["lasts"])
            eventually(lambda: left(daemon.path) == {"scope"}, "it was watched on")
    finally:
        (hierarchy() / names["again"]).rmdir()


def test_what_cannot_be_watched_stays(path: str, in_group: Callable[..., Agent], tmp_path: Path) -> None:
    """Where the hierarchy is hidden from the daemon: it says so, once."""
    name, place = f"job_{NUMBER}", hierarchy()
    daemon = mounted(path)
    subprocess.run(["mount", "--bind", tmp_path, place], check=True)
    try:
        daemon.start()
    finally:
        subprocess.run(["umount", "-l", place], check=True)
    with contextlib.ExitStack() as stack:
        stack.push(daemon)
        for group in (name, f"{name}0"):
            in_group(group).run("os.mkdir(path)", path=daemon.path / group)
        assert daemon.log.read_text().count(f"the end of {name}") == 1
        assert f"the end of {name}0" not in daemon.log.read_text()
