# SPDX-License-Identifier: Apache-2.0
"""Bundles: Python reads its own again, bit for bit, and refuses damaged and hostile ones."""
from __future__ import annotations

import datetime
import functools
import json
import struct
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from pyrmap import Slot, packing, unpacking
from pyrmap.bundle import DEPTH_MAX, HEADER_MAX, Bundle, BundleError
from pyrmap.frame import Factor, Frame
from pyrmap.values import Taken, outgoing


def packed(value: object, order: str = "C", kinds: frozenset[str] = frozenset()) -> bytes:
    """The bytes that a value travels as."""
    made = packing.to_value(value, order, kinds)
    content = bytearray(made.extent.size)
    for begin, piece in made.pieces():
        content[begin:begin + len(piece)] = piece
    return bytes(content)


def read(content: bytes) -> Taken:
    return unpacking.read(np.frombuffer(bytearray(content), np.uint8))


def there_and_back(value: object, order: str = "C", kinds: frozenset[str] = frozenset()) -> Any:
    return read(packed(value, order, kinds)).x


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal to the last bit, NaN and types included."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype == object or b.dtype == object:
            return a.shape == b.shape and a.tolist() == b.tolist()
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, pd.DataFrame):
        return a.equals(b) and a.dtypes.equals(b.dtypes) and a.columns.equals(b.columns)
    return bool(a == b)


# -- there and back ---------------------------------------------------------------------------------------------------

DTYPES = ("f8", "f4", "i4", "i8", "u1", "?", "c16", "M8[ns]", "m8[ns]")
TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=5)
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)))
LEAVES = st.one_of(st.none(), TEXT, st.binary(max_size=5), ARRAYS)
VALUES = st.recursive(LEAVES, lambda inner: st.one_of(
    st.dictionaries(TEXT, inner, max_size=4), st.lists(inner, max_size=4).map(tuple)), max_leaves=12)


@settings(deadline=None, max_examples=300)
@given(value=VALUES, order=st.sampled_from("CF"))
def test_random_structures_survive(value: object, order: str) -> None:
    assert same(there_and_back(value, order), with_text_vectors(value))


def with_text_vectors(value: Any) -> Any:
    """The value as it arrives: a tuple of str is a vector of text, which is a str if it has one element."""
    if isinstance(value, dict):
        return {key: with_text_vectors(item) for key, item in value.items()}
    if not isinstance(value, tuple):
        return value
    if all(isinstance(item, str) or item is None for item in value) and any(item is not None for item in value):
        return value[0] if len(value) == 1 else np.array(value, object)
    return tuple(map(with_text_vectors, value))


COLUMNS: dict[str, Callable[[int], st.SearchStrategy[Any]]] = {
    **{dtype: functools.partial(hnp.arrays, dtype) for dtype in ("f8", "f4", "i4", "i8", "u1", "?", "M8[ns]", "m8[ns]")},
    "text": lambda rows: st.lists(st.one_of(TEXT, st.none()), min_size=rows, max_size=rows).map(lambda items: np.array(items, object)),
    "Int32": lambda rows: st.lists(st.one_of(st.integers(-2**31 + 1, 2**31 - 1), st.none()), min_size=rows, max_size=rows).map(
        lambda items: pd.array([*items, None], "Int32")[:-1]),
    "boolean": lambda rows: st.lists(st.sampled_from((True, False, None)), min_size=rows, max_size=rows).map(lambda items: pd.array(items, "boolean")),
    "category": lambda rows: st.tuples(st.lists(TEXT, min_size=1, max_size=4, unique=True), st.booleans()).flatmap(
        lambda drawn: st.lists(st.integers(-1, len(drawn[0]) - 1), min_size=rows, max_size=rows).map(
            lambda codes: pd.Categorical.from_codes(codes, drawn[0], drawn[1]))),
    "zone": lambda rows: hnp.arrays("M8[s]", rows, elements=st.integers(0, 2**31).map(lambda s: np.datetime64(s, "s"))).map(
        lambda times: pd.Series(times.astype("M8[ns]")).dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin").array),
}


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), rows=st.integers(0, 6), kinds=st.lists(st.sampled_from(sorted(COLUMNS)), max_size=6))
def test_random_tables_survive(data: st.DataObject, rows: int, kinds: list[str]) -> None:
    frame = pd.DataFrame({f"{kind} {at}": data.draw(COLUMNS[kind](rows)) for at, kind in enumerate(kinds)}, index=pd.RangeIndex(rows))
    for name in frame:
        # A nullable column of which nothing is missing is an ordinary one.
        if str(frame[name].dtype) in ("Int32", "boolean") and not frame[name].isna().any():
            frame[name] = frame[name].to_numpy(dtype=frame[name].dtype.numpy_dtype)
    back = there_and_back(frame)
    assert len(back) == rows and same(back, frame), (back.dtypes, frame.dtypes)


