# SPDX-License-Identifier: Apache-2.0
"""Proves the handshake with chains by looking at every state that it can come to: spin, on the model in this folder.

PROOF=whole in the environment (`make proof`) takes three slots, else it is two. Each error that is put into the table or the
model on purpose has to be found, by the assertion that is meant for it.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).resolve().parent
FS = HERE.parent.parent / "fs"
TABLE = "protocol/handshake.c"
IS_WHOLE = os.environ.get("PROOF") == "whole"
SECONDS = 3600 if IS_WHOLE else 240
MEGABYTES = 4000
CHAIN, FORK = "CHAIN", "FORK"

pytestmark = [pytest.mark.time_limit(SECONDS),
              pytest.mark.skipif(not shutil.which("spin"), reason="spin is not installed: make deps installs it")]


class Found(NamedTuple):
    output: str
    states: int
    wrong: str  # what the assertion that failed is meant for, or "deadlock", or "": nothing is wrong


def run(command: list[str], place: Path) -> str:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def prepare(place: Path, file: str = "", old: str = "", new: str = "") -> list[str]:
    """The model with its table, and in one file a piece of text that is another one. Returns the sources of the handshake."""
    for source in HERE.glob("*.pml"):
        shutil.copy(source, place)
    shutil.copy(FS / TABLE, place / "handshake.c")
    if file:
        text = (place / file).read_text()
        assert old in text, f"{file} has no {old!r}"
        (place / file).write_text(text.replace(old, new))
    sources = [f"-I{FS}", "-D_GNU_SOURCE", str(place / "handshake.c")]
    run(["cc", "-std=c11", "-o", "table", str(HERE / "table.c"), *sources], place)
    (place / "table.pml").write_text(run(["./table"], place))
    return sources


def search(place: Path, model: str, options: list[str], compiler: list[str], searcher: list[str]) -> Found:
    run(["spin", *options, "-a", model], place)
    run(["cc", "-w", f"-DMEMLIM={MEGABYTES}", "-DCOLLAPSE", *compiler, "-o", "pan", "pan.c"], place)
    output = run(["./pan", "-m12000000", *searcher], place)
    assert "too small" not in output and "out of memory" not in output, output
    states = re.search(r"(\d[\d.e+]*) states, stored", output)
    assert states, output
    wrong = ""
    if "errors: 0" not in output:
        # The trail ends in the assertion, and that has a word behind it.
        trail = run(["spin", *options, "-t", model], place)
        failed = re.search(r"(\w+\.pml):(\d+), Error: assertion violated", trail)
        if failed:
            lines = (place / failed[1]).read_text().splitlines()
            word = re.search(r"/\* ([A-Z]{4,})\b", " ".join(lines[int(failed[2]) - 2:int(failed[2])]))
            wrong = word[1] if word else lines[int(failed[2]) - 1].strip()
        else:
            wrong = "deadlock" if "invalid end state" in output else output
    else:
        assert "Search not completed" not in output, output
    return Found(output, int(float(states[1])), wrong)


def anybody(place: Path, shape: str, slots: int, optimize: str = "-O0") -> Found:
    return search(place, "anybody.pml", [f"-DSHAPE={shape}", f"-DSLOTS={slots}"], [optimize, "-DSAFETY"], [])


def stream(place: Path) -> Found:
    return search(place, "stream.pml", [f"-DSHAPE={CHAIN}", "-DSLOTS=2"], ["-O0", "-DSAFETY", "-DNOCLAIM"], [])


def tell(what: str, found: Found) -> None:
    print(f"{what}: {found.states} states, the search was complete, errors: 0")


def test_the_table_is_that_of_the_program(tmp_path: Path) -> None:
    """Every event in every state with every combination of facts."""
    sources = prepare(tmp_path)
    run(["spin", "-a", "check.pml"], tmp_path)
    run(["cc", "-w", "-DSAFETY", "-o", "pan", "pan.c", *sources], tmp_path)
    assert "errors: 0" in run(["./pan"], tmp_path)
    text = (tmp_path / "handshake.c").read_text()
    (tmp_path / "handshake.c").write_text(text.replace(FINISHES_ONCE, FINISHES_ONCE[:-3] + "PROTO,"))
    assert (tmp_path / "handshake.c").read_text() != text
    run(["cc", "-w", "-DSAFETY", "-o", "pan", "pan.c", *sources], tmp_path)
    assert "errors: 1" in run(["./pan"], tmp_path)


@pytest.mark.parametrize("shape", (CHAIN, FORK) if IS_WHOLE else (CHAIN,))
def test_whatever_clients_do(shape: str, tmp_path: Path) -> None:
    slots = 3 if IS_WHOLE else 2
    prepare(tmp_path)
    found = anybody(tmp_path, shape, slots, "-O2" if IS_WHOLE else "-O0")
    assert not found.wrong, found
    tell(f"{shape}, {slots} slots, two clients each that do anything", found)


def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    prepare(tmp_path)
    found = stream(tmp_path)
    assert not found.wrong, found
    tell("a stream", found)


@pytest.mark.skipif(not IS_WHOLE, reason="part of make proof")
def test_every_outcome_arrives(tmp_path: Path) -> None:
    """If nobody whose turn it is stands still for ever."""
    prepare(tmp_path)
    found = search(tmp_path, "stream.pml", [f"-DSHAPE={CHAIN}", "-DSLOTS=2"], ["-O1", "-DNFAIR=3", "-DNOREDUCE"], ["-a", "-f"])
    assert not found.wrong, found
    tell("each outcome of a stream arrives", found)


LEARNS_OF_DEATH = "[EVENT_WORKER_DIED]       = { OK,      OK,         DIE,      DIE,"
FINISHES_ONCE = "[EVENT_FLAG_RESULT]       = { PROTO,   PROTO,      FINISH_0, FINISH,    OK,"
READ_WAITS = "[EVENT_OPEN_RESULT_READ]  = { WAIT,    WAIT,       WAIT,     WAIT,"
INPUT_WAITS = "[EVENT_OPEN_INPUT_READ]   = { WAIT,    WAIT_IF,"

# What is wrong, where, the text and what stands there instead, slots, and the word of the assertion that finds it.
ERRORS = (
    ("a source overwrites what nobody took", "handshake.c", "    case TAKE_ON:\n        if (!(facts & FACT_TAKEN))", "    case TAKE_ON:\n        if (0)", 2, "LOST"),
    ("an input is published that is open for writing", "handshake.c", "        CHECK_INPUT_RELEASED | CHECK_INPUT_FITS", "        CHECK_INPUT_FITS", 2, "UNPUBLISHED"),
    ("a result is published that is open for writing", "handshake.c", "result_checks = CHECK_RESULT_RELEASED | CHECK", "result_checks = CHECK", 2, "UNPUBLISHED"),
    ("a result is read while it is computed", "handshake.c", READ_WAITS, READ_WAITS[:-5] + "OK,", 2, "UNPUBLISHED"),
    ("an input is read while another one writes it", "handshake.c", INPUT_WAITS, INPUT_WAITS[:-8] + "OK,", 2, "UNPUBLISHED"),
    ("a moved result is written while it is read", "handshake.c", "proceed(STATE_FILLING, CHECK_INPUT_UNREAD, 0)", "proceed(STATE_FILLING, 0, 0)", 2, "UNPUBLISHED"),
    ("a round has two outcomes", "handshake.c", FINISHES_ONCE, FINISHES_ONCE[:-3] + "FINISH,", 2, "DOUBLED"),
    ("the next input does not wait for a failure to be taken", "handshake.c", " | CHECK_FAILURE_TAKEN |", " |", 2, "LOST"),
    ("a follower takes the same again", "handshake.pml", "took[s] = (offer == OFFER_ARRAY -> TOOK_ARRAY : TOOK_FAILURE);", "took[s] = took[s];", 2, "DOUBLED"),
    ("followers are not told", "handshake.pml", ":: pulls -> has_queued = true; queue(w)", ":: pulls -> has_queued = false", 2, "FORGOTTEN"),
    ("publishers are not told", "handshake.pml", "    :: HAS_SOURCE(s) -> queue_sources(s)\n", "    :: false\n", 2, "FORGOTTEN"),
    ("nobody learns of the worker's death", "handshake.c", LEARNS_OF_DEATH, LEARNS_OF_DEATH.replace("DIE,", "OK, "), 0, "deadlock"),
    ("a cancelled round's failure is not owed", "handshake.c", "return facts & FACT_FAILURE && !(facts & FACT_TAKEN);", "return 0 && facts;", 3, "LOST"),
)


@pytest.mark.parametrize("file,old,new,slots,word", [error[1:] for error in (ERRORS if IS_WHOLE else ERRORS[:3] + ERRORS[6:7])],
                         ids=[error[0].replace(" ", "-") for error in (ERRORS if IS_WHOLE else ERRORS[:3] + ERRORS[6:7])])
def test_errors_are_found(file: str, old: str, new: str, slots: int, word: str, tmp_path: Path) -> None:
    """Two or three slots whose clients do anything; 0: a stream."""
    prepare(tmp_path, file, old, new)
    found = anybody(tmp_path, CHAIN, slots) if slots else stream(tmp_path)
    assert found.wrong == word, found
