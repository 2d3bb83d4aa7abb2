# SPDX-License-Identifier: Apache-2.0
"""Every state of the handshake against every event: what the model says alone, and what the mount says to the model."""
from __future__ import annotations

import struct

import pytest

from daemon import Daemon
from driver import Operation, Run
from histories import clients_of, run_of
from model import Model
from record_model import Array, Record

VALUES = struct.pack("<5d", 1, 2, 3, 4, 5)
MORE = struct.pack("<2d", 6, 7)
STATES = ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")
EIGHT = 8


def flag(number: int, client: int = 0) -> Operation:
    return (client, "write_record", "s", 0, struct.pack("<i", number))


def filled(handle: str, file: str, data: bytes, client: int = 1) -> list[Operation]:
    return [(client, "open", handle, "s", file, "w"), (client, "write", handle, 0, data), (client, "close", handle)]


# How a fresh slot comes to each state; each begins where the one before ended, but for FAILED.
PATHS: dict[str, list[Operation]] = {"IDLE": [(0, "mkdir", "s"), (0, "mkdir", "t")]}
PATHS["FILLING"] = PATHS["IDLE"] + filled("in", "data.bin", VALUES)
PATHS["READY"] = PATHS["FILLING"] + [flag(0)]
PATHS["COMPUTING"] = PATHS["READY"] + filled("out", "result.bin", MORE)
PATHS["DONE"] = PATHS["COMPUTING"] + [flag(1)]
PATHS["FAILED"] = PATHS["READY"] + [flag(2)]

OPENED: Operation = (1, "open", "h", "s", "data.bin", "+")
EMPTY_RESULT = Record(1, Array(2, 5), Array(2, 0)).pack()
PUT_INPUT = Record(0, Array(2, 2)).pack() + MORE
PUT_RESULT = Record(1, Array(2, 5), Array(2, 2)).pack() + MORE
PUT_MISFIT = Record(0, Array(2, 3)).pack() + MORE
OTHER_INPUT = Record(0, Array(5, 40)).pack()
TOO_LONG = Record(0, Array(2, 6)).pack()
LENGTH_ONLY = struct.pack("<q", 5)
RESULT_LENGTH_ONLY = struct.pack("<q", 2)

