# SPDX-License-Identifier: Apache-2.0
"""pyrmap.record: each field at its offset. The layout itself is generated from fs/protocol/record.h."""
from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pyrmap import layout, record
from pyrmap.values import copied, inline_result

def test_each_field_is_read_at_its_offset() -> None:
    raw = bytearray(layout.RECORD_SIZE)
    scalars = {"flag": "i", "version": "i", "input_length": "q", "dtype": "i", "result_dtype": "i",
               "result_length": "q", "round": "Q", "order": "I", "change": "I", "input_inline": "H",
               "result_inline": "H", "task_change": "I"}
    for value, (name, code) in enumerate(scalars.items(), 1000):
        struct.pack_into("<" + code, raw, layout.RECORD_OFFSETS[name], value)
    for name, count, values in (("input", 4, (2, 3, 5, 7)), ("result", 2, (11, 13, 0, 0))):
        struct.pack_into("<i", raw, layout.RECORD_OFFSETS[f"{name}_ndim"], count)
        struct.pack_into("<4q", raw, layout.RECORD_OFFSETS[f"{name}_shape"], *values)
    unpacked = record.unpack(bytes(raw))
    assert {name: getattr(unpacked, name) for name in scalars} == {
        name: value for value, name in enumerate(scalars, 1000)}
    assert unpacked.input_shape == (2, 3, 5, 7)
    assert unpacked.result_shape == (11, 13)
    assert record.unpack_state(raw) == (unpacked.flag, unpacked.version, unpacked.round, unpacked.change)
    assert record.unpack_task_change(raw) == unpacked.task_change


_extents = st.lists(st.integers(0, 2**15), max_size=4).filter(lambda shape: len(shape) != 1).flatmap(lambda shape: st.builds(
    record.Extent, dtype=st.sampled_from(list(record.DTYPES.values())), shape=st.just(tuple(shape)),
    length=st.just(record.length_of(tuple(shape))) if shape else st.integers(0, 2**40),
    order=st.sampled_from("CF"), logical=st.booleans(), bundle=st.just(False)))


@given(extent=_extents, result=_extents, round_=st.integers(0, 2**63))
def test_steps_set_what_they_publish_and_keep_the_rest(extent: record.Extent, result: record.Extent, round_: int) -> None:
    step = record.input_step(extent)
    given_input = record.unpack(step)
    assert len(step) == layout.RECORD_SIZE
    assert record.input_extent(given_input) == extent
    assert (given_input.flag, given_input.version, given_input.result_length) == (0, 2, -1)
    before = bytearray(step)
    struct.pack_into("<Q", before, layout.RECORD_OFFSETS["round"], round_)
    step = record.result_step(before, result)
    after = record.unpack(step)
    assert len(step) == layout.RECORD_SIZE
    assert record.result_extent(after) == result
    # Another result replaces all of it.
    assert record.result_step(record.result_step(before, extent), result) == step
    assert record.input_extent(after) == extent
    assert (after.flag, after.round) == (1, round_)


def test_arrays_in_a_page() -> None:
    extent = record.Extent(record.DTYPES[layout.RECORD_FLOAT64], (2, 3), 6, "F")
    page = bytearray(layout.RECORD_PAGE_SIZE)
    page[:layout.RECORD_SIZE] = record.result_step(record.input_step(extent), extent._replace(order="C"))
    values = np.arange(6.0)
    assert inline_result(bytes(page), record.unpack(page)) is None
    struct.pack_into("<H", page, layout.RECORD_OFFSETS["result_inline"], values.nbytes)
    for offset in (layout.RECORD_SIZE, layout.RECORD_SIZE + layout.RECORD_INLINE_MAX):
        page[offset:offset + values.nbytes] = values.tobytes()
    read = [copied(bytes(page), extent), inline_result(bytes(page), record.unpack(page))]
    assert read[0] is not None and np.array_equal(read[0].x, values.reshape(2, 3, order="F")) and read[0].x.flags.f_contiguous
    assert read[1] is not None and np.array_equal(read[1].x, values.reshape(2, 3)) and read[1].x.flags.writeable
