# SPDX-License-Identifier: Apache-2.0
"""Exact conversion: an accepted value keeps every bit that matters, a refused one is named."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyrmap.arguments import restore
from pyrmap.convert import check_dtype, check_shape, from_logical, to_value
from pyrmap.record import LOGICAL_NA, Extent
from pyrmap.values import is_plain

TARGETS = {"?": "i4", "i1": "i4", "i2": "i4", "i4": "i4", "i8": "i8", "u1": "u1", "u2": "i4", "u4": "i8", "u8": "i8",
           "f2": "f4", "f4": "f4", "f8": "f8"}


def stored(value: object, prefer: str = "C") -> np.ndarray[Any, Any]:
    """What a reader of the slot sees."""
    checked = to_value(value, prefer)
    extent: Extent = checked.extent
    memory = checked.memory()
    assert len(memory) == extent.size
    return np.frombuffer(bytes(memory), extent.dtype).reshape(extent.array_shape, order=extent.order)  # type: ignore


@pytest.mark.parametrize("source, target", TARGETS.items())
@pytest.mark.parametrize("swapped", ["=", ">"])
def test_every_numeric_type_has_its_counterpart(source: str, target: str, swapped: Any) -> None:
    values = np.array([0, 1, 1], dtype=source).astype(np.dtype(source).newbyteorder(swapped))
    result = stored(values)
    assert result.dtype == np.dtype(target)
    assert result.tolist() == [0, 1, 1]


@pytest.mark.parametrize("source", [code for code in TARGETS if code[0] in "iu" and code != "u8"])
def test_extreme_integers_survive(source: str) -> None:
    limits = np.iinfo(source)
    assert stored(np.array([limits.min, limits.max], dtype=source)).tolist() == [limits.min, limits.max]


@pytest.mark.parametrize("value, dtype, expected", [
    (True, "i4", [1]), (np.bool_(False), "i4", [0]), (7, "i8", [7]), (-2**63, "i8", [-2**63]), (2.5, "f8", [2.5]),
    (np.float32(0.1), "f4", [np.float32(0.1)]), (np.float16(0.1), "f4", [np.float16(0.1)]), (np.uint8(9), "u1", [9]),
    (np.array(3.0), "f8", [3.0]), ([1, 2], "i8", [1, 2]), ((1.5, 2), "f8", [1.5, 2.0]), ([True, False], "i4", [1, 0]),
    ([], "f8", []), ([np.int16(3), np.int16(4)], "i4", [3, 4]), ([2**53, 0.5], "f8", [2.0**53, 0.5]),
    (np.uint64(2**63 - 1), "i8", [2**63 - 1]), ([np.float32(1.5), np.float32(2)], "f4", [1.5, 2.0]),
])
def test_python_values(value: object, dtype: str, expected: list[Any]) -> None:
    result = stored(value)
    assert result.dtype == np.dtype(dtype)
    assert result.tolist() == expected


@pytest.mark.parametrize("value, word", [
    (np.longdouble(1), "float128|longdouble"), ([np.longdouble(1), 2.5], "float128|longdouble"),
    (2**63, "9223372036854775808 does not fit int64"), (-2**63 - 1, "does not fit int64"),
    (2**64, "18446744073709551616 does not fit int64"), (np.array([0, 2**63], "u8"), "does not fit int64"),
    ([1, 2**70], r"\[1\].*does not fit int64"), ([2**63, -1], r"\[0\].*fit int64"), ([1.5, 2**64], r"\[1\].*fit int64"),
    ([2**53 + 1, 0.5], r"\[0\].*exactly"), ([[1, np.array(2**60 + 1)], [0.5, 2]], r"\[0\]\[1\].*exactly"),
])
def test_what_has_no_counterpart_is_a_type_error_that_names_it(value: object, word: str) -> None:
    with pytest.raises(TypeError, match=word):
        to_value(value, "C")


@pytest.mark.parametrize("value", [
    (np.zeros(2), np.ones(2)), (1.0, np.ones(1)), ([1, 2], [3, 4]), [np.zeros(3), np.ones(3)], [1.0, np.zeros(1)],
    [1, None], [[1, 2], [3, "x"]], 1j, None, "text", np.array([1], object), np.ma.masked_array([1.0, 2.0], [True, False]),
])
def test_only_numbers_of_one_array_travel_without_a_bundle(value: object) -> None:
    assert not is_plain(value)


@pytest.mark.parametrize("value, expected", [
    ([[1, 2], [3, 4]], [[1, 2], [3, 4]]), ([(1, 2), (3, 4)], [[1, 2], [3, 4]]),
    ((np.float64(1.5), np.array(2.5), 3), [1.5, 2.5, 3]),
])
def test_rows_in_a_list_and_scalars_in_a_tuple_are_one_array(value: object, expected: list[Any]) -> None:
    assert is_plain(value)
    assert stored(value).tolist() == expected


@pytest.mark.parametrize("value", [True, np.bool_(False), [True, False], np.array([[True], [False]]), np.zeros((0, 2), bool)])
def test_bool_and_only_bool_is_marked_as_logical(value: Any) -> None:
    extent = to_value(value, "C").extent
    assert extent.logical and extent.dtype == np.int32
    assert not to_value(np.asarray(value).astype("i4"), "C").extent.logical


def test_logical_arrays_are_bool_in_numpy() -> None:
    given_array = np.asfortranarray(np.array([[0, 1, 1], [1, 0, 0]], "i4"))
    result = from_logical(given_array)
    assert result.dtype == np.bool_ and result.flags.f_contiguous
    assert result.tolist() == [[False, True, True], [True, False, False]]
    assert from_logical(np.zeros(0, "i4")).dtype == np.bool_


def test_a_missing_logical_is_nan() -> None:
    result = from_logical(np.array([1, LOGICAL_NA, 0], "i4"))
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [1, np.nan, 0])
    for bad in ([0, 2], [LOGICAL_NA, -1], [LOGICAL_NA, 3]):
        with pytest.raises(ValueError, match="other numbers"):
            from_logical(np.array(bad, "i4"))


def test_arguments_become_the_arrays_that_they_were() -> None:
    args: list[Any] = [[[1.0, 2.0], [3.0, None]], {"deep": [7, [[True, False]]]}, []]
    kwargs: dict[str, Any] = {"w": [[1, 2, 3]], "t": [["a", None]]}
    restore(args, kwargs, [
        {"at": ["args", 0], "shape": [2, 2], "dtype": "float64"},
        {"at": ["args", 1, "deep", 1], "shape": [1, 2], "dtype": "bool"},
        {"at": ["args", 2], "shape": [0, 3], "dtype": "int32"},
        {"at": ["kwargs", "w"], "shape": [1, 3], "dtype": "int32"},
        {"at": ["kwargs", "t"], "shape": [1, 2], "dtype": "object"},
    ])
    np.testing.assert_array_equal(args[0], np.array([[1, 2], [3, np.nan]]))
    assert args[1]["deep"][1].dtype == np.bool_ and args[1]["deep"][1].tolist() == [[True, False]]
    assert args[2].shape == (0, 3) and args[2].dtype == np.int32
    assert kwargs["w"].shape == (1, 3) and kwargs["t"].tolist() == [["a", None]]


@pytest.mark.parametrize("arrays", [
    [{"at": ["args", 5], "shape": [1], "dtype": "int32"}], [{"at": ["args", 0], "shape": [3], "dtype": "int32"}],
    [{"at": ["args", 0], "shape": [2], "dtype": "float16"}], [{"at": [], "shape": [2], "dtype": "int32"}], [7], 7,
    [{"at": ["elsewhere", 0], "shape": [2], "dtype": "int32"}],
])
def test_a_description_that_does_not_fit_the_arguments_is_an_error(arrays: object) -> None:
    with pytest.raises(ValueError, match="do not describe"):
        restore([[1, 2]], {}, arrays)


def test_unusual_shapes_are_value_errors() -> None:
    with pytest.raises(ValueError, match="5 dimensions"):
        to_value(np.zeros((1, 1, 1, 1, 1)), "C")
    with pytest.raises(ValueError, match="list"):
        to_value([[[1], [2]], [[3, 4], [5, 6]]], "C")


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (0, 5), (1, 7), (7, 1)])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed"])
@pytest.mark.parametrize("prefer", ["C", "F"])
def test_layouts(shape: tuple[int, ...], layout: str, prefer: str) -> None:
    values = np.arange(np.prod(shape, dtype=int), dtype=float).reshape(shape)
    if layout == "F":
        values = np.asfortranarray(values)
    elif layout == "strided" and shape:
        values = np.repeat(values, 2, axis=-1)[..., ::2]
    elif layout == "reversed" and shape:
        values = values[::-1]
    result = stored(values, prefer)
    assert result.shape == (shape or (1,))
    assert np.array_equal(result, values.reshape(result.shape))


def test_contiguous_arrays_are_not_copied() -> None:
    for values in (np.arange(6.0), np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))):
        memory = to_value(values, "C").memory()
        assert np.shares_memory(np.frombuffer(memory, "u1"), values)


def test_column_major_arrays_stay_so_and_others_follow_the_preference() -> None:
    row_major = np.zeros((2, 3))
    assert to_value(np.asfortranarray(row_major), "C").extent.order == "F"
    assert to_value(row_major, "C").extent.order == "C"
    assert to_value(row_major, "F").extent.order == "F"


def test_large_arrays_are_transposed_in_tiles() -> None:
    values = np.arange(700 * 513, dtype="i4").reshape(700, 513)
    assert np.array_equal(stored(values, "F"), values)
    assert np.array_equal(stored(values.astype("i2"), "F"), values.astype("i2"))


_arrays = hnp.arrays(
    dtype=st.sampled_from(["f4", "f8", "i4", "i8", "u1"]).flatmap(lambda code: st.sampled_from([code, ">" + code])),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))


@given(_arrays, st.sampled_from("CF"))
def test_every_bit_survives(values: np.ndarray[Any, Any], prefer: str) -> None:
    result = stored(values, prefer)
    native = values.astype(values.dtype.newbyteorder("=")).reshape(result.shape)
    assert result.tobytes() == native.tobytes()


@given(st.one_of(st.integers(-2**70, 2**70), st.lists(st.one_of(st.integers(-2**70, 2**70), st.floats(), st.booleans()))))
def test_python_numbers_arrive_exactly_or_not_at_all(value: Any) -> None:
    try:
        result = stored(value)
    except TypeError:
        return
    wanted = value if isinstance(value, list) else [value]
    assert all(got == number or (got != got and number != number) for got, number in zip(result.tolist(), wanted))
    assert len(result) == len(wanted)


def test_checks_of_empty_result() -> None:
    assert check_dtype("float32") == np.dtype("f4")
    assert check_dtype(int) == np.dtype("i8")
    for unsupported in (">f8", "float16", "complex128", "U3", "uint16", bool):
        with pytest.raises(TypeError, match="a slot cannot hold"):
            check_dtype(unsupported)
    assert check_shape(3) == (3,)
    assert check_shape(np.int64(3)) == (3,)  # type: ignore[arg-type]
    assert check_shape(()) == (1,)
    assert check_shape((2, 0)) == (2, 0)
    for shape in ((1,) * 5, (-1,)):
        with pytest.raises(ValueError):
            check_shape(shape)
