# SPDX-License-Identifier: Apache-2.0
"""Consumer, with nothing but NumPy: maps the array, computes, publishes."""
import struct
import sys

import numpy as np

slot = sys.argv[1]
RECORD = struct.Struct("<iiqiiqQii4q4qII8x")

# Opening data.bin waits until it is published; the record then says what it is.
with open(f"{slot}/data.bin", "rb") as data:
    with open(f"{slot}/metadata.bin", "rb") as metadata:
        record = list(RECORD.unpack(metadata.read(RECORD.size)))
    rows, columns = record[9:11]
    x = np.memmap(data, dtype=np.float64, mode="r", shape=(rows, columns), order="F")

result = np.memmap(f"{slot}/result.bin", dtype=np.float64, mode="w+", shape=(columns, 2), order="F")
result[:, 0] = x.mean(axis=0)
result[:, 1] = x.std(axis=0, ddof=1)
print(f"Python: mean and sd of {columns} columns of {rows} values, magnitudes up to {x[:, 3].max()}")
del result  # we must let go of the result before we publish it

record[0] = 1  # flag: result ready
record[8] = 2  # the result's dimensions and shape
record[13:17] = columns, 2, 0, 0
record[17] |= 2  # the result is column-major
with open(f"{slot}/metadata.bin", "r+b") as metadata:
    metadata.write(RECORD.pack(*record))
