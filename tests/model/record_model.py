# SPDX-License-Identifier: Apache-2.0
"""The 128-byte record as a value: packing, and what a write of it, binary or text, is allowed to say."""
from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, replace
from typing import Callable

LAYOUT = struct.Struct("<iiqiiqQii4q4qIIHHI")
SIZE = 128
PAGE_SIZE = 4096
INLINE_MAX = (PAGE_SIZE - SIZE) // 2
CHANGE_OFFSET = 116  # only the filesystem sets what is here and behind
assert LAYOUT.size == SIZE

VERSION = 2
PYRMAP_SIZE, PYRMAP_VERSION = 120, struct.pack("<i", 1)  # what a write that ends before version 2's fields may say
DTYPES = {"same": 0, "float32": 1, "float64": 2, "int32": 3, "int64": 4, "uint8": 5, "bundle": 6}
NAMES = {code: name for name, code in DTYPES.items()}
ELEMENT = {1: 4, 2: 8, 3: 4, 4: 8, 5: 1, 6: 1}
BUNDLE = DTYPES["bundle"]
BUNDLE_HEADER_MAX = 1 << 20
NDIM_MAX = 4
INT64_MAX = 2**63 - 1
TEXT_LINE_MAX = 1024
READ_ONLY = {"state", "meaning", "round", "change", "task_change", "input_inline", "result_inline", "data_size",
             "result_size", "data_copied", "result_copied", "data_in_place", "result_in_place", "input_entries", "result_entries", "job", "owner", "worker", "source", "since", "open", "open_more",
             "waiting", "waiting_more", "failure", "refused", "refusals"}


class Refused(Exception):
    """An operation that changes nothing; str() of it is the name of the errno."""


@dataclass(frozen=True)
class Array:
    """One side of the record. An empty shape is a plain vector, a length of -1 is not known yet."""
    dtype: int
    length: int = -1
    shape: tuple[int, ...] = ()
    fortran: bool = False
    logical: bool = False

    def check(self, dtype: int) -> None:
        """What can be said without the file. dtype: this one's, or what 0 stands for."""
        product = 1
        if self.logical and dtype != DTYPES["int32"]:
            raise Refused("EINVAL")
        if dtype == BUNDLE and (self.shape or self.fortran):
            raise Refused("EINVAL")
        for extent in self.shape:
            product *= extent
            if extent < 0 or product > INT64_MAX:
                raise Refused("EINVAL")
        if self.length < -1:
            raise Refused("EINVAL")

    def fitted(self, content: bytes | bytearray) -> Array:
        """This array with its length known, if it describes a file of that size exactly, and a bundle's header lies in it."""
        elements, rest = divmod(len(content), ELEMENT[self.dtype])
        length = elements if self.length == -1 else self.length
        if rest or length != elements or (self.shape and math.prod(self.shape) != length):
            raise Refused("EINVAL")
        if self.dtype == BUNDLE and not 8 <= 8 + int.from_bytes(content[:8], "little") <= min(length, 8 + BUNDLE_HEADER_MAX):
            raise Refused("EINVAL")
        return replace(self, length=length)


@dataclass(frozen=True)
class Record:
    flag: int = -1
    input: Array = field(default=Array(DTYPES["float64"]))
    result: Array = field(default=Array(DTYPES["same"]))
    round: int = 1

    def pack(self) -> bytes:
        """The record as metadata.bin shows it, with `change` left at zero."""
        padding = (0,) * NDIM_MAX
        return LAYOUT.pack(
            self.flag, VERSION, self.input.length, self.input.dtype, self.result.dtype, self.result.length,
            self.round, len(self.input.shape), len(self.result.shape),
            *(self.input.shape + padding)[:NDIM_MAX], *(self.result.shape + padding)[:NDIM_MAX],
            self.input.fortran | self.result.fortran << 1 | self.input.logical << 2 | self.result.logical << 3, 0, 0, 0, 0)

    def fitted_result(self, content: bytes | bytearray) -> Array:
        """The result side made final: a dtype of 0 is the input's."""
        return replace(self.result, dtype=self.result.dtype or self.input.dtype).fitted(content)