@pytest.mark.parametrize("value, expected", [
    (1.5, 1.5), (True, True), (7, 7), ("ünïcödé", "ünïcödé"), (b"\0\xff", b"\0\xff"), (None, None), (2j, 2j),
    ([1.0, np.arange(3)], [1.0, np.arange(3)]), (np.array(["a", "bc"]), np.array(["a", "bc"], object)),
    (["a", None], np.array(["a", None], object)), ([[1, 2], [3]], [np.array([1, 2]), np.array([3])]),
    (np.array([1, 2], "i2"), np.array([1, 2], "i4")), (np.array([1.5], ">f8"), np.array([1.5])),
    (np.array(["2020-01-31", "NaT"], "M8[D]"), np.array(["2020-01-31", "NaT"], "M8[D]")),
    (datetime.date(2020, 2, 29), np.datetime64("2020-02-29")), (datetime.timedelta(seconds=3), np.timedelta64(3, "s")),
    (datetime.datetime(2020, 1, 1, 12), np.datetime64("2020-01-01T12")),
    (pd.Series([1.5, 2.5], index=["a", "b"]), np.array([1.5, 2.5])), (range(3), np.arange(3)),
    (np.array([["a", "b"], ["c", "d"]]), np.array([["a", "b"], ["c", "d"]], object)),
])
@pytest.mark.parametrize("order", "CF")
def test_what_python_has(value: object, expected: object, order: str) -> None:
    back = there_and_back({"it": value}, order)["it"]
    assert same(back, expected) or (isinstance(expected, (complex, float, int, np.datetime64, np.timedelta64)) and back == expected)


def test_numeric_columns_are_views_of_the_bundle() -> None:
    data = np.frombuffer(bytearray(packed({"df": pd.DataFrame({"a": [1.0, 2.0], "b": [1, 2]}), "x": np.arange(3.0)})), np.uint8)
    back = unpacking.read(data).x
    for array in (back["df"]["a"].to_numpy(), back["df"]["b"].to_numpy(), back["x"]):
        assert np.shares_memory(array, data)
    back["df"].loc[0, "a"] = 9.0
    assert back["df"]["a"].tolist() == [9.0, 2.0]


def test_types_that_go_back_as_they_came() -> None:
    whole = np.array([1, 2], "u1"), np.array([2**60], "i8")
    assert [node["type"] for node in nodes(packed(whole))] == ["number", "number"]
    first = packed({"r": b"x", "d": datetime.date(2020, 1, 1)})
    taken = read(first)
    assert taken.kinds == {packing.RAW, packing.DATE}
    assert [node["type"] for node in nodes(packed(whole, "C", frozenset((packing.RAW, packing.INTEGER64))))] == ["raw", "integer64"]
    midnights = pd.DataFrame({"d": pd.to_datetime(["2020-01-01", None]), "t": pd.to_datetime(["2020-01-01", "2020-01-01 01:00"])})
    assert [node["type"] for node in nodes(packed(midnights, "C", taken.kinds))] == ["date", "posixct"]
    assert [node["type"] for node in nodes(packed(midnights))] == ["posixct", "posixct"]


