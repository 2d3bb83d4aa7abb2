# SPDX-License-Identifier: Apache-2.0
"""A whole script: the decorated function takes the slot's input, sys.argv the further arguments."""
import sys

from pyrmap import process_via_mmap


@process_via_mmap
def whole(x):
    return [x.sum(), len(sys.argv) - 1] + [float(value) for value in sys.argv[1:]]


if __name__ == "__main__":
    whole()
