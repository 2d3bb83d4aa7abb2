# SPDX-License-Identifier: Apache-2.0
"""Random histories: the mount against the model, after every step.

STEPS and SEED in the environment make it longer and other; the seed is printed with every disagreement.
"""
from __future__ import annotations

import os
import time
from collections import Counter
from typing import Sequence

import pytest

from client import Hang
from daemon import PASSTHROUGH, Daemon
from driver import Clients, Disagreement, Operation
from generate import Generator, names_in, show
from histories import clients_of, run_of
from shrink import shrink

STEPS = int(os.environ.get("STEPS", "100000"))
CHAINS = os.environ.get("CHAINS", "1") != "0"
SEED = int(os.environ.get("SEED", "1"))
HISTORY = 2000  # steps between two fresh starts: a disagreement is shrunk from no more
SHRINK_SECONDS = 120
SHORT_PATIENCE = 0.5  # while shrinking
SHOWN = 12


def replay(mount: Daemon, clients: Clients, history: Sequence[Operation]) -> Disagreement | None:
    with run_of(mount, clients, SHORT_PATIENCE) as run:
        try:
            for operation in history:
                run.step(operation)
            run.check_all()
        except Disagreement as disagreement:
            return disagreement
    return None


def report(mount: Daemon, clients: Clients, seed: int, history: list[Operation], found: Disagreement) -> str:
    """The disagreement, and a short history that leads to it."""
    def fails(candidate: Sequence[Operation]) -> bool:
        again = replay(mount, clients, candidate)
        return again is not None and again.what == found.what

    lines = [f"seed {seed}, step {len(history)}: {found}", f"the last {SHOWN} operations were",
             *(f"    {show(operation)}" for operation in history[-SHOWN:])]
    try:
        short = shrink(history, names_in, fails, SHRINK_SECONDS)
        lines += [f"these {len(short)} operations lead to: {replay(mount, clients, short)}",
                  *(f"    {show(operation)}" for operation in short)]
    except Hang as hang:
        lines.append(f"it could not be made shorter: {hang}")
    return "\n".join(lines)


def history_of(mount: Daemon, clients: Clients, seed: int, steps: int, outcomes: Counter[str]) -> None:
    """One random history from a fresh start."""
    history: list[Operation] = []
    try:
        with run_of(mount, clients) as run:
            generator = Generator(seed, run.model, len(clients), CHAINS)
            while run.steps < steps:  # what the driver leaves out does not count
                operation = generator.next()
                history.append(operation)
                run.step(operation)
            run.check_all()
            outcomes.update(run.outcomes)
    except Disagreement as disagreement:
        pytest.fail(report(mount, clients, seed, history, disagreement), pytrace=False)
    except Hang as hang:
        pytest.fail("\n".join([f"seed {seed}: {hang}", *map(show, history[-SHOWN:])]), pytrace=False)


@pytest.mark.time_limit(120 + SHRINK_SECONDS + STEPS / 250)
def test_random_histories(mount: Daemon) -> None:
    steps = STEPS - 2 * (STEPS // 5) if mount.data_path == PASSTHROUGH else STEPS // 5
    outcomes: Counter[str] = Counter()
    begin = time.monotonic()
    with clients_of(mount) as clients:
        for number, done in enumerate(range(0, steps, HISTORY)):
            history_of(mount, clients, SEED * 1000003 + number, min(HISTORY, steps - done), outcomes)
    print(f"{steps} steps in {time.monotonic() - begin:.0f} s on the {mount.data_path}, seed {SEED}: {outcomes}")
    assert {outcome.partition(" ")[2] for outcome in outcomes} >= {"ok", "EBUSY", "EPROTO", "EINVAL", "EAGAIN"}
