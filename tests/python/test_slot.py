# SPDX-License-Identifier: Apache-2.0
"""Slot: turns, lifetimes of arrays, errors that people can read, waiting."""
from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

import pyrmap
from daemon import LINKS, PAGE_CACHE, PASSTHROUGH, PATH_OPTIONS, Daemon
from pyrmap import NotASlot, RoundCancelled, RoundFailed, Slot, SlotBusy, SlotError, waiting
from pyrmap.mapping import COPY_LIMIT
from serving import environment, eventually

SMALL = 10
LARGE = COPY_LIMIT // 8 + 3


def begin(producer: Slot, worker: Slot, value: object = (1.0, 2.0, 3.0)) -> None:
    producer.produce(value)
    producer.publish()
    worker.input()


def test_a_round_step_by_step(producer: Slot, worker: Slot) -> None:
    for number in range(1, 4):
        producer.produce([number, number + 1])
        producer.publish()
        worker.wait()
        assert worker.input() is worker.input()
        assert not worker.finished
        worker.publish(worker.input() * 10)
        assert worker.finished
        producer.wait()
        assert producer.result().tolist() == [number * 10, number * 10 + 10]
        assert producer.record.round == number


def test_waiting_for_an_input_of_ones_own_that_is_not_published(producer: Slot, worker: Slot) -> None:
    waits: list[Callable[[], object]] = [producer.result, producer.wait, producer.input, lambda: producer.result(5)]
    for wait in waits:
        producer.produce([1, 2])
        with pytest.raises(SlotError, match=f"{producer.path} is written, but not published: call publish()") as caught:
            wait()
        assert caught.value.errno == errno.EPROTO
    array = producer.produce(shape=2)
    array[:] = 3
    with pytest.raises(SlotError, match="call publish"):
        producer.result()
    # Nothing is lost: it can still be published.
    producer.publish()
    worker.publish(worker.input() + 1)
    assert producer.result().tolist() == [4, 4]


def test_create_makes_the_slot(mount: Path) -> None:
    with Slot.create(mount / "created") as slot:
        assert (mount / "created").is_dir()
        assert slot.record.flag == -1
    with pytest.raises(FileExistsError):
        Slot.create(mount / "created")
    (mount / "created").rmdir()


@pytest.mark.parametrize("length", [SMALL, LARGE])
def test_arrays_outlive_rounds_and_the_slot(job: Path, length: int) -> None:
    producer, worker = Slot(job), Slot(job)
    begin(producer, worker, np.arange(length))
    first = worker.input()
    worker.publish(first + 1)
    result = producer.result()
    begin(producer, worker, np.zeros(length))
    worker.publish(np.zeros(length))
    producer.close()
    worker.close()
    subprocess.run(["rm", "-r", str(job)], check=True)
    assert np.array_equal(first, np.arange(length))
    assert np.array_equal(result, np.arange(length) + 1)


@pytest.mark.parametrize("length", [SMALL, LARGE])
def test_a_published_array_stays_readable_where_it_is_held(producer: Slot, worker: Slot, length: int) -> None:
    array = producer.produce(shape=length)
    array[:] = np.arange(length)
    producer.publish()
    assert np.array_equal(array, np.arange(length))
    result = worker.empty_result(length)
    view = result[::2]
    result[:] = worker.input() * 2
    worker.publish(result)
    for held in (result, array):
        with pytest.raises(ValueError, match="read-only"):
            held[0] = 1
    # A view is NumPy's own business: writing to it must neither crash nor reach the reader.
    view[:] = -1
    assert np.array_equal(producer.result(), np.arange(length) * 2.0)


@pytest.mark.parametrize("length", [SMALL, LARGE])
def test_a_result_may_be_dropped_before_it_is_published(producer: Slot, worker: Slot, length: int) -> None:
    begin(producer, worker)
    worker.empty_result(length, "int32")[:] = 7
    gc.collect()
    worker.publish()
    assert producer.result().tolist() == [7] * length


def test_another_array_than_the_empty_result(producer: Slot, worker: Slot) -> None:
    begin(producer, worker)
    result = worker.empty_result(1000)
    result[:] = 1
    worker.publish(np.arange(3.0))
    assert producer.result().tolist() == [0, 1, 2]
    assert result.sum() == 1000


