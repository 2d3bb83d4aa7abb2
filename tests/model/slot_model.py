# SPDX-License-Identifier: Apache-2.0
"""What a slot is, and what the slots of a chain are to each other."""
from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Callable, Iterator

from record_model import INLINE_MAX, Record


@dataclass(eq=False)
class Segment:
    """The bytes behind an array in one round, and the clients that have it open."""
    content: bytearray = field(default_factory=bytearray)
    published: bool = False
    readers: set[object] = field(default_factory=set)
    handles: dict[object, int] = field(default_factory=dict)   # writable handles: handle -> client
    mappings: dict[object, int] = field(default_factory=dict)  # writable mappings: mapping -> client

    def resize(self, size: int) -> None:
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))

    def store(self, offset: int, data: bytes) -> None:
        self.resize(max(len(self.content), offset + len(data)))
        self.content[offset:offset + len(data)] = data


@dataclass(eq=False)
class Failure:
    """One failure of a slot; its followers take it as they would take an array."""
    is_recalled: bool = False  # the same input was published again: followers that took it wait for that


@dataclass(frozen=True)
class Waiter:
    """A parked open of `file` for reading, or if there is a change, a parked write of the record."""
    client: int | None  # None: a store, which has no answer
    file: str
    change: Callable[[Record], tuple[Record, bool]] | None = None


@dataclass(eq=False)
class Slot:
    name: str
    state: str = "IDLE"
    record: Record = field(default_factory=Record)
    input: Segment = field(default_factory=Segment)
    result: Segment = field(default_factory=Segment)
    in_page: set[str] = field(default_factory=set)  # the arrays that stand in the page of the record
    task: bytes = b""
    task_change: int = 0
    error: bytes = b""
    filler: int | None = None    # the client that data.bin belongs to while it is being written
    has_input: bool = False      # an input was published, or taken from the source, in this round
    is_result: bool = False      # on the page-cache path data.bin is the inode of the source's result.bin
    outcome_read: bool = False   # a reader has had the result, or the failure
    cause: str = ""              # of the last failure, as metadata.txt has it
    failure: Failure | None = None  # of the last round; dropped once a round has an input
    waiters: dict[object, Waiter] = field(default_factory=dict)

    source: Slot | None = None
    source_file: str = ""
    followers: list[Slot] = field(default_factory=list)
    taken: Segment | Failure | None = None  # what it took last from its source
    failed_by_source: bool = False

    def segment(self, file: str) -> Segment:
        return self.input if file == "data.bin" else self.result

    def page(self) -> bytes:
        """metadata.mem, with `change` left at zero."""
        halves = [bytes(self.segment(file).content) if file in self.in_page else b"" for file in ("data.bin", "result.bin")]
        record = self.record.pack()[:-8] + struct.pack("<HHI", *map(len, halves), self.task_change)
        return record + b"".join(half.ljust(INLINE_MAX, b"\0") for half in halves)

    def followers_of(self, file: str) -> list[Slot]:
        return [follower for follower in self.followers if follower.source_file == file]

    def upstream(self) -> Iterator[Slot]:
        """The slot, its source, the source of that, and so on."""
        slot: Slot | None = self
        while slot is not None:
            yield slot
            slot = slot.source

    def offer(self, file: str) -> Segment | Failure | None:
        """What followers of this array can have now."""
        if self.state == "FAILED" and (file == "result.bin" or not self.has_input):
            return self.failure
        if file == "data.bin":
            return self.input if self.has_input else None
        if self.state in ("IDLE", "FILLING"):
            return self.failure  # the next round has begun, and a follower may not have had it yet
        return self.result if self.state == "DONE" else None

    def is_free(self) -> bool:
        """Whether the next input may come: nothing of the last round is unread, neither a result nor a failure."""
        if self.state == "IDLE":
            return self.has_passed_failure_on()  # a client may have cancelled the round that failed
        if self.state not in ("DONE", "FAILED"):
            return False
        outcome: Segment | Failure | None = self.result if self.state == "DONE" else self.failure
        if self.state == "FAILED" and not self.has_input:
            if any(follower.taken is not outcome for follower in self.followers_of("data.bin")):
                return False
        followers = self.followers_of("result.bin")
        return all(follower.taken is outcome for follower in followers) if followers else self.outcome_read

    def has_passed_failure_on(self) -> bool:
        """Whether each follower of the result has what the last round failed with."""
        return self.failure is None or all(f.taken is self.failure for f in self.followers_of("result.bin"))

    def can_deliver(self, file: str, segment: Segment) -> bool:
        """Whether each follower of the array can take this one, with all who share its input, or has it."""
        return all(follower.taken is segment or (follower.is_free() and follower.can_deliver("data.bin", segment))
                   for follower in self.followers_of(file))

    def wanted(self) -> Segment | Failure | None:
        """What this slot would take from its source now."""
        offered = self.source.offer(self.source_file) if self.source else None
        if offered is None or offered is self.taken:
            return None
        # A sharer that is at work on the input of this slot takes the next one later, and no more come until then.
        if not self.is_free() or not self.can_deliver("data.bin", self.input):
            return None
        return offered


@dataclass(eq=False)
class Handle:
    client: int
    slot: Slot
    file: str
    segment: Segment
    mode: str
    unseen: bool  # its writes go past the daemon, which therefore refuses none
