# SPDX-License-Identifier: Apache-2.0
"""Slots in a state, what a client does to them, and what clients can see of them."""
from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
from slots import ANSWER, DATA, FAILED, INPUT, NONE, RESULT, STATES, VIEWS, Record, Slot

LARGE = np.arange(1000.0)
Picture = dict[str, Any]


def bring(slot: Slot, state: str, how: str) -> Slot:
    """how: "written" through the files, or "sent" in one write each, and so inline."""
    if how == "written" or state in ("IDLE", "FILLING"):
        return slot.bring(state)
    slot.send(INPUT, DATA)
    if state == "COMPUTING":
        slot.put("result.bin", ANSWER)
    elif state == "DONE":
        slot.send(RESULT, ANSWER)
    elif state == "FAILED":
        slot.flag(FAILED)
    return slot


class Scene:
    """`job` in that state, `next`, which follows its result, and `other`, which is DONE."""

    def __init__(self, mount: Path, state: str, how: str) -> None:
        self.mount = mount
        self.other = bring(Slot.make(mount, "other"), "DONE", how)
        self.job = bring(Slot.make(mount, "job"), state, how)
        self.next = Slot.make(mount, "next")
        os.symlink("../job/result.bin", self.next / "source")
        self.fd = -1

    def open(self, file: str) -> None:
        self.fd = os.open(self.job / file, os.O_RDWR | os.O_NONBLOCK)

    def remove(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        for name in os.listdir(self.mount):
            if name[0] != ".":
                os.rmdir(self.mount / name)


# --- what a client sees ---

def attempt(call: Callable[[], Any]) -> Any:
    """What it returns, or the name of the errno."""
    try:
        return call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))


