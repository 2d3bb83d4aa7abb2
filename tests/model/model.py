# SPDX-License-Identifier: Apache-2.0
"""A small model of slots: what a mount must answer, and nothing of how it comes to it.

The model is sequential and knows no files, pages or requests. Each method of Model is one operation of one client; it
returns what the client sees, or raises Refused with the name of an errno and has changed nothing then.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Sequence

from record_model import BUNDLE, INLINE_MAX, SIZE, Array, Record, Refused, difference, merge, merge_text
from slot_model import Failure, Handle, Segment, Slot, Waiter

# The handshake. A cell is the state afterwards, or an errno, or "wait". The notes below name the conditions.
HANDSHAKE = """
            write-data  read-data   write-result  read-result  flag-0   flag-1    flag-2   flag--1
IDLE        FILLING     wait        EBUSY         wait         READY    EPROTO    EPROTO   IDLE
FILLING     FILLING     wait [a]    EBUSY         wait         READY    EPROTO    EPROTO   IDLE
READY       EBUSY       READY       COMPUTING     wait         EPROTO   DONE [b]  FAILED   IDLE
COMPUTING   EBUSY       COMPUTING   COMPUTING [c] wait         EPROTO   DONE      FAILED   EBUSY
DONE        FILLING     DONE        EBUSY         DONE         EPROTO   DONE      EPROTO   IDLE
FAILED      FILLING     FAILED      EBUSY         EIO          READY    EPROTO    FAILED   IDLE
"""
# [a] unless the client is the one that fills it: the last that opened data.bin for writing
# [b] only with a result_length of 0, else EPROTO
# [c] EBUSY while another client than its parent has result.bin open for writing

FLAG = {"IDLE": -1, "FILLING": -1, "READY": 0, "COMPUTING": 0, "DONE": 1, "FAILED": 2}
FILES = {"metadata.bin", "metadata.mem", "metadata.txt", "data.bin", "result.bin", "data.txt", "result.txt", "data.npy",
         "result.npy", "task", "error", "owner", "worker"}
VIEWS = {"metadata.txt", "data.txt", "result.txt", "data.npy", "result.npy"}
ARRAYS = ("data.bin", "result.bin")
TASK_MAX = 4096
ERROR_MAX = 65536
INHERITED_MAX, INHERITED_HEAD, INHERITED_GAP = 4096, 1024, b"\n[...]\n"
NAME_MAX = 255
NOBODY = -1  # in place of a client
PARENT = 0  # the client whose children the others are


def parse_handshake(text: str) -> dict[str, dict[str, str]]:
    lines = [line for line in text.splitlines() if line]
    columns = lines[0].split()
    cells = [[word for word in line.split() if not word.startswith("[")] for line in lines[1:]]
    return {row[0]: dict(zip(columns, row[1:], strict=True)) for row in cells}


TABLE = parse_handshake(HANDSHAKE)


@dataclass(frozen=True)
class Answer:
    """A parked open was let in to a segment, or refused."""
    client: int
    waiter: object
    outcome: str
    segment: Segment | None  # None: it was a write of the record


class Model:
    """pids: of the clients. page_cache: the data path, on which a mapping keeps its handle open; with links only one of a
    handle that is stale does, because any other is a mapping of the pages themselves."""

    def __init__(self, pids: Sequence[int], page_cache: bool, links: bool = False) -> None:
        self.pids = pids
        self.page_cache = page_cache
        self.links = links
        self.caller = 0
        self.slots: dict[str, Slot] = {}
        self.handles: dict[object, Handle] = {}
        self.mappings: dict[object, Handle] = {}
        self.mapped: dict[object, int] = {}  # mapping -> bytes
        self.holding: set[object] = set()  # mappings that keep their handle open
        self.woken: list[Answer] = []    # the answers of the last operation to requests that waited
        self.touched: set[Slot] = set()  # slots that the last operation may have changed

    def apply(self, client: int, verb: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        """One operation of one client: "ok" or the name of an errno, and what it returned."""
        self.caller = client
        self.woken, self.touched = [], set()
        try:
            returned = getattr(self, verb)(*arguments)
        except Refused as refusal:
            self.run()  # a reader that got EIO has had the failure, and then the next input may come
            return str(refusal), None
        self.run()
        return "ok", returned

    # --- the tree

    def find(self, name: str) -> Slot:
        if name not in self.slots:
            raise Refused("ENOENT")
        self.touched.add(self.slots[name])
        return self.slots[name]

    def mkdir(self, name: str) -> None:
        if len(name) > NAME_MAX:
            raise Refused("ENAMETOOLONG")
        if name in self.slots:
            raise Refused("EEXIST")
        if name.startswith("."):
            raise Refused("EPERM")
        self.slots[name] = Slot(name)
        self.touched.add(self.slots[name])

    def rmdir(self, name: str) -> None:
        slot = self.find(name)
        del self.slots[name]
        self.dismiss(slot, "ECANCELED")
        self.unchain(slot)
        for follower in list(slot.followers):
            self.unchain(follower)
            if follower.state == "IDLE":
                self.fail(follower, f"source {name} was removed\n".encode(), f"source {name}")

    def rename(self, old: str, new: str, flags: str = "") -> None:
        slot = self.find(old)
        target = self.slots.get(new)
        if len(new) > NAME_MAX:
            raise Refused("ENAMETOOLONG")
        if flags == "exchange" and target is not slot:
            raise Refused("ENOENT" if target is None else "EINVAL")
        if target is not None and flags == "noreplace":
            raise Refused("EEXIST")
        if target is slot:
            return
        if target is not None:
            raise Refused("ENOTEMPTY")
        if new.startswith("."):
            raise Refused("EPERM")
        del self.slots[old]
        slot.name = new
        self.slots[new] = slot

    def listing(self, name: str) -> set[str]:
        return FILES | {"source"} if self.find(name).source else FILES

    def create(self, name: str, file: str, exclusive: bool) -> None:
        """open(O_CREAT, for reading) of a name in a slot, or `file` in the root if the name is empty, and close."""
        if name and file in self.listing(name):
            if exclusive:
                raise Refused("EEXIST")
            slot = self.find(name)
            if (file == "data.npy" and slot.has_input and slot.record.input.dtype == BUNDLE or
                    file == "result.npy" and slot.state == "DONE" and slot.record.result.dtype == BUNDLE):
                raise Refused("EINVAL")  # it is more than one array
            # To the handshake it is an open for reading and a close, like any other.
            if file in ARRAYS:
                self.read(name, file)
            elif file == "error":
                self.read_error(name)
            return
        raise Refused("EPERM")

    def foreign(self, name: str, kind: str) -> None:
        self.find(name)
        raise Refused("EPERM")

    def unlink(self, name: str, file: str) -> None:
        slot = self.find(name)
        if file not in self.listing(name):
            raise Refused("ENOENT")
        if file in ("data.bin", "result.bin", "metadata.bin"):
            if slot.state != "IDLE":
                self.abandon(slot)
        elif file == "task":
            self.set_task(slot, b"")
        elif file == "error":
            slot.error = b""
        elif file == "source":
            self.unchain(slot)

    def move(self, source: str, target: str) -> None:
        """rename source/result.bin to target/data.bin: the segment moves, not a byte is copied."""
        giver, taker = self.find(source), self.find(target)
        if self.is_one_inode(taker) and taker.input is giver.result:
            return  # to the kernel there is nothing to do
        if giver.state != "DONE" or taker.state not in ("IDLE", "DONE", "FAILED") or taker.source:
            raise Refused("EBUSY")
        segment, described = giver.result, giver.record.result
        self.next_round(giver)
        if taker is not giver and taker.state != "IDLE":
            self.next_round(taker)
        taker.input = segment
        taker.record = replace(taker.record, input=described)
        taker.filler = self.caller
        self.enter(taker, "FILLING")

    # --- chains

    def symlink(self, name: str, target: str) -> None:
        """ln -s target name/source."""
        slot = self.find(name)
        if slot.source:
            raise Refused("EEXIST")
        up, _, path = target.partition("/")
        source, _, file = path.partition("/")
        if up != ".." or file not in ARRAYS:
            raise Refused("EINVAL")
        if source not in self.slots:
            raise Refused("ENOENT")
        if slot in self.slots[source].upstream():
            raise Refused("ELOOP")
        if slot.state not in ("IDLE", "DONE", "FAILED"):
            raise Refused("EBUSY")
        slot.source, slot.source_file = self.slots[source], file
        slot.taken = None if slot.source.state == "FAILED" else slot.source.failure
        slot.source.followers.append(slot)

    def readlink(self, name: str) -> str:
        slot = self.find(name)
        if slot.source is None:
            raise Refused("ENOENT")
        return f"../{slot.source.name}/{slot.source_file}"

    def unchain(self, slot: Slot) -> None:
        """What it took stays; nothing more comes."""
        if slot.source:
            outcome = {"DONE": slot.source.result, "FAILED": slot.source.failure}.get(slot.source.state)
            if slot.source_file == "result.bin" and outcome is not None and slot.taken is outcome:
                slot.source.outcome_read = True  # it was taken, and stays so without this follower
            slot.source.followers.remove(slot)
            slot.source, slot.taken, slot.failed_by_source = None, None, False
            for one in (slot, *slot.followers):
                one.is_result = False  # names outside of a chain do not share inodes

    def run(self) -> None:
        """Lets everything happen that can: deliveries along the chains, and answers to requests that wait."""
        # A request that waits for an outcome has it before the slot goes on.
        while any([self.settle(slot) for slot in self.slots.values()] + [self.pull(s) for s in self.slots.values()]):
            pass

    def pull(self, slot: Slot) -> bool:
        """Takes what the source has for this slot, if anything."""
        wanted = slot.wanted()
        source = slot.source
        if slot.failed_by_source and isinstance(slot.taken, Failure) and slot.taken.is_recalled:
            self.recall(slot)  # the source has another try
            self.empty(slot)
            self.enter(slot, "IDLE")
        elif source and isinstance(wanted, Failure):
            self.fail(slot, inherited(source), f"source {source.name}")
            slot.failed_by_source, slot.taken = True, wanted
        elif source and isinstance(wanted, Segment):
            self.take(slot, source, wanted)
        else:
            return False
        return True

    def recall(self, slot: Slot) -> None:
        if slot.failure:
            slot.failure.is_recalled = True
        slot.failure = None

    def take(self, slot: Slot, source: Slot, segment: Segment) -> None:
        if slot.state != "IDLE":
            self.next_round(slot)
        described = source.record.input if slot.source_file == "data.bin" else source.record.result
        slot.input, slot.result, slot.taken, slot.has_input = segment, Segment(), segment, True
        slot.failure = None
        slot.is_result = slot.source_file == "result.bin"
        slot.in_page = {"data.bin"} if slot.source_file in source.in_page else set()
        slot.record = replace(slot.record, input=described, result=Array(0))
        self.enter(slot, "READY")

    # --- arrays

    def judge(self, slot: Slot, client: int | None, column: str) -> str:
        """The state after an open, or the refusal."""
        cell = TABLE[slot.state][column]
        if column == "read-data" and slot.state == "FILLING" and client == slot.filler:
            return slot.state
        if column == "write-result" and any(other not in (client, PARENT) for other in slot.result.handles.values()):
            raise Refused("EBUSY")
        if cell not in TABLE:
            if cell == "EIO":
                slot.outcome_read = True  # its reader gets it
            raise Refused("EAGAIN" if cell == "wait" else cell)
        return cell

    def begin_writing(self, slot: Slot, file: str) -> Segment:
        """Takes the turn to write an array."""
        if file == "data.bin" and (slot.source or self.is_one_inode(slot)):
            raise Refused("EBUSY")
        state = self.judge(slot, self.caller, "write-data" if file == "data.bin" else "write-result")
        if state == "FILLING" and slot.state in ("DONE", "FAILED"):
            self.next_round(slot)
        segment = slot.segment(file)
        if segment.published and (segment.readers or self.names(segment) > 1):
            raise Refused("EBUSY")  # a result that was moved here: a reader's pages do not change
        segment.published = False
        self.enter(slot, state)
        return segment

    def open(self, handle: object, name: str, file: str, mode: str) -> None:
        """mode: r, w (keeps the content), t (truncates), + (reads and writes)."""
        slot, unseen = self.find(name), False
        if mode == "r":
            self.judge(slot, self.caller, "read-data" if file == "data.bin" else "read-result")
            segment = slot.segment(file)
            segment.readers.add(handle)
        else:
            segment = self.begin_writing(slot, file)
            unseen = mode != "+" and not (self.page_cache or segment.handles or segment.mappings)
            segment.handles[handle] = self.caller
            if file == "data.bin":
                slot.filler = self.caller
            if mode == "t":
                segment.resize(0)
        self.handles[handle] = Handle(self.caller, slot, file, segment, mode, unseen)

    def close(self, handle: object) -> None:
        opened = self.handles.pop(handle)
        self.touched.add(opened.slot)
        opened.segment.readers.discard(handle)
        if opened.mode == "r":
            self.note_read(opened.slot, opened.segment)
        if not any(self.mappings[mapping] is opened for mapping in self.holding):
            opened.segment.handles.pop(handle, None)

    def is_current(self, handle: object) -> bool:
        """Whether the handle still belongs to the round, and may be written through."""
        opened = self.handles[handle]
        turn = {"data.bin": "FILLING", "result.bin": "COMPUTING"}[opened.file]
        return not self.is_stale(opened) and opened.slot.state == turn

    def is_stale(self, opened: Handle) -> bool:
        """Whether the handle is of a round that is over, or of a slot that is gone."""
        slot = opened.slot
        return self.slots.get(slot.name) is not slot or slot.segment(opened.file) is not opened.segment

    def write(self, handle: object, offset: int, data: bytes) -> None:
        opened = self.handles[handle]
        self.touched.add(opened.slot)
        if self.is_stale(opened) and not opened.unseen:
            raise Refused("ESTALE")
        opened.segment.store(offset, data)

    def ftruncate(self, handle: object, size: int) -> None:
        opened = self.handles[handle]
        self.touched.add(opened.slot)
        if self.is_stale(opened):
            raise Refused("EBUSY")
        self.begin_writing(opened.slot, opened.file).resize(size)

    def truncate(self, name: str, file: str, size: int) -> None:
        """truncate(2) by path: takes the turn as an open for writing does."""
        slot = self.find(name)
        self.begin_writing(slot, file).resize(size)

    def map(self, handle: object, mapping: object, size: int) -> None:
        opened = self.handles[handle]
        self.mappings[mapping] = opened
        self.mapped[mapping] = size
        if self.page_cache and (not self.links or self.is_stale(opened)):
            self.holding.add(mapping)
        opened.segment.mappings[mapping] = self.caller

    def store(self, mapping: object, offset: int, data: bytes) -> None:
        opened = self.mappings[mapping]
        self.touched.add(opened.slot)
        opened.segment.content[offset:offset + len(data)] = data

    def unmap(self, mapping: object) -> None:
        opened = self.mappings.pop(mapping)
        self.touched.add(opened.slot)
        del opened.segment.mappings[mapping]
        self.holding.discard(mapping)
        if opened not in self.handles.values() and not any(self.mappings[held] is opened for held in self.holding):
            for handle in [h for h in opened.segment.handles if h not in self.handles]:
                del opened.segment.handles[handle]

    def read(self, name: str, file: str) -> bytes:
        """open for reading with O_NONBLOCK, read all, close."""
        slot = self.find(name)
        column = "read-data" if file == "data.bin" else "read-result"
        self.judge(slot, self.caller, column)
        self.note_read(slot, slot.segment(file))
        return bytes(slot.segment(file).content)

    def take_array(self, name: str, file: str) -> tuple[int, int, bytes]:
        """One read of metadata.bin that gives the record, here its flag and round, and the array: only one that is published."""
        slot = self.find(name)
        self.judge(slot, NOBODY, "read-data" if file == "data.bin" else "read-result")
        taken = slot.record.flag, slot.record.round, bytes(slot.segment(file).content)
        self.note_read(slot, slot.segment(file))
        return taken

    def note_read(self, slot: Slot, segment: Segment) -> None:
        """A result that was opened and closed counts as taken."""
        if slot.state == "DONE" and segment is slot.result:
            slot.outcome_read = True

    def read_error(self, name: str) -> bytes:
        """open, read all, close: a reader of the error has taken the failure."""
        slot = self.find(name)
        if slot.state == "FAILED":
            slot.outcome_read = True
        return slot.error

    def park(self, waiter: object, name: str, file: str) -> None:
        """open for reading that waits; the answer comes in `woken`, now or later."""
        slot = self.find(name)
        slot.waiters[waiter] = Waiter(self.caller, file)

    def park_record(self, waiter: object, name: str, data: bytes) -> None:
        """A write of the record that waits until the followers can take what it publishes."""
        slot = self.find(name)
        slot.waiters[waiter] = Waiter(self.caller, "metadata.bin", lambda record: merge(record, 0, data))

    # --- the record

    def write_record(self, name: str, offset: int, data: bytes) -> None:
        """One that carries an array as well publishes that in the same step."""
        slot = self.find(name)
        if offset == 0 and len(data) > SIZE:
            self.put(slot, merge(slot.record, 0, data[:SIZE])[0], data[SIZE:])
        else:
            self.propose(slot, *merge(slot.record, offset, data))

    def truncate_record(self, name: str) -> None:
        self.find(name)

    def store_record(self, name: str, offset: int, data: bytes) -> None:
        """A store is a request: the close of the handle makes what differs a step, which may wait, or undoes it."""
        slot = self.find(name)
        change = difference(slot.record, offset, data)
        try:
            self.propose(slot, *change(slot.record))
        except Refused as refusal:
            if str(refusal) == "EAGAIN":
                slot.waiters[object()] = Waiter(None, "metadata.bin", change)

    def write_text(self, name: str, text: str) -> None:
        slot = self.find(name)
        self.propose(slot, *merge_text(slot.record, text))

    def propose(self, slot: Slot, proposed: Record, flagged: bool) -> None:
        """One step of the table, or a change of fields by whose turn it is."""
        if not flagged:
            turns = (("input", ("IDLE", "FILLING")), ("result", ("READY", "COMPUTING")))
            for side, states in turns:
                if getattr(proposed, side) != getattr(slot.record, side) and slot.state not in states:
                    raise Refused("EBUSY")
            slot.record = proposed
            return
        cell = TABLE[slot.state][f"flag-{proposed.flag}"]
        if cell not in TABLE:
            raise Refused(cell)
        if slot.state == "READY" and cell == "DONE" and proposed.result.length != 0:
            raise Refused("EPROTO")
        if cell == "IDLE":
            self.drop(slot, proposed)
        elif cell == "READY":
            self.publish_input(slot, proposed)
        elif cell == "DONE" and slot.state != "DONE":
            self.publish_result(slot, proposed)
        elif cell == "FAILED" and slot.state != "FAILED":
            self.fail(slot, f"process {self.pids[self.caller]} wrote flag 2\n".encode(), "client")

    def drop(self, slot: Slot, proposed: Record) -> None:
        """Gives up the round; input fields written along announce the next one."""
        announced = proposed.input if proposed.input != slot.record.input else None
        if slot.state != "IDLE":
            self.abandon(slot)
        if announced is not None:
            slot.record = replace(slot.record, input=announced)

    def publish_input(self, slot: Slot, proposed: Record) -> None:
        if slot.source and (slot.state != "FAILED" or not slot.has_input):
            raise Refused("EBUSY")  # its input comes from its source
        if slot.state == "FAILED" and not slot.has_input:
            raise Refused("EPROTO")  # there is nothing to try again
        if slot.input.handles or slot.input.mappings:
            raise Refused("EBUSY")
        fitted = proposed.input.fitted(slot.input.content)
        if slot.state != "FAILED" and not slot.has_passed_failure_on():
            raise Refused("EAGAIN")
        if not slot.can_deliver("data.bin", slot.input):
            raise Refused("EAGAIN")
        slot.record = replace(slot.record, input=fitted, result=Array(0))
        slot.input.published = slot.has_input = True
        if slot.state == "FAILED":
            self.recall(slot)
            slot.result = Segment()
            slot.in_page.discard("result.bin")
        slot.failure = None
        self.enter(slot, "READY")

    def put(self, slot: Slot, proposed: Record, content: bytes) -> None:
        """Legal where the file could be opened for writing, by somebody who finds it let go."""
        if proposed.flag not in (0, 1):
            raise Refused("EINVAL")
        file = "data.bin" if proposed.flag == 0 else "result.bin"
        states = ("IDLE", "FILLING", "DONE", "FAILED") if file == "data.bin" else ("READY", "COMPUTING")
        current = slot.segment(file)
        if slot.state not in states or (file == "data.bin" and slot.source) or (
                slot.state in ("FILLING", "COMPUTING") and (current.handles or current.mappings)):
            raise Refused("EBUSY")
        fresh = Segment() if slot.state in ("FILLING", "COMPUTING", "DONE", "FAILED") else current
        if file == "data.bin":
            fitted = proposed.input.fitted(content)
            if not slot.has_passed_failure_on():
                raise Refused("EAGAIN")
        else:
            fitted = replace(proposed, input=slot.record.input).fitted_result(content)
        if not slot.can_deliver(file, fresh):
            raise Refused("EAGAIN")
        if slot.state in ("DONE", "FAILED"):
            self.next_round(slot)
        fresh.content[:] = content
        fresh.published = True
        if file == "data.bin":
            slot.in_page.clear()
        slot.in_page |= {file} if len(content) <= INLINE_MAX else set()
        if file == "data.bin":
            slot.input, slot.has_input, slot.failure = fresh, True, None
            slot.record = replace(slot.record, input=fitted, result=Array(0))
            self.enter(slot, "READY")
        else:
            slot.result, slot.outcome_read = fresh, False
            slot.record = replace(slot.record, result=fitted)
            self.enter(slot, "DONE")

    def publish_result(self, slot: Slot, proposed: Record) -> None:
        if slot.result.handles or slot.result.mappings:
            raise Refused("EBUSY")
        fitted = replace(proposed, input=slot.record.input).fitted_result(slot.result.content)
        if not slot.can_deliver("result.bin", slot.result):
            raise Refused("EAGAIN")
        slot.record = replace(slot.record, result=fitted)
        slot.result.published, slot.outcome_read = True, False
        self.enter(slot, "DONE")

    # --- texts

    def write_task(self, name: str, text: bytes) -> None:
        slot = self.find(name)
        self.set_task(slot, b"")  # the open empties the file, also if the write then fails
        if len(text) > TASK_MAX:
            raise Refused("EFBIG")
        self.set_task(slot, text)

    def set_task(self, slot: Slot, text: bytes) -> None:
        slot.task_change += text != slot.task
        slot.task = text

    def write_error(self, name: str, text: bytes) -> None:
        """The first text of a round fails it; the next ones are added."""
        slot = self.find(name)
        if len(slot.error) + len(text) > ERROR_MAX:
            raise Refused("EFBIG")
        cell = TABLE[slot.state]["flag-2"]
        if cell not in TABLE:
            raise Refused(cell)
        if slot.state == "FAILED":
            slot.error += text
        else:
            self.fail(slot, text, "client")

    # --- what the driver asks

    def is_waiting(self, waiter: object) -> bool:
        return any(waiter in slot.waiters for slot in self.slots.values())

    def storable(self, mapping: object) -> int:
        """The bytes of a mapping that lie within the file."""
        return min(self.mapped[mapping], len(self.mappings[mapping].segment.content))

    def retained(self) -> set[object]:
        """Handles that are closed, and live on in a mapping."""
        return {handle for opened in self.mappings.values() for handle in opened.segment.handles}

    # --- steps

    def enter(self, slot: Slot, state: str) -> None:
        if state != "FAILED":
            slot.error, slot.failed_by_source = b"", False
        if state != "FILLING":
            slot.filler = None
        slot.state = state
        slot.record = replace(slot.record, flag=FLAG[state])
        self.touched.add(slot)

    def fail(self, slot: Slot, text: bytes, cause: str) -> None:
        if slot.state in ("DONE", "FAILED"):
            self.next_round(slot)
        slot.outcome_read = any(waiter.file == "result.bin" for waiter in slot.waiters.values())
        self.dismiss(slot, "EIO")
        slot.error, slot.failure, slot.cause = text, Failure(), cause
        self.enter(slot, "FAILED")

    def abandon(self, slot: Slot) -> None:
        """The round is over without a result; what was only being written does not count as a round."""
        self.dismiss(slot, "ECANCELED")
        if slot.state == "FILLING":
            self.empty(slot)
        else:
            self.next_round(slot)
        self.enter(slot, "IDLE")

    def next_round(self, slot: Slot) -> None:
        slot.record = replace(slot.record, round=slot.record.round + 1)
        self.empty(slot)
        self.enter(slot, "IDLE")

    def empty(self, slot: Slot) -> None:
        slot.input, slot.result, slot.has_input, slot.is_result = Segment(), Segment(), False, False
        slot.in_page.clear()
        slot.record = replace(slot.record, input=Array(slot.record.input.dtype), result=Array(0))

    def is_one_inode(self, slot: Slot) -> bool:
        """Whether data.bin is the very inode of its source's result, as pages on this data path belong to one."""
        return self.page_cache and slot.is_result and self.names(slot.input) > 1

    def names(self, segment: Segment) -> int:
        return sum(segment in (slot.input, slot.result) for slot in self.slots.values())

    # --- waiting

    def settle(self, slot: Slot) -> bool:
        """Answers every parked request that need not wait any longer."""
        waiting = len(slot.waiters)
        for name, waiter in list(slot.waiters.items()):
            try:
                if waiter.change:
                    self.propose(slot, *waiter.change(slot.record))
                else:
                    self.judge(slot, waiter.client, "read-data" if waiter.file == "data.bin" else "read-result")
            except Refused as refusal:
                if str(refusal) != "EAGAIN":
                    self.wake(slot, name, str(refusal))
            else:
                self.wake(slot, name, "ok")
        return len(slot.waiters) < waiting

    def dismiss(self, slot: Slot, answer: str) -> None:
        for name in list(slot.waiters):
            self.wake(slot, name, answer)

    def wake(self, slot: Slot, name: object, answer: str) -> None:
        waiter = slot.waiters.pop(name)
        segment = None if waiter.change else slot.segment(waiter.file)
        if segment and answer == "ok":
            self.note_read(slot, segment)
        if waiter.client is not None:
            self.woken.append(Answer(waiter.client, name, answer, segment))


def inherited(source: Slot) -> bytes:
    """The error text of a slot that fails because its source did; of a very long one the middle is left out."""
    if source.state != "FAILED":
        return f"source {source.name} failed, and has begun its next round since\n".encode()
    text = f"source {source.name} failed: ".encode() + source.error
    if len(text) <= INHERITED_MAX:
        return text
    tail = INHERITED_MAX - INHERITED_HEAD - len(INHERITED_GAP)
    return text[:INHERITED_HEAD] + INHERITED_GAP + text[-tail:]
