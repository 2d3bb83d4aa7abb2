# SPDX-License-Identifier: Apache-2.0
"""Drives a mount and the model through the same operations, and compares them after each one."""
from __future__ import annotations

import errno
import io
import mmap
import os
import struct
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.lib import format as npy_format

from client import Hang, LocalClient, RemoteClient, load
from model import ARRAYS, FLAG, Answer, Model
from record_model import BUNDLE, CHANGE_OFFSET, NAMES, PAGE_SIZE, SIZE, Array, Record, Refused, unpack
from slot_model import Segment, Slot

# One operation: the client that does it, what it does, and the arguments.
Operation = tuple[Any, ...]
Clients = Sequence["LocalClient | RemoteClient"]

FULL_EVERY = 100
PATIENCE = 10.0  # seconds until a parked open that should be answered is not
TEXT_VERBS = {"write_task", "write_error", "write_text", "unlink"}
# Only the data path "links" lists these names. The model has the arrays that they lead to.
LINKS = {"data.mem", "result.mem"}


class Disagreement(Exception):
    """The mount and the model differ."""

    def __init__(self, what: str, expected: object, seen: object) -> None:
        super().__init__(f"{what}: the model says {expected!r}, the mount says {seen!r}")
        self.what = what


def expect(what: str, expected: object, seen: object) -> None:
    if expected != seen:
        raise Disagreement(what, expected, seen)


