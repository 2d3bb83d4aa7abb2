# SPDX-License-Identifier: Apache-2.0
"""What a slot has no place for: a clear errno, nothing changed, nothing lost, the daemon lives."""
from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import random
import socket
import stat
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from slots import ANSWER, DATA, FILES, INPUT, Slot, refused, write_once


@pytest.fixture
def busy(slot: Slot) -> Iterator[Slot]:
    """A slot in the middle of a round, which must be the same after each attempt."""
    slot.bring("COMPUTING")
    write_once(slot / "task", b"task")
    names, raw = sorted(os.listdir(slot.path)), slot.raw
    yield slot
    assert sorted(os.listdir(slot.path)) == names and slot.raw == raw and slot.state == "COMPUTING"
    assert (slot / "task").read_bytes() == b"task" and slot.data().tolist() == DATA.tolist()
    slot.answer()
    assert slot.result().tolist() == ANSWER.tolist()


def create(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        directory = os.open(path.parent, os.O_PATH)
        try:
            unix.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)


NEW_THINGS: dict[str, Callable[[Path], Any]] = {
    "a file": create, "a directory": os.mkdir, "a fifo": os.mkfifo, "a socket": bind,
    "a symlink": lambda path: os.symlink("../elsewhere", path),
    "a hidden file": lambda path: create(path.parent / ".hidden"),
    "a long name": lambda path: create(path.parent / ("n" * 255)),
    "metadata.bin.tmp": lambda path: create(path.parent / "metadata.bin.tmp"),
    "data.bin with a newline": lambda path: create(path.parent / "data.bin\n"),
    "bytes": lambda path: create(path.parent / os.fsdecode(b"\xff\xfe")),
    "a hard link": lambda path: os.link(path.parent / "task", path),
    "a hard link out": lambda path: os.link(path.parent / "task", path.parent.parent / "task"),
}


@pytest.mark.parametrize("what", NEW_THINGS)
def test_no_place_in_a_slot(busy: Slot, what: str) -> None:
    with refused(errno.EPERM):
        NEW_THINGS[what](busy / "new")


@pytest.mark.parametrize("what", [what for what in NEW_THINGS if what != "a directory" and "hard" not in what])
def test_no_place_in_the_root(mount: Path, what: str) -> None:
    before = sorted(os.listdir(mount))
    with refused(errno.EPERM):
        NEW_THINGS[what](mount / "new")
    assert sorted(os.listdir(mount)) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_no_devices(busy: Slot, mount: Path) -> None:
    for kind in (stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK):
        for path in (busy / "new", mount / "new"):
            with refused(errno.EPERM):
                os.mknod(path, kind | 0o600, os.makedev(1, 3))


def test_names_that_are_too_long(busy: Slot) -> None:
    with refused(errno.ENAMETOOLONG):
        create(busy / ("n" * 256))
    with refused(errno.ENOENT):
        os.stat(busy / ("n" * 255))


def test_existing_files_stay_what_they_are(busy: Slot) -> None:
    for name in FILES:
        with refused(errno.EEXIST):
            os.mkdir(busy / name)
        with refused(errno.EEXIST):
            os.symlink("x", busy / name)
        with refused(errno.ENOTDIR):
            os.rmdir(busy / name)
        with refused(errno.ENOTDIR):
            os.stat(busy / name / "x")


@pytest.mark.parametrize("old, new", [
    ("task", "task2"), ("task", "error"), ("data.bin", "result.bin"), ("data.bin", "../elsewhere"),
    ("metadata.bin", "data.bin"), ("result.txt", "data.bin"), ("data.bin", "data.txt"), ("worker", "owner"),
    ("result.bin", "task"), ("data.npy", "x.npy"),
])
def test_files_are_not_renamed(busy: Slot, old: str, new: str) -> None:
    with refused(errno.EPERM):
        os.rename(busy / old, busy / new)


def test_renames_across(busy: Slot, other: Slot, mount: Path, tmp_path: Path) -> None:
    """Into another slot, out of the mount, a slot into a slot."""
    for old, new in (("task", "task"), ("data.bin", "data.bin"), ("data.bin", "result.bin"),
                     ("result.bin", "result.bin"), ("metadata.bin", "metadata.bin")):
        with refused(errno.EPERM):
            os.rename(busy / old, other / new)
    with refused(errno.EXDEV):
        os.rename(busy / "task", tmp_path / "task")
    for target in (other / "nested", other / "data.bin", mount / ".pyrmap" / "x"):
        with refused(errno.EPERM, errno.ENOTDIR, errno.EACCES):
            os.rename(busy.path, target)
    with refused(errno.EPERM, errno.EISDIR):
        os.rename(busy / "task", mount / "task")
    assert other.state == "IDLE"


