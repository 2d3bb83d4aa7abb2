# SPDX-License-Identifier: Apache-2.0
""".pyrmap/metrics for Prometheus: what promtool says of it, and the dashboard of it."""
from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from daemon import ROOT
from paths import PATHS, mounted
from slots import Slot

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
