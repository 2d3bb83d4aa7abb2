# SPDX-License-Identifier: Apache-2.0
"""Who may do what: owner, member of the slot's group and stranger, every operation on every file, by mode.

A slot is a directory like any other: each of the three classes has its three bits of the mode, of the directory and of the file,
and no class has those of another. What only an owner may do, and what the sticky root keeps, is EPERM for others; what a bit is
lacking for is EACCES. A refused call changes nothing.
"""
from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import pytest
from agent import Agent
from slots import ANSWER, FILES, INPUT, LINKS, READ_ONLY, Slot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

GROUP = "30100"
PEOPLE = {"owner": "30001", "member": "30002", "stranger": "30003"}
CLASS = {"owner": 6, "member": 3, "stranger": 0}

# Of a slot that is DONE. The handshake judges what the mode allows.
WRITING = {"result.bin": "EBUSY"}
# On a mount with links it is a file of the daemon's, to read.
PAGE = "metadata.mem"
NAMES = sorted(set(FILES) - set(LINKS) - {PAGE})

_names = (f"rights-{count}" for count in itertools.count())

HELP = """
def opened(path, flags):
    os.close(os.open(path, flags | os.O_NONBLOCK))

def put(path, content):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)

def take(path, offset):
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, 4096, offset)
    finally:
        os.close(fd)
"""


class Operation(NamedTuple):
    """needs: in the order in which they are asked: a bit of the slot or of a file ("slot x", "task w"), "owner",
    "owner or task w", "nobody". outcome: if it has all of them."""
    source: str
    needs: tuple[str, ...]
    outcome: str = "ok"


def of_file(file: str) -> Iterator[Operation]:
    path, reads, writes = f"f'{{slot}}/{file}'", f"{file} r", f"{file} w"
    written = WRITING.get(file, "ok")
    yield Operation(f"os.stat({path}) and None", ("slot x",))
    yield Operation(f"opened({path}, os.O_RDONLY)", ("slot x", reads))
    yield Operation(f"opened({path}, os.O_WRONLY)", ("slot x", writes), written)
    yield Operation(f"opened({path}, os.O_RDWR)", ("slot x", reads, writes), written)
    yield Operation(f"opened({path}, os.O_WRONLY | os.O_TRUNC)", ("slot x", writes), written)
    yield Operation(f"opened({path}, os.O_RDONLY | os.O_CREAT)", ("slot x", reads))
    yield Operation(f"os.truncate({path}, 0)", ("slot x", writes), written)
    yield Operation(f"os.unlink({path})", ("slot x", "slot w"))
    yield Operation(f"os.chmod({path}, 0o600)", ("slot x", "owner"))
    yield Operation(f"os.chown({path}, -1, {GROUP})", ("slot x", "owner"))
    yield Operation(f"os.chown({path}, {PEOPLE['stranger']}, -1)", ("slot x", "nobody"))
    yield Operation(f"os.utime({path}, (1, 1))", ("slot x", "owner"))
    yield Operation(f"os.utime({path})", ("slot x", f"owner or {writes}"))


OF_SLOT = [
    Operation("os.stat(slot) and None", ()),
    Operation("os.listdir(slot) and None", ("slot r",)),
    Operation("opened(f'{slot}/guest', os.O_WRONLY | os.O_CREAT)", ("slot x", "slot w"), "EPERM"),
    Operation("os.mkdir(f'{slot}/guest')", ("slot x", "slot w"), "EPERM"),
    Operation("os.symlink('task', f'{slot}/guest')", ("slot x", "slot w"), "EPERM"),
    Operation("os.rmdir(slot)", ("owner",)),
    Operation("os.rename(slot, f'{slot}-more')", ("owner",)),
    Operation("os.chmod(slot, 0o777)", ("owner",)),
    Operation(f"os.chown(slot, -1, {GROUP})", ("owner",)),
    Operation(f"os.chown(slot, {PEOPLE['stranger']}, -1)", ("nobody",)),
    Operation("os.utime(slot, (1, 1))", ("owner",)),
    Operation("os.utime(slot)", ("owner or slot w",)),
    # The exchange.
    Operation("put(f'{slot}/metadata.bin', struct.pack('<i', -1))", ("slot x", "metadata.bin w")),
    Operation("put(f'{slot}/metadata.bin', image)", ("slot x", "metadata.bin w")),
    Operation("put(f'{slot}/metadata.txt', b'flag=-1')", ("slot x", "metadata.txt w")),
    Operation("put(f'{slot}/task', b'sum')", ("slot x", "task w")),
    Operation("put(f'{slot}/error', b'no')", ("slot x", "error w"), "EPROTO"),
    Operation("put(f'{slot}/worker', b'self')", ("slot x", "worker w")),
    Operation("put(f'{slot}/owner', b'self')", ("slot x", "owner w")),
    Operation("take(f'{slot}/metadata.bin', 1 << 28) and None", ("slot x", "metadata.bin r", "data.bin r")),
    Operation("take(f'{slot}/metadata.bin', 1 << 29) and None", ("slot x", "metadata.bin r", "result.bin r")),
    # With a slot of one's own.
    Operation("os.symlink(f'../{name}/result.bin', f'{own}/source')", ("slot x", "result.bin r")),
    Operation("os.symlink(f'../{name}/data.bin', f'{own}/source')", ("slot x", "data.bin r")),
    Operation("os.symlink(f'../{os.path.basename(own)}/result.bin', f'{slot}/source')", ("slot x", "slot w")),
    Operation("os.rename(f'{slot}/result.bin', f'{own}/data.bin')", ("slot x", "slot w")),
    Operation("os.rename(f'{own}/result.bin', f'{slot}/data.bin')", ("slot x", "slot w")),
    # The page.
    Operation(f"opened(f'{{slot}}/{PAGE}', os.O_RDONLY)", ("slot x", f"{PAGE} r")),
    Operation(f"opened(f'{{slot}}/{PAGE}', os.O_WRONLY)", ("slot x", "nothing")),
]

