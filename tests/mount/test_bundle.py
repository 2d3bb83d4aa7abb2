# SPDX-License-Identifier: Apache-2.0
"""Bundles, several arrays in one file: what the filesystem checks of them, and how it shows them."""
from __future__ import annotations

import errno
import json
import os
import struct
from typing import Any

import numpy as np
import pytest
from slots import BUNDLE, FAILED, INPUT, NONE, RESULT, UINT8, Slot, refused, write_once

HEADER_MAX = 1 << 20


def bundle(tensors: dict[str, np.ndarray], root: Any = None, **metadata: str) -> bytes:
    """The bytes of a bundle; without a root it is a plain safetensors file."""
    header: dict[str, Any] = {}
    if root is not None:
        metadata["pyrmap"] = json.dumps({"version": 1, "root": root})
    if metadata:
        header["__metadata__"] = metadata
    end = 0
    for name, array in tensors.items():
        kind = {"f": "F", "i": "I", "u": "U"}[array.dtype.kind]
        header[name] = {"dtype": f"{kind}{8 * array.itemsize}", "shape": list(array.shape),
                        "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    return with_header(json.dumps(header).encode(), b"".join(array.tobytes() for array in tensors.values()))


def with_header(header: bytes, rest: bytes = b"") -> bytes:
    header += b" " * (-(8 + len(header)) % 64)
    return struct.pack("<Q", len(header)) + header + rest


PAIR = bundle({"x": np.arange(5.0), "y": np.arange(3, dtype="i4")})


def publish(slot: Slot, side: int, content: bytes, at_once: bool) -> None:
    """The bundle as input or result of the round: in one write, or through the file."""
    fields: dict[str, Any] = {"dtype": BUNDLE, "input_length": len(content), "input_ndim": 0, "input_shape": (0,) * 4}
    if side == RESULT:
        fields = {"result_dtype": BUNDLE, "result_length": len(content), "result_ndim": 0, "result_shape": (0,) * 4}
    if at_once:
        write_once(slot / "metadata.bin", slot.record._replace(flag=side, order=0, **fields).pack() + content)
        return
    slot.put("result.bin" if side == RESULT else "data.bin", content)
    slot.write(flag=side, order=0, **fields)


@pytest.mark.parametrize("at_once", (False, True))
def test_rounds(slot: Slot, at_once: bool) -> None:
    for _ in range(2):
        publish(slot, INPUT, PAIR, at_once)
        assert (slot.state, slot.text["dtype"], slot.text["input_length"]) == ("READY", "bundle", str(len(PAIR)))
        publish(slot, RESULT, PAIR + bytes(8), at_once)
        assert (slot.state, slot.text["result_dtype"], slot.text["result_length"]) == ("DONE", "bundle", str(len(PAIR) + 8))
        assert (slot / "data.bin").read_bytes() == PAIR and (slot / "result.bin").read_bytes() == PAIR + bytes(8)


@pytest.mark.parametrize("at_once", (False, True))
@pytest.mark.parametrize("content, reason", [(b"\0" * 7, "fewer"), (struct.pack("<Q", 3) + b"{}", "longer than the file"),
                                             (struct.pack("<Q", 2**64 - 8) + b"{}", "more than 1 MiB"),
                                             (struct.pack("<Q", HEADER_MAX + 1) + b" " * 1000, "more than 1 MiB")])
def test_header_must_lie_in_the_file(slot: Slot, at_once: bool, content: bytes, reason: str) -> None:
    with refused(errno.EINVAL):
        publish(slot, INPUT, content, at_once)
    assert reason in slot.text["refused"] and slot.state in ("IDLE", "FILLING")
    publish(slot, INPUT, PAIR, at_once)
    with refused(errno.EINVAL):
        publish(slot, RESULT, content, at_once)
    assert reason in slot.text["refused"] and slot.state in ("READY", "COMPUTING")


@pytest.mark.parametrize("at_once", (False, True))
def test_a_round_that_failed_goes_on_with_it(slot: Slot, at_once: bool) -> None:
    publish(slot, INPUT, PAIR, at_once)
    slot.flag(FAILED)
    slot.flag(INPUT)
    assert slot.state == "READY" and (slot / "data.bin").read_bytes() == PAIR
    slot.flag(FAILED)
    slot.write(flag=INPUT, dtype=UINT8)
    slot.flag(FAILED)
    slot.write(flag=INPUT, dtype=BUNDLE)
    assert (slot.state, slot.text["dtype"]) == ("READY", "bundle")


def test_empty_file_is_none(slot: Slot) -> None:
    with refused(errno.EINVAL):
        slot.write(flag=INPUT, dtype=BUNDLE, input_length=-1)
    slot.fill()
    with refused(errno.EINVAL):
        slot.write(flag=INPUT, dtype=BUNDLE, input_length=-1, input_ndim=1, input_shape=(40, 0, 0, 0))
    assert os.stat(slot / "data.bin").st_size == 40


@pytest.mark.parametrize("at_once", (False, True))
def test_how_it_is_shown(slot: Slot, at_once: bool) -> None:
    publish(slot, INPUT, PAIR, at_once)
    assert (slot / "data.txt").read_text() == "2 tensors\n  x: F64 5   0 1 2 3 4\n  y: I32 3   0 1 2\n"
    assert os.stat(slot / "data.txt").st_size == len((slot / "data.txt").read_bytes())
    assert (slot.text["input_entries"], "result_entries" in slot.text) == ("2", False)
    table = {"kind": "frame", "rows": 12, "names": ["x", "odd"], "items": [{"kind": "array", "type": "double", "tensor": "x"}, {"kind": "null"}]}
    publish(slot, RESULT, bundle({"x": np.arange(12.0)}, table), at_once)
    lines = (slot / "result.txt").read_text().splitlines()
    assert lines[:4] == ["table of 12 rows, 2 columns", "  x       odd", "  double  ", "  0       damaged"]
    assert lines[-1] == "  ... and 2 rows more" and slot.text["result_entries"] == "2"


def test_what_a_damaged_header_shows(slot: Slot) -> None:
    publish(slot, INPUT, with_header(b'{"x":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}', b"\0" * 8), True)
    assert (slot / "data.txt").read_text() == "damaged: tensor x does not lie in the bundle\n"
    assert slot.text["input_entries"] == "damaged: tensor x does not lie in the bundle"
    publish(slot, RESULT, with_header(b"{", b"\0" * 8), True)
    assert (slot / "result.txt").read_text().startswith("damaged: its header is not JSON: at byte 64 ")


def test_no_npy_view(slot: Slot) -> None:
    publish(slot, INPUT, PAIR, True)
    assert os.stat(slot / "data.npy").st_size == 0
    with refused(errno.EINVAL):
        open(slot / "data.npy", "rb")
    assert "open a .npy view EINVAL a bundle is more than one array: use data.bin" in slot.text["refused"]
    slot.flag(NONE)
    assert (slot / "data.npy").read_bytes() == b""


def test_a_text_stays_what_it_was_at_open(slot: Slot) -> None:
    publish(slot, INPUT, PAIR, False)
    with open(slot / "data.txt") as text:
        publish_next = bundle({"z": np.arange(2.0)})
        slot.flag(NONE)
        publish(slot, INPUT, publish_next, False)
        assert text.read().startswith("2 tensors")
        assert os.fstat(text.fileno()).st_size == 52
    assert (slot / "data.txt").read_text().startswith("1 tensor\n")


def test_goes_along_a_chain(slot: Slot) -> None:
    follower = Slot.make(slot.path.parent, "follower")
    os.symlink(f"../{slot.path.name}/result.bin", follower / "source")
    publish(slot, INPUT, PAIR, True)
    publish(slot, RESULT, PAIR, True)
    assert (follower.state, follower.text["dtype"]) == ("READY", "bundle")
    assert (follower / "data.bin").read_bytes() == PAIR
    follower.remove()
