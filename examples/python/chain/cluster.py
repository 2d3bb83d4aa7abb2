# SPDX-License-Identifier: Apache-2.0
"""Second Python stage of a chain: the group of each row, numbered from 1 in the order in which they appear."""
import numpy as np
from sklearn.cluster import KMeans

from pyrmap import process_via_mmap

GROUPS = 3


@process_via_mmap
def cluster(table):
    labels = KMeans(n_clusters=GROUPS, n_init=10, random_state=0).fit_predict(table)
    _, first = np.unique(labels, return_index=True)
    number = np.empty(GROUPS, dtype="int32")
    number[labels[np.sort(first)]] = np.arange(1, GROUPS + 1)
    return number[labels]


if __name__ == "__main__":
    cluster()