def unpack(image: bytes) -> Record:
    """The record that these bytes are, if they are one."""
    (flag, version, input_length, dtype, result_dtype, result_length, round_number, input_ndim, result_ndim,
     *rest) = LAYOUT.unpack(image)
    shapes, order = rest[:8], rest[8]
    if (version != VERSION or flag not in (-1, 0, 1, 2) or dtype not in ELEMENT or result_dtype not in NAMES
            or order & ~15
            or not 0 <= input_ndim <= NDIM_MAX or not 0 <= result_ndim <= NDIM_MAX):
        raise Refused("EINVAL")
    record = Record(flag, Array(dtype, input_length, tuple(shapes[:input_ndim]), bool(order & 1), bool(order & 4)),
                    Array(result_dtype, result_length, tuple(shapes[4:4 + result_ndim]), bool(order & 2), bool(order & 8)),
                    round_number)
    record.input.check(dtype)
    record.result.check(result_dtype or dtype)
    return record


def merge(current: Record, offset: int, written: bytes) -> tuple[Record, bool]:
    """current overlaid with a write, and whether that write touched the flag."""
    if offset < 0 or offset + len(written) > SIZE:
        raise Refused("EINVAL")
    image = bytearray(current.pack())
    image[offset:offset + len(written)] = written
    if offset == 0 and len(written) <= PYRMAP_SIZE and image[4:8] == PYRMAP_VERSION:
        image[4:8] = struct.pack("<i", VERSION)
    proposed = unpack(bytes(image))
    return replace(proposed, round=current.round), offset < 4 and len(written) > 0


def difference(current: Record, offset: int, stored: bytes) -> Callable[[Record], tuple[Record, bool]]:
    """What a store into the page changes, word by word, as a change of whatever record there is then."""
    before = current.pack()
    after = before[:offset] + stored + before[offset + len(stored):]
    words = [at for at in range(0, SIZE, 4) if after[at:at + 4] != before[at:at + 4] and at < CHANGE_OFFSET]

    def change(record: Record) -> tuple[Record, bool]:
        image = bytearray(record.pack())
        for at in words:
            image[at:at + 4] = after[at:at + 4]
        return replace(unpack(bytes(image)), round=record.round), 0 in words

    return change


def integer(text: str) -> int:
    digits = text[1:] if text.startswith("-") else text
    if not digits.isascii() or not digits.isdigit() or not -INT64_MAX - 1 <= int(text) <= INT64_MAX:
        raise Refused("EINVAL")
    return int(text)


def dtype_code(text: str) -> int:
    if text in DTYPES:
        return DTYPES[text]
    if text in ("0", "1", "2", "3", "4", "5", "6"):
        return int(text)
    raise Refused("EINVAL")


def shape_of(text: str) -> tuple[int, ...]:
    shape = tuple(integer(extent) for extent in text.split("x")) if text else ()
    if len(shape) > NDIM_MAX:
        raise Refused("EINVAL")
    return shape


def is_fortran(text: str) -> bool:
    if text not in ("C", "F"):
        raise Refused("EINVAL")
    return text == "F"


def is_logical(text: str) -> bool:
    if text not in ("yes", "no"):
        raise Refused("EINVAL")
    return text == "yes"


FIELDS = {"dtype": ("dtype", dtype_code), "length": ("length", integer), "shape": ("shape", shape_of),
          "order": ("fortran", is_fortran), "logical": ("logical", is_logical)}


def assign(record: Record, key: str, value: str) -> Record:
    """The record with one `key=value` line applied."""
    if key == "flag":
        flag = integer(value)
        if flag not in (-1, 0, 1, 2):
            raise Refused("EINVAL")
        return replace(record, flag=flag)
    side, _, name = ("input_dtype" if key == "dtype" else key).partition("_")
    if side not in ("input", "result") or name not in FIELDS or key == "input_dtype":
        raise Refused("EINVAL")
    attribute, parse = FIELDS[name]
    return replace(record, **{side: replace(getattr(record, side), **{attribute: parse(value)})})


def merge_text(current: Record, text: str) -> tuple[Record, bool]:
    """current overlaid with the lines of one write of metadata.txt, and whether the flag was among them."""
    seen: set[str] = set()
    record = current
    if "\0" in text:
        raise Refused("EINVAL")
    for line in text.split("\n"):
        if len(line.encode()) > TEXT_LINE_MAX:
            raise Refused("EINVAL")
        line = line.strip(" \t")
        if not line or line.startswith("#"):
            continue
        key, equals, value = (part.strip(" \t") for part in line.partition("="))
        if not equals or key in seen:
            raise Refused("EINVAL")
        if key in READ_ONLY:
            continue
        seen.add(key)
        record = assign(record, key, value)
    proposed = unpack(record.pack())
    return proposed, "flag" in seen
