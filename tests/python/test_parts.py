# SPDX-License-Identifier: Apache-2.0
"""One result that several processes write: the worker's children."""
from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Callable, Iterator

import numpy as np
import pytest

from pyrmap import RoundCancelled, Slot, SlotBusy
from serving import eventually

SHAPE = (40, 30)


def in_child(work: Callable[[], None]) -> int:
    """Forks; the child ends with 0 unless work raises."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def begin(producer: Slot, worker: Slot) -> None:
    producer.produce([1.0, 2.0])
    producer.publish()
    worker.input()


def write_row(path: str, row: int) -> None:
    Slot(path).open_result(SHAPE)[row] = row


def test_each_child_writes_a_row(producer: Slot, worker: Slot) -> None:
    begin(producer, worker)
    result = worker.empty_result(SHAPE)
    for child in [in_child(lambda row=row: write_row(worker.path, row)) for row in range(SHAPE[0])]:  # type: ignore[misc]
        assert ended(child) == 0
    result[0, 0] = 0.5
    worker.publish(result)
    expected = np.repeat(np.arange(SHAPE[0])[:, np.newaxis], SHAPE[1], 1).astype(float)
    expected[0, 0] = 0.5
    assert np.array_equal(producer.result(), expected)


@contextmanager
def child_that_holds(path: str) -> Iterator[None]:
    """A child has the result mapped until the block ends; then it writes the second row and lets go."""
    opened, gate = os.pipe(), os.pipe()

    def hold() -> None:
        part = Slot(path).open_result(SHAPE)
        os.write(opened[1], b"x")
        os.read(gate[0], 1)
        part[1] = 5

    child = in_child(hold)
    os.close(opened[1])
    try:
        assert os.read(opened[0], 1)
        yield
    finally:
        os.write(gate[1], b"x")
        assert ended(child) == 0
        for end in (opened[0], *gate):
            os.close(end)


def test_publishing_waits_for_a_child(producer: Slot, worker: Slot) -> None:
    begin(producer, worker)
    result = worker.empty_result(SHAPE)
    result[:] = 0
    with child_that_holds(worker.path):
        publishing = threading.Thread(target=worker.publish, args=(result,))
        del result
        publishing.start()
        eventually(lambda: "still open" in refusal(producer), "the first try is refused")
        assert producer.record.flag == 0
    publishing.join()
    assert producer.result()[1].tolist() == [5] * SHAPE[1]


@pytest.mark.parametrize("way", ["one write", "the file"])
def test_publishing_that_waits_answers_no_other_round(producer: Slot, worker: Slot, way: str) -> None:
    """The round goes while a child holds its result; the next one is where the same step would answer it."""
    begin(producer, worker)
    with Slot(worker.path) as maker:
        result = (maker if way == "one write" else worker).empty_result(SHAPE)
        result[:] = 7
    with child_that_holds(worker.path), Slot(worker.path) as other, ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(worker.publish, result)
        del result
        eventually(lambda: "still open" in refusal(producer), "the first try is refused")
        os.unlink(f"{producer.path}/data.bin")
        begin(producer, other)
        other.empty_result(SHAPE)
        other.keep(np.full(SHAPE, 3.0))  # in the file, which is closed
        with pytest.raises(RoundCancelled):
            publishing.result()
        assert (producer.record.flag, producer.record.round) == (0, 2)
        other.publish()
    assert np.array_equal(producer.result(), np.full(SHAPE, 3.0))


def refusal(slot: Slot) -> str:
    with open(f"{slot.path}/metadata.txt") as text:
        return "".join(line for line in text if line.startswith("refused="))


def test_what_is_refused(producer: Slot, worker: Slot) -> None:
    with pytest.raises(SlotBusy):
        worker.open_result(SHAPE)
    begin(producer, worker)
    result = worker.empty_result(SHAPE)
    result[:] = 3
    with pytest.raises(ValueError, match="the result has 9600 bytes, and 9280 are asked for"):
        worker.open_result((40, 29))
    with pytest.raises(TypeError, match="a slot cannot hold"):
        worker.open_result(SHAPE, "c16")
    assert worker.open_result((30, 40), order="F").shape == (30, 40)
    assert len(worker.open_result(0)) == 0
    worker.publish(result)
    assert np.array_equal(producer.result(), np.full(SHAPE, 3.0))
    with pytest.raises(SlotBusy):
        worker.open_result(SHAPE)
