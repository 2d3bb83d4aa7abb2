# SPDX-License-Identifier: Apache-2.0
"""Second stage: each column to mean 0 and standard deviation 1, as R's scale() does it."""
from pyrmap import process_via_mmap


@process_via_mmap
def scale(table):
    return (table - table.mean(axis=0)) / table.std(axis=0, ddof=1)


if __name__ == "__main__":
    scale()