ALL = [*OF_SLOT, *itertools.chain.from_iterable(map(of_file, NAMES))]


class Modes:
    """Of a slot, and of the files that have another one than follows from it."""

    def __init__(self, slot: int, files: dict[str, int] | None = None) -> None:
        self.slot = slot
        self.files = files or {}

    def __str__(self) -> str:
        return " ".join([f"{self.slot:o}", *(f"{name} {mode:o}" for name, mode in self.files.items())])

    def of(self, thing: str) -> int:
        """A view is for reading, whatever mode it is given."""
        if thing == "slot":
            return self.slot
        return self.files.get(thing, self.slot & 0o666) & (0o444 if thing in READ_ONLY else 0o777)

    def grant(self, who: str, need: str) -> bool:
        if need in ("owner", "nobody", "nothing"):
            return need == who
        if need.startswith("owner or "):
            return who == "owner" or self.grant(who, need.removeprefix("owner or "))
        thing, bit = need.split()
        return bool(self.of(thing) >> CLASS[who] & {"r": 4, "w": 2, "x": 1}[bit])

    def outcome(self, who: str, operation: Operation) -> str:
        for need in operation.needs:
            if not self.grant(who, need):
                return "EPERM" if need in ("owner", "nobody") else "EACCES"
        return operation.outcome


@pytest.fixture
def people(agents: Callable[..., Agent]) -> dict[str, Agent]:
    found = {who: agents(user, "" if who == "stranger" else GROUP) for who, user in PEOPLE.items()}
    for agent in found.values():
        agent.run(HELP)
    return found


def look(slot: Path) -> list[object]:
    """Whatever an operation could change."""
    seen: list[object] = [Slot(slot).raw, (slot / "task").read_text(), (slot / "error").read_text()]
    for name in (".", *sorted(os.listdir(slot))):
        status = os.lstat(slot / name)
        size = status.st_size if name != "metadata.txt" else 0  # which tells of the last refusal
        seen.append((name, status.st_mode, status.st_uid, status.st_gid, size, status.st_ino, status.st_mtime_ns))
    return seen


class Table:
    """Does operations on a slot of the owner's that is as new for each of them."""

    def __init__(self, mount: Path, modes: Modes) -> None:
        self.mount = mount
        self.modes = modes
        self.slot: Path | None = None
        self.before: list[object] = []

    def fresh(self) -> Path:
        slot = Slot.make(self.mount, next(_names))
        os.chown(slot.path, int(PEOPLE["owner"]), int(GROUP))
        slot.bring("DONE")
        (slot / "task").write_text("work")
        os.chmod(slot.path, self.modes.slot)
        for name, mode in self.modes.files.items():
            os.chmod(slot / name, mode)
        self.before = look(slot.path)
        return slot.path

    def do(self, who: str, agent: Agent, operation: Operation) -> Iterator[str]:
        """What is wrong with it."""
        self.slot = slot = self.slot or self.fresh()
        own = None
        if "own" in operation.source:
            own = Slot.make(self.mount, next(_names))
            if "{own}/result" in operation.source:
                own.bring("DONE")
            os.chown(own.path, int(PEOPLE[who]), int(PEOPLE[who]))
        seen, expected = "ok", self.modes.outcome(who, operation)
        try:
            agent.run(operation.source, slot=slot, name=slot.name, own=str(own.path) if own else "",
                      image=Slot(slot).image(INPUT, ANSWER))
        except OSError as error:
            seen = errno.errorcode[error.errno or 0]
        if seen != expected:
            yield f"{who}, {self.modes}: {operation.source} is {seen} instead of {expected}"
        if own:
            own.remove()
        if seen in ("EACCES", "EPERM"):
            if look(slot) != self.before:
                yield f"{who}, {self.modes}: {operation.source} was refused and has changed something"
        else:
            self.end()

    def end(self) -> None:
        for slot in (self.slot, Path(f"{self.slot}-more")):
            if self.slot and slot and slot.exists():
                os.rmdir(slot)
        self.slot = None


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("mode", [0o700, 0o750, 0o770, 0o755, 0o777, 0o711, 0o077],
                         ids=lambda mode: f"{mode:o}")
def test_every_operation(mount: Path, people: dict[str, Agent], mode: int) -> None:
    table = Table(mount, Modes(mode))
    wrong = [line for who, agent in people.items() for operation in ALL for line in table.do(who, agent, operation)]
    table.end()
    assert not wrong, "\n".join(wrong)


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("file", NAMES)
def test_files_with_a_mode_that_is_not_their_slots(mount: Path, people: dict[str, Agent], file: str) -> None:
    wrong: list[str] = []
    for mode in (0o600, 0o064, 0o602):
        table = Table(mount, Modes(0o755, {file: mode}))
        for who, agent in people.items():
            for operation in ALL:
                if f"{file}'" in operation.source or any(need.startswith(f"{file} ") for need in operation.needs):
                    wrong += table.do(who, agent, operation)
        table.end()
    assert not wrong, "\n".join(wrong)
