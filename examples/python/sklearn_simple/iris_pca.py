# SPDX-License-Identifier: Apache-2.0
"""Principal components of scikit-learn's iris data, and where the input's flowers lie on the first two.

Input: one flower a row, its four measurements in cm. Result: one row a flower, two columns.
"""
import numpy as np
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA

from pyrmap import process_via_mmap


@process_via_mmap
def project(flowers):
    model = PCA(n_components=2).fit(load_iris().data)
    # The sign of a component is arbitrary: make its largest weight positive, so that every run agrees.
    largest = np.abs(model.components_).argmax(axis=1)
    signs = np.sign(model.components_[np.arange(2), largest])
    return model.transform(flowers) * signs


if __name__ == "__main__":
    project()
