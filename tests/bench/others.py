# SPDX-License-Identifier: Apache-2.0
"""How long others wait while one client has thousands of things going on: each request of a neighbour is timed.

The daemon and the neighbour have a real-time priority where that is allowed: what the rest of the machine does, and in
which order the kernel wakes thousands of the client's threads, is not what we measure. A process that is killed has a
lower one, so that it fills the line as fast as it can.
"""
from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator

from daemon import BUILD, Daemon
from table import table

CROWD = Path(BUILD).resolve() / "tests" / "bench" / "crowd"
COUNT = 10_000
PATIENCE = 120.0
ARRIVAL = 0.001
PAUSE = 0.0005  # of the neighbour between two calls: it leaves the processor to the client
TOLERABLE_MS = 20.0  # at the 99th percentile


def flag(number: int) -> bytes:
    return struct.pack("<i", number)


def publish_empty_result(record: int) -> None:
    """Flag 1, and the other fields as they are up to result_length, which is 0."""
    fields = list(struct.unpack("<iiqiiq", os.pread(record, 32, 0)))
    fields[0], fields[-1] = 1, 0
    os.pwrite(record, struct.pack("<iiqiiq", *fields), 0)


def neighbour(mount: Path, begun: Any, ended: Any, out: Any) -> None:
    """Rounds with empty arrays, a look at them, a slot that comes and goes: how long each call took."""
    slot, job = mount / "neighbour", mount / "neighbours-job"
    record = os.open(slot / "metadata.bin", os.O_RDWR)
    result = slot / "result.bin"
    calls: list[Callable[[], object]] = [
        lambda: os.pwrite(record, flag(0), 0), lambda: publish_empty_result(record),
        lambda: os.close(os.open(result, os.O_RDONLY)), lambda: os.pwrite(record, flag(-1), 0),
        lambda: os.stat(slot / "metadata.txt"), lambda: os.mkdir(job), lambda: os.rmdir(job)]
    times: list[float] = []
    begun.set()
    while not ended.is_set():
        for call in calls:
            time.sleep(PAUSE)
            before = time.monotonic()
            call()
            times.append(time.monotonic() - before)
    os.close(record)
    out.send(times)


@contextlib.contextmanager
def neighbourhood(mount: Path, times: list[float]) -> Iterator[None]:
    (mount / "neighbour").mkdir()
    context = multiprocessing.get_context("fork")
    begun, ended = context.Event(), context.Event()
    receive, send = context.Pipe(False)
    process = context.Process(target=neighbour, args=(mount, begun, ended, send))
    process.start()
    begun.wait(PATIENCE)
    yield
    ended.set()
    times += receive.recv()
    process.join()