def test_moments_go_back_to_the_one_zone_of_the_input() -> None:
    moments = np.array(["2020-01-01T12:00"], "M8[ns]")
    berlin = read(packed([pd.Series(moments).dt.tz_localize("Europe/Berlin")])).kinds
    both = berlin | read(packed([pd.Series(moments).dt.tz_localize("Asia/Tokyo")])).kinds
    assert [nodes(packed([moments], "C", kinds))[0]["zone"] for kinds in (berlin, both, frozenset())] == ["Europe/Berlin", "UTC", "UTC"]
    local = node_file({"kind": "array", "type": "posixct", "tensor": "x"}, X, rest=struct.pack("<2d", 1.5, 0))
    assert "zone" not in nodes(packed([moments], "C", read(local).kinds))[0]
    assert there_and_back({"df": pd.DataFrame({"t": moments})}, "C", berlin)["df"]["t"].dt.tz is None


def nodes(content: bytes) -> Any:
    root = Bundle(np.frombuffer(content, np.uint8)).root
    assert isinstance(root, dict)
    return root["items"]


def test_missing_values_of_integers() -> None:
    assert nodes(packed([pd.array([2**40, None], "Int64")]))[0]["type"] == "double"
    back = there_and_back([pd.array([2**40, None], "Int64"), pd.array([1, None], "Int8"), [True, None]])
    assert back[0].view("u8").tolist() == [np.float64(2**40).view("u8"), 0x7FF00000000007A2]
    assert back[1][0] == 1 and np.isnan(back[1][1]) and back[2][0] == 1 and np.isnan(back[2][1])
    with pytest.raises(TypeError, match=r"element \['n'\] holds missing values and 9007199254740993.*fillna"):
        packed({"n": pd.array([2**53 + 1, None], "Int64")})


def test_index_of_a_table() -> None:
    for index in (["a", "b"], [3, 5]):
        frame = pd.DataFrame({"x": [1.0, 2.0]}, index=index)
        assert there_and_back(frame).index.tolist() == index
    with pytest.raises(TypeError, match=r"index in which 'a' is repeated.*reset_index"):
        packed(pd.DataFrame({"x": [1.0, 2.0]}, index=["a", "a"]))
    with pytest.raises(TypeError, match="datetime64.*reset_index"):
        packed(pd.DataFrame({"x": [1.0]}, index=pd.to_datetime(["2020"])))


def test_sparse_matrices() -> None:
    matrix = sparse.random(7, 5, 0.4, "csr", random_state=1)
    back = there_and_back(matrix)
    assert back.format == "csc" and (back != matrix).nnz == 0 and back.shape == (7, 5)


@pytest.mark.parametrize("value, says", [
    ({"a": {1, 2}}, r"element \['a'\] is set: return list"), ([np.arange(2), object()], r"element \[1\] is object"),
    (iter(()), "tuple_iterator: return list"), (np.zeros(2, [("a", "f8")]), "DataFrame"),
    ({"a": 1, 1: 2, "1": 3}, "two keys that are '1'"), ({(1, 2): 3}, r"the key \(1, 2\)"),
    (pd.DataFrame({"p": pd.period_range("2020", periods=2)}), r"element \['p'\] is of period.*astype\(str\)"),
    (np.array([b"x"]), "S1"), ({"t": "\ud800"}, r"\['t'\] holds text that is not valid"), ("a\0b", "NUL"),
    (np.array([1, "x", None], object), r"element \[0\] is int in an array of objects"),
    (np.array(["3000-01-01T00:00:00"], "M8[s]"), "1678"), ({"k": np.array([2**63], "u8")}, r"element \['k'\] holds 9223372036854775808"),
    ({"x": np.ma.masked_array([1.0, 2.0], [0, 1])}, "filled"), ({"f": np.sum}, r"\['f'\] is function.*return numbers, text"),
])
def test_what_cannot_go_is_named_with_the_remedy(value: object, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        packed(value)


def test_too_much() -> None:
    with pytest.raises(ValueError, match="10001 arrays"):
        packed([np.zeros(1)] * 10_001)
    with pytest.raises(ValueError, match="need .* bytes"):
        packed({"n" * 2_000_000: np.zeros(1)})
    deep: Any = {}
    for _ in range(40):
        deep = {"d": deep}
    with pytest.raises(TypeError, match="nested too deep"):
        packed(deep)
    ring: list[Any] = ["x", 1]
    ring.append(ring)
    with pytest.raises(TypeError, match="nested too deep"):
        packed(ring)


# -- hostile headers --------------------------------------------------------------------------------------------------

def file(header: str | bytes, rest: bytes = b"") -> bytes:
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text)) + text + rest


