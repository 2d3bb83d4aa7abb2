# SPDX-License-Identifier: Apache-2.0
"""A slot as a client sees it: paths, system calls and the record, nothing else."""
from __future__ import annotations

import contextlib
import errno
import os
import struct
import time
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np

STATES = ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")
FILES = ("metadata.bin", "metadata.mem", "metadata.txt", "data.bin", "result.bin", "data.txt", "result.txt", "data.npy",
         "result.npy", "task", "error", "owner", "worker")
LINKS = ("data.mem", "result.mem", "metadata.mem")  # on the data path of that name
VIEWS = ("data.txt", "result.txt", "data.npy", "result.npy")
READ_ONLY = ("metadata.mem", *VIEWS)

NONE, INPUT, RESULT, FAILED = -1, 0, 1, 2
STEP_OF_ROUND = 1 << 20  # the offset of a step for the round in its record
FLOAT32, FLOAT64, INT32, INT64, UINT8, BUNDLE = 1, 2, 3, 4, 5, 6
DTYPES: dict[int, np.dtype[Any]] = {FLOAT32: np.dtype("f4"), FLOAT64: np.dtype("f8"), INT32: np.dtype("i4"),
                                    INT64: np.dtype("i8"), UINT8: np.dtype("u1")}
CODES = {dtype: code for code, dtype in DTYPES.items()}

DATA = np.arange(1.0, 6.0)
ANSWER = DATA * 10


Fields = NamedTuple("Fields", [
    ("flag", int), ("version", int), ("input_length", int), ("dtype", int), ("result_dtype", int),
    ("result_length", int), ("round", int), ("input_ndim", int), ("result_ndim", int),
    ("input_shape", tuple[int, ...]), ("result_shape", tuple[int, ...]), ("order", int), ("change", int),
    ("input_inline", int), ("result_inline", int), ("task_change", int)])


class Record(Fields):
    """The 128 bytes of metadata.bin, in their order."""

    def pack(self) -> bytes:
        flat: list[Any] = []
        for value in self:
            flat += list(value) if isinstance(value, tuple) else [value]
        return LAYOUT.pack(*flat)

    @classmethod
    def unpack(cls, raw: bytes) -> "Record":
        flat = LAYOUT.unpack(raw)
        return cls._make((*flat[:9], flat[9:13], flat[13:17], *flat[17:]))


LAYOUT = struct.Struct("<iiqiiqQii4q4qIIHHI")
OFFSETS = {"flag": 0, "version": 4, "input_length": 8, "dtype": 16, "result_dtype": 20, "result_length": 24,
           "round": 32, "input_ndim": 40, "result_ndim": 44, "input_shape": 48, "result_shape": 80, "order": 112,
           "change": 116, "input_inline": 120, "result_inline": 122, "task_change": 124}


def eventually(condition: Callable[[], Any], what: str = "", seconds: float = 10) -> Any:
    """Waits until condition() is true and returns what it said."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or condition}"
        time.sleep(0.002)
    return value


@contextlib.contextmanager
def refused(*codes: int) -> Iterator[None]:
    """The block must fail with one of these errnos."""
    names = [errno.errorcode[code] for code in codes]
    try:
        yield
    except OSError as error:
        assert errno.errorcode.get(error.errno or 0) in names, f"{error} instead of {' or '.join(names)}"
    else:
        raise AssertionError(f"went through instead of {' or '.join(names)}")


def write_once(path: str | Path, content: bytes, offset: int = 0, flags: int = os.O_WRONLY) -> None:
    """One open, one pwrite(2), one close."""
    fd = os.open(path, flags)
    try:
        assert os.pwrite(fd, content, offset) == len(content)
    finally:
        os.close(fd)


def pairs(text: str) -> dict[str, str]:
    """The `key=value` or `key: value` lines of a text; the last one of a repeated key counts."""
    lines = [line.replace(": ", "=", 1) if "=" not in line.split(" ")[0] else line for line in text.splitlines()]
    return dict(line.split("=", 1) for line in lines if "=" in line)


def number(value: str) -> int:
    """The first word of "1048576 (1.0 MiB)"."""
    return int(value.split()[0])


def status(mount: Path) -> dict[str, str]:
    return pairs((mount / ".pyrmap" / "status").read_text())


def usage(mount: Path) -> dict[str, int]:
    """Bytes: capacity, used, warm, free, and the daemon's own files."""
    lines = status(mount)
    return {key: number(lines[key]) for key in ("capacity", "used", "warm", "free", "files")}


