# SPDX-License-Identifier: Apache-2.0
"""The server is killed right before and right after each call, and each store, that changes what outlives it; and each call fails.

A short selection; FAILPOINTS=all in the environment does everything, or one point in STRIDE. SEED makes it another selection.
"""
from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import tempfile
from collections import Counter
from typing import Iterator

import pytest
from agent import Agent
from armed import DIE_AFTER, DIE_ALL, DIE_BEFORE, FAIL, Armed
from daemon import BUILD
from paths import check_data_path, mounted
from scene import CASES, OPERATIONS, Operation, Picture, Scene, attempt, bring, differences, nothing, picture
from slots import STATES, Slot, eventually, number, status, usage

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="needs root"), pytest.mark.time_limit(20000)]

ALL = os.environ.get("FAILPOINTS") == "all"
PLACES = [("passthrough", "tmpfs"), ("links", "memfd"), ("pagecache", "tmpfs")]
if ALL:
    PLACES += [("passthrough", "dir"), ("passthrough", "memfd"), ("links", "tmpfs"), ("links", "dir"), ("pagecache", "memfd")]
STRIDE = int(os.environ.get("STRIDE", "1"))
SEED = int(os.environ.get("SEED", "1"))
KILLS = 700  # of one daemon: it gives up after 1000 in a minute
REFUSALS = ("ENOMEM", "EMFILE", "ENOSPC", "EIO", "EACCES", "EINVAL")  # what faults.c lets calls fail with


def armed(path: str, kind: str) -> Armed:
    options = mounted(path, arena_kind=kind, arena_capacity="64M", arena_warm="0").options
    daemon = Armed(options)
    if kind == "dir":
        daemon.options["arena.path"] = str(daemon.directory / "arena")
    return daemon


def chosen(count: int, random_: random.Random) -> list[tuple[Operation, str, str]]:
    return CASES if ALL else random_.sample(CASES, count)


def points(step: int, random_: random.Random) -> Iterator[int]:
    step = STRIDE if ALL else step
    point = random_.randint(1, step)
    while True:
        yield point
        point += step


class Stage:
    """A daemon, and another one after so many kills."""

    def __init__(self, path: str, kind: str) -> None:
        self.path, self.kind = path, kind
        self.killed: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.kills, self.stays = 0, False
        self.daemon = self.fresh()

    def fresh(self) -> Armed:
        daemon = armed(self.path, self.kind)
        daemon.start()
        check_data_path(daemon, self.path)
        self.kills, self.base = 0, usage(daemon.path)["used"]
        return daemon

    def hit(self, name: str) -> None:
        self.killed[name] += 1
        self.kills += 1

    def rest(self, operation: Operation, state: str, how: str) -> None:
        """After a case: nothing is left of it, but a file that could not be removed."""
        if self.stays:
            self.stays, self.base = False, max(self.base, usage(self.daemon.path)["used"])
        eventually(lambda: usage(self.daemon.path)["used"] <= self.base, f"nothing is left of {operation.name} in {state} ({how}); {self.killed}")
        if self.kills >= KILLS:
            self.end()
            self.daemon = self.fresh()

    def end(self) -> None:
        self.daemon.__exit__(None, None, None)

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *exc: object) -> None:
        self.daemon.__exit__(*exc)

    def report(self, what: str) -> None:
        print(f"{self.path} {self.kind}: {what} at {sum(self.killed.values())} points, {len(self.wrong)} wrong; seed {SEED}; "
              + ", ".join(f"{name} {count}" for name, count in self.killed.most_common()))
        assert not self.wrong, "\n".join(self.wrong[:20])
        assert self.killed


def act(stage: Stage, operation: Operation, state: str, how: str, point: int = 0, effect: int = FAIL) -> tuple[object, Picture, str | None]:
    """What the client got, what clients see then, and where it has happened."""
    scene = Scene(stage.daemon.path, state, how)
    attempt(lambda: operation.first(scene))
    if point:
        stage.daemon.arm(point, effect)
    got = attempt(lambda: operation.run(scene))
    name = stage.daemon.disarm()
    seen = picture(stage.daemon.path)
    scene.remove()
    return got, seen, name