def described(*tensors: tuple[str, str, list[int], list[int]]) -> str:
    return "{" + ",".join(f'"{name}":{json.dumps({"dtype": dtype, "shape": shape, "data_offsets": offsets})}'
                          for name, dtype, shape, offsets in tensors) + "}"


DEEP = "[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1)


@pytest.mark.parametrize("content, says", [
    (b"", "ends before its header"), (b"\0" * 7, "ends before its header"), (struct.pack("<Q", 3) + b"{}", "ends before its header does"),
    (struct.pack("<Q", HEADER_MAX + 1) + b"{}", "bytes; 1048576"), (struct.pack("<Q", 2**64 - 1) + b"{}", "bytes; 1048576"),
    (file(""), "not JSON"), (file("[]"), "no JSON object"), (file("{} x"), "not JSON"), (file(b'{"\xff":1}'), "not UTF-8"),
    (file('{"a":NaN}'), "NaN"), (file(DEEP), "deeper"), (file('{"a":' + DEEP + "}"), "deeper"), (file("[" * 100_000), "deeper"),
    (file('{"a":{},"a":{}}'), "'a' twice"), (file('{"a":1}'), "no.* described"), (file('{"__metadata__":1}'), "__metadata__"),
    (file('{"__metadata__":{"pyrmap":1}}'), "__metadata__"),
    (file(described(("x", "F64", [1], [0, 8]))), "does not lie"), (file(described(("x", "F64", [2], [0, 8])), b"\0" * 8), "its shape and dtype"),
    (file(described(("x", "F63", [1], [0, 8])), b"\0" * 8), "F63"), (file(described(("x", "F64", [-1], [0, 8])), b"\0" * 8), "no shape"),
    (file(described(("x", "F64", [2**62, 2, 2], [0, 0]))), "its shape and dtype"),
    (file(described(("x", "F64", [2**64], [0, 8])), b"\0" * 8), "its shape and dtype"),
    (file(described(("x", "F64", [1], [8, 0])), b"\0" * 8), "does not lie"), (file(described(("x", "F64", [1], [-8, 0])), b"\0" * 8), "no data_offsets"),
    (file(described(("x", "U8", [2], [0, 2]), ("y", "U8", [2], [1, 3])), b"\0" * 3), "overlap before tensor 'y'"),
    (file(described(("x", "U8", [2], [0, 2]), ("y", "U8", [1], [3, 4])), b"\0" * 4), "hole before tensor 'y'"),
    (file(described(("x", "U8", [2], [0, 2])), b"\0" * 3), "1 bytes of the bundle belong to no tensor"),
    (file('{"x":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}}', b"\0"), "no shape"),
    (file('{"x":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}', b"\0"), "no shape"),
    (file("{" + ",".join(f'"{n}":{{}}' for n in range(10_001)) + "}"), "10001 tensors"),
])
def test_hostile_headers_are_refused(content: bytes, says: str) -> None:
    with pytest.raises(BundleError, match=says):
        read(content)


def node_file(root: object, *tensors: tuple[str, str, list[int], list[int]], rest: bytes = b"", version: object = 1) -> bytes:
    header: Any = json.loads(described(*tensors))
    header["__metadata__"] = {"pyrmap": json.dumps({"version": version, "root": root})}
    return file(json.dumps(header), rest)


X = ("x", "F64", [2], [0, 16])
TEXTS: dict[str, Any] = {"kind": "array", "type": "character", "tensor": "b", "offsets": "o"}