def metrics(mount: Path) -> dict[str, float]:
    lines = (mount / ".pyrmap" / "metrics").read_text().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line and line[0] != "#"}


def requests(mount: Path) -> float:
    """How many the kernel has made so far; asking makes some itself."""
    return sum(value for key, value in metrics(mount).items() if key.startswith("pyrmapfs_requests_total"))


class Slot:
    """One job directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls, mount: Path, name: str) -> "Slot":
        os.mkdir(mount / name)
        return cls(mount / name)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def raw(self) -> bytes:
        return (self / "metadata.bin").read_bytes()

    @property
    def record(self) -> Record:
        return Record.unpack(self.raw)

    @property
    def text(self) -> dict[str, str]:
        return pairs((self / "metadata.txt").read_text())

    def lines(self, key: str) -> list[str]:
        """The values of a key of metadata.txt that may come several times: open, waiting."""
        text = (self / "metadata.txt").read_text()
        return [line.split("=", 1)[1] for line in text.splitlines() if line.startswith(key + "=")]

    @property
    def state(self) -> str:
        return self.text["state"]

    @property
    def error(self) -> str:
        return (self / "error").read_text()

    def waiters(self) -> list[tuple[int, str]]:
        """(pid, file) of each parked open."""
        return [(int(line.split()[0]), line.split()[1]) for line in self.lines("waiting")]

    def flag(self, value: int) -> None:
        """The first four bytes, and no more."""
        write_once(self / "metadata.bin", struct.pack("<i", value))

    def write(self, **fields: Any) -> None:
        """All 128 bytes, with these fields changed."""
        write_once(self / "metadata.bin", self.record._replace(**fields).pack())

    def put(self, file: str, array: np.ndarray | bytes) -> None:
        """open, write, close, as writeBin or tofile do it."""
        content = array if isinstance(array, bytes) else array.tobytes(order="A")
        fd = os.open(self / file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            while content:
                content = content[os.write(fd, content):]
        finally:
            os.close(fd)

    def fill(self, array: np.ndarray = DATA) -> None:
        self.put("data.bin", array)

    def publish(self, array: np.ndarray = DATA) -> None:
        """Input and flag 0."""
        self.fill(array)
        self.write(flag=INPUT, dtype=CODES[array.dtype], input_length=array.size, input_ndim=0, input_shape=(0,) * 4,
                   order=0)

    def answer(self, array: np.ndarray = ANSWER) -> None:
        """Result and flag 1."""
        self.put("result.bin", array)
        self.write(flag=RESULT, result_dtype=CODES[array.dtype], result_length=array.size, result_ndim=0,
                   result_shape=(0,) * 4)

    def image(self, flag: int, array: np.ndarray) -> bytes:
        """What publishes an array in one write: the record and the bytes behind it."""
        shape = array.shape if array.ndim > 1 else ()
        padded = shape + (0,) * (4 - len(shape))
        fortran = bool(shape) and array.flags.f_contiguous and not array.flags.c_contiguous
        record = self.record._replace(flag=flag)
        if flag == INPUT:
            record = record._replace(dtype=CODES[array.dtype], input_length=array.size, input_ndim=len(shape),
                                     input_shape=padded, order=record.order & ~1 | fortran)
        else:
            record = record._replace(result_dtype=CODES[array.dtype], result_length=array.size,
                                     result_ndim=len(shape), result_shape=padded,
                                     order=record.order & ~2 | fortran << 1)
        return record.pack() + array.tobytes(order="A")

    def send(self, flag: int, array: np.ndarray) -> None:
        """Publishes it in one write."""
        write_once(self / "metadata.bin", self.image(flag, array))

    def page(self) -> bytes:
        return (self / "metadata.mem").read_bytes()

    def data(self) -> np.ndarray:
        return np.fromfile(self / "data.bin", DTYPES[self.record.dtype])

    def result(self) -> np.ndarray:
        return np.fromfile(self / "result.bin", DTYPES[self.record.result_dtype])

    def bring(self, state: str) -> "Slot":
        """From IDLE to this state with DATA and ANSWER."""
        if state == "FILLING":
            self.fill()
        elif state != "IDLE":
            self.publish()
        if state == "COMPUTING":
            self.put("result.bin", ANSWER)
        elif state == "DONE":
            self.answer()
        elif state == "FAILED":
            self.flag(FAILED)
        assert self.state == state
        return self

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self.path)
