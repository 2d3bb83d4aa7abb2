# SPDX-License-Identifier: Apache-2.0
"""PyRMap's method, Python's side: a fresh process, three files in a directory, read and written as a whole.

metadata.bin: int32 flag, length, dtype, length of the result.
"""
import struct
import sys

import numpy as np

directory = sys.argv[1]
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.int64, 5: np.uint8}

with open(f"{directory}/metadata.bin", "rb") as metadata:
    _, length, dtype, _ = struct.unpack("4i", metadata.read(16))
with open(f"{directory}/data.bin", "rb") as data:
    x = np.frombuffer(data.read(length * np.dtype(DTYPES[dtype]).itemsize), DTYPES[dtype])

result = x + 1

with open(f"{directory}/result.bin", "wb") as output:
    output.write(result.astype(DTYPES[dtype]).tobytes())
with open(f"{directory}/metadata.bin", "wb") as metadata:
    metadata.write(struct.pack("4i", 1, length, dtype, result.size))