def texts(raw: bytes, *offsets: int, **more: object) -> bytes:
    return node_file({**TEXTS, **more}, ("o", "I64", [len(offsets)], [0, 8 * len(offsets)]),
                     ("b", "U8", [len(raw)], [8 * len(offsets), 8 * len(offsets) + len(raw)]), rest=struct.pack(f"<{len(offsets)}q", *offsets) + raw)


@pytest.mark.parametrize("content, says", [
    (node_file({"kind": "null"}, version=2), "version 2"), (node_file({"kind": "null"}, version="1"), "no version"),
    (node_file({"kind": "oracle"}), "kind 'oracle'"), (node_file(3), "kind None"), (node_file({"kind": []}), "kind"),
    (node_file({"kind": "list"}), "no items"), (node_file({"kind": "list", "items": [], "names": ["a"]}), "not one name"),
    (node_file({"kind": "list", "items": [{"kind": "null"}] * 2, "names": ["a", "a"]}), "two members of the name 'a'"),
    (node_file({"kind": "array", "type": "double", "tensor": "y"}, X, rest=b"\0" * 16), "no tensor 'y'"),
    (node_file({"kind": "array", "type": "integer", "tensor": "x"}, X, rest=b"\0" * 16), "of float64"),
    (node_file({"kind": "array", "type": "tuple", "tensor": "x"}, X, rest=b"\0" * 16), "type 'tuple'"),
    (node_file({"kind": "array", "type": "double", "tensor": "x", "dim": [3]}, X, rest=b"\0" * 16), "its dim says"),
    (node_file({"kind": "array", "type": "double", "tensor": "x", "dim": [2**63, 2]}, X, rest=b"\0" * 16), "its dim says"),
    (node_file({"kind": "array", "type": "double", "tensor": "x", "dim": [-2, -1]}, X, rest=b"\0" * 16), "no valid dim"),
    (node_file({"kind": "list", "items": [{"kind": "array", "type": "double", "tensor": "x"}] * 2}, X, rest=b"\0" * 16), "used twice"),
    (texts(b"ab", 0, 3), "do not ascend"), (texts(b"ab", 0, 2, 1, 2), "do not ascend"), (texts(b"ab", 1, 2), "do not ascend"),
    (texts(b"ab", -1, 2), "do not ascend"), (texts(b"ab"), "do not ascend"), (texts(b"\xff", 0, 1), "not UTF-8"),
    (texts("é".encode(), 0, 1, 2), "not UTF-8"), (texts(b"ab", 0, 2, dim=[2, 3]), "its dim says"),
    (node_file({"kind": "array", "type": "factor", "tensor": "x", "levels": {**TEXTS}}, ("x", "I32", [1], [0, 4]), rest=b"\0" * 4), "no tensor 'b'"),
    (node_file({"kind": "array", "type": "logical", "tensor": "x"}, ("x", "BOOL", [1], [0, 1]), rest=b"\2"), "other bytes than 0 and 1"),
    (node_file({"kind": "array", "type": "logical", "tensor": "x"}, ("x", "I32", [1], [0, 4]), rest=b"\2\0\0\0"), "other numbers"),
    (node_file({"kind": "frame", "rows": 3, "names": ["x"], "items": [{"kind": "array", "type": "double", "tensor": "x"}]}, X, rest=b"\0" * 16), "3 rows"),
    (node_file({"kind": "frame", "rows": 1, "names": ["x"], "items": [{"kind": "null"}]}), "columns are vectors"),
    (node_file({"kind": "array", "type": "posixct", "tensor": "x"}, X, rest=struct.pack("<2d", 1e30, 0)), "1678"),
])
def test_hostile_descriptions_are_refused(content: bytes, says: str) -> None:
    with pytest.raises(BundleError, match=says):
        read(content)


@settings(deadline=None, max_examples=400)
@given(at=st.integers(0, 400), byte=st.integers(0, 255), cut=st.integers(0, 40))
def test_a_damaged_bundle_is_read_or_refused(at: int, byte: int, cut: int) -> None:
    whole = bytearray(packed({"x": np.arange(3.0), "t": ["a", None, "é"], "f": pd.Categorical(["u", "v"]), "d": datetime.date(2020, 1, 1)}))
    whole[at % len(whole)] = byte
    try:
        read(bytes(whole[:len(whole) - cut]))
    except BundleError:
        pass


