# SPDX-License-Identifier: Apache-2.0
"""A client without manners: storm.py ROOT SEED COUNT does COUNT random things below ROOT.

Nothing that it does may wait, and any errno is as good as another; what counts is how the mount is afterwards.
It prints how many calls went through.
"""
from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import random
import select
import stat
import struct
import sys
from contextlib import suppress
from typing import Callable

FILES = ("metadata.bin", "metadata.mem", "metadata.txt", "data.bin", "result.bin", "data.txt", "result.txt", "data.npy", "result.npy",
         "task", "error", "owner", "worker", "source")
KEYS = ("flag", "dtype", "input_length", "input_shape", "input_order", "input_logical", "result_dtype", "result_length", "result_shape",
        "result_order", "result_logical", "state", "round", "change", "colour", "")
NUMBERS = (-2**63, -2**31, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 127, 128, 2**31 - 1, 2**32, 2**40, 2**62, 2**63 - 1)
# Leave out those that ask for a file's flags: the kernel opens the file to answer, and such an open may wait.
IOCTLS = (0x5401, 0xC0189436, 0x8008E500, 0x4004E500)
FIELDS = ((0, "<i"), (4, "<i"), (8, "<q"), (16, "<i"), (20, "<i"), (24, "<q"), (32, "<q"), (40, "<i"), (44, "<i"),
          (48, "<q"), (56, "<q"), (80, "<q"), (112, "<I"), (116, "<I"), (120, "<q"))
HANDLES_MAX = 24
TAKE = (1 << 28, 1 << 29)  # where a read of the record gives the input, or the result, as well
ELEMENT = {1: 4, 2: 8, 3: 4, 4: 8, 5: 1, 6: 1}  # bytes, by dtype

libc = ctypes.CDLL(None, use_errno=True)


