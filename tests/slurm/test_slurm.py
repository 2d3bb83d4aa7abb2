# SPDX-License-Identifier: Apache-2.0
"""examples/slurm on a cluster of two nodes; jobs that are cancelled, and a node that dies."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from daemon import ROOT
from cluster import EXAMPLES, PROGRAMS, Cluster, Node, eventually, tracks_by_cgroup

# A task that stands still in the middle of a round, with an array of 32 MB in its slot, and says where it is.
STANDSTILL = """#!/bin/bash
exec Rscript -e '
library(pyrmap)
x <- pyrmap_array(4e6)
x[] <- 1
run_python(x, "{script}::wait_for_ever", args = list("{directory}/started-", Sys.getenv("SLURMD_NODENAME")))'
"""
SCRIPT = """
import os, signal, subprocess
def wait_for_ever(x, prefix, node):
    if os.path.exists(prefix + "release"):
        return x[:1]
    child = subprocess.Popen(["sleep", "1000"])
    open(prefix + node, "w").close()
    signal.pause()
"""


def why_not() -> str:
    """Why no cluster can be started here, or nothing."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"there is no {' and no '.join(missing)}: make check-slurm installs Slurm"
    if os.geteuid() != 0:
        return "nodes in namespaces need root"
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"], capture_output=True).returncode:
        return "this kernel or container allows no namespaces"
    return ""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Cluster() as running:
        yield running


def is_clean(node: Node) -> bool:
    return not node.slots() and node.used() == 0 and not node.computing()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The examples where files may be left."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "slurm"))


def of_readme() -> list[str]:
    """The commands that README.md has for these examples."""
    [block] = re.findall(r"```sh\ncd examples/slurm\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


@pytest.mark.time_limit(300)
def test_the_examples_as_the_readme_has_them(cluster: Cluster, directory: Path) -> None:
    if not Path("/usr/lib/R/site-library/future.batchtools").exists():
        pytest.skip("there is no r-cran-future.batchtools: make check-slurm installs it")
    said = "".join(cluster.run("bash", "-c", line, directory=directory) for line in of_readme()).splitlines()
    results = list((directory / "results").glob("*.rds"))
    # What has crossed the network: six numbers for each task, and their names.
    assert len(results) == 9 and all(path.stat().st_size < 400 for path in results)
    assert said.count("R and Python agree: TRUE ") == 2
    assert said.index("8 resamples") < said.index("4 resamples")
    ages = [[float(word) for word in line.split()[1:]] for line in said if line.startswith("age")]
    assert all(lowest < estimate < highest for estimate, lowest, highest in ages) and len(ages) == 2
    for node in cluster.nodes:
        eventually(lambda node=node: is_clean(node), f"{node.name} is clean")  # type: ignore[misc]


@pytest.fixture
def standstill(tmp_path: Path) -> Path:
    script = tmp_path / "stand.py"
    script.write_text(SCRIPT)
    job = tmp_path / "stand.sbatch"
    job.write_text(STANDSTILL.format(script=script, directory=tmp_path))
    return job


def where(directory: Path) -> str:
    """The node on which the task stands still."""
    return str(eventually(lambda: [path.name.removeprefix("started-") for path in directory.glob("started-*")], "it has begun")[0])


@pytest.mark.time_limit(120)
def test_a_cancelled_job_leaves_nothing(cluster: Cluster, standstill: Path) -> None:
    job = cluster.submit(str(standstill))
    name = where(standstill.parent)
    node = next(node for node in cluster.nodes if node.name == name)
    assert node.slots() and node.used() >= 32_000_000 and node.computing()
    cluster.run("scancel", job)
    eventually(lambda: is_clean(node), "nothing of it is left")
    # The node goes on.
    cluster.wait_for(node, "idle")
    assert any("pyrmapfs" in line for line in node.processes())


# A slot that depends on no process, as the shell makes one, and an array in it.
BY_HAND = """#!/bin/bash
cd /mnt/pyrmap
mkdir by-hand-$SLURM_JOB_ID
head -c 8000000 /dev/zero > by-hand-$SLURM_JOB_ID/data.bin
printf 'dtype=float64\nflag=0\n' > by-hand-$SLURM_JOB_ID/metadata.txt
echo > "{directory}/started-$SLURMD_NODENAME"
{last}
"""


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("last", ["sleep 1000", "true"])
def test_slots_go_with_their_job_and_without_an_epilog(cluster: Cluster, tmp_path: Path, last: str) -> None:
    """A job that is cancelled, and one that ends by itself."""
    if not tracks_by_cgroup():
        pytest.skip("Slurm can make no cgroups here")
    script = tmp_path / "by-hand.sbatch"
    script.write_text(BY_HAND.format(directory=tmp_path, last=last))
    job = cluster.submit(str(script))
    name = where(tmp_path)
    node = next(node for node in cluster.nodes if node.name == name)
    if last != "true":
        assert node.slots() == [f"by-hand-{job}"] and node.used() >= 8_000_000
        assert f"job=job_{job}\n" in node.read(f"/mnt/pyrmap/by-hand-{job}/metadata.txt")
        cluster.run("scancel", job)
    eventually(lambda: is_clean(node), "nothing of it is left")


@pytest.mark.time_limit(180)
def test_a_dead_node_leaves_nothing_and_its_task_runs_elsewhere(cluster: Cluster, standstill: Path) -> None:
    job = cluster.submit("--requeue", str(standstill))
    name = where(standstill.parent)
    node = next(node for node in cluster.nodes if node.name == name)
    assert node.used() >= 32_000_000
    (standstill.parent / "started-release").touch()
    assert any("pyrmapfs" in line for line in node.processes())
    node.kill()
    eventually(lambda: not node.processes(), "nothing of the node is left")
    # What finds out in a real cluster is SlurmdTimeout.
    cluster.run("scontrol", "update", f"nodename={name}", "state=down", "reason=dead")
    eventually(lambda: cluster.state(job) == ["PENDING"], "it is to run again")
    # Slurm waits two minutes with what a node has failed.
    cluster.run("scontrol", "update", f"jobid={job}", "starttime=now")
    eventually(lambda: cluster.state(job) in (["COMPLETED"], []), f"it runs on the other node: {cluster.state(job)}", 150)
    for other in cluster.nodes:
        if other is not node:
            eventually(lambda other=other: is_clean(other), f"{other.name} is clean")  # type: ignore[misc]
    node.start()
    cluster.wait_for(node, "idle")
    assert is_clean(node)
    assert cluster.run("srun", f"--nodelist={name}", "cat", "/mnt/pyrmap/.pyrmap/status").startswith("version: ")
