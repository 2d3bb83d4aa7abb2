# SPDX-License-Identifier: Apache-2.0
"""Smallest, mean and largest value; one of three scripts that read the same pages at the same time."""
from pyrmap import process_via_mmap


@process_via_mmap
def summary(x):
    return [float(x.min()), float(x.mean()), float(x.max())]


if __name__ == "__main__":
    summary()
