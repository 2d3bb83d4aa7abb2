# SPDX-License-Identifier: Apache-2.0
"""The power goes: what a directory arena has on its disk at that moment is what the next daemon finds.

The arena lies on a filesystem in an image. A copy of the image is what the disk has: what the kernel has not written
yet is not in it, and mounting the copy replays the journal.
"""
from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

import numpy as np
import pytest
from places import on_directory
from slots import INPUT, RESULT, Slot

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount an image"),
    pytest.mark.skipif(not shutil.which("mkfs.ext4") or not Path("/dev/loop-control").exists(),
                       reason="needs mkfs.ext4 and loop devices"),
]

IMAGE_SIZE = 96 << 20


class Disk:
    """A filesystem whose power can be cut."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.image = directory / "image"
        with self.image.open("wb") as file:
            file.truncate(IMAGE_SIZE)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True)
        self.place = self.mount(self.image, "disk")

    def mount(self, image: Path, name: str) -> Path:
        place = self.directory / name
        place.mkdir()
        subprocess.run(["mount", "-o", "loop", image, place], check=True)
        return place

    def unmount(self, place: Path) -> None:
        subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()

    def cut(self) -> Path:
        """The disk as it is now, mounted anew."""
        copy = self.directory / "copy"
        subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
        return self.mount(copy, "after")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.unmount(disk.place)


def expect(path: Path, wanted: dict[str, tuple[str, bytes, bytes, str]]) -> None:
    for name, (state, data, result, task) in wanted.items():
        slot = Slot(path / name)
        assert slot.state == state, name
        assert (slot / "data.bin").read_bytes() == data, name
        assert (slot / "task").read_text() == task, name
        if state == "DONE":
            assert (slot / "result.bin").read_bytes() == result, name


def after_a_cut(disk: Disk, wanted: dict[str, tuple[str, bytes, bytes, str]]) -> None:
    place = disk.cut()
    try:
        with on_directory(arena=place / "arena") as daemon:
            expect(daemon.path, wanted)
    finally:
        disk.unmount(place)


@pytest.mark.time_limit(300)
@pytest.mark.parametrize("seed", range(2))
def test_every_publish_is_there(disk: Disk, seed: int) -> None:
    """At once after its answer: state, bytes, and the task that was written before it."""
    rng = random.Random(seed)
    wanted: dict[str, tuple[str, bytes, bytes, str]] = {}
    with on_directory(arena=disk.place / "arena") as daemon:
        for step in range(24):
            name = f"slot-{rng.randrange(4)}"
            size = rng.choice([8, 1000, 100_000, 1_000_000]) // 8
            array = np.frombuffer(rng.randbytes(size * 8), dtype="f8")
            if name not in wanted:
                Slot.make(daemon.path, name)
            slot = Slot(daemon.path / name)
            one_write = rng.random() < 0.5
            if wanted.get(name, ("",))[0] == "READY":
                _, data, _, task = wanted[name]
                slot.send(RESULT, array) if one_write else slot.answer(array)
                wanted[name] = ("DONE", data, array.tobytes(), task)
            else:
                task = f"step {step}"
                (slot / "task").write_text(task)
                slot.send(INPUT, array) if one_write else slot.publish(array)
                wanted[name] = ("READY", array.tobytes(), b"", task)
            if step % 3 == 2:
                after_a_cut(disk, wanted)
        for name in wanted:
            Slot(daemon.path / name).remove()