class Piece(ctypes.Structure):
    """struct iovec"""
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class Storm:
    def __init__(self, root: str, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.handles: list[int] = []
        self.mappings: list[mmap.mmap] = []
        self.deeds: list[Callable[[], object]] = [
            self.open, self.open, self.open, self.close, self.write, self.write, self.record, self.record, self.record, self.send, self.send,
            self.text, self.text, self.small_text, self.size, self.map, self.store, self.unmap, self.read, self.take, self.take, self.poll,
            self.control, self.make, self.make, self.remove, self.rename, self.unlink, self.link, self.mode, self.times,
            self.attributes, self.listing, self.allocate, self.lock, self.copy]

    # --- odds and ends

    def slot(self) -> str:
        return f"{self.root}/{self.random.choice('abcdef')}"

    def name(self) -> str:
        """The name of a slot or file, or any other."""
        draw = self.random.random()
        if draw < 0.8:
            return self.slot()
        if draw < 0.9:
            return f"{self.root}/.pyrmap/{self.random.choice(('status', 'metrics', 'config', 'graph', 'x', ''))}"
        length = self.random.choice((1, 3, 254, 255, 256))
        raw = bytes(self.random.choice(range(1, 256)) for _ in range(length)).replace(b"/", b"_")
        return f"{self.root}/{os.fsdecode(raw)}"

    def file(self, name: str) -> str:
        """A file of a slot. Through a link root would write to the arena's own file, past the filesystem and every limit."""
        path = f"{self.slot()}/{name}"
        return path if not name.endswith(".mem") or not os.path.islink(path) else f"{path[:-len(name)]}metadata.bin"

    def path(self) -> str:
        draw = self.random.random()
        if draw < 0.9:
            return self.file(self.random.choice(FILES))
        below = self.random.choice(("x", ".", "..", "task/x", "a" * 256))
        return self.name() if draw < 0.97 else f"{self.name()}/{below}"

    def junk(self) -> bytes:
        return self.random.randbytes(self.random.choice((0, 1, 4, 8, 40, 128, 129, 4096, 4097, 70000, 300000)))

    def number(self) -> int:
        return self.random.choice(NUMBERS)

    def offset(self) -> int:
        return self.random.choice((0, 0, 0, 1, 4, 8, 100, 127, 128, 4095, 4096, 1 << 20, *TAKE, 1 << 40, 2**63 - 1))

    def handle(self) -> int:
        return self.random.choice(self.handles)

    # --- deeds

    def open(self) -> None:
        flags = self.random.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR)) | os.O_NONBLOCK
        for flag in (os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_EXCL, os.O_DIRECT, os.O_SYNC, os.O_DIRECTORY, os.O_PATH):
            if self.random.random() < 0.12:
                flags |= flag
        self.handles.append(os.open(self.path(), flags, self.random.choice((0, 0o600, 0o7777))))
        if len(self.handles) > HANDLES_MAX:
            self.close()

    def close(self) -> None:
        os.close(self.handles.pop(self.random.randrange(len(self.handles))))

    def write(self) -> None:
        os.pwrite(self.handle(), self.junk(), self.offset())

    def put(self, path: str, content: bytes, offset: int = 0, flags: int = 0) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | flags)
        try:
            os.pwrite(descriptor, content, offset)
        finally:
            os.close(descriptor)

    def record(self) -> None:
        """A plausible record, but for a few fields."""
        path = f"{self.slot()}/metadata.bin"
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as stream:
            image = bytearray(stream.read(128))
        struct.pack_into("<i", image, 0, self.random.randrange(-1, 3))
        for offset, code in self.random.sample(FIELDS, self.random.choice((0, 0, 1, 2))):
            with suppress(struct.error):
                struct.pack_into(code, image, offset, self.number())
        begin = self.random.choice((0, 0, 0, 0, 8, self.random.randrange(128)))
        self.put(path, bytes(image[begin:self.random.choice((4, 20, 128, 128))]) or self.junk(), begin)

    def send(self) -> None:
        """An array behind the record, which mostly describes it, and mostly fits the page."""
        path = f"{self.slot()}/metadata.bin"
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as stream:
            image = bytearray(stream.read(128))
        size = self.random.choice((8, 80, 1976, 1984, 1985, 1992, 4096, 100000))
        flag = self.random.choice((0, 1, 1))
        struct.pack_into("<i", image, 0, flag)
        struct.pack_into("<i", image, 20 if flag else 16, 5)
        struct.pack_into("<q", image, 24 if flag else 8, size if self.random.random() < 0.9 else self.number() % 2**63)
        struct.pack_into("<i", image, 44 if flag else 40, 0)
        struct.pack_into("<I", image, 112, 0)
        self.put(path, bytes(image) + bytes([self.random.randrange(1, 256)]) * size)

    def take(self) -> None:
        """Record and array come from one moment: whatever others do, they fit each other."""
        side = self.random.randrange(2)
        descriptor = os.open(f"{self.slot()}/metadata.bin", os.O_RDONLY | os.O_NONBLOCK)
        try:
            image = os.pread(descriptor, 1 << 20, TAKE[side])
        finally:
            os.close(descriptor)
        dtype, of_result, length, of_input = (struct.unpack_from(code, image, at)[0]
                                              for code, at in (("<i", 16), ("<i", 20), ("<q", 24), ("<q", 8)))
        if image[:4] == struct.pack("<i", 2):
            return  # a round may fail before it has an input
        expected = (length if side else of_input) * ELEMENT[(of_result or dtype) if side else dtype]
        assert len(image) - 128 == expected or len(image) > 1_000_000, f"{len(image) - 128} bytes of {expected} were taken"

    def text(self) -> None:
        values = (str(self.number()), "float64", "2x3", "F", "", "x" * 2000)
        lines = [f"{self.random.choice(KEYS)}={self.random.choice(values)}" for _ in range(self.random.randrange(1, 6))]
        content = "\n".join(lines).encode() if self.random.random() < 0.8 else self.junk()
        self.put(f"{self.slot()}/metadata.txt", content, 0 if self.random.random() < 0.9 else self.offset())

    def small_text(self) -> None:
        content = self.random.choice((b"self", b"self\n", b"1", b"-1", b"0", b"99999999999", b"", b"\0", b" 12 ",
                                      str(os.getpid()).encode(), self.junk()))
        file = self.random.choice(("task", "error", "owner", "worker"))
        self.put(f"{self.slot()}/{file}", content, self.random.choice((0, 0, 0, self.offset())),
                 self.random.choice((0, os.O_TRUNC, os.O_APPEND)))

    def size(self) -> None:
        size = self.random.choice((0, 1, 8, 40, 128, 4096, 100000, 1 << 20, 1 << 34, 2**63 - 1, -1))
        if self.random.random() < 0.5:
            os.ftruncate(self.handle(), size)
        else:
            os.truncate(self.path(), size)

    def map(self) -> None:
        descriptor = self.handle()
        size = os.fstat(descriptor).st_size or 128
        kind = self.random.choice((mmap.MAP_SHARED, mmap.MAP_PRIVATE))
        rights = self.random.choice((mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE))
        self.mappings.append(mmap.mmap(descriptor, min(size, 1 << 20), kind, rights))
        if len(self.mappings) > HANDLES_MAX:
            self.unmap()

    def store(self) -> None:
        """Through the kernel: a file that another client cuts meanwhile costs an errno, not a SIGBUS."""
        mapping = self.random.choice(self.mappings)
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        byte = ctypes.create_string_buffer(self.random.randbytes(1), 1)
        local = Piece(ctypes.addressof(byte), 1)
        remote = Piece(start + self.random.randrange(len(mapping)), 1)
        if libc.process_vm_writev(os.getpid(), ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) != 1:
            raise OSError(ctypes.get_errno(), "store")

    def unmap(self) -> None:
        self.mappings.pop(self.random.randrange(len(self.mappings))).close()

    def read(self) -> None:
        os.pread(self.handle(), self.random.choice((0, 1, 128, 4096, 1 << 17)), self.offset())

    def poll(self) -> None:
        waiting = select.poll()
        waiting.register(self.handle(), self.random.randrange(64))
        waiting.poll(0)

    def control(self) -> None:
        fcntl.ioctl(self.handle(), self.random.choice((*IOCTLS, self.random.randrange(2**31))), bytes(64))

    def make(self) -> None:
        makers: tuple[Callable[[], None], ...] = (
            lambda: os.mkdir(self.slot()), lambda: os.mkdir(self.path()), lambda: os.mkdir(self.name()),
            lambda: os.mknod(self.path(), stat.S_IFIFO | 0o600), lambda: os.mknod(self.path()))
        self.random.choice(makers)()

    def remove(self) -> None:
        if self.random.random() < 0.3:
            os.rmdir(self.name())

    def rename(self) -> None:
        kinds: tuple[tuple[str, str], ...] = (
            (self.slot(), self.slot()), (self.name(), self.name()), (self.path(), self.path()),
            (f"{self.slot()}/result.bin", f"{self.slot()}/data.bin"))
        old, new = self.random.choice(kinds)
        flags = self.random.choice((0, 0, 0, 1, 2, 4, 9))
        if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) != 0:
            raise OSError(ctypes.get_errno(), "rename")

    def unlink(self) -> None:
        os.unlink(self.path())

    def link(self) -> None:
        if self.random.random() < 0.2:
            os.link(self.path(), self.path())
            return
        proper = f"../{self.random.choice('abcdef')}/{self.random.choice(('data.bin', 'result.bin'))}"
        text = self.random.choice((proper, proper, proper, self.path(), "x" * 4000, "..", "/",
                                   os.fsdecode(self.junk()[:100].replace(b"\0", b"x")) or "y"))
        os.symlink(text, f"{self.slot()}/{self.random.choice(('source', 'source', 'source', 'other'))}")

    def mode(self) -> None:
        if self.random.random() < 0.5:
            os.chmod(self.path(), self.random.randrange(0o10000))
        else:
            os.chown(self.path(), self.random.choice((-1, 0, 1000)), self.random.choice((-1, 0, 1000)))

    def times(self) -> None:
        os.utime(self.path(), ns=(abs(self.number()), abs(self.number())))

    def attributes(self) -> None:
        name = self.random.choice(("user.x", "security.capability", "system.posix_acl_access", "trusted.y"))
        self.random.choice((lambda: os.setxattr(self.path(), name, self.junk()[:1000]),
                            lambda: os.getxattr(self.path(), name), lambda: os.listxattr(self.path()),
                            lambda: os.removexattr(self.path(), name)))()

    def listing(self) -> None:
        path = self.random.choice((self.root, self.slot(), f"{self.root}/.pyrmap"))
        os.listdir(path)
        os.statvfs(path)
        with suppress(ValueError):
            os.readlink(f"{self.slot()}/source")
        for file in FILES:
            os.lstat(f"{self.slot()}/{file}")

    def allocate(self) -> None:
        kind, length = self.random.choice((0, 1, 2, 3, 8, 16)), self.random.choice((1, 4096, 1 << 20, 1 << 50))
        if libc.fallocate64(self.handle(), kind, ctypes.c_long(self.offset()), ctypes.c_long(length)) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")

    def lock(self) -> None:
        """No leases: a client that truncates would wait 45 seconds for the holder."""
        fcntl.flock(self.handle(), self.random.choice((fcntl.LOCK_EX, fcntl.LOCK_SH)) | fcntl.LOCK_NB)

    def copy(self) -> None:
        self.random.choice((lambda: os.copy_file_range(self.handle(), self.handle(), 4096, 0, 0),
                            lambda: os.lseek(self.handle(), self.offset(), self.random.randrange(5)),
                            lambda: os.fsync(self.handle()),
                            lambda: os.posix_fadvise(self.handle(), 0, 0, self.random.randrange(6))))()

    def go(self, count: int) -> int:
        """How many of the deeds went through."""
        done = 0
        for _ in range(count):
            with suppress(OSError, IndexError, ValueError, TypeError):
                self.random.choice(self.deeds)()
                done += 1
        return done


if __name__ == "__main__":
    print(Storm(sys.argv[1], int(sys.argv[2])).go(int(sys.argv[3])))
