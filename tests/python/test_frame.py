# SPDX-License-Identifier: Apache-2.0
"""Tables without pandas, and the Arrow C stream by which other libraries take them."""
from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pandas as pd
import pytest

from pyrmap import Frame, arrow, packing, unpacking
from pyrmap.frame import Factor

HERE = Path(__file__).parent
NA = packing.NA_REAL


@pytest.fixture(scope="session")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The consumer in C. Its calls come back to Python: so it is called with the interpreter's lock given up."""
    library = tmp_path_factory.mktemp("arrow") / "arrow_text.so"
    subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, HERE / "arrow_text.c"],
                   check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.arrow_text.restype = ctypes.c_void_p
    loaded.arrow_text.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
    loaded.arrow_batches.argtypes = (ctypes.c_void_p,)
    return loaded


def pointer(capsule: object, name: bytes = b"arrow_array_stream") -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return get(capsule, name)


@pytest.fixture
def text_of(consumer: ctypes.CDLL) -> Callable[[Frame], list[str]]:
    def text_of(frame: Frame) -> list[str]:
        text = ctypes.create_string_buffer(1 << 16)
        capsule = frame.__arrow_c_stream__()
        consumer.arrow_text(pointer(capsule), text, len(text))
        return text.value.decode().splitlines()
    return text_of


@pytest.fixture(autouse=True)
def all_is_released() -> Any:
    yield
    gc.collect()
    assert not arrow._alive and not arrow._capsules


NAN = np.float64("nan")


@pytest.mark.parametrize("column, line", [
    (np.array([1.5, NA, NAN]), "g 1 null: 1.5 null nan"), (np.array([1.5, -2], ">f8"), "g 0 null: 1.5 -2"),
    (np.array([0.5], "f4"), "f 0 null: 0.5"), (np.array([1, -2], "i1"), "c 0 null: 1 -2"), (np.array([255], "u1"), "C 0 null: 255"),
    (np.arange(6, dtype="i4")[::2], "i 0 null: 0 2 4"), (np.array([2**63 - 1]), f"l 0 null: {2**63 - 1}"),
    (np.array([2**64 - 1], "u8"), f"L 0 null: {2**64 - 1}"),
    (np.arange(10) % 3 == 0, "b 0 null: true false false true false false true false false true"),
    (["é", None, "", "bc"], "U 1 null: é null  bc"), (np.array(["a", "bc"]), "U 0 null: a bc"),
    (Factor(np.array([1, -1, 0], "i4"), ["u", "v"], True), "i of U 1 null: v null u (ordered)"),
    (np.array(["1970-01-03", "NaT"], "M8[D]"), "tdD 1 null: 2 null"), (np.array(["1971"], "M8[Y]"), "tdD 0 null: 365"),
    (np.array(["1970-01-01T00:00:01", "NaT"], "M8[ns]"), "tsn: 1 null: 1000000000 null"), (np.array([3], "M8[h]"), "tss: 0 null: 10800"),
    (np.array([7], "m8[us]"), "tDu 0 null: 7"), (np.array([2], "m8[D]"), "tDs 0 null: 172800"),
    (pd.Series(pd.to_datetime(["2020-01-01 01:00"]).tz_localize("Europe/Berlin")), "tsn:Europe/Berlin 0 null: 1577836800000000000"),
    (pd.Series([1, None], dtype="Int64"), "l 1 null: 1 null"), (pd.Series([1, 2], dtype="Int8"), "c 0 null: 1 2"),
    (pd.Series([True, None, False], dtype="boolean"), "b 1 null: true null false"), (pd.Series(["x", None], dtype="string"), "U 1 null: x null"),
    (pd.Series(["x", None, "y"], dtype="category"), "i of U 1 null: x null y"), (pd.Series([1.5, None], dtype="Float64"), "g 1 null: 1.5 null"),
    (np.zeros(0), "g 0 null:"), ([], "g 0 null:"),
])
def test_columns_as_a_consumer_in_c_sees_them(text_of: Callable[[Frame], list[str]], column: Any, line: str) -> None:
    frame = Frame({"a": column, "b": np.arange(len(column), dtype="i4")})
    lines = text_of(frame)
    rows = len(column.codes if isinstance(column, Factor) else column)
    assert lines[0] == f"{rows} rows, 2 of 2 columns" and lines[1] == f"a {line}"
    assert lines[2] == " ".join(["b i 0 null:", *map(str, range(rows))])


def test_numbers_are_not_copied(consumer: ctypes.CDLL) -> None:
    x = np.arange(1000.0)
    text = ctypes.create_string_buffer(1 << 16)
    capsule = Frame({"x": x}).__arrow_c_stream__()
    assert consumer.arrow_text(pointer(capsule), text, len(text)) == x.ctypes.data


