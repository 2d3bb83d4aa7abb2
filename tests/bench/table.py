# SPDX-License-Identifier: Apache-2.0
"""Tables of measurements, aligned for a terminal and valid Markdown."""
from __future__ import annotations

import os
import platform
from typing import Iterable, Sequence


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table; the first column is text, all others are numbers."""
    lines = [list(header), *([*row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    print(f"\n{title}\n")
    for number, line in enumerate(lines):
        cells = [cell.ljust(width) if column == 0 else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(line, widths))]
        print(f"| {' | '.join(cells)} |")
        if number == 0:
            rules = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
            print(f"| {' | '.join(rules)} |", flush=True)


def machine() -> str:
    """One line that says where the numbers come from."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"Linux {platform.release()}, {os.cpu_count()} cores, {memory:.0f} GiB; medians; one run."


def size_name(size: int) -> str:
    return f"{size >> 30} GB" if size >= 1 << 30 else f"{size >> 20} MB"
