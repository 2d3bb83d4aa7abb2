# SPDX-License-Identifier: Apache-2.0
"""The parties of a stream, each a process that can be stopped and killed at any time.

stage.py compute SLOT SEED: adds one to each input that comes, at a speed that the seed varies.
stage.py bound SLOT SEED: the same, as the slot's worker: its death fails the round.
stage.py produce SLOT COUNT: pushes the numbers 0 to COUNT - 1, each as an array whose length depends on it.
"""
from __future__ import annotations

import errno
import mmap
import os
import random
import select
import struct
import sys
import time
from array import array

NONE, INPUT, RESULT, FAILED = -1, 0, 1, 2
INT64 = 4
LENGTH_MAX = 300  # more than a page has room for
PAUSE_MAX = 0.0004


def array_of(number: int) -> array[int]:
    """What the stream carries for this number."""
    return array("q", [number]) * (1 + number % LENGTH_MAX)


class Party:
    """One slot, and the wait for its flag."""

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self.metadata = os.open(f"{slot}/metadata.bin", os.O_RDONLY)
        self.page = os.open(f"{slot}/metadata.mem", os.O_RDONLY)
        self.changes = select.poll()
        self.changes.register(self.metadata, select.POLLIN)

    def whole_page(self) -> bytes:
        """The page at one moment: `change` is even, and the same when all of it was read. Where the page is not the server's to read,
        it may change under a read."""
        while True:
            page = os.pread(self.page, 4096, 0)
            if not page[116] & 1 and os.pread(self.page, 4, 116) == page[116:120]:
                return page

    def flag(self) -> int:
        return int.from_bytes(os.pread(self.metadata, 4, 0), "little", signed=True)

    def await_flag(self, *wanted: int) -> int:
        while (flag := self.flag()) not in wanted:
            self.changes.poll()
        return flag

    def publish(self, record: bytes) -> None:
        descriptor = os.open(f"{self.slot}/metadata.bin", os.O_WRONLY)
        os.write(descriptor, record)
        os.close(descriptor)

    def take(self) -> array[int]:
        """The input: from the page, if it stands there."""
        page = self.whole_page()
        size, = struct.unpack_from("<H", page, 120)
        return array("q", page[128:128 + size]) if size else self.take_file("data.bin")

    def take_file(self, file: str) -> array[int]:
        with open(f"{self.slot}/{file}", "rb", buffering=0) as stream:
            return array("q", stream.readall())

    def take_error(self) -> bytes:
        with open(f"{self.slot}/error", "rb", buffering=0) as stream:
            return stream.readall()

    def send(self, values: array[int]) -> None:
        """The result in one write."""
        record = bytearray(self.whole_page()[:128])
        struct.pack_into("<i", record, 0, RESULT)
        struct.pack_into("<iq", record, 20, INT64, len(values))
        self.publish(bytes(record) + values.tobytes())

    def put(self, file: str, values: array[int]) -> None:
        with open(f"{self.slot}/{file}", "wb", buffering=0) as stream:
            stream.write(values)

    def put_mapped(self, file: str, values: array[int]) -> None:
        with open(f"{self.slot}/{file}", "w+b", buffering=0) as stream:
            stream.truncate(len(values) * values.itemsize)
            with mmap.mmap(stream.fileno(), 0) as pages:
                pages[:] = values.tobytes()


def bound(slot: str, seed: int) -> None:
    with open(f"{slot}/worker", "w") as worker:
        worker.write("self")
    compute(slot, seed)


def compute(slot: str, seed: int) -> None:
    party, chance = Party(slot), random.Random(seed)
    while True:
        if party.await_flag(INPUT, FAILED) == FAILED:
            retry(party)
            continue
        values = array("q", [value + 1 for value in party.take()])
        time.sleep(chance.random() * PAUSE_MAX)
        way = chance.choice((party.put, party.put_mapped, None, None))
        if way is None:
            party.send(values)
            continue
        way("result.bin", values)
        party.publish(struct.pack("<i", RESULT))


def retry(party: Party) -> None:
    """The worker before this one was killed: the same input again. A failure of the source is not ours to retry."""
    try:
        party.publish(struct.pack("<i", INPUT))
    except OSError as refusal:
        if refusal.errno not in (errno.EBUSY, errno.EPROTO):
            raise
        party.changes.poll()


def produce(slot: str, count: int) -> None:
    party = Party(slot)
    for number in range(count):
        party.await_flag(NONE if number == 0 else RESULT)
        party.put("data.bin", array_of(number))
        party.publish(struct.pack("<iiqi", INPUT, 1, -1, INT64))


if __name__ == "__main__":
    {"compute": compute, "bound": bound, "produce": produce}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
