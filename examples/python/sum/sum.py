# SPDX-License-Identifier: Apache-2.0
"""The sum of a vector: one number back."""
from pyrmap import process_via_mmap


@process_via_mmap
def total(x):
    return x.sum()


if __name__ == "__main__":
    total()
