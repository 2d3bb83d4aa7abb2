# SPDX-License-Identifier: Apache-2.0
"""A client of the mount that does one operation at a time: inside the driver, or in a separate process.

The methods are named as those of the model and take the same arguments. They return what the client sees;
an OSError is the refusal. As a program, `client.py FD ROOT` serves requests that come through a connection.
"""
from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, Callable

OPEN_FLAGS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "t": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "+": os.O_RDWR}
RENAME_FLAGS = {"": 0, "noreplace": 1, "exchange": 2}
AT_FDCWD = -100
ANSWER_SECONDS = 20
CHANGE = slice(116, 120)  # of the record
RECORD_SIZE = 128
RECORD_HEAD = struct.Struct("<i28xQ")  # flag and round
TAKE = {"data.bin": 1 << 28, "result.bin": 1 << 29}  # where a read of the record gives the array as well

libc = ctypes.CDLL(None, use_errno=True)


class Hang(Exception):
    """A client did not answer in time, or died."""


class Client:
    def __init__(self, root: str, tell: Callable[[Any], None]) -> None:
        self.root = root
        self.tell = tell  # takes the late answers of parked opens
        self.handles: dict[object, int] = {}
        self.mappings: dict[object, Mapping] = {}

    def path(self, *names: str) -> str:
        return "/".join((self.root, *(name for name in names if name)))

    # --- the tree

    def mkdir(self, name: str) -> None:
        os.mkdir(self.path(name))

    def rmdir(self, name: str) -> None:
        os.rmdir(self.path(name))

    def rename(self, old: str, new: str, flags: str = "") -> None:
        self.renameat2(self.path(old), self.path(new), flags)

    def renameat2(self, old: str, new: str, flags: str) -> None:
        if libc.renameat2(AT_FDCWD, old.encode(), AT_FDCWD, new.encode(), RENAME_FLAGS[flags]) != 0:
            raise OSError(ctypes.get_errno(), new)

    def listing(self, name: str) -> set[str]:
        return set(os.listdir(self.path(name)))

    def create(self, name: str, file: str, exclusive: bool) -> None:
        flags = os.O_CREAT | os.O_RDONLY | os.O_NONBLOCK | (os.O_EXCL if exclusive else 0)
        os.close(os.open(self.path(name, file), flags))

    def foreign(self, name: str, kind: str) -> None:
        """Tries to put something into a slot that it has no place for."""
        new, old = self.path(name, "guest"), self.path(name, "task")
        attempts: dict[str, Callable[[], None]] = {
            "mkdir": lambda: os.mkdir(new), "mknod": lambda: os.mknod(new),
            "link": lambda: os.link(old, new), "symlink": lambda: os.symlink("task", new),
            "rename": lambda: os.rename(old, new)}
        attempts[kind]()

    def unlink(self, name: str, file: str) -> None:
        os.unlink(self.path(name, file))

    def move(self, source: str, target: str) -> None:
        os.rename(self.path(source, "result.bin"), self.path(target, "data.bin"))

    def symlink(self, name: str, target: str) -> None:
        os.symlink(target, self.path(name, "source"))

    def readlink(self, name: str) -> str:
        return os.readlink(self.path(name, "source"))

    # --- arrays

    def open(self, handle: object, name: str, file: str, mode: str) -> None:
        self.handles[handle] = os.open(self.path(name, file), OPEN_FLAGS[mode] | os.O_NONBLOCK)

    def close(self, handle: object) -> None:
        os.close(self.handles.pop(handle))

    def write(self, handle: object, offset: int, data: bytes) -> None:
        os.pwrite(self.handles[handle], data, offset)

    def ftruncate(self, handle: object, size: int) -> None:
        os.ftruncate(self.handles[handle], size)

    def truncate(self, name: str, file: str, size: int) -> None:
        os.truncate(self.path(name, file), size)

    def map(self, handle: object, mapping: object, size: int) -> None:
        """By the link to the pages, if there is one and the array is still the slot's."""
        plain = self.handles[handle]
        path = os.readlink(f"/proc/self/fd/{plain}")
        link = path.removesuffix(".bin") + ".mem"
        if (not os.path.islink(link) or not os.readlink(link).startswith("/")
                or not os.path.samestat(os.stat(path), os.fstat(plain))):  # there may be another slot of that name
            self.mappings[mapping] = Mapping(plain, size)
            return
        descriptor = os.open(link, os.O_RDWR)
        try:
            self.mappings[mapping] = Mapping(descriptor, size)
        finally:
            os.close(descriptor)

    def store(self, mapping: object, offset: int, data: bytes) -> None:
        self.mappings[mapping].store(offset, data)

    def unmap(self, mapping: object) -> None:
        self.mappings.pop(mapping).close()

    def read(self, name: str, file: str) -> bytes:
        return load(self.path(name, file))

    def take_array(self, name: str, file: str) -> tuple[int, int, bytes]:
        descriptor = os.open(self.path(name, "metadata.bin"), os.O_RDONLY)
        try:
            image = os.pread(descriptor, 1 << 16, TAKE[file])
        finally:
            os.close(descriptor)
        return *RECORD_HEAD.unpack_from(image), image[RECORD_SIZE:]  # type: ignore[return-value]

    def park(self, waiter: object, name: str, file: str) -> None:
        self.later(waiter, self.wait, self.path(name, file))

    def park_record(self, waiter: object, name: str, data: bytes) -> None:
        self.later(waiter, self.put, self.path(name, "metadata.bin"), os.O_WRONLY, 0, data)

    def later(self, waiter: object, call: Callable[..., Any], *arguments: Any) -> None:
        """Makes a call that may wait in a new thread, and tells how it ended."""
        def run() -> None:
            try:
                self.tell((waiter, "ok", call(*arguments)))
            except OSError as refusal:
                self.tell((waiter, errno.errorcode[refusal.errno or 0], None))

        threading.Thread(target=run, daemon=True).start()

    def wait(self, path: str) -> tuple[int, int]:
        """Opens for reading as soon as that is possible; the size and inode that it finds."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        return status.st_size, status.st_ino

    def reset(self) -> None:
        """Lets go of everything. What was stored into a round that is over may be reported as lost."""
        while self.mappings:
            self.mappings.popitem()[1].close()
        while self.handles:
            with suppress(OSError):
                os.close(self.handles.popitem()[1])

    # --- the record and the texts

    def put(self, path: str, flags: int, offset: int, data: bytes) -> None:
        descriptor = os.open(path, flags)
        try:
            os.pwrite(descriptor, data, offset)
        finally:
            os.close(descriptor)

    def write_record(self, name: str, offset: int, data: bytes) -> None:
        self.put(self.path(name, "metadata.bin"), os.O_WRONLY | os.O_NONBLOCK, offset, data)

    def truncate_record(self, name: str) -> None:
        self.put(self.path(name, "metadata.bin"), OPEN_FLAGS["t"], 0, b"")

    def store_record(self, name: str, offset: int, data: bytes) -> None:
        """Stores into a writable mapping of the record; the close makes it a step, or undoes it.

        `change` is left alone: it says which record the page shows, and only a store into the current one counts.
        """
        descriptor = os.open(self.path(name, "metadata.bin"), os.O_RDWR)
        try:
            mapping = Mapping(descriptor, 128)
            deadline = time.monotonic() + ANSWER_SECONDS
            while mapping.load()[CHANGE] != os.pread(descriptor, 128, 0)[CHANGE]:
                if time.monotonic() > deadline:
                    raise Hang(f"a mapping of {name}/metadata.bin does not follow the record")
            for begin, end in ((offset, min(offset + len(data), CHANGE.start)),
                               (max(offset, CHANGE.stop), offset + len(data))):
                if begin < end:
                    mapping.store(begin, data[begin - offset:end - offset])
            mapping.close()
        finally:
            os.close(descriptor)

    def write_text(self, name: str, text: str) -> None:
        self.put(self.path(name, "metadata.txt"), os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK, 0, text.encode("latin-1"))

    def read_error(self, name: str) -> bytes:
        return load(self.path(name, "error"))

    def write_task(self, name: str, text: bytes) -> None:
        self.put(self.path(name, "task"), os.O_WRONLY | os.O_TRUNC, 0, text)

    def write_error(self, name: str, text: bytes) -> None:
        self.put(self.path(name, "error"), os.O_WRONLY | os.O_APPEND, 0, text)


def load(path: str) -> bytes:
    """The whole content, with no request more than it takes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        content = b""
        while piece := os.read(descriptor, 1 << 17):
            content += piece
        return content
    finally:
        os.close(descriptor)


