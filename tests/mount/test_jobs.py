# SPDX-License-Identifier: Apache-2.0
"""A slot knows the job of its maker, from real cgroups of version 2."""
from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator

import pytest
from agent import Agent
from daemon import ROOT
from paths import mounted
from slots import DATA, INPUT, NONE, Slot, eventually, metrics, refused

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


def gone(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()


@pytest.fixture
def in_group(agents: Callable[[], Agent]) -> Iterator[Callable[[str], Agent]]:
    """Gives an agent in a cgroup of that path, made for it."""
    made: list[Path] = []
    inside: list[Agent] = []

    def start(name: str) -> Agent:
        place = hierarchy()
        for part in name.split("/"):
            place /= part
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
def test_the_maker_s_job(mount: Path, in_group: Callable[[str], Agent], group: str, job: str) -> None:
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


def test_it_outlives_the_server(path: str, in_group: Callable[[str], Agent], tmp_path: Path) -> None:
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


def test_bytes_of_a_job(path: str, in_group: Callable[[str], Agent]) -> None:
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


def test_what_is_left_of_a_job_is_removed(mount: Path, in_group: Callable[[str], Agent], slot: Slot) -> None:
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