def test_the_beginning_of_an_empty_result(producer: Slot, worker: Slot) -> None:
    for length in (SMALL, LARGE):
        begin(producer, worker)
        result = worker.empty_result(length)
        result[:] = np.arange(length)
        worker.publish(result[:length // 2])
        assert np.array_equal(producer.result(), np.arange(length // 2))


def test_a_second_empty_result_replaces_the_first(producer: Slot, worker: Slot) -> None:
    begin(producer, worker)
    worker.empty_result(100)[:] = 1
    gc.collect()
    result = worker.empty_result(5, "uint8")
    result[:] = 2
    worker.publish(result)
    assert producer.result().tolist() == [2] * 5


def test_what_somebody_left_in_result_bin_is_cut(producer: Slot, worker: Slot, job: Path) -> None:
    begin(producer, worker)
    with open(job / "result.bin", "wb") as file:
        file.write(bytes(1000))
    worker.publish([1.5])
    assert producer.result().tolist() == [1.5]


def test_results_are_column_major_for_a_column_major_producer(producer: Slot, worker: Slot) -> None:
    begin(producer, worker, np.asfortranarray(np.zeros((2, 3))))
    worker.publish(np.arange(6).reshape(2, 3))
    assert producer.result().flags.f_contiguous
    begin(producer, worker, np.zeros((2, 3)))
    assert worker.empty_result((2, 3)).flags.c_contiguous
    worker.publish(np.arange(6).reshape(2, 3))
    assert producer.result().flags.c_contiguous


def test_a_type_error_leaves_the_round_open(producer: Slot, worker: Slot) -> None:
    begin(producer, worker)
    with pytest.raises(TypeError, match="9223372036854775808"):
        worker.publish(2**63)
    with pytest.raises(TypeError, match="set: return list"):
        worker.publish({1, 2})
    worker.publish(1)
    assert producer.result().tolist() == [1]


def test_failing(producer: Slot, worker: Slot, job: Path) -> None:
    begin(producer, worker)
    worker.fail("no luck: ünïcödé")
    for attempt in (producer.wait, producer.result):
        with pytest.raises(RoundFailed, match="no luck: ünïcödé"):
            attempt()
    begin(producer, worker)
    worker.fail("first line\n" + "x" * 100_000 + "\nlast line")
    with pytest.raises(RoundFailed) as failed:
        producer.result(1)
    assert str(failed.value).startswith("first line\nxxx")
    assert str(failed.value).endswith("xxx\nlast line")
    assert (job / "error").stat().st_size <= 65536


def test_a_block_that_raises_fails_the_round(producer: Slot, job: Path) -> None:
    producer.produce([1])
    producer.publish()
    with pytest.raises(ZeroDivisionError), Slot(job) as slot:
        slot.publish(slot.input()[0].item() // len([]))
    with pytest.raises(RoundFailed, match="^ZeroDivisionError: integer division or modulo by zero\nTraceback"):
        producer.wait(1)


def test_a_worker_that_dies_fails_the_round(producer: Slot, job: Path) -> None:
    code = "import pyrmap; slot = pyrmap.Slot(); slot.input(); print('taken', flush=True); slot.wait(60); input()"
    with subprocess.Popen([sys.executable, "-c", code], env=environment(PYRMAP_SLOT=str(job)),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        producer.produce([1])
        producer.publish()
        assert worker.stdout and worker.stdout.readline() == b"taken\n"
        worker.kill()
        with pytest.raises(RoundFailed, match=f"worker {worker.pid} exited before it published the result of round 1"):
            producer.wait(20)


def test_cancelling(producer: Slot, worker: Slot) -> None:
    producer.produce([1])
    producer.publish()
    waiting = Slot(producer.path)
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            waiting.result()
        except RoundCancelled as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    text = Path(producer.path, "metadata.txt")
    eventually(lambda: "waiting=" in text.read_text(), "the reader waits")
    producer.cancel()
    thread.join(10)
    assert len(raised) == 1
    waiting.close()
    begin(producer, worker)
    worker.publish(5)
    assert producer.result().tolist() == [5]


def test_waiting_ends_with_its_timeout(producer: Slot, worker: Slot) -> None:
    for attempt in (worker.wait, worker.input, producer.wait):
        with pytest.raises(TimeoutError):
            attempt(0.02)
    producer.produce([1])
    producer.publish()
    for attempt in (producer.wait, producer.result):
        with pytest.raises(TimeoutError):
            attempt(0)
    worker.wait(0)
    for nonsense in (-1, float("nan")):
        with pytest.raises(ValueError, match="number of seconds"):
            worker.wait(nonsense)


def test_an_input_with_a_timeout_arrives_in_time(producer: Slot, worker: Slot) -> None:
    begin(producer, worker)
    worker.publish(0)

    def begin_another() -> None:
        producer.produce([8])
        producer.publish()

    thread = threading.Timer(0.05, begin_another)
    thread.start()
    assert worker.input(20).tolist() == [8]
    worker.publish(9)
    assert producer.result(20).tolist() == [9]
    thread.join()


@pytest.mark.parametrize("attempt", [Slot.wait, Slot.input, Slot.result])
def test_ctrl_c_ends_a_wait(producer: Slot, attempt: Callable[[Slot], object]) -> None:
    interrupt = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        attempt(producer)
    interrupt.join()


def test_the_cheapest_wait_is_chosen(producer: Slot, data_path: str) -> None:
    record = producer._handles.record
    assert (record.passthrough, record.links) == (data_path == PASSTHROUGH, data_path == LINKS)
    assert (record._poll is None) == (data_path != PAGE_CACHE)


def test_wait_of_the_module(producer: Slot, job: Path) -> None:
    with pytest.raises(TimeoutError):
        pyrmap.wait(job, 0.01)
    producer.produce([1])
    producer.publish()
    pyrmap.wait(str(job), 1)
    pyrmap.wait(Slot(job), 1)


def test_a_removed_slot_is_named(job: Path) -> None:
    slot = Slot(job)
    subprocess.run(["rm", "-r", str(job)], check=True)
    with pytest.raises(SlotError, match=f"{job}.*removed"):
        slot.produce([1])
    slot.close()


@pytest.mark.parametrize("place, words", [
    ("{mount}/none", "there is no slot {mount}/none: make it with mkdir {mount}/none"),
    ("{mount}", "{mount} is the mount, not a slot"),
    ("/nowhere/job", "not below a pyrmapfs mount: nothing is mounted at /nowhere"),
    ("/proc", "not below a pyrmapfs mount"),
])
def test_what_is_no_slot(mount: Path, place: str, words: str) -> None:
    with pytest.raises(NotASlot) as refusal:
        Slot(place.format(mount=mount))
    assert words.format(mount=mount) in str(refusal.value)


def test_no_slot_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRMAP_SLOT", raising=False)
    with pytest.raises(NotASlot, match="set PYRMAP_SLOT=/mnt/pyrmap/JOB"):
        Slot()


def test_refusals_say_state_and_reason(producer: Slot, worker: Slot, job: Path) -> None:
    with pytest.raises(SlotBusy, match=f"{job}: cannot open result.bin for writing: EBUSY.*the slot is IDLE, round 1"):
        worker.empty_result(3)
    producer.produce(shape=1)
    with pytest.raises(SlotBusy, match="FILLING"):
        worker.publish([1])
    producer.publish()
    with pytest.raises(SlotBusy, match="last refusal: .*data.bin"):
        producer.produce([2])
    with pytest.raises(SlotError, match="nothing to publish") as refusal:
        producer.publish()
    assert refusal.value.errno == errno.EPROTO
    worker.input()
    held = os.open(job / "result.bin", os.O_RDWR)
    with pytest.raises(SlotBusy, match="cannot publish the result: EBUSY.*still open"):
        worker.publish([1])
    os.close(held)
    worker.publish([1])
    with pytest.raises(TypeError, match="takes an array, or a shape"):
        producer.produce()  # type: ignore[call-overload]


@pytest.mark.parametrize("written", ["copied", "in place"])
def test_garbage_in_cycles_does_not_fill_the_arena(data_path: str, written: str) -> None:
    options = {"arena.capacity": "16M", "arena.warm": "0"}
    options.update(PATH_OPTIONS[data_path])
    size = (4 << 20) // 8
    with Daemon(options) as daemon, Slot.create(daemon.path / "job") as slot:
        gc.collect()
        gc.disable()
        try:
            for number in range(8):
                if written == "copied":
                    slot.produce(np.full(size, float(number)))
                else:
                    slot.produce(shape=size)[:] = number
                slot.publish()
                with Slot(slot.path) as worker:
                    cycle: list[object] = [worker.input()]
                    assert worker.input()[-1] == number
                    worker.publish([number])
                assert slot.result().tolist() == [number]
                cycle.append(cycle)
        finally:
            gc.enable()


def test_a_full_arena_is_an_error_before_it_is_a_signal() -> None:
    with Daemon({"arena.capacity": "16M", "arena.warm": "0"}) as daemon, Slot.create(daemon.path / "job") as slot:
        with pytest.raises(SlotError, match="arena of the mount is full") as refusal:
            slot.produce(shape=(64 << 20) // 8)
        assert refusal.value.errno == errno.ENOSPC
        with pytest.raises(SlotError, match="full"):
            slot.produce(np.zeros((64 << 20) // 8))
        slot.produce([1])
        slot.publish()


def test_a_round_that_is_over_is_not_waited_for(producer: Slot, worker: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRMAP_SLOT", worker.path)
    monkeypatch.setenv("PYRMAP_ROUND", "1")
    begin(producer, worker)
    worker.publish(0)
    for attempt in (Slot.input, Slot.wait):
        with Slot() as late, pytest.raises(RoundCancelled, match="round 1 in .* is over"):
            attempt(late)


def test_the_round_that_is_expected_and_no_other(producer: Slot, worker: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(producer, worker)
    worker.publish(0)
    monkeypatch.setenv("PYRMAP_SLOT", worker.path)
    monkeypatch.setenv("PYRMAP_ROUND", "2")
    with Slot() as waiting:
        # Round 1 is done: its data.bin would open at once.
        with pytest.raises(TimeoutError):
            waiting.input(0.02)
        taken: list[object] = []
        thread = threading.Thread(target=lambda: taken.append(waiting.input().tolist()))
        thread.start()
        producer.produce([7])
        producer.publish()
        thread.join(20)
        assert taken == [[7]]
        waiting.publish(8)


def test_a_worker_whose_round_was_cancelled_leaves_the_next_one_alone(producer: Slot, worker: Slot, job: Path) -> None:
    for finish in (lambda: worker.publish([1, 2]), lambda: worker.fail("late"), lambda: worker.empty_result(3)):
        begin(producer, worker)
        producer.cancel()
        producer.produce([5])
        producer.publish()
        with pytest.raises(RoundCancelled, match="was cancelled"):
            finish()
        assert producer.record.flag == 0
        worker.close()
        worker = Slot(job)
        assert worker.input().tolist() == [5]
        worker.publish(6)
        assert producer.result().tolist() == [6]


@pytest.mark.parametrize("size", [3, 100_000])
def test_a_round_that_ends_at_the_last_moment_takes_no_result_with_it(producer: Slot, worker: Slot, size: int,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    begin(producer, worker)
    write = waiting.RecordFile.write

    def write_late(record: waiting.RecordFile, step: bytes, offset: int = 0) -> None:
        monkeypatch.undo()
        Path(producer.path, "error").write_text("too late")
        producer.produce([5])
        producer.publish()
        if size > 1000:
            # The next round has a result of that size, which its own worker is about to publish.
            Path(producer.path, "result.bin").write_bytes(bytes(8 * size))
        write(record, step, offset)

    monkeypatch.setattr(waiting.RecordFile, "write", write_late)
    with pytest.raises(RoundCancelled, match="was cancelled, or is over"):
        worker.publish(np.ones(size))
    assert (producer.record.flag, producer.record.round) == (0, 2)


@pytest.mark.parametrize("timeout", [None, 600])
def test_a_slot_that_is_removed_ends_the_wait_for_its_input(producer: Slot, job: Path, timeout: float | None,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_CHUNK", 600)  # no look in between: the page's last change wakes it
    raised: list[str] = []

    def wait() -> None:
        with Slot(job) as worker, pytest.raises(RoundCancelled) as cancelled:
            opened.set()
            worker.input(timeout)
        raised.append(str(cancelled.value))

    opened = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    assert opened.wait(20)
    asleep = Path(f"/proc/self/task/{thread.native_id}/stat")
    eventually(lambda: asleep.read_text().rsplit(")", 1)[1].split()[0] == "S", "the worker sleeps")
    job.rmdir()
    thread.join(20)
    assert raised == [f"{job} was removed"]


def test_a_worker_that_leaves_before_there_is_an_input(producer: Slot, worker: Slot, job: Path) -> None:
    worker.bind()
    assert (job / "worker").read_text() == f"{os.getpid()} once\n"
    worker.unbind()
    assert (job / "worker").read_text() == ""
    begin(producer, worker)
    assert (job / "worker").read_text() == f"{os.getpid()} once\n"
    worker.publish(1)
    assert (job / "worker").read_text() == ""


def test_bool_travels_both_ways(producer: Slot, worker: Slot) -> None:
    """As int32 that the record marks: what R has for logical."""
    mask = np.asfortranarray([[True, False, True], [False, False, True]])
    producer.produce(mask)
    producer.publish()
    assert producer.record.order & 4
    got = worker.input()
    assert got.dtype == np.bool_ and np.array_equal(got, mask)
    assert np.fromfile(Path(producer.path) / "data.bin", "i4").tolist() == mask.ravel("F").tolist()
    worker.publish(~got)
    assert worker.record.order & (4 | 8) == 4 | 8
    result = producer.result()
    assert result.dtype == np.bool_ and np.array_equal(result, ~mask)
    del result
    producer.produce(np.zeros(3))
    producer.publish()
    assert not producer.record.order & (4 | 8)


def test_an_empty_bool_result_is_an_ordinary_array(producer: Slot, worker: Slot) -> None:
    producer.produce(np.arange(4.0))
    producer.publish()
    x = worker.input()
    result = worker.empty_result(x.shape, bool)
    np.greater(x, 1, out=result)
    worker.publish(result)
    assert producer.result().tolist() == [False, False, True, True]
