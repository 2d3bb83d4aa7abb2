# SPDX-License-Identifier: Apache-2.0
"""Arrays of every type, shape and size through a slot and back, bit for bit."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyrmap import Slot

TYPES = ("float32", "float64", "int32", "int64", "uint8")
SHAPES = ((0,), (1,), (7,), (4097,), (1, 1), (3, 5), (5, 0), (2, 3, 4), (3, 1, 2, 5))

# The slot is used again by every example, as a program would.
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bits(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Random bytes, NaNs with all payloads among them."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(size).integers(0, 256, size, dtype="u1")
    return raw.view(dtype).reshape(shape) if size else np.empty(shape, dtype)


def same(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def send(producer: Slot, worker: Slot, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    producer.produce(values)
    producer.publish()
    return worker.input()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_copied_both_ways(producer: Slot, worker: Slot, dtype: str, shape: tuple[int, ...], order: Any) -> None:
    values = np.array(bits(shape, dtype), order=order)
    received = send(producer, worker, values)
    assert same(received, values)
    assert received.flags.writeable
    if order == "F" and len(shape) > 1:
        assert received.flags.f_contiguous
    worker.publish(received)
    result = producer.result()
    assert same(result, values)
    assert result.flags.writeable
    assert result.flags.f_contiguous == received.flags.f_contiguous


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_in_place_both_ways(producer: Slot, worker: Slot, dtype: str, shape: tuple[int, ...], order: str) -> None:
    values = bits(shape, dtype)
    array = producer.produce(shape=shape, dtype=dtype, order=order)
    assert not array.any()
    array[...] = values
    producer.publish()
    received = worker.input()
    assert same(received, values)
    result = worker.empty_result(shape, dtype, order)
    assert not result.any()
    result[...] = received
    worker.publish(result)
    assert same(producer.result(), values)
    if len(shape) > 1:
        assert producer.result().flags[f"{order}_CONTIGUOUS"]  # type: ignore[index]


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("dtype, length", [("float64", 10_000_000), ("uint8", 10_000_001), ("int32", 1_000_003)])
def test_large(producer: Slot, worker: Slot, dtype: str, length: int) -> None:
    values = np.arange(length).astype(dtype)
    received = send(producer, worker, values)
    assert np.array_equal(received, values)
    result = worker.empty_result(length, dtype)
    np.subtract(received, 1, out=result)
    worker.publish(result)
    assert np.array_equal(producer.result(), values - np.ones(1, dtype))
    # The program still holds the array, which shows the published file now.
    assert np.array_equal(result, values - np.ones(1, dtype))
    assert not result.flags.writeable


@pytest.mark.time_limit(120)
def test_large_transposed(producer: Slot, worker: Slot) -> None:
    table = producer.produce(shape=(2000, 500), order="F")
    table[...] = np.arange(1_000_000.0).reshape(2000, 500)
    producer.publish()
    received = worker.input()
    worker.publish(np.ascontiguousarray(received))
    result = producer.result()
    assert result.flags.f_contiguous
    assert np.array_equal(result, np.arange(1_000_000.0).reshape(2000, 500))


_arrays = hnp.arrays(dtype=st.sampled_from(TYPES), shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
                     elements=None, fill=st.nothing())


@relaxed
@given(values=_arrays, order=st.sampled_from("CF"), in_place=st.booleans())
def test_any_array(producer: Slot, worker: Slot, values: np.ndarray[Any, Any], order: Any, in_place: bool) -> None:
    received = send(producer, worker, np.array(values, order=order))
    values = values.reshape(values.shape or 1)
    assert same(received, values)
    if in_place:
        result = worker.empty_result(received.shape, received.dtype, order)
        result[...] = received
        worker.publish(result)
    else:
        worker.publish(received)
    assert same(producer.result(), values)


@relaxed
@given(order=st.sampled_from("CF"), rows=st.slices(6), columns=st.slices(5), transposed=st.booleans())
def test_views_of_an_empty_result(producer: Slot, worker: Slot, order: str, rows: slice, columns: slice,
                                  transposed: bool) -> None:
    """Whatever part or rearrangement of the mapped array is returned, the reader gets its values."""
    send(producer, worker, np.zeros(1))
    result = worker.empty_result((6, 5), "int32", order)
    result[...] = np.arange(30).reshape(6, 5)
    view = result[rows, columns].T if transposed else result[rows, columns]
    expected = view.copy()
    worker.publish(view)
    assert same(producer.result(), expected)
