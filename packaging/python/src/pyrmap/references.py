# SPDX-License-Identifier: Apache-2.0
"""Mapped arrays on their way to another process of this machine, through multiprocessing: the name of their pages in place of
their bytes.

multiprocessing pickles with a pickler that is its own, so pickle.dumps(), files and everything else have the bytes. A
reference names a slot that has the segment as its input and belongs to no one else: it is good whatever becomes of the array
and of its slot. That one goes when a process takes it, or with the program that sent it.
"""
from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
from types import FrameType
from typing import Any, NamedTuple, Optional

import numpy as np

from pyrmap import mapping
from pyrmap.errors import SlotError
from pyrmap.handles import Handles
from pyrmap.record import Array, Extent, unpack

# A smaller array costs less to send than its reference does.
LEAST = 1 << 20

# Which of multiprocessing's functions send to a process that it has started here. Connection.send() may have another one at
# its other end: see _is_local().
_SENDERS = {"multiprocessing.queues": ("_feed", "put"), "multiprocessing.popen_spawn_posix": ("_launch",),
            "multiprocessing.popen_forkserver": ("_launch",)}

_BOOT_ID = "/proc/sys/kernel/random/boot_id"

_counter = itertools.count(1)
_enabling = threading.Lock()
_enabled = False


class Reference(NamedTuple):
    """Where the pages of an array are: a slot whose input they are, and what has to be the same there."""

    path: str
    boot: str
    round: int
    inode: int
    changed: int  # when the segment was: no other mount has both
    size: int


def enable() -> None:
    """From now on multiprocessing's pickler asks this module about arrays. Call it once there is a mapped one."""
    global _enabled
    with _enabling:
        if _enabled:
            return
        from multiprocessing.reduction import ForkingPickler

        # Others may have their own way for the arrays that are not ours.
        before = ForkingPickler._extra_reducers.get(np.ndarray)  # type: ignore[attr-defined]

        def reduce(array: Array) -> Any:
            return _reduce(array) or (before(array) if before else array.__reduce_ex__(4))

        ForkingPickler.register(np.ndarray, reduce)
        _enabled = True


def _reduce(array: Array) -> Optional[tuple[Any, ...]]:
    """How a mapped array is taken at the other end; None: by its bytes."""
    memory = mapping.mapping_of(array) if array.nbytes >= LEAST else None
    if memory is None or memory.origin is None or not _is_local(_sender()) or memory.is_changed():
        return None
    shared = _share(memory.origin, memory.length)
    if shared is None:
        return None
    offset = mapping.address_of(array) - memory.address
    return take, (tuple(shared), array.dtype.str, array.shape, array.strides, offset, array.flags.writeable)


def _sender() -> Optional[FrameType]:
    """The function of multiprocessing that pickles, as its reduction module's caller."""
    import sys

    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    if frame is None or frame.f_globals.get("__name__") != "multiprocessing.reduction":
        return None
    return frame.f_back


def _is_local(sender: Optional[FrameType]) -> bool:
    """Whether what it sends goes to a process of this machine for certain."""
    if sender is None:
        return False
    module, function = sender.f_globals.get("__name__"), sender.f_code.co_name
    if module == "multiprocessing.connection" and function == "send":
        return _is_pipe(sender.f_locals["self"].fileno())
    return function in _SENDERS.get(str(module), ())


def _is_pipe(fd: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return True
    import socket

    with socket.socket(fileno=os.dup(fd)) as other:
        return other.family == socket.AF_UNIX


def _owner() -> str:
    """The process that a reference lives as long as. One that multiprocessing has started may end before another takes what it
    has put into a queue: the one that started it counts."""
    from multiprocessing import parent_process

    parent = parent_process()
    return "self" if parent is None else str(parent.pid)


def _share(origin: mapping.Origin, size: int) -> Optional[Reference]:
    """A slot with the same pages; None if the origin has gone on to another round, or is gone."""
    root, name = os.path.split(origin.path)
    path = os.path.join(root, f"py-{os.getpid()}-{next(_counter)}")
    try:
        os.mkdir(path, 0o700)
    except OSError:
        return None
    try:
        with open(os.path.join(path, "owner"), "w", encoding="ascii") as owner:
            owner.write(_owner())
        source = os.path.join(path, "source")
        os.symlink(f"../{name}/{origin.name}", source)
        # It is no follower: the origin need not wait for it.
        os.unlink(source)
        found = os.stat(os.path.join(path, "data.bin"))
        if found.st_ino == origin.inode and found.st_size == size:
            with open(_BOOT_ID, encoding="ascii") as boot:
                return Reference(path, boot.read().strip(), 1, found.st_ino, found.st_mtime_ns, size)
    except OSError:
        pass
    _remove(path)
    return None


def _remove(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        # The filesystem, or the slot, is gone.
        return


def take(reference: tuple[str, str, int, int, int, int], dtype: str, shape: tuple[int, ...], strides: tuple[int, ...],
         offset: int, writeable: bool) -> Array:
    """The array of a reference, mapped copy-on-write from the same pages. SlotError if they are not within reach."""
    memory = _map(Reference(*reference))
    array: Array = np.ndarray(shape, dtype, memory.array(Extent(np.dtype("u1"), (), memory.length, "C")), offset, strides)
    array.flags.writeable = writeable
    return array


def _map(reference: Reference) -> mapping.Mapping:
    with open(_BOOT_ID, encoding="ascii") as boot:
        if boot.read().strip() != reference.boot:
            raise _lost(reference, "it was sent by another machine, or before this one was started")
    try:
        handles = Handles(reference.path)
    except SlotError:
        raise _lost(reference, "it is gone: its sender has ended, or it was taken before, or no such mount is within reach "
                               "here") from None
    try:
        fd = handles.open("data.bin", os.O_RDONLY | os.O_NONBLOCK)
        try:
            found = os.fstat(fd)
            if (unpack(handles.record.head()).round, found.st_ino, found.st_mtime_ns, found.st_size) != reference[2:]:
                raise _lost(reference, "what is at its path is something else")
            memory = handles.map("data.bin", fd, reference.size, mapping.COPY_ON_WRITE)
        finally:
            os.close(fd)
    finally:
        handles.close()
    _remove(reference.path)
    return memory


def _lost(reference: Reference, why: str) -> SlotError:
    return SlotError(errno.ENOENT, f"an array that was sent as a reference to its pages, {reference.path}, cannot be had here: "
                                   f"{why}")
