# SPDX-License-Identifier: Apache-2.0
"""A client that exchanges arrays and checks every byte: trader.py ROLE SLOT SEED DIARY.

It calls the system and nothing else, and expects each call to succeed. It ends with 1 and a line on stderr at the first surprise.
Those of a pair, founder and sleeper may be killed at any moment: the diary, a mapped file, tells the successor how far they were.

- producer: publishes random arrays, waits for each result, and compares it with what it has to be.
- worker: registers itself, waits for an input, and publishes its answer. A round of which it dies is tried again by the producer.
- pusher, stage, taker: a stream of numbered arrays from SLOT-source to SLOT, which follows it. The stage fails each
  seventh round. Each number has one outcome, and the taker gets them all in their order.
- founder: makes, moves and removes slots beside SLOT.
- sleeper: sleeps on the page of the record until it changes, and sees that what it shows is whole.
"""
from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import random
import select
import struct
import sys
import time
import traceback
import zlib
from typing import Callable

UINT8, RECORD, INLINE, ONE_WRITE = 5, 128, 1984, (1 << 20) - 4096 - 128
FLAG_NONE, FLAG_INPUT, FLAG_RESULT, FLAG_FAILED = -1, 0, 1, 2
TAKE_RESULT, ROUNDS_PER_FAILURE = 1 << 29, 7
SYS_FUTEX, FUTEX_WAIT = 202, 0
TURNED = bytes(255 - byte for byte in range(256))

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)


class Surprise(Exception):
    pass


def answer_to(data: bytes) -> bytes:
    """What a worker makes of an input: as many bytes, which tell all of it."""
    return (struct.pack("<I", zlib.crc32(data)) + data[4:].translate(TURNED))[:len(data)]


def numbered(number: int) -> bytes:
    draw = random.Random(number)
    return struct.pack("<Q", number) + draw.randbytes(draw.choice((0, 100, 3000, 70000)))


class Diary:
    """struct diary of trader.c. A round of a pair has the number of its array: the first one of a slot is 1."""

    SIZE = 40
    STEPS, OVER, PUBLISHED, BEGUN, ENDED = range(0, SIZE, 8)

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), self.SIZE)

    def get(self, field: int) -> int:
        return int(struct.unpack_from("<Q", self.map, field)[0])

    def set(self, field: int, value: int) -> None:
        struct.pack_into("<Q", self.map, field, value)

    def step(self) -> None:
        self.set(self.STEPS, self.get(self.STEPS) + 1)

    def is_over(self) -> bool:
        return self.get(self.OVER) != 0