def test_a_header_that_was_read_before_says_the_same_of_other_bytes_and_is_checked_against_their_number() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "f": pd.Categorical(["a", "b"])})
    other = pd.DataFrame({"x": [3.0, 4.0], "f": pd.Categorical(["d", "c"], ["d", "c"])})
    content = packed(frame)
    assert packed(other)[:400] == content[:400]
    for _ in range(2):
        first = read(content).x
        assert same(first, frame)
        # What a caller does to a table is no other's concern.
        first.insert(0, "y", first.pop("x"))
        first["f"] = first["f"].cat.rename_categories(["u", "v"])
        first.columns.name = "columns"
        assert same(read(packed(other)).x, other)
        nested = read(packed({"a": [np.arange(2.0), "text"]})).x
        nested["a"].append(1)
        for damaged in (content[:-1], content + b"\0"):
            with pytest.raises(BundleError, match="lie in the bundle|belong to no tensor"):
                read(damaged)


def test_a_file_of_another_program() -> None:
    rest = np.arange(6, dtype="<f2").tobytes() + b"\1\0"
    taken = read(file(described(("m", "F16", [2, 3], [0, 12]), ("b", "BOOL", [2], [12, 14])), rest)).x
    assert same(taken, {"m": np.arange(6, dtype="<f2").reshape(2, 3), "b": np.array([True, False])})
    unaligned = read(file('{"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"d":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}}',
                          b"\7" + struct.pack("<d", 1.5))).x
    assert unaligned["d"].tolist() == [1.5] and unaligned["d"].flags.aligned


# -- text that goes back as it came -----------------------------------------------------------------------------------

WORDS = np.array([None if index % 100 == 7 else f"é{index}" for index in range(2000)], object)
OTHERS = WORDS[::-1].copy()


def answered(value: object, changed: Callable[[Any], object] = lambda x: x) -> tuple[Any, bool]:
    """What comes back where a value goes and is changed, and whether some of it are bytes of the input."""
    content = np.frombuffer(bytearray(packed(value)), np.uint8)
    taken = unpacking.read(content)
    made = outgoing(changed(taken.x), "C", taken)
    assert isinstance(made, packing.Value)
    back = bytearray(made.extent.size)
    for begin, piece in made.pieces():
        back[begin:begin + len(piece)] = piece
    return read(bytes(back)).x, any(np.shares_memory(tensor.array, content) for _, tensor in made.tensors if tensor.array.dtype == "u1")


@pytest.mark.parametrize("value", (WORDS, {"a": WORDS, "b": [OTHERS, "x"]}, pd.DataFrame({"a": WORDS, "b": OTHERS})))
def test_text_that_is_not_changed_keeps_its_bytes(value: object) -> None:
    back, kept = answered(value)
    assert kept and same(back, read(packed(value)).x)


@pytest.mark.parametrize("moved", (np.copy, lambda x: pd.DataFrame({"a": x, "n": 1.5}), lambda x: (1, x), lambda x: pd.Series(x)))
def test_text_that_is_not_changed_keeps_its_bytes_in_other_values(moved: Callable[[Any], object]) -> None:
    back, kept = answered(WORDS, moved)
    assert kept and same(back, there_and_back(moved(WORDS)))


def replaced(index: int, text: object) -> Callable[[Any], object]:
    def change(x: Any) -> object:
        x[index] = text
        return x

    return change


@pytest.mark.parametrize("change", (
    replaced(0, "other"), replaced(-1, None), replaced(7, ""), lambda x: x[::-1], lambda x: x[1:], lambda x: x[x != None],  # noqa: E711
    lambda x: x.reshape(2, -1), lambda x: np.random.default_rng(1).permutation(x), lambda x: np.array([text and text + "!" for text in x], object)))