class Mapping:
    """A shared writable mapping and nothing else: Python's own mmap duplicates the descriptor and keeps it."""

    def __init__(self, descriptor: int, size: int) -> None:
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                              ctypes.c_long)
        libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        self.size = size
        self.address = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, descriptor, 0)
        if self.address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap")

    def store(self, offset: int, data: bytes) -> None:
        ctypes.memmove(self.address + offset, data, len(data))

    def load(self) -> bytes:
        return ctypes.string_at(self.address, self.size)

    def close(self) -> None:
        libc.munmap(self.address, self.size)


def attempt(client: Client, verb: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """The outcome of an operation: "ok" or the name of its errno, and what it returned."""
    try:
        return "ok", getattr(client, verb)(*arguments)
    except OSError as refusal:
        return errno.errorcode[refusal.errno or 0], None


class LocalClient:
    """A client inside this process."""

    def __init__(self, root: str) -> None:
        self.pid = os.getpid()
        self.client = Client(root, lambda _: None)

    def attempt(self, verb: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        return attempt(self.client, verb, arguments)

    def late(self, seconds: float) -> None:
        return None

    def end(self) -> None:
        self.client.reset()


class RemoteClient:
    """A client in a separate process."""

    def __init__(self, root: str) -> None:
        self.connection, theirs = Pipe()
        self.process = subprocess.Popen([sys.executable, __file__, str(theirs.fileno()), root],
                                        pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                                        start_new_session=True)
        theirs.close()
        self.pid = self.process.pid
        self.answers: list[Any] = []  # of parked opens

    def receive(self, seconds: float) -> tuple[str, Any] | None:
        try:
            return self.connection.recv() if self.connection.poll(seconds) else None
        except EOFError:
            raise Hang(f"client {self.process.pid} is gone, status {self.process.wait()}") from None

    def attempt(self, verb: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        self.connection.send((verb, arguments))
        while True:
            message = self.receive(ANSWER_SECONDS)
            if message is None:
                raise Hang(f"client {self.process.pid} hangs in {verb} {arguments}")
            kind, content = message
            if kind == "answer":
                return content
            self.answers.append(content)

    def late(self, seconds: float) -> Any:
        """The next answer of a parked open, if one comes within that time."""
        if self.answers:
            return self.answers.pop(0)
        message = self.receive(seconds)
        return message[1] if message else None

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


def serve(connection: Connection, root: str) -> None:
    lock = threading.Lock()

    def send(kind: str, content: Any) -> None:
        with lock:
            connection.send((kind, content))

    client = Client(root, lambda answer: send("late", answer))
    while True:
        try:
            verb, arguments = connection.recv()
        except EOFError:
            os._exit(0)
        send("answer", attempt(client, verb, arguments))


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), sys.argv[2])
