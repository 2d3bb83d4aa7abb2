# SPDX-License-Identifier: Apache-2.0
"""A mount that is bound into containers: other user, pid, mount and IPC namespaces, and a /dev/shm of 64 MB, as Docker has it."""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import pytest
from daemon import BUILD, Daemon
from paths import PATHS, check_data_path, mounted

INSIDE = Path("/mnt/pyrmap")
SHM = 64 << 20
USER = 30001

# More than /dev/shm holds, there and back.
N = 12_000_000
SCRIPT = """
import os, pyrmap
def plus_one(x):
    y = pyrmap.empty_result(x.shape, x.dtype)
    y[:] = x
    y += 1
    return y
"""
CLIENT = """
library(pyrmap)
stopifnot(is.na(file.size("/dev/shm/none")))
x <- pyrmap_array({n}, mount = "{mount}")
x[] <- seq_len({n})
y <- run_python(x, slot = "predict", mount = "{mount}", timeout = 60)
cat(length(y), sum(y) - sum(x), Sys.getpid(), "\\n")
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "R_LIBS": str((BUILD / "r-library").resolve()), "PYTHONPATH": str((BUILD / "python").resolve()),
            "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": "/tmp", **more}


def container(daemon: Daemon, *command: str, outer: int = 0) -> list[str]:
    """A command line that runs another one in a container. outer: the user who starts it, who is 1000 in there."""
    directory, build = str(daemon.directory), BUILD.resolve()
    hidden = ["--ro-bind", str(build), str(build)] if Path("/tmp") in build.parents else []
    return [*as_number(outer), "bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--uid", "1000", "--gid", "1000",
            "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", *hidden,
            "--ro-bind", f"{directory}/code", "/tmp/code", "--size", str(SHM), "--tmpfs", "/dev/shm",
            "--tmpfs", "/mnt", "--bind", str(daemon.path), str(INSIDE), "--chdir", "/", "--", *command]


def as_number(user: int) -> list[str]:
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"] if user else []


def run(command: Sequence[str], **more: str) -> str:
    ran = subprocess.run(command, env=environment(**more), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=100)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def eventually(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within 30 s: {what}"
        time.sleep(0.01)
    return value


@pytest.fixture(scope="module", params=PATHS)
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    if not shutil.which("bwrap"):
        pytest.skip("there is no bwrap")
    with mounted(request.param, arena_capacity="1G") as running:
        check_data_path(running, request.param)
        code = running.directory / "code"
        code.mkdir()
        (code / "serve.py").write_text(SCRIPT)
        if subprocess.run(container(running, "true"), capture_output=True).returncode:
            pytest.skip("no user namespace can be made here")
        yield running


@pytest.fixture
def serving(daemon: Daemon) -> Iterator[Callable[[list[str], str], subprocess.Popen[str]]]:
    """Starts what answers in the slot `predict`, and ends it."""
    servers = []

    def serve(command: list[str], mount: str) -> subprocess.Popen[str]:
        servers.append(subprocess.Popen([*command, f"{mount}/predict"], env=environment(), text=True, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True))
        worker = daemon.path / "predict/worker"
        eventually(lambda: servers[-1].poll() is not None or worker.exists() and worker.read_text(), "it serves")
        assert servers[-1].poll() is None, servers[-1].communicate()[0]
        return servers[-1]

    yield serve
    for server in servers:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.communicate()
    eventually(lambda: not os.access(daemon.path / "predict", os.F_OK), "the slot goes with the program that made it")


def python(code: str) -> list[str]:
    return [sys.executable, "-m", "pyrmap", "serve", f"{code}/serve.py::plus_one"]


def asked(line: str) -> tuple[int, int]:
    """How many values came back, and by how much their sum is larger."""
    length, more, _ = line.split()
    return int(float(length)), int(float(more))


@pytest.mark.time_limit(150)
def test_r_inside_and_python_outside(daemon: Daemon, serving: Any) -> None:
    serving(python(str(daemon.directory / "code")), str(daemon.path))
    command = container(daemon, "Rscript", "-e", CLIENT.format(n=N, mount=INSIDE))
    assert asked(run(command)) == (N, N)
    assert int(run(container(daemon, "df", "--output=size", "--block-size=1", "/dev/shm")).split()[-1]) == SHM < N * 8


@pytest.mark.time_limit(150)
def test_python_inside_and_r_outside(daemon: Daemon, serving: Any) -> None:
    server = serving(container(daemon, *python("/tmp/code")), str(INSIDE))
    assert asked(run(["Rscript", "-e", CLIENT.format(n=N, mount=daemon.path)])) == (N, N)
    # The daemon sees who computes, though the number means something else in there, and that it has died.
    worker = int((daemon.path / "predict/worker").read_text())
    assert "pyrmap" in Path(f"/proc/{worker}/cmdline").read_text()
    assert re.search(r"^NSpid:\t\d+\t[1-9]\d?$", Path(f"/proc/{worker}/status").read_text(), re.MULTILINE)
    os.kill(worker, signal.SIGKILL)
    server.wait(20)
    eventually(lambda: not os.access(daemon.path / "predict", os.F_OK), "it is noticed")


@pytest.mark.time_limit(150)
def test_both_inside_in_containers_of_their_own(daemon: Daemon, serving: Any) -> None:
    serving(container(daemon, *python("/tmp/code")), str(INSIDE))
    assert asked(run(container(daemon, "Rscript", "-e", CLIENT.format(n=N, mount=INSIDE)))) == (N, N)


@pytest.mark.time_limit(150)
def test_a_whole_session_inside(daemon: Daemon) -> None:
    code = """library(pyrmap)
        cat(sum(run_python(as.double(1:1000), "/tmp/code/own.py::twice", timeout = 60)), pyrmap_mount(), "\\n")"""
    (daemon.directory / "code/own.py").write_text("def twice(x):\n    return x * 2\n")
    said = run(container(daemon, "Rscript", "-e", code), PYRMAP_MOUNT=str(INSIDE), PYRMAP_PYTHON=sys.executable)
    assert said == f"1001000 {INSIDE} \n"
    # The slots went with the session.
    eventually(lambda: not [path for path in daemon.path.glob("r-*")], "its slots are gone")


def test_users_are_mapped_and_counted_as_those_outside(daemon: Daemon) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has other users")
    made = daemon.path / "made"
    assert run(container(daemon, "sh", "-c", f"umask 027; mkdir {INSIDE}/made; stat -c %u:%g {INSIDE}/made", outer=USER)) == "1000:1000\n"
    assert (made.stat().st_uid, made.stat().st_gid, made.stat().st_mode & 0o777) == (USER, USER, 0o750)
    assert re.search(rf'uid="{USER}"', (daemon.path / ".pyrmap/metrics").read_text())
    # Who has no number in there is nobody, whom nobody there can become or give anything to.
    (daemon.path / "roots").mkdir(mode=0o700)
    script = f"stat -c %u {INSIDE}/roots; chown 5 {INSIDE}/made 2>&1; chmod 700 {INSIDE}/roots 2>&1; ls {INSIDE}/roots 2>&1; true"
    said = run(container(daemon, "sh", "-c", script, outer=USER)).splitlines()
    assert said[0] == "65534"
    assert [line.rpartition(": ")[2] for line in said[1:]] == ["Invalid argument", "Operation not permitted", "Permission denied"]
    made.rmdir()
    (daemon.path / "roots").rmdir()


def test_root_of_a_user_namespace_is_the_user_outside(daemon: Daemon) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has other users")
    (daemon.path / "roots").mkdir(mode=0o700)
    script = f"id -u; mkdir {daemon.path}/made && stat -c %u {daemon.path}/made; rmdir {daemon.path}/roots 2>&1; true"
    said = run([*as_number(USER), "unshare", "--user", "--map-root-user", "sh", "-c", script]).splitlines()
    assert said[:2] == ["0", "0"]
    assert said[2].endswith("Operation not permitted")
    assert (daemon.path / "made").stat().st_uid == USER
    (daemon.path / "made").rmdir()
    (daemon.path / "roots").rmdir()


def test_a_pid_of_the_container_means_nothing_and_self_does(daemon: Daemon) -> None:
    script = f"""mkdir {INSIDE}/job
        (echo $$ > {INSIDE}/job/owner) 2>&1
        grep ^refused= {INSIDE}/job/metadata.txt
        (printf self > {INSIDE}/job/owner) 2>&1; true"""
    said = run(container(daemon, "bash", "-c", script)).splitlines()
    assert len(said) == 2 and said[0].endswith("No such process") and said[1].endswith("write self")
    # `self` was a subshell that has ended, and so has its slot.
    eventually(lambda: not (daemon.path / "job").exists(), "the slot goes with its owner")
