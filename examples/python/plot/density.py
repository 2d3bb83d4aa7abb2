# SPDX-License-Identifier: Apache-2.0
"""Where two variables are dense: a Gaussian kernel estimate on a grid, for R to draw.

density(points, n): points has two columns; the result is an n x n x 3 array of the grid's x, its y and the density.
"""
import numpy as np


def density(points, n=80):
    n = int(n)
    count = len(points)
    spread = points.std(axis=0, ddof=1)
    # Scott's rule for two dimensions.
    width = spread * count ** (-1 / 6)
    low = points.min(axis=0) - 2 * width
    high = points.max(axis=0) + 2 * width
    grid = [np.linspace(low[axis], high[axis], n) for axis in (0, 1)]
    kernels = [np.exp(-0.5 * ((grid[axis][:, None] - points[None, :, axis]) / width[axis]) ** 2) for axis in (0, 1)]
    heights = kernels[0] @ kernels[1].T / (2 * np.pi * width[0] * width[1] * count)
    return np.stack([*np.meshgrid(*grid, indexing="ij"), heights], axis=2)
