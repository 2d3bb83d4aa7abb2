# SPDX-License-Identifier: Apache-2.0
"""Half the input; one of three scripts that read the same pages at the same time."""
from pyrmap import process_via_mmap


@process_via_mmap
def half(x):
    return x / 2


if __name__ == "__main__":
    half()
