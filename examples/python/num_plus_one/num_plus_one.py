# SPDX-License-Identifier: Apache-2.0
"""Adds one to each number. Integers stay integers: the result has the type that NumPy gives it."""
from pyrmap import process_via_mmap


@process_via_mmap
def plus_one(x):
    return x + 1


if __name__ == "__main__":
    plus_one()