def test_extended_attributes(busy: Slot, mount: Path) -> None:
    for path in (busy / "data.bin", busy / "metadata.bin", busy.path, mount):
        with refused(errno.ENOTSUP, errno.EPERM):
            os.setxattr(path, "user.colour", b"red")
        with refused(errno.ENOTSUP, errno.ENODATA):
            os.getxattr(path, "user.colour")
        try:
            assert os.listxattr(path) == []
        except OSError as error:
            assert error.errno == errno.ENOTSUP


@pytest.mark.parametrize("name, most", [("task", 4096), ("error", 65536)])
def test_texts_that_are_too_long(slot: Slot, name: str, most: int) -> None:
    slot.bring("READY")
    (slot / name).write_bytes(b"x" * most)
    assert os.stat(slot / name).st_size == most
    for content, offset in ((b"y", most), (b"y" * 10, most - 9), (b"y", 1 << 40), (b"y" * (most + 1), 0)):
        with refused(errno.EFBIG):
            fd = os.open(slot / name, os.O_WRONLY)
            try:
                while content:
                    written = os.pwrite(fd, content, offset)
                    content, offset = content[written:], offset + written
            finally:
                os.close(fd)
        assert os.stat(slot / name).st_size == most
    with refused(errno.EFBIG):
        os.truncate(slot / name, most + 1)
    assert set((slot / name).read_bytes()) == {ord("x")}


@pytest.mark.parametrize("state", ("IDLE", "FILLING", "DONE"))
def test_error_texts_out_of_turn(slot: Slot, state: str) -> None:
    slot.bring(state)
    with refused(errno.EPROTO):
        write_once(slot / "error", b"it went wrong")
    assert slot.state == state and slot.error == ""


def test_texts_of_any_bytes(slot: Slot) -> None:
    content = bytes(range(256)) * 16
    (slot / "task").write_bytes(content)
    assert (slot / "task").read_bytes() == content


def test_holes_in_texts_are_zeros(slot: Slot) -> None:
    write_once(slot / "task", b"end", 100)
    assert (slot / "task").read_bytes() == bytes(100) + b"end"


def test_small_files_have_no_other_sizes(busy: Slot) -> None:
    for name in ("metadata.bin", "metadata.txt", "owner", "worker"):
        with refused(errno.EINVAL, errno.EPERM, errno.EFBIG):
            os.truncate(busy / name, 1 << 30)


def test_preparing_arrays_out_of_turn(busy: Slot) -> None:
    """fallocate by a handle that may not write, punching holes into a published array."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(busy / "data.bin", os.O_RDONLY)
    for mode in (0, 1, 3):
        assert libc.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(4096)) == -1
        assert ctypes.get_errno() == errno.EBADF
    with refused(errno.EINVAL, errno.EBADF):
        os.ftruncate(fd, 0)
    os.close(fd)


def test_holes_are_not_punched(slot: Slot) -> None:
    """Reserved pages stay reserved: FALLOC_FL_PUNCH_HOLE would bring SIGBUS back."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(slot / "data.bin", os.O_RDWR)
    os.ftruncate(fd, 1 << 20)
    for mode in (3, 8, 16, 32):
        assert libc.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(1 << 16)) == -1
        assert ctypes.get_errno() in (errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL)
    os.close(fd)
    assert os.stat(slot / "data.bin").st_blocks * 512 >= 1 << 20


