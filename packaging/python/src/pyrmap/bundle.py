# SPDX-License-Identifier: Apache-2.0
"""The bytes of a bundle: several arrays in one segment, in the layout of safetensors.

    8 bytes       N, little-endian
    N bytes       JSON: {"__metadata__": {"pyrmap": TEXT}, NAME: {"dtype": "F64", "shape": [2, 3], "data_offsets": [0, 48]}, ...}
    the rest      the tensors, without holes, in the order of the header

What tensors cannot say is in TEXT, JSON again: {"version": 1, "root": NODE}. pyrmap.packing makes the nodes of it,
pyrmap.unpacking reads them. A file without it, by another program, is its tensors by name.

N makes what follows begin at a multiple of 64, and tensors of large elements come first, so that each is aligned. A
header comes from another process, so we check all of it before we use any of it.
"""
from __future__ import annotations

import functools
import json
import math
import re
import struct
from typing import Any, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from pyrmap.record import Array, Shape

HEADER_MAX = 1 << 20
TENSORS_MAX = 10_000
DEPTH_MAX = 32
VERSION = 1

DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(code) for name, code in (
    ("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2"), ("I64", "<i8"), ("I32", "<i4"), ("I16", "<i2"), ("I8", "i1"),
    ("U64", "<u8"), ("U32", "<u4"), ("U16", "<u2"), ("U8", "u1"), ("BOOL", "?"))}
NAMES: dict[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items()}

_LENGTH = struct.Struct("<Q")
_ALIGN = 64
# Tables of one structure come one after the other. The text of such headers we read once.
_REMEMBERED, _REMEMBERED_SIZE = 16, 1 << 14
_METADATA = "__metadata__"
_OWN = "pyrmap"
_JSON_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DEEPER = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class BundleError(ValueError):
    """A bundle that is damaged, or of a kind that this version does not know."""