def content(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return b"".join(iter(lambda: os.read(fd, 1 << 20), b""))
    finally:
        os.close(fd)


def picture_of(slot: Slot) -> Picture:
    """All of it but times, inodes and what counts attempts. Arrays come last: reading a result takes it."""
    text, directory = slot.text, os.stat(slot.path)
    seen: Picture = {key: text.get(key) for key in ("state", "round", "failure", "source", "worker", "owner", "input_shape")}
    seen["record"] = slot.record._replace(change=0)
    seen["page"] = slot.record._replace(change=0) == slot.record.unpack(slot.page()[:128])._replace(change=0)
    seen["access"] = directory.st_mode, directory.st_uid, directory.st_gid
    seen["sizes"] = [attempt(lambda: os.stat(slot / name).st_size) for name in ("data.bin", "result.bin", "task", "error")]
    seen["link"] = attempt(lambda: os.readlink(slot / "source"))
    for name in ("task", *VIEWS, "data.bin", "result.bin", "error"):
        seen[name] = attempt(lambda: content(slot / name))
    return seen


def picture(mount: Path) -> Picture:
    names = sorted(name for name in os.listdir(mount) if name[0] != ".")
    return {name: picture_of(Slot(mount / name)) for name in names}


def differences(found: Picture, expected: Picture) -> str:
    lines = []
    for name in sorted({*found, *expected}):
        here, there = found.get(name, {}), expected.get(name, {})
        lines += [f"{name}/{key}: {here.get(key)!r} and not {there.get(key)!r}"
                  for key in {**here, **there} if here.get(key) != there.get(key)]
    return "; ".join(lines)


# --- what a client does ---

def nothing(scene: Scene) -> None:
    pass


class Operation(NamedTuple):
    """first: what the client did before, as another step."""

    name: str
    run: Callable[[Scene], Any]
    first: Callable[[Scene], Any] = nothing


def opened(path: Path, flags: int) -> None:
    os.close(os.open(path, flags | os.O_NONBLOCK))


def record(path: Path) -> Record:
    return Record.unpack(content(path))._replace(change=0)


def states(path: Path) -> list[str]:
    """What metadata.txt says, without what differs each time."""
    return [line for line in content(path).decode().splitlines() if line.split("=")[0] in ("state", "round", "failure", "input_length")]


def flagged(scene: Scene, image: bytes) -> int:
    fd = os.open(scene.job / "metadata.bin", os.O_WRONLY | os.O_NONBLOCK)
    try:
        return os.pwrite(fd, image, 0)
    finally:
        os.close(fd)


def stored(path: Path, bytes_: bytes, flags: int) -> int:
    fd = os.open(path, flags | os.O_NONBLOCK)
    try:
        return os.pwrite(fd, bytes_, 0)
    finally:
        os.close(fd)


def through(name: str, call: Callable[[int], Any], file: str) -> Operation:
    """By a file that is open: opening it begins a round, or takes it."""
    return Operation(f"{name} {file}", lambda scene: call(scene.fd), lambda scene: scene.open(file))


def flag(value: int) -> Operation:
    return Operation(f"write flag {value}", lambda scene: flagged(scene, struct.pack("<i", value)))


def send(value: int, array: np.ndarray) -> Operation:
    return Operation(f"flag {value} and {array.size} doubles", lambda scene: flagged(scene, scene.job.image(value, array)))


def on(name: str, call: Callable[[Path], Any], file: str) -> Operation:
    return Operation(f"{name} {file}", lambda scene: call(scene.job / file))


OPERATIONS = (
    on("open for writing", lambda path: opened(path, os.O_WRONLY), "data.bin"),
    on("open for writing", lambda path: opened(path, os.O_RDWR), "result.bin"),
    *[on("read", content, file) for file in ("data.bin", "result.bin", "data.txt", "result.npy", "task", "error")],
    on("read", record, "metadata.bin"),
    on("read", states, "metadata.txt"),
    *[on(f"truncate to {size}", lambda path, size=size: os.truncate(path, size), file)  # type: ignore[misc]
      for file in ("data.bin", "result.bin") for size in (0, 4096, 1 << 20)],
    *[through("fallocate", lambda fd: os.posix_fallocate(fd, 0, 1 << 20), file) for file in ("data.bin", "result.bin")],
    *[through("write", lambda fd: os.pwrite(fd, LARGE.tobytes(), 0), file) for file in ("data.bin", "result.bin")],
    *[through("ftruncate", lambda fd: os.ftruncate(fd, 100), file) for file in ("data.bin", "result.bin")],
    *[flag(value) for value in (NONE, INPUT, RESULT, FAILED)],
    *[send(value, array) for value in (INPUT, RESULT) for array in (DATA + 1, LARGE)],
    on("write", lambda path: stored(path, b"what to do", os.O_WRONLY), "task"),
    on("write", lambda path: stored(path, b"what went wrong", os.O_WRONLY), "error"),
    on("write", lambda path: stored(path, b"self", os.O_WRONLY), "owner"),
    on("write", lambda path: stored(path, b"self", os.O_WRONLY), "worker"),
    on("truncate", lambda path: os.truncate(path, 100), "task"),
    on("truncate", lambda path: os.truncate(path, 0), "error"),
    *[on("unlink", os.unlink, file) for file in ("data.bin", "result.bin", "metadata.bin", "task", "error", "data.txt")],
    Operation("mkdir made", lambda scene: os.mkdir(scene.mount / "made")),
    Operation("rmdir job", lambda scene: os.rmdir(scene.job.path)),
    Operation("rename job made", lambda scene: os.rename(scene.job.path, scene.mount / "made")),
    Operation("chmod job", lambda scene: os.chmod(scene.job.path, 0o700)),
    Operation("chown job", lambda scene: os.chown(scene.job.path, 1, 1)),
    Operation("utime data.bin", lambda scene: os.utime(scene.job / "data.bin", (1, 1))),
    Operation("symlink other/result.bin job/source", lambda scene: os.symlink("../other/result.bin", scene.job / "source")),
    Operation("symlink job/data.bin other/source", lambda scene: os.symlink("../job/data.bin", scene.other / "source")),
    Operation("unlink next/source", lambda scene: os.unlink(scene.next / "source")),
    Operation("rename other/result.bin job/data.bin", lambda scene: os.rename(scene.other / "result.bin", scene.job / "data.bin")),
    Operation("rename result.bin data.bin", lambda scene: os.rename(scene.job / "result.bin", scene.job / "data.bin")),
)

# Each operation, each state, both ways in which its arrays came to be.
CASES = [(operation, state, how) for operation in OPERATIONS for state in STATES for how in ("written", "sent")
         if how == "written" or state not in ("IDLE", "FILLING")]
