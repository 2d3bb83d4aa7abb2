# SPDX-License-Identifier: Apache-2.0
"""A client that exchanges arrays and checks every byte: trader.py ROLE SLOT SEED COUNTER.

It calls the system and nothing else, and expects each call to succeed. COUNTER is a file of 16 bytes: rounds that it
has done, and whether it is to end. It ends with 1 and a line on stderr at the first surprise.

- producer: publishes random arrays, waits for each result, and compares it with what it has to be.
- worker: waits for an input, and publishes its answer.
- pusher, stage, taker: a stream of numbered arrays from SLOT-source to SLOT, which follows it. The stage fails each
  seventh round. Each number has one outcome, and the taker gets them all in their order.
- founder: makes, moves and removes slots beside SLOT.
- sleeper: sleeps on the page of the record until it changes, and sees that what it shows is whole.
"""
from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import random
import select
import struct
import sys
import time
import traceback
from typing import Callable

UINT8, RECORD, INLINE, ONE_WRITE = 5, 128, 1984, (1 << 20) - 4096
FLAG_NONE, FLAG_INPUT, FLAG_RESULT, FLAG_FAILED = -1, 0, 1, 2
TAKE_RESULT, ROUNDS_PER_FAILURE = 1 << 29, 7
SYS_FUTEX, FUTEX_WAIT = 202, 0

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)


class Surprise(Exception):
    pass


