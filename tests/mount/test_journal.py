# SPDX-License-Identifier: Apache-2.0
"""What the daemon writes into systemd's journal: entries with fields, from a sandbox; or lines with a priority."""
from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Callable, Iterator

import pytest
from daemon import Daemon
from paths import PATHS, mounted
from slots import INPUT, Slot, eventually, refused

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can cover the place of the journal's socket")

JOURNALD = Path("/lib/systemd/systemd-journald")
PLACE = Path("/run/systemd/journal")

# Another /run, with the place of the socket as the test sees it, and no log of the machine.
NAMESPACE = """set -e
mount --bind /run/systemd/journal "$1"
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
mount --bind "$1" /run/systemd/journal
mount -t tmpfs tmpfs /var/log
exec /lib/systemd/systemd-journald
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the journal's socket is to be, and nothing is: the machine's journal is hidden from this mount namespace."""
    made = [path for path in (PLACE, PLACE.parent) if not path.exists()]
    PLACE.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", PLACE], check=True)
    yield PLACE
    subprocess.run(["umount", "-l", PLACE], check=True)
    for path in made:
        path.rmdir()


@pytest.fixture
def entries(place: Path, tmp_path: Path) -> Iterator[Callable[[str], list[dict[str, str]]]]:
    """A journal, and what it has with this field."""
    if not JOURNALD.exists():
        pytest.skip("there is no systemd-journald")
    (tmp_path / "place").mkdir()
    journald = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", NAMESPACE, "sh", tmp_path / "place"],
                                stdin=subprocess.DEVNULL)

    def found(field: str) -> list[dict[str, str]]:
        journal = f"/proc/{journald.pid}/root/run/log/journal"
        done = subprocess.run(["journalctl", f"--directory={journal}", "--output=json", "--quiet", field], capture_output=True, text=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    try:
        eventually((place / "socket").exists, "the journal listens", 30)
        yield found
    finally:
        journald.kill()
        journald.wait(20)


@contextlib.contextmanager
def logging_into(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, is_journal: bool = True) -> Iterator[int]:
    """Runs the daemon with a pipe for its log, which the environment says is the journal's or not. Gives the other end."""
    reader, writer = os.pipe()
    pipe = os.fstat(writer)
    monkeypatch.setenv("JOURNAL_STREAM", f"{pipe.st_dev}:{pipe.st_ino + (not is_journal)}")
    try:
        daemon.start(stderr=writer)
        yield reader
    finally:
        os.close(writer)
        daemon.stop()
        shutil.rmtree(daemon.directory)


def said(reader: int) -> list[str]:
    with open(reader) as log:
        return log.read().splitlines()


def test_fields(entries: Callable[[str], list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch) -> None:
    """From the server that serves, and from the one that takes over; a name with a newline makes no field."""
    daemon = mounted(PATHS[0])
    with logging_into(daemon, monkeypatch) as reader:
        for name in ("one", "two\nERRNO=0"):
            slot = Slot.make(daemon.path, name).bring("DONE")
            server = daemon.server
            with refused(errno.EPROTO):
                slot.flag(INPUT)
            shown = name.replace("\n", "?")
            [entry] = eventually(partial(entries, f"SLOT={shown}"), "the refusal is in the journal", 30)
            assert entry["MESSAGE"].startswith(f"{shown}: refused to write flag 0 for process {os.getpid()}: ")
            assert (entry["ROUND"], entry["ERRNO"], entry["PRIORITY"]) == ("1", str(errno.EPROTO), "6")
            assert (entry["SYSLOG_IDENTIFIER"], entry["_PID"]) == ("pyrmapfs", str(server))
            os.kill(server, signal.SIGKILL)
            assert slot.state == "DONE"
        assert [entry for entry in entries("PRIORITY=4") if "another one has taken over" in entry["MESSAGE"]]
    assert not [line for line in said(reader) if "pyrmapfs" in line]


@pytest.mark.parametrize("is_journal", [True, False])
def test_priorities_of_lines(place: Path, is_journal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the journal reads the log and has no socket, lines have a priority in front; and nowhere else."""
    with logging_into(mounted(PATHS[0]), monkeypatch, is_journal) as reader:
        pass
    assert [line for line in said(reader) if line.startswith("<6>pyrmapfs: info: " if is_journal else "pyrmapfs: info: ")]