def take_priority(priority: int) -> bool:
    """Gives this process, and what it starts, a real-time priority; 0 takes it away. Whether that is allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO if priority else os.SCHED_OTHER, os.sched_param(priority))
    except PermissionError:
        return False
    return True


def until(mount: Path, metric: str, wanted: Callable[[int], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        lines = (mount / ".pyrmap" / "metrics").read_text().splitlines()
        if wanted(next(int(line.split()[1]) for line in lines if line.startswith(metric + " "))):
            return
        if time.monotonic() > end:
            sys.exit(f"{metric} is not what it should be")
        time.sleep(0.01)


def followers(mount: Path) -> Path:
    head = mount / "head"
    head.mkdir()
    for index in range(COUNT):
        (mount / f"follower{index}").mkdir()
        (mount / f"follower{index}" / "source").symlink_to("../head/result.bin")
    return head


def finish(slot: Path) -> None:
    record = os.open(slot / "metadata.bin", os.O_RDWR)
    os.pwrite(record, flag(0), 0)
    publish_empty_result(record)
    os.close(record)


def look_at_all(mount: Path, state: str) -> None:
    for index in range(0, COUNT, COUNT // 100):
        text = (mount / f"follower{index}" / "metadata.txt").read_text()
        assert f"state={state}" in text, text


def delivery(mount: Path, times: list[float]) -> float:
    head = followers(mount)
    with neighbourhood(mount, times):
        before = time.monotonic()
        finish(head)
        took = time.monotonic() - before
    look_at_all(mount, "READY")
    return took


def failure(mount: Path, times: list[float]) -> float:
    head = followers(mount)
    record = os.open(head / "metadata.bin", os.O_RDWR)
    os.pwrite(record, flag(0), 0)
    with neighbourhood(mount, times):
        before = time.monotonic()
        os.pwrite(record, flag(2), 0)
        took = time.monotonic() - before
    os.close(record)
    look_at_all(mount, "FAILED")
    return took


def removal(mount: Path, times: list[float]) -> float:
    head = followers(mount)
    with neighbourhood(mount, times):
        before = time.monotonic()
        head.rmdir()
        look_at_all(mount, "FAILED")
        took = time.monotonic() - before
    return took


def crowd(what: str, path: Path, priority: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([CROWD, what, path, str(COUNT)], stdout=subprocess.PIPE,
                            preexec_fn=lambda: take_priority(priority))


def parked(mount: Path, times: list[float], end: Callable[[Path], None] = finish) -> float:
    slot = mount / "slot"
    slot.mkdir()
    with crowd("wait", slot / "result.bin", 0) as waiting:
        until(mount, "pyrmapfs_waiters", lambda count: count == COUNT)
        with neighbourhood(mount, times):
            before = time.monotonic()
            end(slot)
            waiting.wait(PATIENCE)
            took = time.monotonic() - before
    assert waiting.returncode == 0
    return took


def parked_removed(mount: Path, times: list[float]) -> float:
    return parked(mount, times, Path.rmdir)


def handles(mount: Path, times: list[float]) -> float:
    slot = mount / "slot"
    slot.mkdir()
    with crowd("hold", slot / "metadata.bin", 1) as holding:
        assert holding.stdout is not None and holding.stdout.readline() == b"open\n"
        with neighbourhood(mount, times):
            before = time.monotonic()
            holding.send_signal(signal.SIGKILL)
            until(mount, 'pyrmapfs_requests_total{op="release"}', lambda count: count >= COUNT)
            took = time.monotonic() - before
    return took


CASES: dict[str, Callable[[Path, list[float]], float]] = {
    f"a result goes to {COUNT:,} followers": delivery,
    f"a failure goes to {COUNT:,} followers": failure,
    f"the source of {COUNT:,} followers is removed": removal,
    f"{COUNT:,} parked opens are answered": parked,
    f"the slot of {COUNT:,} parked opens is removed": parked_removed,
    f"a process with {COUNT:,} open files is killed": handles,
}


def waits(times: list[float]) -> list[float]:
    """The waits of callers that come each millisecond, of which a call that takes long keeps many waiting."""
    return sorted(took - late * ARRIVAL for took in times for late in range(int(took / ARRIVAL) + 1))


def measure(case: Callable[[Path, list[float]], float], passthrough: str) -> list[str]:
    times: list[float] = []
    with Daemon({"path.passthrough": passthrough, "arena.capacity": "1G"}) as daemon:
        took = case(daemon.path, times)
    all_waits = waits(times)
    p50, p99, most = (1e3 * all_waits[min(len(all_waits) - 1, int(len(all_waits) * part))] for part in (0.5, 0.99, 1.0))
    return [f"{took * 1e3:.0f}", str(len(times)), f"{p50:.2f}", f"{p99:.1f}", f"{most:.1f}",
            "yes" if p99 <= TOLERABLE_MS else "NO"]


def others_table(root: bool) -> None:
    has_priority = take_priority(2)
    rows = [[name, *measure(case, "on" if root else "off")] for name, case in CASES.items()]
    take_priority(0)
    table("How long others wait meanwhile: milliseconds, by the calls of a neighbour" +
          ("" if has_priority else " (at the priority of everybody: on an idle machine only)"),
          ["what is going on", "it took", "calls", "p50", "p99", "max", f"p99 <= {TOLERABLE_MS:.0f}"], rows)
