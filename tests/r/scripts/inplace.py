# SPDX-License-Identifier: Apache-2.0
"""Functions that work on their input in place, as most scripts for NumPy do somewhere."""
import numpy as np


def fill(x):
    x[np.isnan(x)] = 0
    return x


def add(x):
    x += 1
    return x


def shuffle(x):
    np.random.shuffle(x)
    return np.sort(x, axis=None)


def solve(x):
    from scipy.linalg import inv

    return inv(x, overwrite_a=True)


def frame(x):
    import pandas

    table = pandas.DataFrame(x)
    table[0] += 1
    return table


def look(x):
    return x
