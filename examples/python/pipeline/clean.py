# SPDX-License-Identifier: Apache-2.0
"""First stage: the rows without missing values. R's NA_real_ is a NaN to NumPy."""
import numpy as np

from pyrmap import process_via_mmap


@process_via_mmap
def clean(table):
    complete = table[~np.isnan(table).any(axis=1)]
    print(f"clean: {len(complete)} of {len(table)} rows are complete")
    return complete


if __name__ == "__main__":
    clean()