def answer_to(data: bytes) -> bytes:
    """What a worker makes of an input: as many bytes, which tell all of it."""
    digest = hashlib.sha256(data).digest()
    return (digest * (len(data) // len(digest) + 1))[:len(data)]


def numbered(number: int) -> bytes:
    draw = random.Random(number)
    return struct.pack("<Q", number) + draw.randbytes(draw.choice((0, 100, 3000, 70000)))


class Counter:
    def __init__(self, path: str) -> None:
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 16)

    def step(self) -> None:
        struct.pack_into("<Q", self.map, 0, struct.unpack_from("<Q", self.map, 0)[0] + 1)

    def is_over(self) -> bool:
        return self.map[8] != 0


class Trader:
    def __init__(self, slot: str, seed: int, counter: Counter) -> None:
        self.slot = slot
        self.random = random.Random(seed)
        self.counter = counter
        self.seen = 0
        self.number = 0

    def record(self, raw: bytes | None = None) -> tuple[int, int, int, int]:
        """flag, round, input_length, result_length"""
        if raw is None:
            with open(f"{self.slot}/metadata.bin", "rb", buffering=0) as file:
                raw = file.read(RECORD)
        if len(raw) != RECORD:
            raise Surprise(f"a record of {len(raw)} bytes")
        return (struct.unpack_from("<i", raw)[0], struct.unpack_from("<Q", raw, 32)[0],
                struct.unpack_from("<q", raw, 8)[0], struct.unpack_from("<q", raw, 24)[0])

    def write_record(self, flag: int, length: int, array: bytes = b"") -> None:
        with open(f"{self.slot}/metadata.bin", "r+b", buffering=0) as file:
            raw = bytearray(file.read(RECORD))
            struct.pack_into("<i", raw, 0, flag)
            if flag == FLAG_INPUT:
                struct.pack_into("<qii", raw, 8, length, UINT8, UINT8)
            else:
                struct.pack_into("<q", raw, 24, length)
            done = os.pwrite(file.fileno(), bytes(raw) + array, 0)
            if done != RECORD + len(array):
                raise Surprise(f"a write of {done} bytes")

    def write_by_calls(self, path: str, data: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            at = 0
            while at < len(data):
                at += os.pwrite(fd, data[at:at + self.random.choice((100, 4096, 65536))], at)
        finally:
            os.close(fd)

    def write_by_stores(self, path: str, data: bytes) -> None:
        fd = os.open(path, os.O_RDWR | os.O_TRUNC)
        try:
            os.ftruncate(fd, len(data))
            with mmap.mmap(fd, len(data)) as page:
                for at in range(0, len(data), 8192):
                    page[at:at + 8192] = data[at:at + 8192]
        finally:
            os.close(fd)

    def publish(self, flag: int, data: bytes) -> None:
        name = "data.bin" if flag == FLAG_INPUT else "result.bin"
        way = self.random.random()
        if 0 < len(data) <= ONE_WRITE and (way < 0.3 or len(data) <= INLINE and way < 0.7):
            self.write_record(flag, len(data), data)
            return
        if data and way < 0.8:
            self.write_by_stores(f"{self.slot}/{name}", data)
        else:
            self.write_by_calls(f"{self.slot}/{name}", data)
        self.write_when_free(flag, len(data))

    def write_when_free(self, flag: int, length: int) -> None:
        """The end of a mapping reaches the filesystem later than munmap returns, with no server too: EBUSY."""
        for _ in range(2000):
            try:
                self.write_record(flag, length)
                return
            except OSError as error:
                if error.errno != 16:
                    raise
                time.sleep(0.001)
        raise Surprise("what it has let go of counts as written for 2 seconds")

    def read(self, name: str, length: int) -> bytes:
        """An open that waits, if it has to."""
        with open(f"{self.slot}/{name}", "rb", buffering=0) as file:
            if length == 0 or self.random.random() < 0.5:
                data = b""
                while piece := file.read(1 << 20):
                    data += piece
                return data
            size = os.fstat(file.fileno()).st_size
            with mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as page:
                return bytes(page)

    def size(self) -> int:
        return self.random.choice((1, 8, 100, 1984, 1985, 5000, 70000, 300000, 2000000))

    def produce(self) -> None:
        data = self.random.randbytes(self.size())
        self.publish(FLAG_INPUT, data)
        result = self.read("result.bin", len(data))
        flag, turn, _, _ = self.record()
        if result != answer_to(data):
            raise Surprise(f"round {turn}: {len(result)} bytes that are not the answer to {len(data)} (flag {flag})")
        if self.seen and turn != self.seen + 1:
            raise Surprise(f"round {turn} after {self.seen}")
        self.seen = turn

    def wait_for_input(self) -> tuple[int, int] | None:
        """By poll, as on every data path."""
        with open(f"{self.slot}/metadata.bin", "rb", buffering=0) as file:
            poll = select.poll()
            poll.register(file, select.POLLIN)
            while True:
                os.lseek(file.fileno(), 0, os.SEEK_SET)
                flag, turn, length, _ = self.record(file.read(RECORD))
                if flag == FLAG_INPUT and turn > self.seen:
                    return turn, length
                if self.counter.is_over():
                    return None
                poll.poll(1000)

    def work(self) -> None:
        found = self.wait_for_input()
        if found is None:
            return
        data = self.read("data.bin", found[1])
        if self.seen and found[0] != self.seen + 1:
            raise Surprise(f"round {found[0]} after {self.seen}")
        if len(data) != found[1]:
            raise Surprise(f"round {found[0]}: an input of {len(data)} bytes instead of {found[1]}")
        self.publish(FLAG_RESULT, answer_to(data))
        self.seen = found[0]

    def push(self) -> None:
        """Publishing the result waits until the follower's last outcome was taken."""
        self.number += 1
        self.write_record(FLAG_INPUT, 8, struct.pack("<Q", self.number))
        data = numbered(self.number)
        self.write_record(FLAG_RESULT, len(data), data)

    def stage(self) -> None:
        found = self.wait_for_input()
        if found is None:
            return
        data = self.read("data.bin", found[1])
        if struct.unpack_from("<Q", data)[0] % ROUNDS_PER_FAILURE == 0:
            with open(f"{self.slot}/metadata.bin", "r+b", buffering=0) as file:
                file.write(struct.pack("<i", FLAG_FAILED))
        else:
            self.publish(FLAG_RESULT, answer_to(data))
        self.seen = found[0]

    def wait_for_round(self) -> int | None:
        with open(f"{self.slot}/metadata.bin", "rb", buffering=0) as file:
            poll = select.poll()
            poll.register(file, select.POLLIN)
            while True:
                os.lseek(file.fileno(), 0, os.SEEK_SET)
                _, turn, _, _ = self.record(file.read(RECORD))
                if turn > self.seen:
                    return turn
                if self.counter.is_over():
                    return None
                poll.poll(1000)

    def result_in_one_read(self) -> bytes:
        with open(f"{self.slot}/metadata.bin", "rb", buffering=0) as file:
            poll = select.poll()
            poll.register(file, select.POLLIN)
            while True:
                os.pread(file.fileno(), RECORD, 0)
                try:
                    return os.pread(file.fileno(), RECORD + (1 << 18), TAKE_RESULT)[RECORD:]
                except BlockingIOError:
                    poll.poll(1000)

    def take(self) -> None:
        turn = self.wait_for_round()
        if turn is None:
            return
        self.number += 1
        data = answer_to(numbered(self.number))
        try:
            got = self.result_in_one_read() if self.random.random() < 0.5 else self.read("result.bin", len(data))
        except OSError as error:
            if error.errno != 5 or self.number % ROUNDS_PER_FAILURE:
                raise
        else:
            if got != data or self.number % ROUNDS_PER_FAILURE == 0:
                raise Surprise(f"round {turn}: {len(got)} bytes that are not the outcome of number {self.number}")
        if turn != self.seen + 1:
            raise Surprise(f"round {turn} after {self.seen}")
        self.seen = turn

    def found(self) -> None:
        first, second = (f"{self.slot}-{word}" for word in ("new", "moved"))
        os.mkdir(first)
        with open(f"{first}/task", "w") as file:
            file.write("found")
        os.symlink(f"../{os.path.basename(self.slot)}/result.bin", f"{first}/source")
        os.unlink(f"{first}/source")
        os.rename(first, second)
        with open(f"{second}/task") as file:
            if file.read() != "found":
                raise Surprise("another task")
        os.rmdir(second)
        if os.path.exists(first) or os.path.exists(second):
            raise Surprise("a slot that was removed is there")

    def sleep(self) -> None:
        with open(f"{self.slot}/metadata.mem", "rb") as file:
            address = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
        last, patience = 0, (ctypes.c_long * 2)(0, 200_000_000)
        for _ in range(20):
            change: int = struct.unpack("<I", ctypes.string_at(address + 116, 4))[0]
            if change % 2 == 0 and change < last:
                raise Surprise(f"change goes back from {last} to {change}")
            last = max(last, change - change % 2)
            libc.syscall(SYS_FUTEX, ctypes.c_void_p(address + 116), FUTEX_WAIT, change, patience, None, 0)
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(4096))


def main(role: str, slot: str, seed: str, path: str) -> int:
    counter = Counter(path)
    trader = Trader(slot, int(seed), counter)
    roles: dict[str, Callable[[], None]] = {"producer": trader.produce, "worker": trader.work, "founder": trader.found,
                                            "sleeper": trader.sleep, "pusher": trader.push, "stage": trader.stage,
                                            "taker": trader.take}
    try:
        while not counter.is_over():
            roles[role]()
            counter.step()
    except (OSError, Surprise) as error:
        where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(traceback.extract_tb(error.__traceback__)))
        print(f"{role} of {os.path.basename(slot)}: {error!r} in {where}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
