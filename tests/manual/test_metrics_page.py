# SPDX-License-Identifier: Apache-2.0
"""pyrmapfs(8) has an entry for each metric that the daemon has, and for no other."""
from __future__ import annotations

import re

from daemon import ROOT
from messages import literals


def in_source() -> set[str]:
    texts = [text for call, text in literals(ROOT / "fs/files/daemon_files.c") if call in ("print_head", "print_metric", "print_histogram")]
    return {f"pyrmapfs_{text}" for text in texts if re.fullmatch("[a-z_]+", text) and text not in ("gauge", "counter", "histogram")}


def on_page() -> list[str]:
    section = (ROOT / "packaging/man/pyrmapfs.8").read_text().split("\n.Ss Metrics\n")[1].split("\n.Ss ")[0]
    return [name for line in re.findall(r"^\.It Cm (.*)$", section, re.MULTILINE) for name in line.split(" , ")]


def test_the_page_has_each_metric_once() -> None:
    entries = on_page()
    assert len(in_source()) > 12 and sorted(entries) == sorted(in_source())