@pytest.mark.parametrize("path,kind", PLACES)
def test_the_server_dies(path: str, kind: str) -> None:
    """Its successor goes on: the client gets what it would have got, and the state is the one after the operation."""
    random_ = random.Random(SEED)
    with Stage(path, kind) as stage:
        for operation, state, how in chosen(8, random_):
            expected, after, _ = act(stage, operation, state, how)
            for effect in (DIE_BEFORE, DIE_AFTER):
                for point in points(23, random_):
                    got, seen, name = act(stage, operation, state, how, point, effect)
                    if name is None:
                        break
                    stage.hit(name)
                    if got != expected or seen != after:
                        when = "after" if effect == DIE_AFTER else "before"
                        stage.wrong.append(f"{operation.name} in {state} ({how}), killed {when} {name} (point {point}): "
                                           f"{got!r:.60} and not {expected!r:.60}; {differences(seen, after)}")
            stage.rest(operation, state, how)
        stage.report("killed")


NOTHING = Operation("nothing", nothing)


def before_it(operation: Operation) -> Operation:
    return Operation("nothing", nothing, operation.first)


def without_text_of_failure(operation: Operation, seen: Picture, after: Picture) -> None:
    """A round fails although the text that the filesystem has for it finds no room: metadata.txt has the cause."""
    for name in ("next", "other", "job"):
        cause = seen[name]["failure"] or "" if name in seen else ""
        if (cause.startswith("source") or operation.name == "write flag 2") and after[name]["error"].startswith(seen[name]["error"]):
            for key in ("sizes", "error"):
                seen[name][key] = after[name][key]


def twice(stage: Stage, operation: Operation, point: int, expected: object) -> Operation:
    """The same, after an attempt in which that call fails; on a disk it can be another call this time, which does no harm."""

    def run(scene: Scene) -> object:
        stage.daemon.arm(point, FAIL)
        tried = attempt(lambda: operation.run(scene))
        stage.daemon.disarm()
        return tried if tried == expected else operation.run(scene)

    return Operation(operation.name, run, operation.first)


@pytest.mark.parametrize("path,kind", PLACES)
def test_a_call_fails(path: str, kind: str) -> None:
    """Its client gets an error and nothing has changed, or it gets what it would have got; and the next attempt goes through."""
    random_ = random.Random(SEED)
    with Stage(path, kind) as stage:
        server = stage.daemon.server
        for operation, state, how in chosen(15, random_):
            expected, after, _ = act(stage, operation, state, how)
            before = act(stage, before_it(operation), state, how)[1]
            for point in points(7, random_):
                got, seen, name = act(stage, operation, state, how, point)
                if name is None:
                    break
                stage.killed[name] += 1
                stage.stays |= name == "unlinkat"
                if got == expected:
                    without_text_of_failure(operation, seen, after)
                wrong = differences(seen, after) if got == expected else differences(seen, before)
                # The first request of a truncate has begun a round, and the kernel had to look the path up again; what a disk does
                # not take any more is done in memory.
                if got != expected and (operation.name.startswith("truncate") or name == "fsync") and seen == after:
                    continue
                if got != expected:
                    again, seen = act(stage, twice(stage, operation, point, expected), state, how)[:2]
                    # Without an answer to whether somebody writes an array, we act as if.
                    wrong += "" if (got in REFUSALS or (name, got) == ("fcntl", "EBUSY")) and again == expected else f"; then {again!r:.60}"
                    wrong += differences(seen, after)
                if wrong:
                    stage.wrong.append(f"{operation.name} in {state} ({how}), {name} fails (point {point}): {got!r:.60} "
                                       f"and not {expected!r:.60}; {wrong}")
            stage.rest(operation, state, how)
        assert stage.daemon.server == server
        stage.report("calls failed")


@pytest.mark.parametrize("effect", [DIE_BEFORE, DIE_AFTER])
def test_each_point_of_a_round_that_is_dropped(effect: int) -> None:
    """Files, registrations and pages go: wherever the server is killed, nothing is left of them."""
    operation = next(operation for operation in OPERATIONS if operation.name == "write flag -1")
    with Stage("passthrough", "tmpfs") as stage:
        for point in itertools.count(1):
            seen, name = act(stage, operation, "READY", "written", point, effect)[1:]
            if name is None:
                break
            stage.hit(name)
            assert seen["job"]["state"] == "IDLE"
            stage.rest(operation, "READY", "written")
        stage.report("killed")


