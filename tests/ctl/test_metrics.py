# SPDX-License-Identifier: Apache-2.0
""".pyrmap/metrics for Prometheus: what promtool says of it, and the dashboard of it."""
from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Iterator

import pytest
from daemon import ROOT, Daemon
from paths import PATHS, mounted
from slots import Slot, eventually

DASHBOARD = ROOT / "packaging/grafana/pyrmapfs.json"


def lively_metrics() -> str:
    """Of a mount where something has happened: rounds, a refusal."""
    with mounted(PATHS[0], arena_capacity="64M") as daemon:
        slot = Slot.make(daemon.path, "job").bring("DONE")
        with pytest.raises(OSError):
            slot.flag(0)
        return (daemon.path / ".pyrmap/metrics").read_text()


def expressions(part: Any) -> list[str]:
    if isinstance(part, dict):
        return [value for key, value in part.items() if key == "expr"] + [text for value in part.values() for text in expressions(value)]
    return [text for value in part for text in expressions(value)] if isinstance(part, list) else []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool() -> None:
    text = lively_metrics()
    assert 'pyrmapfs_refusals_total{errno="EPROTO"} 1' in text and "pyrmapfs_rounds_total 1" in text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_dashboard_shows_what_there_is() -> None:
    """Each metric of the dashboard is one of the daemon, and each of the daemon is on the dashboard; the labels as well."""
    found = expressions(json.loads(DASHBOARD.read_text()))
    metrics = set(re.findall(r"^# TYPE (\w+)", lively_metrics(), re.MULTILINE))
    assert {name.removesuffix("_bucket") for text in found for name in re.findall(r"pyrmapfs_\w+", text)} == metrics
    labels = set(re.findall(r"[{,](\w+)=", lively_metrics())) | {"instance", "made_in"}  # this process may be in no job
    legends = re.findall(r"{{(\w+)}}", DASHBOARD.read_text())
    assert set(legends) <= labels


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_can_read_the_expressions(tmp_path: Path) -> None:
    """As recording rules, which promtool checks."""
    found = [text.replace("$__rate_interval", "1m").replace("$instance", ".*") for text in expressions(json.loads(DASHBOARD.read_text()))]
    assert len(found) > 9
    rules = [{"record": f"expression:{number}", "expr": text} for number, text in enumerate(found)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# --- node_exporter and Prometheus ---

PROGRAMS = ("prometheus-node-exporter", "prometheus")


def commands_of_manual() -> str:
    """How pyrmapfs(8) gives the metrics to node_exporter."""
    page = (ROOT / "packaging/man/pyrmapfs.8").read_text()
    [commands] = re.findall(r"^directory=.*?(?=^\.Ed$)", page, re.MULTILINE | re.DOTALL)
    return str(commands)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def fetched(url: str) -> str:
    """What the server says, or nothing while it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


class Exporter:
    """node_exporter on the loopback, and the daemon whose metrics it gets by the commands of the manual."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.textfiles = folder / "textfiles"
        self.textfiles.mkdir()
        self.daemon: Daemon = stack.enter_context(mounted(PATHS[0], arena_capacity="64M"))
        self.address = f"127.0.0.1:{free_port()}"
        self.start("prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
                   f"--collector.textfile.directory={self.textfiles}", f"--web.listen-address={self.address}")

    def start(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.log", "wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        self.stack.callback(process.wait, 20)
        self.stack.callback(process.kill)

    def pass_on(self) -> None:
        commands = commands_of_manual().replace("/mnt/pyrmap/", f"{self.daemon.path}/")
        commands = re.sub("^directory=.*", f"directory={self.textfiles}", commands)
        subprocess.run(["sh", "-eu", "-c", commands], check=True)


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} cannot be found")
    with ExitStack() as stack:
        yield Exporter(stack, tmp_path)


def test_node_exporter_passes_them_on(exporter: Exporter) -> None:
    slot = Slot.make(exporter.daemon.path, "slot").bring("DONE")
    exporter.pass_on()
    url = f"http://{exporter.address}/metrics"
    text = str(eventually(lambda: fetched(url), "it answers", 30))
    assert "\nnode_textfile_scrape_error 0\n" in text and "\npyrmapfs_rounds_total 1\n" in text
    assert [path.name for path in exporter.textfiles.iterdir()] == ["pyrmapfs.prom"]
    slot.bring("DONE")
    exporter.pass_on()
    assert "\npyrmapfs_rounds_total 2\n" in fetched(url)


def test_the_dashboard_s_expressions_have_values(exporter: Exporter) -> None:
    """In a Prometheus that reads a mount at work."""
    address = f"127.0.0.1:{free_port()}"
    (exporter.folder / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "mount", "static_configs": [{"targets": [exporter.address]}]}]}))
    slot = Slot.make(exporter.daemon.path, "slot").bring("DONE")
    with pytest.raises(OSError):
        slot.flag(0)
    exporter.start("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}")
    # Not each machine has this process in a job.
    wanted = {text for text in expressions(json.loads(DASHBOARD.read_text())) if "pyrmapfs_job_" not in text}

    def without_values() -> list[str]:
        slot.bring("DONE")
        exporter.pass_on()
        missing = []
        for text in wanted:
            query = urllib.parse.quote(text.replace("$__rate_interval", "1m").replace("$instance", ".*"))
            answer = json.loads(fetched(f"http://{address}/api/v1/query?query={query}") or "{}")
            if not answer.get("data", {}).get("result"):
                missing.append(text)
        return missing

    eventually(lambda: not without_values(), "each has a value", 60)
