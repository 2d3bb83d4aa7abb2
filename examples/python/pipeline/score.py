# SPDX-License-Identifier: Apache-2.0
"""Third stage: how far each row lies from the middle."""
import numpy as np

from pyrmap import process_via_mmap


@process_via_mmap
def score(table):
    return np.sqrt((table ** 2).sum(axis=1))


if __name__ == "__main__":
    score()