def test_each_point_of_a_result_that_moves() -> None:
    """Wherever the server is killed: it moves once, and the client is told so."""
    operation = next(operation for operation in OPERATIONS if operation.name == "rename other/result.bin job/data.bin")
    with Stage("passthrough", "tmpfs") as stage:
        expected, after, _ = act(stage, operation, "FAILED", "sent")
        for point in itertools.count(1):
            got, seen, name = act(stage, operation, "FAILED", "sent", point, DIE_BEFORE)
            if name is None:
                break
            stage.hit(name)
            assert (got, differences(seen, after)) == (expected, ""), f"killed before {name} (point {point})"
        stage.report("killed")


@pytest.mark.parametrize("path,kind", PLACES)
def test_the_successor_dies(path: str, kind: str) -> None:
    """While it takes over: the next one goes on, with open files, and an open that is parked."""
    random_ = random.Random(SEED)
    agent = Agent()
    with Stage(path, kind) as stage:
        for effect in (DIE_BEFORE, DIE_AFTER):
            for point in points(97, random_):
                mount = stage.daemon.path
                slots = {state: bring(Slot.make(mount, state), state, "written") for state in STATES}
                with open(slots["DONE"] / "data.bin", "rb") as held:
                    agent.start("open(path, 'rb').read()", path=slots["READY"] / "result.bin")
                    eventually(lambda: slots["READY"].waiters() != [])
                    server = stage.daemon.server
                    stage.daemon.arm(point, effect, past=server)
                    os.kill(server, signal.SIGKILL)
                    eventually(lambda: number(status(mount)["takeovers"]) > 0)
                    name = stage.daemon.disarm()
                    seen = {state: slot.state for state, slot in slots.items()}
                    slots["READY"].answer()
                    got = agent.result().encode("latin-1"), held.read()
                expected = slots["DONE"].result().tobytes(), slots["DONE"].data().tobytes()
                if seen != {state: state for state in STATES} or got != expected:
                    stage.wrong.append(f"killed at {name} (point {point}): {seen}, {got}")
                for slot in slots.values():
                    slot.remove()
                stage.rest(NOTHING, "all states", "written")
                if name is None:
                    break
                stage.hit(name)
                stage.kills += 1
        stage.report("successors killed")
    agent.kill()


@pytest.mark.parametrize("path", ["passthrough", "links"] if ALL else ["passthrough"])
def test_all_of_it_dies(path: str) -> None:
    """Supervisor and server, on an arena that is kept: a start finds the state before or the one after, and that one if the client knew."""
    random_ = random.Random(SEED)
    with Stage(path, "dir") as stage:

        def after_kill(operation: Operation, state: str, how: str, point: int) -> tuple[object, Picture, str | None]:
            daemon = stage.daemon
            scene = Scene(daemon.path, state, how)
            attempt(lambda: operation.first(scene))
            daemon.arm(point, DIE_ALL)
            got = attempt(lambda: operation.run(scene))
            name = daemon.disarm()
            daemon.kill()
            daemon.stop()
            daemon.start()
            seen = picture(daemon.path)
            scene.remove()
            return got, seen, name

        for operation, state, how in chosen(2, random_):
            before = after_kill(before_it(operation), state, how, 0)[1]
            expected, after, _ = after_kill(operation, state, how, 0)
            for point in points(23, random_):
                got, seen, name = after_kill(operation, state, how, point)
                if name is None:
                    break
                stage.killed[name] += 1
                if seen != after and (seen != before or got == expected):
                    stage.wrong.append(f"{operation.name} in {state} ({how}), killed before {name} (point {point}): {got!r:.60}; "
                                       f"{differences(seen, after)}; before: {differences(seen, before)}")
        stage.report("killed with the supervisor")


def test_without_a_mount() -> None:
    """Each point is the same each time there, and the next server starts as after a loss of power. On a tmpfs, for speed."""
    disk = tempfile.mkdtemp(prefix="pyrmapfs-", dir="/var/tmp")
    subprocess.run(["mount", "-t", "tmpfs", "arena", disk], check=True)
    try:
        done = subprocess.run([BUILD / "failpoints" / "deaths"], capture_output=True, text=True,
                              env={**os.environ, "ARENA_DISK": disk, "STRIDE": str(STRIDE) if ALL else "29"})
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
        os.rmdir(disk)
    print(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout[-20000:]