def test_text_that_is_changed_is_that_text(change: Callable[[Any], Any]) -> None:
    back, kept = answered(WORDS, change)
    assert not kept and same(back, change(WORDS.copy()))


def test_text_with_a_nul_of_another_program_is_refused_on_its_way_back() -> None:
    content = packed(np.array([f"<{index}>" for index in range(2000)], object)).replace(b"<7>", b"<\0>")
    taken = read(content)
    assert taken.x[7] == "<\0>"
    with pytest.raises(TypeError, match=r"\[7\] is text with a NUL"):
        outgoing(taken.x, "C", taken)


# -- in a slot --------------------------------------------------------------------------------------------------------

MEMBERS = {"X": np.arange(12.0).reshape(3, 4), "y": ["a", "b", None], "n": None, "df": pd.DataFrame({"a": [1.5, 2.5], "s": ["x", "y"]})}


def test_a_round(producer: Slot, worker: Slot) -> None:
    producer.produce(MEMBERS)
    producer.publish()
    x = worker.input(5)
    assert list(x) == list(MEMBERS) and same(x["df"], MEMBERS["df"]) and x["X"].flags.writeable
    x["X"] += 1
    worker.publish((x["X"].sum(), x))
    total, back = producer.result(5)
    assert total == 78.0 and same(back["X"], np.arange(12.0).reshape(3, 4) + 1) and back["n"] is None
    assert same(Slot(producer.path).result(5)[1]["df"], MEMBERS["df"])


def test_a_large_bundle_and_an_array_that_lies_in_result_bin(producer: Slot, worker: Slot) -> None:
    columns = {f"c{n}": np.arange(1_000_000.0) + n for n in range(9)}
    producer.produce(columns)
    producer.publish()
    x = worker.input(20)
    result = worker.empty_result(1000)
    result[:] = x["c3"][:1000]
    worker.publish({"part": result, **x})
    back = producer.result(20)
    assert same(back["part"], columns["c3"][:1000]) and all(same(back[name], columns[name]) for name in columns)
    assert result.tolist() == columns["c3"][:1000].tolist()


def test_a_plain_result_for_a_bundle_is_column_major_if_that_was(producer: Slot, worker: Slot) -> None:
    producer.produce({"m": np.asfortranarray(np.arange(6.0).reshape(2, 3))})
    producer.publish()
    worker.input(5)
    worker.publish(np.arange(6.0).reshape(2, 3))
    assert producer.result(5).flags.f_contiguous


def test_a_damaged_input_fails_the_round(producer: Slot, job: Path) -> None:
    content = file('{"x":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}')
    (job / "data.bin").write_bytes(content)
    (job / "metadata.txt").write_text(f"dtype=bundle\ninput_length={len(content)}\nflag=0\n")
    with pytest.raises(BundleError, match="does not lie in the bundle"):
        with Slot(job) as worker:
            worker.input(5)


def test_arguments_over_those_of_the_task() -> None:
    array = {"kind": "array", "type": "double", "tensor": "x"}
    taken = read(node_file({"kind": "call", "x": {"kind": "null"}, "args": [None, array], "kwargs": {"k": {"kind": "null"}}}, X,
                           rest=struct.pack("<2d", 1, 2)))
    args, kwargs = taken.arguments_of([7, None, 9], {"k": 1, "l": 2})
    assert args[0] == 7 and args[1].tolist() == [1, 2] and args[2] == 9 and kwargs == {"k": None, "l": 2}
    args, _ = taken.arguments_of([], {})
    assert args[0] is None and args[1].tolist() == [1, 2] and taken.x is None


def test_what_is_plain_has_no_bundle() -> None:
    for value in (1, 2.5, True, [1, 2], (1, 2.0), [[1, 2], [3, 4]], np.zeros((2, 2)), np.float32(1), []):
        assert not outgoing(value, "C").extent.bundle
    for value in (None, "x", [1, "x"], (np.zeros(2), np.zeros(2)), {}, [[1], [2, 3]], Frame({"a": [1.0]}), Factor(np.zeros(1, "i4"), ["a"])):
        assert outgoing(value, "C").extent.bundle
