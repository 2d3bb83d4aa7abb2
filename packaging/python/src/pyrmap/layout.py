# SPDX-License-Identifier: Apache-2.0
"""The layout of the record. Generated from fs/protocol/record.h by `make generate`: change it there."""
from __future__ import annotations

RECORD_SIZE = 128
RECORD_PAGE_SIZE = 4096
RECORD_INLINE_MAX = 1984
RECORD_VERSION = 2
RECORD_VERSION_GONE = 0
RECORD_NDIM_MAX = 4
RECORD_TAKE_INPUT = 268435456
RECORD_TAKE_RESULT = 536870912
RECORD_STEP_OF_ROUND = 1048576

RECORD_FLAG_NONE = -1
RECORD_FLAG_INPUT = 0
RECORD_FLAG_RESULT = 1
RECORD_FLAG_FAILED = 2

RECORD_DTYPE_SAME = 0
RECORD_FLOAT32 = 1
RECORD_FLOAT64 = 2
RECORD_INT32 = 3
RECORD_INT64 = 4
RECORD_UINT8 = 5
RECORD_BUNDLE = 6

RECORD_LENGTH_ALL = -1

RECORD_ORDER_INPUT_F = 1
RECORD_ORDER_RESULT_F = 2
RECORD_ORDER_INPUT_LOGICAL = 4
RECORD_ORDER_RESULT_LOGICAL = 8

# Byte offset of each field; the same names as in struct record.
RECORD_OFFSETS = {
    "flag": 0,
    "version": 4,
    "input_length": 8,
    "dtype": 16,
    "result_dtype": 20,
    "result_length": 24,
    "round": 32,
    "input_ndim": 40,
    "result_ndim": 44,
    "input_shape": 48,
    "result_shape": 80,
    "order": 112,
    "change": 116,
    "input_inline": 120,
    "result_inline": 122,
    "task_change": 124,
}

# NumPy's name of each dtype.
RECORD_NUMPY = {
    RECORD_FLOAT32: "<f4",
    RECORD_FLOAT64: "<f8",
    RECORD_INT32: "<i4",
    RECORD_INT64: "<i8",
    RECORD_UINT8: "|u1",
}