# event: the operations, of which the last one is judged, and in each state the state after it or the errno
Cells = tuple[str, str, str, str, str, str]
EVENTS: dict[str, tuple[list[Operation], Cells]] = {
    "open data.bin for writing": ([(2, "open", "h", "s", "data.bin", "w")],
        ("FILLING", "FILLING", "EBUSY", "EBUSY", "FILLING", "FILLING")),
    "open data.bin for reading": ([(2, "read", "s", "data.bin")],
        ("EAGAIN", "EAGAIN", "READY", "COMPUTING", "DONE", "FAILED")),
    "open result.bin for writing": ([(2, "open", "h", "s", "result.bin", "w")],
        ("EBUSY", "EBUSY", "COMPUTING", "COMPUTING", "EBUSY", "EBUSY")),
    "open result.bin for reading": ([(2, "read", "s", "result.bin")],
        ("EAGAIN", "EAGAIN", "EAGAIN", "EAGAIN", "DONE", "EIO")),
    "wait for data.bin": ([(2, "park", "w", "s", "data.bin")],
        ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")),
    "wait for result.bin": ([(2, "park", "w", "s", "result.bin")],
        ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")),
    "open and truncate data.bin": ([(2, "open", "h", "s", "data.bin", "t")],
        ("FILLING", "FILLING", "EBUSY", "EBUSY", "FILLING", "FILLING")),
    "open and truncate result.bin": ([(2, "open", "h", "s", "result.bin", "t")],
        ("EBUSY", "EBUSY", "COMPUTING", "COMPUTING", "EBUSY", "EBUSY")),
    "truncate data.bin": ([(2, "truncate", "s", "data.bin", EIGHT)],
        ("FILLING", "FILLING", "EBUSY", "EBUSY", "FILLING", "FILLING")),
    "truncate result.bin": ([(2, "truncate", "s", "result.bin", EIGHT)],
        ("EBUSY", "EBUSY", "COMPUTING", "COMPUTING", "EBUSY", "EBUSY")),
    "flag 0": ([flag(0, 2)], ("READY", "READY", "EPROTO", "EPROTO", "EPROTO", "READY")),
    "flag 1": ([flag(1, 2)], ("EPROTO", "EPROTO", "EPROTO", "DONE", "DONE", "EPROTO")),
    "flag 2": ([flag(2, 2)], ("EPROTO", "EPROTO", "FAILED", "FAILED", "EPROTO", "FAILED")),
    "flag -1": ([flag(-1, 2)], ("IDLE", "IDLE", "IDLE", "EBUSY", "IDLE", "IDLE")),
    "flag 7": ([flag(7, 2)], ("EINVAL",) * 6),
    "flag 1 with an empty result": ([(0, "write_record", "s", 0, EMPTY_RESULT)],
        ("EPROTO", "EPROTO", "DONE", "EINVAL", "DONE", "EPROTO")),
    "flag 0 as other numbers": ([(0, "write_record", "s", 0, OTHER_INPUT)],
        ("EINVAL", "READY", "EPROTO", "EPROTO", "EPROTO", "READY")),
    "flag 0 with a length that does not fit": ([(0, "write_record", "s", 0, TOO_LONG)],
        ("EINVAL", "EINVAL", "EPROTO", "EPROTO", "EPROTO", "EINVAL")),
    "flag 0 and an input": ([(2, "write_record", "s", 0, PUT_INPUT)],
        ("READY", "READY", "EBUSY", "EBUSY", "READY", "READY")),
    "flag 1 and a result": ([(2, "write_record", "s", 0, PUT_RESULT)],
        ("EBUSY", "EBUSY", "DONE", "DONE", "EBUSY", "EBUSY")),
    "flag 0 and an input that does not fit": ([(2, "write_record", "s", 0, PUT_MISFIT)],
        ("EINVAL", "EINVAL", "EBUSY", "EBUSY", "EINVAL", "EINVAL")),
    "flag 2 and an array": ([(2, "write_record", "s", 0, Record(2).pack() + MORE)], ("EINVAL",) * 6),
    "flag 0 and an input of a chained slot": (
        [(2, "symlink", "s", "../t/result.bin"), (2, "write_record", "s", 0, PUT_INPUT)],
        ("EBUSY", "READY", "EBUSY", "EBUSY", "EBUSY", "EBUSY")),
    "flag 0 in a text": ([(0, "write_text", "s", "# go\ndtype=float64\nflag=0\n")],
        ("READY", "READY", "EPROTO", "EPROTO", "EPROTO", "READY")),
    "input fields": ([(0, "write_record", "s", 8, struct.pack("<q", 4))],
        ("IDLE", "FILLING", "EBUSY", "EBUSY", "EBUSY", "EBUSY")),
    "result fields": ([(0, "write_record", "s", 24, struct.pack("<q", 4))],
        ("EBUSY", "EBUSY", "READY", "COMPUTING", "EBUSY", "EBUSY")),
    "an error text": ([(2, "write_error", "s", b"no\n")],
        ("EPROTO", "EPROTO", "FAILED", "FAILED", "EPROTO", "FAILED")),
    "two error texts": ([(2, "write_error", "s", b"no\n"), (2, "write_error", "s", b"never\n")],
        ("EPROTO", "EPROTO", "FAILED", "FAILED", "EPROTO", "FAILED")),
    "read the error text": ([(2, "read_error", "s")],
        ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")),
    "chain the slot": ([(2, "symlink", "s", "../t/result.bin")],
        ("IDLE", "EBUSY", "EBUSY", "EBUSY", "DONE", "FAILED")),
    "write to data.bin of a chained slot": (
        [(2, "symlink", "s", "../t/result.bin"), (2, "open", "h", "s", "data.bin", "w")],
        ("EBUSY", "FILLING", "EBUSY", "EBUSY", "EBUSY", "EBUSY")),
    "flag 0 of a chained slot": ([(2, "symlink", "s", "../t/result.bin"), flag(0, 2)],
        ("EBUSY", "READY", "EPROTO", "EPROTO", "EPROTO", "READY")),
    "move to a chained slot": ([(2, "symlink", "s", "../t/result.bin"), (2, "move", "s", "s")],
        ("EBUSY", "EBUSY", "EBUSY", "EBUSY", "EBUSY", "EBUSY")),
    "a task": ([(2, "write_task", "s", b"work\n")],
        ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")),
    "truncate metadata.bin": ([(2, "truncate_record", "s")],
        ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")),
    "unlink data.bin": ([(2, "unlink", "s", "data.bin")], ("IDLE",) * 6),
    "unlink result.bin": ([(2, "unlink", "s", "result.bin")], ("IDLE",) * 6),
    "unlink metadata.bin": ([(2, "unlink", "s", "metadata.bin")], ("IDLE",) * 6),
    "unlink a view": ([(2, "unlink", "s", "data.npy")],
        ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")),
    "unlink error": ([(2, "unlink", "s", "error")],
        ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")),
    "move the result away": ([(2, "move", "s", "t")], ("EBUSY", "EBUSY", "EBUSY", "EBUSY", "IDLE", "EBUSY")),
    "move the result to the own input": ([(2, "move", "s", "s")],
        ("EBUSY", "EBUSY", "EBUSY", "EBUSY", "FILLING", "EBUSY")),
    "store flag 2 into the page": ([(2, "store_record", "s", 0, struct.pack("<i", 2))],
        ("IDLE", "FILLING", "FAILED", "FAILED", "DONE", "FAILED")),
    "store junk into the page": ([(2, "store_record", "s", 0, b"junk" * 32)],
        ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")),
    "rename the slot": ([(2, "rename", "s", "r"), (2, "rename", "r", "s")],
        ("IDLE", "FILLING", "READY", "COMPUTING", "DONE", "FAILED")),
}

# A chained slot "s" with its source "t", and what the source does: whether "s" can take it, in each state of "s".
# Its outcome, if it has one, was not taken ("untaken"), or was by a reader.
def renamed(operations: list[Operation]) -> list[Operation]:
    """The same of slot t."""
    return [tuple("t" if word == "s" else f"{word}-t" if word in ("in", "out") else word for word in operation)
            for operation in operations]


FOLLOW: Operation = (0, "symlink", "s", "../t/result.bin")
DELIVER = [*renamed(PATHS["COMPUTING"][2:]), FOLLOW, *renamed([flag(1)])]
SOURCE_FAILS = [*renamed(PATHS["READY"][2:]), FOLLOW, *renamed([flag(2)])]
RETRIES = [*SOURCE_FAILS, *renamed([flag(0)])]
READ_RESULT: Operation = (2, "read", "s", "result.bin")
READ_ERROR: Operation = (2, "read_error", "s")
# An open for reading with O_CREAT, and a close.
TOUCH_RESULT: Operation = (2, "create", "s", "result.bin", False)
TOUCH_ERROR: Operation = (2, "create", "s", "error", False)
DROP = flag(-1, 2)
# how "s" got there, what happens, the outcome of the last operation, and the state and round of "s" after it
CHAINED: list[tuple[str, list[Operation], str, str, int]] = [
    ("IDLE", DELIVER, "ok", "READY", 1),
    ("DONE", DELIVER, "EAGAIN", "DONE", 1),
    ("DONE", [READ_RESULT, *DELIVER], "ok", "READY", 2),
    ("DONE", [TOUCH_RESULT, *DELIVER], "ok", "READY", 2),
    ("DONE", [TOUCH_ERROR, *DELIVER], "EAGAIN", "DONE", 1),
    ("DONE", [DROP, *DELIVER], "ok", "READY", 2),
    ("FAILED", DELIVER, "EAGAIN", "FAILED", 1),
    ("FAILED", [READ_RESULT, *DELIVER], "ok", "READY", 2),
    ("FAILED", [READ_ERROR, *DELIVER], "ok", "READY", 2),
    ("FAILED", [TOUCH_RESULT, *DELIVER], "ok", "READY", 2),
    ("FAILED", [TOUCH_ERROR, *DELIVER], "ok", "READY", 2),
    ("FAILED", [DROP, *DELIVER], "ok", "READY", 2),
    ("FAILED", [flag(0, 2), flag(2, 2), *DELIVER], "EAGAIN", "FAILED", 1),
    ("IDLE", SOURCE_FAILS, "ok", "FAILED", 1),
    ("DONE", SOURCE_FAILS, "ok", "DONE", 1),
    ("DONE", [*SOURCE_FAILS, READ_RESULT], "ok", "FAILED", 2),
    ("FAILED", SOURCE_FAILS, "ok", "FAILED", 1),
    ("FAILED", [*SOURCE_FAILS, TOUCH_ERROR], "ok", "FAILED", 2),
    ("FAILED", [*SOURCE_FAILS, READ_RESULT], "EIO", "FAILED", 2),
    ("IDLE", RETRIES, "ok", "IDLE", 1),
    ("FAILED", RETRIES, "ok", "FAILED", 1),
    ("FAILED", [READ_ERROR, *RETRIES], "ok", "IDLE", 2),
]


@pytest.mark.parametrize("state,operations,outcome,after,round", CHAINED)
def test_chained_alone(state: str, operations: list[Operation], outcome: str, after: str, round: int) -> None:
    model, seen = Model([0, 1, 2], page_cache=False), ""
    for client, verb, *arguments in PATHS[state] + operations:
        seen, _ = model.apply(client, verb, tuple(arguments))
    slot = model.slots["s"]
    assert (seen, slot.state, slot.record.round) == (outcome, after, round)


@pytest.mark.time_limit(120)
def test_chained(mount: Daemon) -> None:
    with clients_of(mount) as clients:
        for state, operations, _, after, _ in CHAINED:
            with run_of(mount, clients) as run:
                for operation in PATHS[state] + operations:
                    run.apply(operation)  # and no look at the slot, which would take its outcome
                assert run.model.slots["s"].state == after
                run.check_all()


CASES = [(event, state) for event in EVENTS for state in STATES]


def expected_of(event: str, state: str) -> tuple[list[Operation], str, str]:
    """The operations of an event, and its outcome and the state after it."""
    operations, cells = EVENTS[event]
    cell = cells[STATES.index(state)]
    return operations, *(("ok", cell) if cell in STATES else (cell, state))


@pytest.mark.parametrize("event,state", CASES)
def test_model_alone(event: str, state: str) -> None:
    operations, outcome, after = expected_of(event, state)
    model = Model([0, 1, 2], page_cache=False)
    seen = ""
    for client, verb, *arguments in PATHS[state] + operations:
        seen, _ = model.apply(client, verb, tuple(arguments))
    assert (seen, model.slots["s"].state) == (outcome, after)


def do(run: Run, operations: list[Operation]) -> None:
    for operation in operations:
        assert run.applicable(operation)
        run.step(operation)


@pytest.mark.time_limit(120)
def test_mount(mount: Daemon) -> None:
    with clients_of(mount) as clients:
        for event, state in CASES:
            operations, _, after = expected_of(event, state)
            with run_of(mount, clients) as run:
                do(run, PATHS[state] + operations)
                assert run.model.slots["s"].state == after, event
                run.check_all()


HOLDERS: dict[str, list[Operation]] = {
    "a descriptor": [],
    "a mapping": [(1, "map", "h", "m", 8), (1, "close", "h")],
    "both": [(1, "map", "h", "m", 8)],
}


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("file,state,after", [("data.bin", "FILLING", 0), ("result.bin", "COMPUTING", 1)])
def test_publishing_what_is_held(mount: Daemon, holder: str, file: str, state: str, after: int) -> None:
    """Nobody publishes what any client, the publisher included, can still write; letting go is enough."""
    hold = [(1, "open", "h", "s", file, "+"), *HOLDERS[holder]]
    with clients_of(mount) as clients, run_of(mount, clients) as run:
        do(run, PATHS[state] + hold)
        for client in (1, 2):
            assert run.model.apply(client, "write_record", flag(after)[2:])[0] == "EBUSY"
            do(run, [flag(after, client)])
        if "m" in run.model.mappings:
            do(run, [(1, "store", "m", 0, b"\1" * 8), (1, "unmap", "m")])
        if "h" in run.model.handles:
            do(run, [flag(after, 2), (1, "close", "h")])
        do(run, [flag(after, 2)])
        assert run.model.slots["s"].state == ("READY" if after == 0 else "DONE")


def test_waiter_of_a_renamed_slot(mount: Daemon) -> None:
    with clients_of(mount) as clients, run_of(mount, clients) as run:
        do(run, PATHS["FILLING"] + [(2, "park", "in", "s", "data.bin"), (2, "park", "out", "s", "result.bin")])
        run.apply((0, "rename", "s", "r"))
        run.apply((0, "rename", "r", "s"))
        do(run, [flag(0), *filled("out", "result.bin", MORE), flag(1)])
        assert not run.model.slots["s"].waiters


def test_a_store_that_waits_is_one_request(mount: Daemon) -> None:
    """The next client that writes and lets go does not have it judged a second time."""
    again = [*filled("in", "data.bin", VALUES), flag(0), *filled("out", "result.bin", MORE)]
    with clients_of(mount) as clients, run_of(mount, clients) as run:
        do(run, PATHS["IDLE"] + [(0, "symlink", "t", "../s/result.bin"), *again, flag(1), *again])
        do(run, [(0, "store_record", "s", 0, struct.pack("<i", 1))])
        run.await_parked(run.model.slots["s"])
        do(run, [flag(1, 1), flag(1, 2)])
        assert run.text("s").count("\nwaiting=") == len(run.model.slots["s"].waiters) == 1
        do(run, [(1, "unlink", "t", "source")])
        assert run.model.slots["s"].state == "DONE"


@pytest.mark.time_limit(120)
def test_refusals_are_counted_and_told(mount: Daemon) -> None:
    def lines(key: str) -> list[str]:
        return [line for line in run.text("s").splitlines() if line.startswith(f"{key}=")]

    refused: list[tuple[Operation, str]] = [
        (flag(0), "EPROTO"), (flag(7), "EINVAL"), ((0, "open", "h", "s", "data.bin", "w"), "EBUSY"),
        ((0, "truncate", "s", "data.bin", 0), "EBUSY"), (flag(1), "EPROTO")]
    with clients_of(mount) as clients, run_of(mount, clients) as run:
        do(run, PATHS["READY"])
        before = int(lines("refusals")[0].partition("=")[2])
        for number, ((_, verb, *arguments), name) in enumerate(refused, before + 1):
            assert clients[2].attempt(verb, tuple(arguments)) == (name, None)
            assert lines("refusals") == [f"refusals={number}"]
            assert name in lines("refused")[0] and str(clients[2].pid) in lines("refused")[0]

