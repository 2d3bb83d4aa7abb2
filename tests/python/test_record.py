# SPDX-License-Identifier: Apache-2.0
"""pyrmap.record: each field at its offset. The layout itself is generated from fs/protocol/record.h."""
from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from pyrmap import layout, record

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
    assert record.unpack_change(raw) == unpacked.change


_int32 = st.integers(-2**31, 2**31 - 1)
_int64 = st.integers(-2**63, 2**63 - 1)
_shape = st.lists(_int64, max_size=4).map(lambda extents: tuple(extents))


@given(st.builds(record.Record, flag=_int32, version=_int32, input_length=_int64, dtype=_int32, result_dtype=_int32,
                 result_length=_int64, round=st.integers(0, 2**64 - 1), input_shape=_shape, result_shape=_shape,
                 order=st.integers(0, 2**32 - 1), change=st.integers(0, 2**32 - 1),
                 input_inline=st.integers(0, 2**16 - 1), result_inline=st.integers(0, 2**16 - 1),
                 task_change=st.integers(0, 2**32 - 1)))
def test_pack_and_unpack_are_inverse(wanted: record.Record) -> None:
    packed = record.pack(wanted)
    assert len(packed) == layout.RECORD_SIZE
    assert record.unpack(packed) == wanted


def test_steps_set_what_they_publish_and_keep_the_rest() -> None:
    before = record.unpack(bytes(layout.RECORD_SIZE))._replace(version=1, round=7, order=1, dtype=2, input_length=3)
    extent = record.Extent(record.DTYPES[layout.RECORD_INT32], (2, 5), 10, "F")
    result = record.unpack(record.result_step(before, extent))
    assert (result.flag, result.result_dtype, result.result_length, result.result_shape) == (1, 3, 10, (2, 5))
    assert (result.order, result.dtype, result.input_length) == (3, 2, 3)
    given_input = record.unpack(record.input_step(before, extent._replace(order="C")))
    assert (given_input.flag, given_input.dtype, given_input.input_length) == (0, 3, 10)
    assert (given_input.input_shape, given_input.order, given_input.result_length) == ((2, 5), 0, -1)


def test_steps_carry_the_logical_bits() -> None:
    before = record.unpack(bytes(layout.RECORD_SIZE))._replace(version=1, order=5, dtype=3, input_length=3)
    extent = record.Extent(record.DTYPES[layout.RECORD_INT32], (), 3, "C", logical=True)
    assert record.input_extent(before) == extent._replace(order="F")
    result = record.unpack(record.result_step(before, extent))
    assert result.order == 1 | 4 | 8
    assert record.result_extent(result) == extent
    assert record.unpack(record.result_step(before, extent._replace(logical=False))).order == 1 | 4
    assert record.unpack(record.input_step(result, extent)).order == 4
