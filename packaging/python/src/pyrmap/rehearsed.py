# SPDX-License-Identifier: Apache-2.0
"""The script that idle workers rehearse with: it is one of the shortest that there are."""
from pyrmap import process_via_mmap
from pyrmap.record import Array


@process_via_mmap
def plus_one(x: Array) -> Array:
    result: Array = x + 1
    return result


if __name__ == "__main__":
    plus_one()