def test_other_calls(busy: Slot, mount: Path) -> None:
    """ioctl, reading a directory as a file, writing to one."""
    for name in ("metadata.bin", "data.bin", "task"):
        fd = os.open(busy / name, os.O_RDONLY)
        with refused(errno.ENOTTY, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            fcntl.ioctl(fd, 0x5401, bytes(64))
        os.close(fd)
    for directory in (busy.path, mount):
        with refused(errno.EISDIR):
            os.open(directory, os.O_WRONLY)
        fd = os.open(directory, os.O_RDONLY)
        with refused(errno.EISDIR):
            os.read(fd, 100)
        os.close(fd)
    with refused(errno.EISDIR, errno.EPERM):
        os.unlink(busy.path)
    with refused(errno.EBUSY, errno.EPERM, errno.EACCES):
        os.rmdir(mount)


def test_negative_and_huge_offsets(busy: Slot) -> None:
    for name in ("metadata.bin", "metadata.txt", "task", "error", "data.txt", "data.npy"):
        fd = os.open(busy / name, os.O_RDONLY)
        assert os.pread(fd, 100, 1 << 62) == b""
        with refused(errno.EINVAL):
            os.pread(fd, 100, -1)
        os.close(fd)


def test_reading_directories_again_and_again(busy: Slot) -> None:
    """seekdir to anywhere, also to where nothing is."""
    fd = os.open(busy.path, os.O_RDONLY | os.O_DIRECTORY)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(65536)
    for offset in (0, 3, 12, 13, 1000, 2**31, 2**62):
        os.lseek(fd, offset, os.SEEK_SET)
        assert libc.getdents64(fd, buffer, len(buffer)) >= 0 or ctypes.get_errno() == errno.EINVAL, offset
    os.lseek(fd, 0, os.SEEK_SET)
    assert libc.getdents64(fd, buffer, len(buffer)) > 0
    os.close(fd)


def test_locks_are_of_no_concern(busy: Slot) -> None:
    """flock and fcntl locks work among clients, and the handshake does not see them."""
    first, second = (os.open(busy / "metadata.bin", os.O_RDWR) for _ in range(2))
    fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with refused(errno.EAGAIN):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(first)
    fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(second)


def test_writing_through_a_read_only_handle(busy: Slot) -> None:
    for name in FILES:
        if name == "result.bin":
            continue
        fd = os.open(busy / name, os.O_RDONLY)
        with refused(errno.EBADF):
            os.write(fd, b"x")
        os.close(fd)


def test_random_operations(mount: Path, slot: Slot, other: Slot) -> None:
    """Thousands of calls with random arguments: each answered, with an errno that is documented."""
    rng = random.Random(11)
    slots, names = [slot, other], [*FILES, ".", "source", "x", "n" * 300, "\n", "data.bin/x"]
    documented = {getattr(errno, name) for name in
                  "EBUSY EAGAIN EPROTO EINVAL EIO ENOSPC EFBIG EPERM ENOENT EEXIST ENOTDIR EISDIR ENAMETOOLONG EACCES "
                  "ENOTSUP EXDEV ENOTEMPTY ESRCH ELOOP EBADF ESTALE".split()}

    def path() -> Path:
        return rng.choice(slots).path / rng.choice(names)

    def open_and_use() -> None:
        fd = os.open(path(), rng.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR)) | os.O_NONBLOCK
                     | rng.choice((0, 0, os.O_TRUNC, os.O_APPEND, os.O_CREAT, os.O_EXCL | os.O_CREAT)))
        try:
            for _ in range(3):
                offset = rng.choice((0, 4, 100, 4096, 1 << 33))
                rng.choice((lambda: os.pread(fd, rng.randrange(300), offset), lambda: os.fstat(fd),
                            lambda: os.pwrite(fd, rng.randbytes(rng.choice((1, 4, 20, 128))), offset % 5000),
                            lambda: os.ftruncate(fd, rng.choice((0, 40, 5000))), lambda: os.fsync(fd)))()
        finally:
            os.close(fd)

    calls: list[Callable[[], Any]] = [
        open_and_use, open_and_use, open_and_use, lambda: os.rename(path(), path()), lambda: os.stat(path()),
        lambda: os.unlink(path()), lambda: os.mkdir(path()), lambda: os.rmdir(path()), lambda: create(path()),
        lambda: os.truncate(path(), rng.choice((0, 7, 128, 4096))),
        lambda: os.chmod(path(), 0o644 | rng.getrandbits(9)), lambda: os.link(path(), path()),
        lambda: os.readlink(path()), lambda: os.listdir(path()),
        lambda: rng.choice(slots).flag(rng.randrange(-2, 4)), lambda: os.utime(path()), lambda: os.access(path(), 7),
        lambda: write_once(path(), rng.choice((b"flag=0", b"flag=-1", b"self", b"\0\0\0\0", b"x"))),
    ]
    for _ in range(6000):
        try:
            rng.choice(calls)()
        except OSError as error:
            assert error.errno in documented, error
        for one in slots:
            if not one.path.exists():
                os.mkdir(one.path)
            os.chmod(one.path, 0o755)
    for one in slots:
        os.rmdir(one.path)
        os.mkdir(one.path)
        one.bring("DONE")
        assert one.result().tolist() == ANSWER.tolist() and one.record.flag == INPUT + 1
    assert os.listdir(mount / ".pyrmap")