class Trader:
    def __init__(self, slot: str, seed: int, diary: Diary, worker: Diary | None) -> None:
        self.slot = slot
        self.seed = seed
        self.random = random.Random(seed + os.getpid())
        self.diary = diary
        self.worker = worker
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
            done = self.when_free(lambda: os.pwrite(file.fileno(), bytes(raw) + array, 0))
            if done != RECORD + len(array):
                raise Surprise(f"a write of {done} bytes")

    def write_by_calls(self, path: str, data: bytes) -> None:
        fd = self.when_free(lambda: os.open(path, os.O_WRONLY | os.O_TRUNC))
        try:
            at = 0
            while at < len(data):
                at += os.pwrite(fd, data[at:at + self.random.choice((100, 4096, 65536))], at)
        finally:
            os.close(fd)

    def write_by_stores(self, path: str, data: bytes) -> None:
        fd = self.when_free(lambda: os.open(path, os.O_RDWR | os.O_TRUNC))
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
        self.write_record(flag, len(data))

    def when_free(self, call: Callable[[], int]) -> int:
        """What somebody has let go of, or a predecessor that was killed, may count as written for a moment longer: EBUSY."""
        for _ in range(2000):
            try:
                return call()
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                time.sleep(0.001)
        raise Surprise("what was let go of counts as written for 2 seconds")

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

    def array_of(self, number: int) -> bytes:
        """The same for the successor of a client that was killed."""
        draw = random.Random((self.seed << 32) + number)
        return draw.randbytes(draw.choice((1, 8, 100, 1984, 1985, 5000, 70000, 300000, 2000000)))

    def publish_number(self, number: int, data: bytes) -> None:
        """Unless a predecessor that was killed has published it, without being told."""
        flag, turn, _, _ = self.record()
        is_there = self.diary.get(Diary.BEGUN) == number == turn
        if not is_there and turn != max(number - 1, 1):
            raise Surprise(f"round {turn} before {number}")
        self.diary.set(Diary.BEGUN, number)
        if not is_there or flag == FLAG_NONE:
            self.publish(FLAG_INPUT, data)
        self.diary.set(Diary.PUBLISHED, number)

    def check_failure(self, number: int) -> None:
        """The only failure that a producer may see. What the worker has published, as it was told, cannot have failed."""
        with open(f"{self.slot}/metadata.txt") as file:
            text = file.read()
        if "\nfailure=worker-died pid=" not in text:
            raise Surprise(f"round {number}: a failure that is not a worker's death: {text}")
        if self.worker and self.worker.get(Diary.PUBLISHED) >= number:
            raise Surprise(f"round {number}: a result that was published is gone")

    def produce(self) -> None:
        number = self.diary.get(Diary.ENDED) + 1
        data = self.array_of(number)
        if self.diary.get(Diary.PUBLISHED) < number:
            self.publish_number(number, data)
        while True:
            try:
                result = self.read("result.bin", len(data))
                break
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
            self.check_failure(number)
            self.write_record(FLAG_INPUT, len(data))
        flag, turn, _, _ = self.record()
        if result != answer_to(data):
            raise Surprise(f"round {turn}: {len(result)} bytes that are not the answer to {len(data)} (flag {flag})")
        if turn != number:
            raise Surprise(f"round {turn} instead of {number}")
        self.diary.set(Diary.ENDED, number)

    def register(self) -> None:
        with open(f"{self.slot}/worker", "w") as file:
            file.write("self")
        self.seen = self.diary.get(Diary.PUBLISHED)

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
                if self.diary.is_over():
                    return None
                poll.poll(1000)

    def work(self) -> None:
        found = self.wait_for_input()
        if found is None:
            return
        # A predecessor that was killed may have published the round before, without being told.
        if found[0] not in (self.seen + 1, self.diary.get(Diary.BEGUN) + 1):
            raise Surprise(f"round {found[0]} after {self.seen}")
        self.diary.set(Diary.BEGUN, found[0])
        data = self.read("data.bin", found[1])
        if len(data) != found[1]:
            raise Surprise(f"round {found[0]}: an input of {len(data)} bytes instead of {found[1]}")
        self.publish(FLAG_RESULT, answer_to(data))
        self.diary.set(Diary.PUBLISHED, found[0])
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
                if self.diary.is_over():
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

    def tidy(self) -> None:
        for word in ("new", "moved"):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(f"{self.slot}-{word}")

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
    diary = Diary(path)
    trader = Trader(slot, int(seed), diary, Diary(path.removesuffix(role) + "worker") if role == "producer" else None)
    roles: dict[str, Callable[[], None]] = {"producer": trader.produce, "worker": trader.work, "founder": trader.found,
                                            "sleeper": trader.sleep, "pusher": trader.push, "stage": trader.stage,
                                            "taker": trader.take}
    begins: dict[str, Callable[[], None]] = {"worker": trader.register, "founder": trader.tidy}
    try:
        begins.get(role, lambda: None)()
        while not diary.is_over():
            roles[role]()
            diary.step()
    except (OSError, Surprise) as error:
        where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(traceback.extract_tb(error.__traceback__)))
        print(f"{role} of {os.path.basename(slot)}: {error!r} in {where}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
