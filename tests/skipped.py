# SPDX-License-Identifier: Apache-2.0
"""Skipped tests of a suite that a test runs in another process: they are told and counted with the others."""
from __future__ import annotations

import re

lines: list[str] = []


def collect(output: str) -> None:
    """Keeps what such a suite printed about them, in the words of pytest: "SKIPPED [1] which: why"."""
    lines.extend(re.findall(r"^SKIPPED \[\d+\] .*$", output, re.MULTILINE))
