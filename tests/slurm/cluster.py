# SPDX-License-Identifier: Apache-2.0
"""A cluster of Slurm's on this machine: a controller, and nodes, each with a private mount and pid namespace and a pyrmapfs.

All that a node runs has the node's init as its ancestor in a pid namespace: when that is killed, the node is dead as one is
whose power has gone. All files lie in one private directory.
"""
from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

from daemon import BUILD, PYRMAPFS, ROOT, START_SECONDS

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "nsenter", "unshare")
EXAMPLES = ROOT / "examples/slurm"

CONFIGURATION = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
SlurmctldPort={ports[0]}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool.%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.%n.log
ProctrackType={tracking}
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=2
NodeName={names} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_ports} CPUs=2 RealMemory=500
PartitionName=all Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""

# What a node does: it mounts where the packages look for a mount, then it runs Slurm's daemon.
NODE = """mount -t tmpfs -o mode=0755 tmpfs /mnt && mkdir /mnt/pyrmap &&
{pyrmapfs} -o arena.capacity=256M /mnt/pyrmap && exec slurmd -D -f {configuration} -N {name}"""


def free_ports(count: int) -> list[int]:
    """Some that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


FREEZER = Path("/sys/fs/cgroup/freezer")


def tracks_by_cgroup() -> bool:
    """Whether Slurm can make cgroups here for its jobs; elsewhere it looks at the parents of processes."""
    probe = FREEZER / f"pyrmapfs-probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


def eventually(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Looks at a condition until it holds, and returns what it said."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return value


class Node:
    """One node. init: the pid of its first process, as this process sees it."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        self.cluster, self.name = cluster, name
        self.unshare: subprocess.Popen[bytes] | None = None
        self.init = 0
        self.namespace = ""

    def start(self) -> None:
        script = NODE.format(pyrmapfs=PYRMAPFS, configuration=self.cluster.configuration, name=self.name)
        with open(self.cluster.directory / f"{self.name}.out", "ab") as log:
            self.unshare = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.cluster.environment, start_new_session=True)
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        self.init = int(eventually(lambda: children.read_text().split(), f"{self.name} starts")[0])
        self.namespace = os.readlink(f"/proc/{self.init}/ns/pid")

    def processes(self) -> list[str]:
        """The command lines of all that runs in its pid namespace; a dead node's too."""
        return [line for pid in Path("/proc").glob("[0-9]*") if (line := self._command(pid))]

    def _command(self, pid: Path) -> str:
        try:
            if os.readlink(pid / "ns/pid") != self.namespace:
                return ""
            return (pid / "cmdline").read_text().replace("\0", " ").strip()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return ""

    def computing(self) -> list[str]:
        """What jobs have there."""
        return [line for line in self.processes() if any(word in line for word in ("/R/", "Rscript", "python3", "slurmstepd"))]

    def read(self, path: str) -> str:
        """A file, or the names in a directory, as the node has it."""
        command = ["ls", path] if path.endswith("/") else ["cat", path]
        return subprocess.run(["nsenter", f"--target={self.init}", "--mount", "--pid", *command], check=True,
                              capture_output=True, text=True, timeout=20).stdout

    def slots(self) -> list[str]:
        return self.read("/mnt/pyrmap/").split()

    def used(self) -> int:
        """Bytes of arrays in its arena."""
        for line in self.read("/mnt/pyrmap/.pyrmap/status").splitlines():
            if line.startswith("used:"):
                return int(line.split()[1])
        raise AssertionError("status does not say what is used")

    def kill(self) -> None:
        """All of it, at once."""
        if self.unshare is None:
            return
        try:
            os.kill(self.init, signal.SIGKILL)
        except ProcessLookupError:
            pass
        # It reaps its child, the init, and then ends.
        try:
            self.unshare.wait(20)
        except subprocess.TimeoutExpired:
            self.unshare.kill()
            self.unshare.wait(20)
        self.unshare = None


class Cluster:
    """Context manager; whatever happens, nothing of it is left."""

    def __init__(self, count: int = 2) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pyrmapfs-slurm-"))
        self.directory.chmod(0o755)
        self.configuration = self.directory / "slurm.conf"
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.nodes = [Node(self, f"node{number}") for number in range(1, count + 1)]
        paths = {"R_LIBS": BUILD / "r-library", "PYTHONPATH": BUILD / "python"}
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "PYRMAP"))}
        self.environment.update({key: str(path.resolve()) for key, path in paths.items()})
        self.environment.update(SLURM_CONF=str(self.configuration), PYRMAP_PYTHON=sys.executable)

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        ports = free_ports(1 + len(self.nodes))
        (self.directory / "state").mkdir()
        self.configuration.write_text(CONFIGURATION.format(
            directory=self.directory, host=socket.gethostname().partition(".")[0], ports=ports,
            tracking="proctrack/cgroup" if tracks_by_cgroup() else "proctrack/linuxproc", names=",".join(node.name for node in self.nodes), node_ports=",".join(map(str, ports[1:]))))
        (self.directory / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        key = self.directory / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self._daemon("munged", "--foreground", "--force", *(f"--{option}={self.directory}/munge.{end}" for option, end in (
            ("socket", "socket"), ("key-file", "key"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"))))
        eventually((self.directory / "munge.socket").exists, "munged starts", START_SECONDS)
        self._daemon("slurmctld", "-D", "-f", str(self.configuration))
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            self.wait_for(node, "idle")

    def _daemon(self, *command: str) -> None:
        with open(self.directory / f"{command[0]}.out", "wb") as log:
            self.daemons.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                 env=self.environment, start_new_session=True))

    def run(self, *command: str, check: bool = True, directory: Path = EXAMPLES) -> str:
        """A program where a user would call it."""
        ran = subprocess.run(command, cwd=directory, env=self.environment, text=True, capture_output=True, stdin=subprocess.DEVNULL,
                             timeout=150)
        assert not check or ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def submit(self, *arguments: str) -> str:
        """A job's number."""
        return self.run("sbatch", "--parsable", f"--output={self.directory}/job-%j.out", *arguments).strip()

    def state(self, job: str) -> list[str]:
        """Of its tasks; they are forgotten a while after the last one."""
        return self.run("squeue", "--noheader", "--states=all", "--array", f"--jobs={job}", "--format=%T", check=False).split()

    def wait_for(self, node: Node, state: str) -> None:
        def reached() -> bool:
            return self.run("sinfo", "--noheader", f"--nodes={node.name}", "--format=%t", check=False).strip() == state
        eventually(reached, f"{node.name} is {state}\n{self.log()}")

    @staticmethod
    def _remove_groups(top: Path) -> None:
        """The cgroups that a node has left."""
        for path in sorted((path for path in [top, *top.rglob("*")] if path.is_dir()), reverse=True):
            path.rmdir()

    def log(self) -> str:
        """What all have said."""
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in
                         sorted(self.directory.glob("*.out")) if path.stat().st_size)

    def __exit__(self, *exc: object) -> None:
        for node in self.nodes:
            node.kill()
        for daemon in reversed(self.daemons):
            # Each reaps what it has started.
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(20)
        for node in self.nodes:
            self._remove_groups(FREEZER / f"slurm_{node.name}")
        shutil.rmtree(self.directory, ignore_errors=True)