def test_a_stream_is_one_batch_and_lives_longer_than_the_frame(consumer: ctypes.CDLL) -> None:
    capsule = Frame({"x": np.arange(3.0), "s": ["a", "b", "c"]}).__arrow_c_stream__()
    gc.collect()
    assert consumer.arrow_batches(pointer(capsule)) == 1 and consumer.arrow_batches(pointer(capsule)) == 0
    del capsule
    # What nobody takes is released with its capsule.
    Frame({"x": np.arange(3.0)}).__arrow_c_stream__()
    pointer(Frame({"x": np.arange(3.0)}).__arrow_c_schema__(), b"arrow_schema")


@pytest.mark.parametrize("column, says", [
    (np.array([1j]), "column 'z' is of complex128, which Arrow has not: give its .real"), (np.array([{}], object), r"column 'z' is of objects \(dict\)"),
    (np.array(["\ud800"], object), "column 'z' holds text that is not valid"), (np.array([2**40], "M8[D]"), "column 'z' holds dates"),
    (np.array([1], "m8[ps]"), r"column 'z' is of timedelta64\[ps\].*astype"),
])
def test_what_arrow_has_not(column: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Frame({"x": np.arange(1.0), "z": column}).__arrow_c_stream__()


def test_a_frame_of_its_own() -> None:
    frame = Frame({"x": np.arange(3.0), "f": pd.Categorical(["a", "b", "a"]), "n": pd.array([1, None, 3], "Int64")})
    assert (len(frame), list(frame), frame.zones) == (3, ["x", "f", "n"], [None] * 3) and "3 rows: x: float64, f: factor" in repr(frame)
    assert np.asarray(frame["f"]).tolist() == ["a", "b", "a"] and frame["n"].tolist() == [1, None, 3]
    with pytest.raises(KeyError, match="y"):
        frame["y"]
    with pytest.raises(ValueError, match="different lengths"):
        Frame({"x": np.arange(3.0), "y": np.arange(2)})
    with pytest.raises(ValueError, match="one dimension"):
        Frame({"x": np.zeros((2, 2))})


def bytes_of(value: object) -> Any:
    made = packing.to_value(value, "C")
    content = np.zeros(made.extent.size, np.uint8)
    for begin, piece in made.pieces():
        content[begin:begin + len(piece)] = np.frombuffer(piece, np.uint8)
    return content


TABLE = pd.DataFrame({"x": [1.5, 2.5], "n": pd.array([1, None], "Int32"), "b": pd.array([True, None], "boolean"), "s": ["a", None],
                      "f": pd.Categorical(["u", "v"], ordered=True), "t": pd.to_datetime(["2020-01-01", "2020-07-01"]).tz_localize("Europe/Berlin"),
                      "d": pd.to_timedelta([1, 2], "s"), "w": pd.to_datetime(["2020-01-01", None])})


def test_a_frame_travels_as_the_same_table_of_pandas() -> None:
    back = unpacking.read(bytes_of(Frame(TABLE))).x
    pd.testing.assert_frame_equal(back, TABLE)


def test_without_pandas(tmp_path: Path) -> None:
    """Reader and writer in an interpreter that does not find pandas and SciPy."""
    (tmp_path / "bundle").write_bytes(bytes_of({"df": TABLE, "f": pd.Categorical(["x", None])}).tobytes())
    (tmp_path / "sparse").write_bytes(bytes_of(__import__("scipy.sparse").sparse.eye(2)).tobytes())
    script = f"""
import importlib.util, sys
import numpy as np
find = importlib.util.find_spec
sys.modules.update(pandas=None, scipy=None)
importlib.util.find_spec = lambda name, *rest: None if name in ("pandas", "scipy") else find(name, *rest)
from pyrmap import Frame, Factor, packing, unpacking
x = unpacking.read(np.fromfile({str(tmp_path / "bundle")!r}, np.uint8)).x
df = x["df"]
assert type(df) is Frame and type(x["f"]) is Factor and np.asarray(x["f"]).tolist() == ["x", None]
assert df.zones == [None] * 5 + ["Europe/Berlin", None, None] and df["t"].dtype == "M8[ns]", df.zones
assert df["n"][0] == 1 and np.isnan(df["n"][1]) and np.isnan(df["b"][1]) and df["s"].tolist() == ["a", None]
df.__arrow_c_stream__()
parts = unpacking.read(np.fromfile({str(tmp_path / "sparse")!r}, np.uint8)).x
assert parts["shape"] == (2, 2) and parts["data"].tolist() == [1, 1]
made = packing.to_value(df, "C")
assert "Berlin" in made.header.decode()
print("right")
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60).stdout == "right\n"
