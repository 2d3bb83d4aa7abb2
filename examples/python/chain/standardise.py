# SPDX-License-Identifier: Apache-2.0
"""First Python stage of a chain: columns to mean 0 and standard deviation 1."""
from pyrmap import process_via_mmap


@process_via_mmap
def standardise(table):
    return (table - table.mean(axis=0)) / table.std(axis=0)


if __name__ == "__main__":
    standardise()
