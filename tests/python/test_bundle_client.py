# SPDX-License-Identifier: Apache-2.0
"""Bundles for programs that know neither package: a client in Perl, written from the manual, reads and writes them."""
from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from daemon import ROOT
from pyrmap import Slot, unpacking

HERE = Path(__file__).parent
MANUAL = ROOT / "packaging" / "man" / "pyrmapfs-bundle.5"


def client(job: Path) -> list[str]:
    """What the client sees in data.bin; its result is published then."""
    return subprocess.run(["perl", HERE / "bundle_client.pl", job], stdout=subprocess.PIPE, check=True, timeout=30).stdout.decode().splitlines()


VALUE = {
    "m": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.arange(6, dtype="i4").reshape(2, 3)), "s": ["é", None, "", "b c"],
    "n": None, "raw": b"\0\xff", "big": np.array([2**62, -1]), "half": np.array([0.5], "f4"), "yes": [True, False], "maybe": [True, None],
    "df": pd.DataFrame({"x": [1.5, 2.5, -1], "k": pd.Categorical(["u", None, "v"]), "i": pd.array([1, None, 3], "Int64")}),
    "pair": ("a", np.zeros(0), ()),
}
SHOWN = """\
x: list
x/m: double 2x3 by rows 0 1 2 3 4 5
x/f: integer 2x3 by columns 0 3 1 4 2 5
x/s: character é NA  b c
x/n: NULL
x/raw: raw 0 255
x/big: number 4611686018427387904 -1
x/half: float32 0.5
x/yes: logical 1 0
x/maybe: logical 1 NA
x/df: frame of 3 rows
x/df/x: double 1.5 2.5 -1
x/df/k: factor u NA v
x/df/i: integer 1 NA 3
x/pair: list
x/pair/0: character a
x/pair/1: double
x/pair/2: list"""


def test_a_client_in_perl_reads_what_python_wrote_and_python_its_result(producer: Slot, job: Path) -> None:
    producer.produce(VALUE)
    producer.publish()
    assert client(job) == SHOWN.splitlines()
    back = producer.result(5)
    assert {name: array.tolist() for name, array in back.items()} == {"df.x": [3.0], "m": [15.0]}
    assert all(array.flags.aligned for array in back.values())


def example() -> bytes:
    """The header in the manual's example, on one line as it says."""
    text = re.search(r"\.Bd -literal -offset indent\n(\{\"__metadata__\": \{\"pyrmap\": \"\{.*?)\.Ed", MANUAL.read_text(), re.DOTALL)
    assert text is not None
    return re.sub(r"\n *", "", text[1].replace("\\e", "\\")).encode()


def test_the_example_of_the_manual(producer: Slot, job: Path) -> None:
    matrix = np.array([[1.5, 3.5, 5.5], [2.5, 4.5, 6.5]])
    header = example()
    content = struct.pack("<Q", len(header)) + header + matrix.tobytes("F") + struct.pack("<3q", 0, 2, 2) + "é".encode() + b"\0\1"
    x: Any = unpacking.read(np.frombuffer(content, np.uint8)).x
    assert list(x) == ["m", "s"] and np.array_equal(x["m"], matrix) and x["s"].tolist() == ["é", None]
    (job / "data.bin").write_bytes(content)
    (job / "metadata.txt").write_text(f"dtype=bundle\ninput_length={len(content)}\nflag=0\n")
    assert client(job) == ["x: list", "x/m: double 2x3 by columns 1.5 2.5 3.5 4.5 5.5 6.5", "x/s: character é NA"]
    assert producer.result(5)["m"].tolist() == [24.0]


@pytest.mark.parametrize("kinds, table", [("_KINDS", ".Bl -tag"), ("_TYPES", ".Bl -column")])
def test_the_manual_has_every_kind_and_type(kinds: str, table: str) -> None:
    known = set(getattr(unpacking._Reader, kinds)) | ({"call"} if kinds == "_KINDS" else set())
    section = MANUAL.read_text().split({"_KINDS": ".Ss Description", "_TYPES": ".Ss Arrays"}[kinds])[1].split(table)[1].split(".El")[0]
    names = re.findall(r"^\.It Cm (\w+)$", section, re.MULTILINE) if kinds == "_KINDS" else re.findall(r"^\.It (\w+) Ta", section, re.MULTILINE)
    assert set(names) - {"Sy"} == known