class Tensor(NamedTuple):
    """One tensor; begin and end are bytes behind the header."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    begin: int
    end: int


class Bundle:
    """The tensors of a bundle, and the root of what it says about them.

    data: its bytes, as an array of uint8; tensors are views of it. root: None in a file of another program.
    BundleError if the header is wrong in any way.
    """

    def __init__(self, data: Array) -> None:
        header = _header(data)
        self._rest = data[_LENGTH.size + len(header):]
        # Nobody changes these: they are the next bundle's as well.
        self.tensors, self.root = (_remembered(header, len(self._rest)) if len(header) <= _REMEMBERED_SIZE
                                   else _read(header, len(self._rest)))

    def array(self, name: str) -> Array:
        """A tensor as a vector, in the order of its bytes."""
        tensor = self.tensors[name]
        piece = self._rest[tensor.begin:tensor.end]
        if tensor.begin == tensor.end:
            return np.empty(0, tensor.dtype)
        array: Array = piece.view(tensor.dtype)
        # Another program need not have aligned it.
        return array if array.flags.aligned else array.copy()


def _read(header: bytes, size: int) -> tuple[Mapping[str, Tensor], Optional[object]]:
    """The tensors and the root of a bundle. size: the bytes behind the header."""
    content = parse_json(header, "header")
    if not isinstance(content, dict):
        raise BundleError("the header of the bundle is no JSON object")
    metadata = content.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BundleError("the header's __metadata__ is no object of strings")
    if len(content) > TENSORS_MAX:
        raise BundleError(f"the bundle has {len(content)} tensors; {TENSORS_MAX} are the most")
    tensors = {name: _tensor(name, said, size) for name, said in content.items()}
    _check_cover(tensors.values(), size)
    return tensors, _root(metadata[_OWN]) if _OWN in metadata else None


_remembered = functools.lru_cache(_REMEMBERED)(_read)


def parse_json(text: bytes, what: str) -> object:
    """JSON of bounded depth without repeated keys; BundleError for any other."""
    depth = 0
    for byte in _JSON_STRINGS.sub(b"", text):
        depth += _DEEPER.get(byte, 0)
        if depth > DEPTH_MAX:
            raise BundleError(f"the {what} of the bundle is nested deeper than {DEPTH_MAX} levels")
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise BundleError(f"the {what} of the bundle is not UTF-8") from None
    except BundleError:
        raise
    except (ValueError, RecursionError) as error:
        raise BundleError(f"the {what} of the bundle is not JSON: {error}") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BundleError(f"the bundle says {key!r} twice")
            seen.add(key)
    return content


def _no_constant(name: str) -> object:
    raise BundleError(f"{name} is not JSON")


def _header(data: Array) -> bytes:
    if len(data) < _LENGTH.size:
        raise BundleError("the bundle ends before its header")
    length: int = _LENGTH.unpack(data[:_LENGTH.size].tobytes())[0]
    if length > HEADER_MAX:
        raise BundleError(f"the header of the bundle has {length} bytes; {HEADER_MAX} are the most")
    if length > len(data) - _LENGTH.size:
        raise BundleError("the bundle ends before its header does")
    return data[_LENGTH.size:_LENGTH.size + length].tobytes()


def is_count(value: object) -> bool:
    """Whether a JSON value is an integer of 0 or more."""
    return type(value) is int and value >= 0


def _tensor(name: str, said: object, size: int) -> Tensor:
    if not isinstance(said, dict):
        raise BundleError(f"tensor {name!r} is not described by an object")
    dtype, shape, offsets = said.get("dtype"), said.get("shape"), said.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise BundleError(f"tensor {name!r} is of dtype {dtype!r}, which is none of {', '.join(DTYPES)}")
    if not isinstance(shape, list) or not all(map(is_count, shape)) or len(shape) > DEPTH_MAX:
        raise BundleError(f"tensor {name!r} has no shape")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(is_count, offsets)):
        raise BundleError(f"tensor {name!r} has no data_offsets")
    begin, end = offsets
    if not begin <= end <= size:
        raise BundleError(f"tensor {name!r} does not lie in the bundle")
    if math.prod(shape) * DTYPES[dtype].itemsize != end - begin:
        raise BundleError(f"tensor {name!r} has {end - begin} bytes, its shape and dtype say {math.prod(shape)} of {dtype}")
    return Tensor(name, DTYPES[dtype], tuple(shape), begin, end)


def _check_cover(tensors: Any, size: int) -> None:
    """BundleError unless the tensors lie one behind the other, from the first byte to the last."""
    at = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != at:
            raise BundleError(f"there is {'an overlap' if tensor.begin < at else 'a hole'} before tensor {tensor.name!r}")
        at = tensor.end
    if at != size:
        raise BundleError(f"{size - at} bytes of the bundle belong to no tensor")


def _root(text: str) -> object:
    content = parse_json(text.encode("utf-8", "surrogatepass"), "description")
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not is_count(version) or "root" not in content:
        raise BundleError("the description of the bundle has no version and root")
    if version != VERSION:
        raise BundleError(f"the bundle is of version {version}; this package knows {VERSION}: update it")
    return content["root"]


def join_texts(strings: Sequence[str]) -> tuple[bytes, Array]:
    """Text as a bundle has it: all of it in UTF-8, and where each begins and the last one ends. UnicodeEncodeError."""
    between = max(len(strings) - 1, 0)
    offsets = np.zeros(len(strings) + 1, "<i8")
    # To look for bytes that no text has takes half as long as to ask each text for its length.
    joined = "\0".join(strings).encode("utf-8")
    ends = np.flatnonzero(np.frombuffer(joined, np.uint8) == 0)
    if len(ends) == between:
        offsets[1:-1] = ends - np.arange(between)
        offsets[-1] = len(joined) - between
        return joined.replace(b"\0", b""), offsets
    np.cumsum([len(item.encode("utf-8")) for item in strings], out=offsets[1:])
    return "".join(strings).encode("utf-8"), offsets


def split_texts(data: Array, offsets: Array) -> list[str]:
    """The texts that join_texts() joined. UnicodeDecodeError. offsets: they ascend from 0 to the number of bytes."""
    if len(offsets) < 2:
        return []
    ends = offsets[1:-1] + np.arange(len(offsets) - 2)
    is_text = np.ones(len(data) + len(ends), np.bool_)
    is_text[ends] = False
    joined = np.zeros(len(is_text), np.uint8)
    joined[is_text] = data
    strings = str(joined.data, "utf-8").split("\0")
    if len(strings) == len(offsets) - 1:
        return strings
    bounds = offsets.tolist()
    return [str(data[begin:end].tobytes(), "utf-8") for begin, end in zip(bounds, bounds[1:])]


def lay_out(tensors: Sequence[tuple[str, np.dtype[Any], Shape]], root: object) -> tuple[bytes, list[int], int]:
    """The header's bytes with its length before it, where in the file each tensor begins, and the size of the file.

    tensors: name, dtype and shape, those of the largest elements first. ValueError if there is too much of them.
    """
    if len(tensors) > TENSORS_MAX:
        raise ValueError(f"{len(tensors)} arrays in one result; {TENSORS_MAX} are the most: "
                         "put those of one type and length into a matrix or a table")
    header: dict[str, object] = {}
    header[_METADATA] = {_OWN: json.dumps({"version": VERSION, "root": root}, ensure_ascii=False, separators=(",", ":"))}
    begins = []
    end = 0
    for name, dtype, shape in tensors:
        begins.append(end)
        end += math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": shape, "data_offsets": (begins[-1], end)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-(_LENGTH.size + len(text)) % _ALIGN)
    if len(text) > HEADER_MAX:
        raise ValueError(f"the names and shapes of the result need {len(text)} bytes, and {HEADER_MAX} are the most: "
                         "return fewer and larger arrays")
    start = _LENGTH.size + len(text)
    return _LENGTH.pack(len(text)) + text, [start + begin for begin in begins], start + end
