# SPDX-License-Identifier: Apache-2.0
"""Mapped arrays through multiprocessing: as references to their pages; and through everything else as bytes."""
from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import socket
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest

from pyrmap import Slot, SlotError
from serving import eventually

N = 300_000
Array = np.ndarray[Any, Any]

fork = multiprocessing.get_context("fork")
spawn = multiprocessing.get_context("spawn")


def inode(array: Array) -> int:
    """Of the file that an array's first byte is mapped from; 0 for ordinary memory."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, _, end = line.split()[0].partition("-")
        if int(begin, 16) <= address < int(end, 16):
            return int(line.split()[4])
    raise AssertionError("it is mapped nowhere")


def seen(array: Array) -> tuple[int, bytes]:
    """The pages and the values that this process has."""
    return inode(array), array.tobytes()


def same(array: Array) -> Array:
    return array


def serve(connection: Connection) -> None:
    """Answers what it sees of each array, until there is none."""
    while (array := connection.recv()) is not None:
        connection.send(seen(array))


def put_and_end(queue: Any, array: Array) -> None:
    queue.put(array)


def through_a_pipe(array: Array) -> bytes:
    """What a pipe carries of it."""
    ours, theirs = fork.Pipe()
    # One that is sent as bytes does not fit into the pipe.
    sender = threading.Thread(target=ours.send, args=(array,))
    sender.start()
    image = theirs.recv_bytes()
    sender.join()
    return bytes(image)


def received(array: Array) -> Array:
    return pickle.loads(through_a_pipe(array))  # type: ignore[no-any-return]


def slots(mount: Path) -> list[str]:
    return sorted(path.name for path in mount.glob("py-*"))


@pytest.fixture
def taken(producer: Slot, worker: Slot) -> Array:
    """An input, as the worker has mapped it."""
    producer.produce(np.arange(N, dtype=float))
    producer.publish()
    array: Array = worker.input()
    return array


@pytest.fixture
def peer() -> Iterator[Connection]:
    """A process that answers what it sees."""
    ours, theirs = fork.Pipe()
    process = fork.Process(target=serve, args=(theirs,))
    process.start()
    yield ours
    ours.send(None)
    process.join()
    ours.close()


def asked(peer: Connection, array: Array) -> tuple[int, bytes]:
    peer.send(array)
    answer: tuple[int, bytes] = peer.recv()
    return answer


def test_a_pipe_carries_a_reference(taken: Array, peer: Connection, mount: Path) -> None:
    assert asked(peer, taken) == seen(taken)
    assert inode(taken) != 0
    assert slots(mount) == []


def test_under_a_kilobyte_goes_through_a_pipe(taken: Array, mount: Path) -> None:
    image = through_a_pipe(taken)
    assert len(image) < 1024
    assert len(slots(mount)) == 1
    array = pickle.loads(image)
    assert seen(array) == seen(taken)
    assert slots(mount) == []
    with pytest.raises(SlotError, match="it was taken before"):
        pickle.loads(image)


@pytest.mark.parametrize("context", [fork, spawn], ids=["fork", "spawn"])
def test_pools(taken: Array, context: Any, mount: Path) -> None:
    expected = seen(taken)
    with context.Pool(1) as pool:
        assert pool.map(seen, [taken, taken]) == [expected, expected]
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        assert executor.submit(seen, taken).result() == expected
    process = context.Process(target=seen, args=(taken,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert slots(mount) == []


def test_views_and_tables_are_the_same_pages(taken: Array, peer: Connection) -> None:
    grid = taken.reshape(500, 600)
    for view in (taken[1000:200_000], taken[::2], taken[::-1], grid.T, grid[:, 100:500], taken.view(np.int64)):
        pages, values = asked(peer, view)
        assert (pages, values) == (inode(taken), view.tobytes())
        other = received(view)
        assert (other.dtype, other.shape, other.strides) == (view.dtype, view.shape, view.strides)


def test_a_small_part_is_sent_as_bytes(taken: Array, peer: Connection, mount: Path) -> None:
    pages, values = asked(peer, taken[:1000])
    assert pages != inode(taken)
    assert values == taken[:1000].tobytes()


def test_columns_of_a_table(producer: Slot, worker: Slot, peer: Connection) -> None:
    pytest.importorskip("pandas")
    producer.produce({"a": np.arange(N, dtype=float), "b": np.ones(N)})
    producer.publish()
    for array in worker.input().values():
        assert asked(peer, array) == seen(array)


def test_a_receiver_changes_its_own_copy(taken: Array) -> None:
    other = received(taken)
    assert inode(other) == inode(taken)
    other[0] = 5
    assert taken[0] == 0
    # What goes on from there is what is there now, and so is what this program has changed.
    assert received(other)[0] == 5
    taken[1] = 7
    again = received(taken)
    assert inode(again) != inode(other)
    assert again[1] == 7


def test_the_pages_wait_when_the_slot_goes_on_and_is_removed(producer: Slot, worker: Slot, taken: Array, mount: Path) -> None:
    expected = seen(taken)
    image = through_a_pipe(taken)
    worker.publish(np.zeros(3))
    producer.result()
    producer.produce(np.ones(N))
    producer.publish()
    # The first round's pages are not to be had by the slot's name any more.
    assert received(taken).tobytes() == expected[1]
    assert inode(received(taken)) != expected[0]
    (mount / producer.path / "metadata.bin").unlink()
    os.rmdir(producer.path)
    assert seen(pickle.loads(image)) == expected
    os.mkdir(producer.path)


def test_a_result_goes_on(producer: Slot, worker: Slot, taken: Array, peer: Connection) -> None:
    worker.publish(taken + 1)
    result = producer.result()
    assert asked(peer, result) == seen(result)
    assert inode(result) not in (0, inode(taken))


def test_what_a_child_puts_outlives_it(taken: Array) -> None:
    queue = fork.Queue()
    process = fork.Process(target=put_and_end, args=(queue, taken))
    process.start()
    eventually(lambda: process.exitcode is not None, "it ends, though nobody has read the queue")
    assert seen(queue.get(timeout=20)) == seen(taken)


def test_what_is_not_taken_goes_with_its_sender(taken: Array, mount: Path) -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.write(write_end, through_a_pipe(taken))
        signal.pause()
    image = os.read(read_end, 65536)
    assert len(slots(mount)) == 1
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    eventually(lambda: not slots(mount), "the slot goes")
    with pytest.raises(SlotError, match="its sender has ended"):
        pickle.loads(image)


def test_all_else_has_the_bytes(taken: Array, mount: Path, tmp_path: Path) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert len(pickle.dumps(taken, protocol)) > taken.nbytes
    file = io.BytesIO()
    np.save(file, taken)
    assert len(file.getvalue()) > taken.nbytes
    # Multiprocessing's pickler in other hands than its own.
    assert len(ForkingPickler.dumps(taken)) > taken.nbytes
    # A connection that may lead to another machine.
    with Listener(("localhost", 0)) as listener:
        child = os.fork()
        if not child:
            with Client(listener.address) as client:
                client.send(taken)
                client.recv()
            os._exit(0)
        with listener.accept() as connection:
            assert len(connection.recv_bytes()) > taken.nbytes
            connection.send(None)
        os.waitpid(child, 0)
    assert slots(mount) == []


def test_a_socket_of_this_machine_carries_a_reference(taken: Array) -> None:
    ours, theirs = (Connection(end.detach()) for end in socket.socketpair())
    ours.send(taken)
    image = theirs.recv_bytes()
    assert len(image) < 1024
    assert seen(pickle.loads(image)) == seen(taken)


def test_ordinary_arrays_go_as_before(taken: Array) -> None:
    for array in (np.arange(N, dtype=float), np.array([None, "text"], object), np.zeros((3, 0))):
        other = received(array)
        assert other.dtype == array.dtype and np.array_equal(other, array)


def test_a_reference_is_checked(taken: Array, mount: Path) -> None:
    from pyrmap import references

    image = through_a_pipe(taken)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().encode()
    with pytest.raises(SlotError, match="another machine"):
        pickle.loads(image.replace(boot, b"0" * len(boot)))
    slot = mount / slots(mount)[0]
    found = os.stat(slot / "data.bin")
    right = references.Reference(str(slot), boot.decode(), 1, found.st_ino, found.st_mtime_ns, taken.nbytes)
    layout = (taken.dtype.str, taken.shape, taken.strides, 0, True)
    for wrong in ({"round": 2}, {"inode": 1}, {"changed": 1}, {"size": 8}):
        with pytest.raises(SlotError, match="something else"):
            references.take(right._replace(**wrong), *layout)  # type: ignore[arg-type]
    assert seen(references.take(tuple(right), *layout)) == seen(taken)  # type: ignore[arg-type]
    assert slots(mount) == []
