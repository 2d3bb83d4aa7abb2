# SPDX-License-Identifier: Apache-2.0
"""bench: how fast this mount is, for two processes that know nothing but its files."""
from __future__ import annotations

import mmap
import os
import select
import signal
import statistics
import struct
import time
from argparse import Namespace
from typing import Any

from pyrmapctl import mount as mounts
from pyrmapctl.mount import write_once
from pyrmapctl.output import fail, put_json, put_table, size, why

RECORD = 128
FAILED = 2
UINT8 = 5
# Offsets of the record that a bench needs: flag, input_length, dtype, result_dtype, result_length, round.
HEAD = struct.Struct("<iiqiiqQ")


def head(fd: int) -> tuple[int, ...]:
    return HEAD.unpack(os.pread(fd, RECORD, 0)[:HEAD.size])


def until_flag(fd: int, flag: int, watch: "select.poll", round_of: int = 0) -> int:
    """The round in which the record has this flag; a later one than round_of."""
    while True:
        fields = head(fd)
        if fields[0] == flag and fields[6] > round_of:
            return fields[6]
        if fields[0] == FAILED:
            fail("the other process ended in the middle of a round")
        watch.poll()


def pages(slot: str, file: str, flags: int, length: int) -> mmap.mmap:
    """Maps the array, by the link to its pages where the data path has one."""
    fd = os.open(os.path.join(slot, file), flags | os.O_CLOEXEC)
    try:
        writes = flags & os.O_ACCMODE == os.O_RDWR
        if writes:
            os.ftruncate(fd, length)
        access = mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ
        link = os.path.join(slot, file.replace(".bin", ".mem"))
        try:
            linked = os.open(link, (flags & os.O_ACCMODE) | os.O_CLOEXEC)
        except OSError:
            return mmap.mmap(fd, length, access=access)
        try:
            return mmap.mmap(linked, length, access=access)
        finally:
            os.close(linked)
    finally:
        os.close(fd)


def step(slot: str, flag: int) -> None:
    side = "result_" if flag else ""
    write_once(os.path.join(slot, "metadata.txt"), f"{side}dtype=uint8\nflag={flag}\n".encode())


def answer(slot: str, rounds: int, length: int) -> None:
    """The worker: gives back what it gets. length 0: in one write with the record."""
    fd = os.open(os.path.join(slot, "metadata.bin"), os.O_RDWR | os.O_CLOEXEC)
    watch = select.poll()
    watch.register(fd, select.POLLIN)
    last = 0
    for _ in range(rounds):
        last = until_flag(fd, 0, watch, last)
        if length:
            with pages(slot, "data.bin", os.O_RDONLY, length) as taken, pages(slot, "result.bin", os.O_RDWR, length) as given:
                given[:] = taken
            step(slot, 1)
        else:
            record = bytearray(os.pread(fd, RECORD, 0))
            struct.pack_into("<i", record, 0, 1)
            struct.pack_into("<iq", record, 20, UINT8, 8)
            os.pwrite(fd, bytes(record) + bytes(8), 0)


def ask(slot: str, rounds: int, length: int) -> list[float]:
    """The producer: seconds of each round, from the first store to the last byte read."""
    fd = os.open(os.path.join(slot, "metadata.bin"), os.O_RDWR | os.O_CLOEXEC)
    watch = select.poll()
    watch.register(fd, select.POLLIN)
    content = bytes(length)
    taken = []
    last = 0
    for _ in range(rounds):
        begin = time.perf_counter()
        if length:
            with pages(slot, "data.bin", os.O_RDWR, length) as given:
                given[:] = content
            step(slot, 0)
        else:
            record = bytearray(os.pread(fd, RECORD, 0))
            struct.pack_into("<iiqi", record, 0, 0, 2, 8, UINT8)
            os.pwrite(fd, bytes(record) + bytes(8), 0)
        last = until_flag(fd, 1, watch, last)
        if length:
            with pages(slot, "result.bin", os.O_RDONLY, length) as result:
                if result[:] != content:
                    fail("the result is not what was sent: please report it")
        taken.append(time.perf_counter() - begin)
    os.close(fd)
    return taken


def measure(mount: str, rounds: int, length: int) -> list[float]:
    """Rounds between two processes in one slot. The slot goes with this process, however that ends, and a worker's death ends the wait."""
    slot = os.path.join(mount, f"pyrmapctl-bench-{os.getpid()}-{length}")
    os.mkdir(slot)
    try:
        write_once(os.path.join(slot, "owner"), b"self")
        worker = os.fork()
        if worker == 0:
            status = 1
            try:
                write_once(os.path.join(slot, "worker"), b"self")
                answer(slot, rounds, length)
                status = 0
            finally:
                os._exit(status)
        try:
            return ask(slot, rounds, length)
        except BaseException:
            os.kill(worker, signal.SIGKILL)  # it still waits for an input
            raise
        finally:
            os.waitpid(worker, 0)
    finally:
        os.rmdir(slot)


def do_bench(options: Namespace) -> int:
    mount = mounts.find(options.mount)
    results: list[dict[str, Any]] = []
    try:
        for length, rounds in ((0, options.rounds), (options.size, max(options.rounds // 100, 5))):
            seconds = measure(mount, rounds, length)
            median = statistics.median(seconds)
            results.append({"bytes": length or 8, "rounds": rounds, "median_seconds": median, "fastest_seconds": min(seconds),
                            "bytes_per_second": 2 * (length or 8) / median})
    except OSError as error:
        fail(f"{mount}: {why(error)}")
    if options.json:
        put_json({"mount": mount, "data_path": mounts.status(mount)["data path"], "results": results})
        return 0
    print(f"{mount}: {mounts.status(mount)['data path']}")
    put_table(("THERE AND BACK", "ROUNDS", "MEDIAN", "FASTEST", "BOTH WAYS"),
              [[f"{size(result['bytes'])} bytes", str(result["rounds"]), f"{result['median_seconds'] * 1e3:.3f} ms",
                f"{result['fastest_seconds'] * 1e3:.3f} ms", f"{size(result['bytes_per_second'])}/s"] for result in results])
    return 0