class Watched:
    """A slot's metadata.bin and metadata.mem held open, that one mapped as well, and what they said last."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(f"{path}/metadata.bin", os.O_RDONLY)
        self.page_descriptor = os.open(f"{path}/metadata.mem", os.O_RDONLY)
        self.page = mmap.mmap(self.page_descriptor, PAGE_SIZE, access=mmap.ACCESS_READ)
        self.record: bytes | None = None
        self.state = ""
        self.change = 0

    def close(self) -> None:
        self.page.close()
        os.close(self.page_descriptor)
        os.close(self.descriptor)


class Run:
    """One history: an empty mount and an empty model, and the operations since."""

    def __init__(self, root: Path, clients: Clients, model: Model, patience: float) -> None:
        self.patience = patience
        self.root = str(root)
        self.clients = clients
        self.model = model
        self.watched: WeakKeyDictionary[Slot, Watched] = WeakKeyDictionary()
        self.inodes: WeakKeyDictionary[Segment, int] = WeakKeyDictionary()
        self.seen_inodes: set[int] = set()
        self.steps = 0
        self.outcomes: Counter[str] = Counter()  # how often each verb ended in what
        self.parked: Counter[int] = Counter()    # per client the answers that are to come

    # --- one step

    def applicable(self, operation: Operation) -> bool:
        """Whether the operation makes sense here; shrinking may have removed what it builds on."""
        client, verb, *arguments = operation
        model = self.model
        if verb == "open":
            return arguments[0] not in model.handles and arguments[0] not in model.retained()
        if verb in ("close", "write", "ftruncate", "map"):
            opened = model.handles.get(arguments[0])
            if opened is None or opened.client != client:
                return False
            if verb == "map":
                return opened.mode == "+" and arguments[1] not in model.mappings
            return verb == "close" or opened.mode != "r"
        if verb in ("store", "unmap"):
            mapped = model.mappings.get(arguments[0])
            if mapped is None or mapped.client != client:
                return False
            return verb == "unmap" or arguments[1] + len(arguments[2]) <= model.storable(arguments[0])
        if verb == "rename":
            # A parked open that finds a new inode is looked up again, by the name under which it was made.
            return arguments[0] not in model.slots or not model.slots[arguments[0]].waiters
        # In a chain, once a follower or a reader took the result, it can be gone, and the next round failed, before a
        # parked open that finds a new inode was looked up again: the model cannot say what it gets then.
        if verb == "park" and arguments[2] == "result.bin" and arguments[1] in model.slots:
            slot = model.slots[arguments[1]]
            waits = any(waiter.file == "result.bin" for waiter in slot.waiters.values())
            if slot.source and (waits or slot.followers_of("result.bin")):
                return False
        if verb == "symlink":
            named = (arguments[0], arguments[1].removeprefix("../").partition("/")[0])
            if any(waiter.file == "result.bin" for name in named if name in model.slots
                   for waiter in model.slots[name].waiters.values()):
                return False
        if verb in ("park", "park_record"):
            return isinstance(self.clients[client], RemoteClient) and not model.is_waiting(arguments[0])
        return True

    def step(self, operation: Operation) -> None:
        """Does the operation on both sides, unless it makes no sense, and compares what it may have touched."""
        if not self.applicable(operation):
            return
        before = {slot: slot.state for slot in self.model.slots.values()}
        self.apply(operation)
        self.steps += 1
        touched, verb = set(self.model.touched), operation[1]
        for slot in touched:
            if self.model.slots.get(slot.name) is slot:
                self.check(slot, full=verb in TEXT_VERBS or before.get(slot) != slot.state)
        if self.steps % FULL_EVERY == 0:
            self.check_all()

    def apply(self, operation: Operation) -> None:
        client, verb, *rest = operation
        arguments = tuple(rest)
        # A handle of an earlier round may do what its data path lets it do, and no other client sees the effect.
        # Only the page-cache path tells a client, at close, that the daemon has undone its store.
        checked = verb not in ("ftruncate", "close", "unmap", "store_record")
        if verb in ("ftruncate", "close"):
            checked = self.model.is_current(arguments[0])
        expected, returned = self.model.apply(client, verb, arguments)
        self.parked[client] += verb in ("park", "park_record")
        outcome, value = self.clients[client].attempt(verb, arguments)
        if checked:
            expect(f"{verb}: outcome", expected, outcome)
            expect(f"{verb}: return value", returned, value)
        self.outcomes[f"{verb} {expected}"] += 1
        self.collect(self.model.woken)
        if verb in ("park", "park_record") and self.model.is_waiting(arguments[0]):
            self.await_parked(self.model.slots[arguments[1]])

    def collect(self, answers: list[Answer]) -> None:
        """Takes the answers of the parked opens that this step ended."""
        pending = {answer.waiter: answer for answer in answers}
        for answer in answers:
            late = self.clients[answer.client].late(self.patience)
            if late is None:
                raise Disagreement("parked open: answers", sorted(pending, key=str), "none of these")
            self.parked[answer.client] -= 1
            waiter, outcome, seen = late
            if waiter not in pending:
                raise Disagreement("parked open: answer", "still waiting", (waiter, outcome))
            awaited = pending.pop(waiter)
            expect("parked open: outcome", awaited.outcome, outcome)
            if outcome == "ok" and awaited.segment is not None:
                if awaited.segment.published:  # else its size may be changing by this very step
                    expect("parked open: size", len(awaited.segment.content), seen[0])
                self.check_inode(awaited.segment, seen[1])

    def await_parked(self, slot: Slot) -> None:
        """Returns once the daemon has parked every request that the model has."""
        deadline = time.monotonic() + self.patience
        while (count := self.text(slot.name).count("\nwaiting=")) != len(slot.waiters):
            if time.monotonic() > deadline:
                raise Disagreement("parked open: waiters", len(slot.waiters), count)

    # --- comparisons

    def check_all(self) -> None:
        expect("slots", set(self.model.slots), set(os.listdir(self.root)) - {".pyrmap"})
        for slot in list(self.model.slots.values()):
            self.check(slot, full=True)
        for number, client in enumerate(self.clients):
            expect(f"client {number}: late answer", None, client.late(0))

    def check(self, slot: Slot, full: bool) -> None:
        path = f"{self.root}/{slot.name}"
        self.check_record(slot, path)
        text = self.text(slot.name)
        expect(f"{slot.name}: state", f"state={slot.state}", text.partition("\n")[0])
        for file in ARRAYS:
            status = os.stat(f"{path}/{file}")
            segment = slot.segment(file)
            expect(f"{slot.name}/{file}: size", len(segment.content), status.st_size)
            self.check_inode(segment, status.st_ino)
        if full:
            self.check_texts(slot, path, text)
            expect(f"{slot.name}: listing", self.model.listing(slot.name), set(os.listdir(path)) - LINKS)
            # Looking at an outcome takes it, so at the end of a chain we mostly leave that to the clients.
            is_owed = slot.source is not None and slot.state in ("DONE", "FAILED")
            for file in ARRAYS:
                # Opening an array that is in the page gives it pages: the check leaves half of these opens to the clients.
                left_alone = file in slot.in_page and self.steps % 2 == 0
                if not left_alone and (file == "data.bin" or not is_owed):
                    self.apply((0, "read", slot.name, file))
            if slot.state != "FAILED" or not is_owed:
                self.apply((0, "read_error", slot.name))
            self.apply((0, "readlink", slot.name))
            self.check_views(slot, path)

    def check_record(self, slot: Slot, path: str) -> None:
        watched = self.watched.get(slot)
        if watched is None:
            self.watched[slot] = watched = Watched(path)
        image = os.pread(watched.descriptor, SIZE + 1, 0)
        expect(f"{slot.name}: size of the record", SIZE, len(image))
        change, = struct.unpack_from("<I", image, CHANGE_OFFSET)
        record = image[:CHANGE_OFFSET] + bytes(4) + image[CHANGE_OFFSET + 4:]
        page = slot.page()
        expect(f"{slot.name}: record", describe(page[:SIZE]), describe(record))
        expect(f"{slot.name}: page", (image + page[SIZE:]).hex(), os.pread(watched.page_descriptor, PAGE_SIZE, 0).hex())
        if not self.model.page_cache:  # where a mapping lags
            expect(f"{slot.name}: mapped page", (image + page[SIZE:]).hex(), watched.page[:].hex())
        if watched.record is not None:
            if record != watched.record:
                expect(f"{slot.name}: change after the record changed", True, change != watched.change)
            elif slot.state == watched.state and not slot.source:  # a chain may have led it away and back
                expect(f"{slot.name}: change after nothing changed", watched.change, change)
        watched.record, watched.state, watched.change = record, slot.state, change

    def check_inode(self, segment: Segment, inode: int) -> None:
        """A segment has one number for life, and no other has it or had it."""
        if segment not in self.inodes:
            expect("a fresh segment's inode is new", True, inode not in self.seen_inodes)
            self.seen_inodes.add(inode)
            self.inodes[segment] = inode
        expect("a segment keeps its inode", self.inodes[segment], inode)

    def text(self, name: str) -> str:
        return load(f"{self.root}/{name}/metadata.txt").decode()

    def check_texts(self, slot: Slot, path: str, text: str) -> None:
        lines = dict(line.split("=", 1) for line in text.splitlines())
        record = slot.record
        expected = {"flag": str(FLAG[slot.state]), "round": str(record.round),
                    "data_size": str(len(slot.input.content)), "result_size": str(len(slot.result.content)),
                    **described("input", "dtype", record.input),
                    **described("result", "result_dtype", record.result)}
        expect(f"{slot.name}/metadata.txt", expected, {key: lines.get(key) for key in expected})
        expect(f"{slot.name}: failure", slot.cause if slot.state == "FAILED" else None, lines.get("failure"))
        expect(f"{slot.name}/task", slot.task, load(f"{path}/task"))

    def check_views(self, slot: Slot, path: str) -> None:
        shown = {"data": (slot.has_input, slot.record.input, slot.input),
                 "result": (slot.state == "DONE", slot.record.result, slot.result)}
        for name, (is_shown, array, segment) in shown.items():
            if is_shown and array.dtype == BUNDLE:
                self.check_bundle(f"{slot.name}/{name}", path, name)
                continue
            text, npy = (load(f"{path}/{name}{suffix}") for suffix in (".txt", ".npy"))
            if not is_shown:
                expect(f"{slot.name}: hidden views of {name}", (b"", b""), (text, npy))
                continue
            dtype = np.dtype(NAMES[array.dtype])
            values = np.frombuffer(bytes(segment.content), dtype)
            # Not np.load: it refuses an empty array whose other extents are huge.
            stream = io.BytesIO(npy)
            expect(f"{slot.name}/{name}.npy: version", (1, 0), npy_format.read_magic(stream))
            shape, fortran = array.shape or (array.length,), array.fortran and len(array.shape) > 1
            expect(f"{slot.name}/{name}.npy: header", (shape, fortran, dtype),
                   npy_format.read_array_header_1_0(stream))
            expect(f"{slot.name}/{name}.npy: values", values.tobytes(), stream.read())
            parse = float if dtype.kind == "f" else int
            read = np.array([parse(line) for line in text.splitlines()], dtype)
            expect(f"{slot.name}/{name}.txt", True, np.array_equal(values, read, equal_nan=dtype.kind == "f"))

    def check_bundle(self, what: str, path: str, name: str) -> None:
        """Its header is of no use: the model writes none."""
        expect(f"{what}.txt", "damaged: its header is not JSON", load(f"{path}/{name}.txt").decode()[:31])
        try:
            npy: object = load(f"{path}/{name}.npy")
        except OSError as error:
            npy = error.errno
        expect(f"{what}.npy", errno.EINVAL, npy)

    # --- the end

    def finish(self) -> None:
        """Leaves an empty mount behind, whatever has happened."""
        for client in self.clients:
            with suppress(Hang, OSError):
                client.attempt("reset", ())
        for watched in self.watched.values():
            watched.close()
        self.watched.clear()
        for name in set(os.listdir(self.root)) - {".pyrmap"}:
            with suppress(FileNotFoundError):
                os.rmdir(f"{self.root}/{name}")
        for client_number in self.parked.elements():
            self.clients[client_number].late(self.patience)


def described(side: str, dtype_key: str, array: Array) -> dict[str, str]:
    """How metadata.txt shows one side of the record."""
    return {dtype_key: NAMES[array.dtype], f"{side}_length": str(array.length),
            f"{side}_shape": "x".join(map(str, array.shape)), f"{side}_order": "F" if array.fortran else "C",
            f"{side}_logical": "yes" if array.logical else "no"}


def describe(image: bytes) -> str:
    """A record's bytes in words where that is possible."""
    try:
        record: Record | None = unpack(image)
    except Refused:
        record = None
    return f"{record} {image.hex() if record is None or record.pack() != image else ''}"
