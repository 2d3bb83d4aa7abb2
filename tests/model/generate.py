# SPDX-License-Identifier: Apache-2.0
"""Random operations: mostly what a sensible client would do next, and often what it should not."""
from __future__ import annotations

import random
import struct
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any, Callable

from driver import Operation
from model import ARRAYS, FILES, Model
from record_model import BUNDLE, DTYPES, ELEMENT, NAMES, SIZE, Array, Record, Refused, unpack
from slot_model import Handle, Segment, Slot

HANDLES_MAX = 10
MAPPINGS_MAX = 5
WAITERS_MAX = 8
NAMES_OF_SLOTS = ("a", "b", "c", "d", "e")
STRANGE_NAMES = (".hidden", "n" * 255, "n" * 256)
FLAGS = (-1, 0, 1, 2)
WRITING = {"FILLING": "data.bin", "COMPUTING": "result.bin"}

Choice = tuple[int, Callable[..., "Operation | None"]]


class Generator:
    """Draws the next operation from a seed and the state that the model is in."""

    def __init__(self, seed: int, model: Model, clients: int, chains: bool) -> None:
        self.chains = chains
        self.random = random.Random(seed)
        self.model = model
        self.clients = clients
        self.numbers = count(1)

    def next(self) -> Operation:
        operation: Operation | None = None
        while operation is None:
            operation = self.draw()
        return operation

    def draw(self) -> Operation | None:
        if len(self.model.slots) < 2 or self.random.random() < 0.03:
            return self.tree()
        slot = self.random.choice(list(self.model.slots.values()))
        if self.random.random() < 0.6:
            *_, root = slot.upstream()
            return self.forward(root if slot.state == "IDLE" else slot)
        return self.pick(slot, (
            (6, self.open_any), (3, self.close_any), (4, self.write_any), (2, self.resize), (2, self.map_any),
            (2, self.store_any), (2, self.unmap_any), (3, self.truncate), (4, self.read), (4, self.take), (6, self.park),
            (12, self.record), (2, self.store_record), (5, self.text), (2, self.task), (3, self.error), (3, self.read_error),
            (2, self.unlink), (3, self.move), (2, self.strange),
            *(((6, self.link), (4, self.publish_and_wait)) if self.chains else ())))

    def pick(self, slot: Slot, choices: tuple[Choice, ...]) -> Operation | None:
        weights, draws = zip(*choices)
        return self.random.choices(draws, weights)[0](slot)

    def client(self) -> int:
        return self.random.randrange(self.clients)

    def name(self) -> str:
        return self.random.choice(NAMES_OF_SLOTS)

    # --- the next sensible thing

    def forward(self, slot: Slot) -> Operation | None:
        if slot.state in WRITING:
            segment = slot.segment(WRITING[slot.state])
            if segment.handles or segment.mappings:
                return self.work_on(segment)
            if slot.state == "FILLING" and self.random.random() < 0.3:
                return self.open(slot, "data.bin")
            return self.publish(slot)
        return {"IDLE": self.begin, "READY": self.begin, "DONE": self.after, "FAILED": self.after}[slot.state](slot)

    def begin(self, slot: Slot) -> Operation | None:
        draw = self.random.random()
        if draw < 0.1:
            return self.publish(slot)
        if draw < 0.3:
            return self.put(slot, 0 if slot.state == "IDLE" else 1)
        return self.open(slot, "data.bin" if slot.state == "IDLE" else "result.bin")

    def after(self, slot: Slot) -> Operation | None:
        return self.pick(slot, ((3, self.read), (3, self.take), (2, self.read_error), (4, lambda slot: self.open(slot, "data.bin")),
                                (2, lambda slot: self.put(slot, 0)), (1, self.move), (2, self.record)))

    def publish(self, slot: Slot) -> Operation:
        """Mostly the flag that is due, with fields that mostly fit."""
        flag = 0 if slot.state in ("IDLE", "FILLING") else 1
        if self.random.random() < 0.15:
            return self.text(slot, flag)
        return self.record(slot, flag)

    def work_on(self, segment: Segment) -> Operation | None:
        """Writes through an open handle or mapping, or closes it."""
        model, draw = self.model, self.random.random()
        mappings = [m for m, opened in model.mappings.items() if opened.segment is segment]
        handles = [h for h, opened in model.handles.items() if opened.segment is segment and opened.mode != "r"]
        if mappings and (draw < 0.4 or not handles):
            mapping = self.random.choice(mappings)
            return self.unmap(mapping) if draw < 0.2 or not segment.content else self.store(mapping)
        if not handles:
            return None
        handle = self.random.choice(handles)
        if draw < 0.5:
            return self.write(handle)
        if draw < 0.6:
            return self.ftruncate(handle)
        if draw < 0.7:
            return self.map(handle)
        return (model.handles[handle].client, "close", handle)

    # --- the tree

    def tree(self) -> Operation:
        name, draw = self.name(), self.random.random()
        if draw < 0.45 or not self.model.slots:
            return (self.client(), "mkdir", name)
        if draw < 0.50:
            return (self.client(), "mkdir", self.random.choice(STRANGE_NAMES[:1] + STRANGE_NAMES[2:]))
        if draw < 0.60:
            return (self.client(), "rmdir", name)
        if draw < 0.95:
            flags = self.random.choice(("", "", "noreplace", "exchange"))
            other = self.name() if draw < 0.9 else self.random.choice(STRANGE_NAMES)
            return (self.client(), "rename", name, other, flags)
        return (self.client(), "create", "", "stray", False)

    def strange(self, slot: Slot) -> Operation:
        kinds = ("mkdir", "mknod", "link", "symlink", "rename")
        if self.random.random() < 0.5:
            return (self.client(), "foreign", slot.name, self.random.choice(kinds))
        file = self.random.choice([*sorted(FILES), "guest"])
        return (self.client(), "create", slot.name, file, self.random.random() < 0.5)

    def unlink(self, slot: Slot) -> Operation:
        return (self.client(), "unlink", slot.name, self.random.choice([*sorted(FILES), "guest"]))

    def move(self, slot: Slot) -> Operation:
        done = [other.name for other in self.model.slots.values() if other.state == "DONE"]
        source = self.random.choice(done) if done and self.random.random() < 0.8 else slot.name
        return (self.client(), "move", source, slot.name if self.random.random() < 0.8 else self.name())

    # --- chains

    def link(self, slot: Slot) -> Operation:
        """Makes a slot follow another one, most of the time."""
        if slot.source and self.random.random() < 0.4:
            return (self.client(), "unlink", slot.name, "source")
        others = [name for name, other in self.model.slots.items() if slot not in other.upstream()]
        name = self.random.choice(others) if others and self.random.random() < 0.9 else self.name()
        target = f"../{name}/{self.random.choice(('data.bin', 'result.bin', 'result.bin', 'result.bin'))}"
        if self.random.random() < 0.1:
            target = self.random.choice((
                "result.bin", "../a", "../a/task", "../../a/data.bin", "../.pyrmap/status", "../a/result.bin/",
                "/etc/passwd", "../nobody/data.bin", f"../{slot.name}/result.bin"))
        return (self.client(), "symlink", slot.name, target)

    def publish_and_wait(self, slot: Slot) -> Operation | None:
        if any(waiter.change for waiter in slot.waiters.values()):
            return None
        flag = struct.pack("<i", 0 if slot.state in ("IDLE", "FILLING", "FAILED") else 1)
        return (self.random.randrange(1, self.clients), "park_record", f"w{next(self.numbers)}", slot.name, flag)

    # --- arrays

    def open(self, slot: Slot, file: str, modes: str = "wt+++") -> Operation | None:
        if len(self.model.handles) >= HANDLES_MAX:
            return self.close_any(slot)
        return (self.client(), "open", f"h{next(self.numbers)}", slot.name, file, self.random.choice(modes))

    def open_any(self, slot: Slot) -> Operation | None:
        return self.open(slot, self.random.choice(ARRAYS), "rrwt+")

    def choose(self, handles: dict[object, Handle], modes: str) -> object | None:
        fitting = [handle for handle, opened in handles.items() if opened.mode in modes]
        return self.random.choice(fitting) if fitting else None

    def close_any(self, _: Slot) -> Operation | None:
        handle = self.choose(self.model.handles, "rwt+")
        return (self.model.handles[handle].client, "close", handle) if handle else None

    def write_any(self, _: Slot) -> Operation | None:
        handle = self.choose(self.model.handles, "wt+")
        return self.write(handle) if handle else None

    def write(self, handle: object) -> Operation:
        opened = self.model.handles[handle]
        end = len(opened.segment.content)
        offset = self.random.choice((0, 0, end, self.random.randrange(end + 9)))
        return (opened.client, "write", handle, offset if end < 9000 else 0, self.content())

    def content(self) -> bytes:
        size = self.random.choice((1, 4, 8, 8, 16, 24, 40, 40, 64, 80, 4096, 5000))
        return pattern(self.random.randrange(256), size)

    def resize(self, _: Slot) -> Operation | None:
        handle = self.choose(self.model.handles, "wt+")
        return self.ftruncate(handle) if handle else None

    def size(self) -> int:
        return self.random.choice((0, 8, 16, 20, 40, 80, 4096, 8200))

    def ftruncate(self, handle: object) -> Operation:
        return (self.model.handles[handle].client, "ftruncate", handle, self.size())

    def truncate(self, slot: Slot) -> Operation:
        return (self.client(), "truncate", slot.name, self.random.choice(ARRAYS), self.size())

    def map(self, handle: object) -> Operation | None:
        opened = self.model.handles[handle]
        if opened.mode != "+" or not opened.segment.content or len(self.model.mappings) >= MAPPINGS_MAX:
            return None
        return (opened.client, "map", handle, f"m{next(self.numbers)}", len(opened.segment.content))

    def map_any(self, _: Slot) -> Operation | None:
        handle = self.choose(self.model.handles, "+")
        return self.map(handle) if handle else None

    def store(self, mapping: object) -> Operation | None:
        opened = self.model.mappings[mapping]
        size = self.model.storable(mapping)
        if not size:
            return None
        offset = self.random.randrange(size)
        return (opened.client, "store", mapping, offset, self.content()[:size - offset])

    def store_any(self, _: Slot) -> Operation | None:
        mapping = self.choose(self.model.mappings, "+")
        return self.store(mapping) if mapping else None

    def unmap(self, mapping: object) -> Operation:
        return (self.model.mappings[mapping].client, "unmap", mapping)

    def unmap_any(self, _: Slot) -> Operation | None:
        mapping = self.choose(self.model.mappings, "+")
        return self.unmap(mapping) if mapping else None

    def read(self, slot: Slot) -> Operation:
        return (self.client(), "read", slot.name, self.random.choice(ARRAYS))

    def take(self, slot: Slot) -> Operation:
        return (self.client(), "take_array", slot.name, self.random.choice(ARRAYS))

    def park(self, slot: Slot) -> Operation | None:
        if sum(len(other.waiters) for other in self.model.slots.values()) >= WAITERS_MAX:
            return None
        waiter = f"w{next(self.numbers)}"
        return (self.random.randrange(1, self.clients), "park", waiter, slot.name, self.random.choice(ARRAYS))

    # --- the record and the texts

    def proposal(self, slot: Slot, flag: int) -> Record:
        """A record with that flag whose fields fit, more or less."""
        return Record(flag, self.array(slot.record.input, slot.input, 1),
                      self.array(slot.record.result, slot.result, 0), self.random.choice((1, slot.record.round)))

    def array(self, current: Array, segment: Segment, least_dtype: int) -> Array:
        draw = self.random.random()
        if draw < 0.3:
            return current
        dtype = self.random.choice((least_dtype, 1, 2, 3, 4, 5, 5, 5, BUNDLE))
        length = len(segment.content) // ELEMENT.get(dtype, 8)
        if draw < 0.45:
            length = self.random.choice((-1, 0, length + 1))
        # Mostly where it is legal.
        logical = self.random.random() < (0.5 if dtype == DTYPES["int32"] else 0.02)
        if dtype == BUNDLE and self.random.random() < 0.8:
            return Array(dtype, length)
        return Array(dtype, length, self.shape(length), self.random.random() < 0.5, logical)

    def shape(self, length: int) -> tuple[int, ...]:
        draw = self.random.random()
        if draw < 0.5:
            return ()
        if draw < 0.6:
            return self.random.choice(((0,), (3, -1), (2**62, 2, 2), (2**40, 2**40, 0), (length + 1,)))
        divisors = [d for d in range(1, min(max(length, 1), 100) + 1) if length % d == 0]
        first = self.random.choice(divisors)
        return (first, length // first) + (1,) * self.random.randrange(3)

    def record(self, slot: Slot, flag: int | None = None) -> Operation:
        if flag is None:
            flag = self.random.choice(FLAGS)
        image = bytearray(self.proposal(slot, flag).pack())
        draw = self.random.random()
        begin, end = 0, self.random.choice((4, 4, 20, 128, 128))
        if draw < 0.06:
            image[self.random.randrange(len(image))] = self.random.randrange(256)
        elif draw < 0.12:
            begin = self.random.randrange(130)
            end = self.random.randrange(begin + 1, 132)
            image += b"junk"
        elif draw < 0.22:
            begin, end = self.random.choice(((8, 20), (20, 32), (40, 116), (40, 44), (112, 116), (128, 129)))
            image += b"\0"
        written = bytes(image[begin:end])
        if begin == 0 and end == SIZE and self.random.random() < 0.4:
            return self.put(slot, flag)
        return (self.client(), "write_record", slot.name, begin, written or b"\xff")

    def put(self, slot: Slot, flag: int) -> Operation:
        """The record and an array behind it, which it mostly describes."""
        record, size = self.proposal(slot, flag), self.random.choice((1, 8, 40, 80, 1984, 1985, 1992, 4096))
        side = "result" if flag == 1 else "input"
        if self.random.random() < 0.9:
            dtype = self.random.choice((2, 5, 5, BUNDLE))
            size -= size % ELEMENT[dtype] if size >= ELEMENT[dtype] else size - ELEMENT[dtype]
            length = size // ELEMENT[dtype]
            described = Array(dtype, self.random.choice((-1, length, length, length)),
                              () if dtype == BUNDLE else self.shape(length), False, False)
            record = replace(record, **{side: described})
        content = self.letters(size)
        if BUNDLE in (record.input.dtype, record.result.dtype):  # with a header as long as it can be, or longer
            content = struct.pack("<Q", max(size - self.random.choice((7, 8, 8, 9)), 0)).ljust(size, b" ")[:size]
        return (self.client(), "write_record", slot.name, 0, record.pack() + content)

    def store_record(self, slot: Slot) -> Operation:
        client, _, name, begin, written = self.record(slot)
        return (client, "store_record", name, begin % 128, written[:128 - begin % 128])

    def text(self, slot: Slot, flag: int | None = None) -> Operation:
        if self.random.random() < 0.1:
            return (self.client(), "truncate_record", slot.name)
        record = self.proposal(slot, self.random.choice(FLAGS) if flag is None else flag)
        lines = [*text_of("input", record.input), *text_of("result", record.result)]
        lines = self.random.sample(lines, self.random.randrange(len(lines)))
        if flag is not None or self.random.random() < 0.5:
            lines.append(f"flag={record.flag}")
        if self.random.random() < 0.2:
            lines.append(self.random.choice(("# a note", "state=DONE", "round=99", "change=0", " dtype = 5 ", "",
                                             "colour=red", "flag", "flag=7", "input_shape=2x", "dtype=9")))
        self.random.shuffle(lines)
        return (self.client(), "write_text", slot.name, "\n".join(lines) or "\n")

    def task(self, slot: Slot) -> Operation:
        size = self.random.choice((1, 20, 4096, 4097))
        return (self.client(), "write_task", slot.name, self.letters(size))

    def read_error(self, slot: Slot) -> Operation:
        return (self.client(), "read_error", slot.name)

    def error(self, slot: Slot) -> Operation:
        size = self.random.choice((1, 20, 300, 40000, 65536, 65537))
        return (self.client(), "write_error", slot.name, self.letters(size))

    def letters(self, size: int) -> bytes:
        return bytes([self.random.choice(b"abcdefgh")]) * size


def pattern(seed: int, size: int) -> bytes:
    """Bytes of which no two neighbours are the same, told by two numbers."""
    return bytes((seed + 7 * at) % 256 for at in range(size))


def names_in(operation: Operation) -> set[str]:
    """The slots that an operation names."""
    return {word for word in operation[2:] if word in NAMES_OF_SLOTS}


def show(operation: Operation) -> str:
    """The operation as a line of Python."""
    return f"({', '.join(map(show_argument, operation))}),"


def show_argument(argument: Any) -> str:
    if isinstance(argument, bytes) and len(argument) >= SIZE:
        with suppress(Refused):
            if (record := unpack(argument[:SIZE])).pack() == argument[:SIZE]:
                array = f" + {show_argument(argument[SIZE:])}" if argument[SIZE:] else ""
                return f"{record}.pack(){array}"
    if isinstance(argument, bytes) and len(argument) > 20:
        if argument == pattern(argument[0], len(argument)):
            return f"pattern({argument[0]}, {len(argument)})"
        if argument == argument[:1] * len(argument):
            return f"{argument[:1]!r} * {len(argument)}"
    if isinstance(argument, str) and len(argument) > 99 and len(set(argument)) == 1:
        return f"{argument[0]!r} * {len(argument)}"
    return repr(argument)


def text_of(side: str, array: Array) -> list[str]:
    prefix: Any = "" if side == "input" else "result_"
    return [f"{prefix}dtype={NAMES[array.dtype]}", f"{side}_length={array.length}",
            f"{side}_shape={'x'.join(map(str, array.shape))}", f"{side}_order={'F' if array.fortran else 'C'}",
            f"{side}_logical={'yes' if array.logical else 'no'}"]


