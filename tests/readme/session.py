# SPDX-License-Identifier: Apache-2.0
"""The blocks of README.md, and a shell that takes a session's commands one after the other."""
from __future__ import annotations

import os
import re
import select
import subprocess
import time
from typing import NamedTuple

from daemon import ROOT

README = ROOT / "README.md"
SECONDS = 20

# What differs from run to run: times, processes, the numbers of segments, the names of the user who tries it.
CHANGING = [(r"^-?bash: (?:line \d+: )?", "bash: "), (r"\d{4}-\d\d-\d\dT[\d:.]+Z \d+ ", "TIME PID "), (r"^waiting=\d+ (\S+) [\d.]+s", r"waiting=PID \1 TIME"),
            (r"^\d+ (-rw\S+ \d+) (\S+ \S+) (\d+) \w{3} +\d+ [\d:]+ ", r"INODE \1 \3 ")]


class Block(NamedTuple):
    """A fenced block: its language, its text, and the heading above it."""

    language: str
    text: str
    heading: str


class Step(NamedTuple):
    """A command of a session, and what the README shows of its output."""

    command: str
    shown: list[str]


def blocks() -> list[Block]:
    found, heading = [], ""
    pattern = r"^```(?P<language>\w*)\n(?P<text>.*?)^```$|^#+ (?P<heading>[^\n]*)$"
    for match in re.finditer(pattern, README.read_text(), re.MULTILINE | re.DOTALL):
        if match["heading"] is not None:
            heading = match["heading"]
        else:
            found.append(Block(match["language"], match["text"], heading))
    return found


def steps(session: str) -> list[Step]:
    """The commands stand behind "# ", their further lines behind "> "."""
    found: list[Step] = []
    for line in session.splitlines():
        if line.startswith("# "):
            found.append(Step(line[2:], []))
        elif line.startswith("> ") and found and not found[-1].shown:
            found[-1] = Step(found[-1].command + "\n" + line[2:], [])
        else:
            found[-1].shown.append(line)
    return found


def constant(line: str) -> str:
    """A line without what changes."""
    for pattern, replacement in CHANGING:
        line = re.sub(pattern, replacement, line)
    return line.rstrip()


class Shell:
    """bash, as a person has it but for the prompt."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        env=environment, start_new_session=True)
        self.command = ""
        self.count = 0
        self.rest = b""

    def give(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()

    def lines(self) -> list[str]:
        """What arrives before a marker that is given now."""
        until = time.monotonic() + SECONDS
        self.count += 1
        marker = f"--- {self.count} ---".encode()
        self.give(f"echo; echo '{marker.decode()}'")
        assert self.process.stdout is not None
        while marker + b"\n" not in self.rest:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert piece, f"{self.command} does not end: {self.rest.decode()}"
            self.rest += piece
        before, _, self.rest = self.rest.partition(marker + b"\n")
        return [line for line in before.decode().splitlines() if line]

    def run(self, step: Step) -> list[str]:
        """The command's lines; it is given again while they are not what is shown, as a person would who was too fast."""
        until = time.monotonic() + SECONDS
        shown = [constant(line) for line in step.shown if line]
        self.command = step.command
        self.give(step.command)
        said = self.lines()
        only_reads = step.command.split()[0] in ("cat", "head", "ls", "grep")
        while [constant(line) for line in said] != shown and time.monotonic() < until:
            time.sleep(0.05)
            if only_reads:
                self.give(step.command)
                said = self.lines()
            else:
                # A program in the background says more.
                said += self.lines()
        return said
