# SPDX-License-Identifier: Apache-2.0
"""pyrmap.record against fs/protocol/record.h, field by field and constant by constant."""
from __future__ import annotations

import re
import struct

from hypothesis import given
from hypothesis import strategies as st

from daemon import ROOT
from pyrmap import record

HEADER = (ROOT / "fs" / "record.h").read_text()


def header_constants() -> dict[str, int]:
    """The enumerators and the length macro that describe the layout."""
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", HEADER.split("struct record {")[0], flags=re.DOTALL)
    found = dict(re.findall(r"\b(RECORD_[A-Z0-9_]+)\s*=\s*([^,}]+)", code))
    found.update(re.findall(r"#define\s+(RECORD_[A-Z0-9_]+)\s+INT64_C\((-?\d+)\)", code))
    values: dict[str, int] = {}
    for name, text in found.items():
        expression = re.sub(r"(\d)u\b", r"\1", " ".join(text.split()))
        values[name] = int(eval(expression, {"__builtins__": {}}, dict(values)))
    return values


def test_constants_are_those_of_the_header() -> None:
    constants = header_constants()
    bits = [value for name, value in constants.items() if name.startswith("RECORD_ORDER") and "MASK" not in name]
    assert constants.pop("RECORD_ORDER_MASK") == sum(bits) == 15
    assert len(constants) == 18
    assert {name: getattr(record, name) for name in constants} == constants


def test_offsets_are_those_of_the_header() -> None:
    offsets = dict(re.findall(r"offsetof\(struct record, (\w+)\) == (\d+)", HEADER))
    assert {name: int(offset) for name, offset in offsets.items()} == record.RECORD_OFFSETS


def test_each_field_is_read_at_its_offset() -> None:
    raw = bytearray(record.RECORD_SIZE)
    scalars = {"flag": "i", "version": "i", "input_length": "q", "dtype": "i", "result_dtype": "i",
               "result_length": "q", "round": "Q", "order": "I", "change": "I"}
    for value, (name, code) in enumerate(scalars.items(), 1000):
        struct.pack_into("<" + code, raw, record.RECORD_OFFSETS[name], value)
    for name, count, values in (("input", 4, (2, 3, 5, 7)), ("result", 2, (11, 13, 0, 0))):
        struct.pack_into("<i", raw, record.RECORD_OFFSETS[f"{name}_ndim"], count)
        struct.pack_into("<4q", raw, record.RECORD_OFFSETS[f"{name}_shape"], *values)
    unpacked = record.unpack(bytes(raw))
    assert {name: getattr(unpacked, name) for name in scalars} == {
        name: value for value, name in enumerate(scalars, 1000)}
    assert unpacked.input_shape == (2, 3, 5, 7)
    assert unpacked.result_shape == (11, 13)
    assert record.unpack_change(raw) == unpacked.change
    assert record.unpack_flag(raw) == unpacked.flag


_int32 = st.integers(-2**31, 2**31 - 1)
_int64 = st.integers(-2**63, 2**63 - 1)
_shape = st.lists(_int64, max_size=4).map(lambda extents: tuple(extents))


@given(st.builds(record.Record, flag=_int32, version=_int32, input_length=_int64, dtype=_int32, result_dtype=_int32,
                 result_length=_int64, round=st.integers(0, 2**64 - 1), input_shape=_shape, result_shape=_shape,
                 order=st.integers(0, 2**32 - 1), change=st.integers(0, 2**32 - 1)))
def test_pack_and_unpack_are_inverse(wanted: record.Record) -> None:
    packed = record.pack(wanted)
    assert len(packed) == record.RECORD_SIZE
    assert record.unpack(packed) == wanted
    assert packed[record.RECORD_OFFSETS["reserved"]:] == bytes(8)


def test_steps_set_what_they_publish_and_keep_the_rest() -> None:
    before = record.unpack(bytes(record.RECORD_SIZE))._replace(version=1, round=7, order=1, dtype=2, input_length=3)
    extent = record.Extent(record.DTYPES[record.RECORD_INT32], (2, 5), 10, "F")
    result = record.unpack(record.result_step(before, extent))
    assert (result.flag, result.result_dtype, result.result_length, result.result_shape) == (1, 3, 10, (2, 5))
    assert (result.order, result.dtype, result.input_length) == (3, 2, 3)
    given_input = record.unpack(record.input_step(before, extent._replace(order="C")))
    assert (given_input.flag, given_input.dtype, given_input.input_length) == (0, 3, 10)
    assert (given_input.input_shape, given_input.order, given_input.result_length) == ((2, 5), 0, -1)


def test_steps_carry_the_logical_bits() -> None:
    before = record.unpack(bytes(record.RECORD_SIZE))._replace(version=1, order=5, dtype=3, input_length=3)
    extent = record.Extent(record.DTYPES[record.RECORD_INT32], (), 3, "C", logical=True)
    assert record.input_extent(before) == extent._replace(order="F")
    result = record.unpack(record.result_step(before, extent))
    assert result.order == 1 | 4 | 8
    assert record.result_extent(result) == extent
    assert record.unpack(record.result_step(before, extent._replace(logical=False))).order == 1 | 4
    assert record.unpack(record.input_step(result, extent)).order == 4
