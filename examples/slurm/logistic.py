# SPDX-License-Identifier: Apache-2.0
"""Logistic regression: what bootstrap.R calls in each task, with arrays that R has filled."""
import numpy as np


def fit(data):
    """The coefficients, the intercept first, by Newton's method. data: X, a matrix, and y, of zeros and ones."""
    X = np.column_stack([np.ones(len(data["y"])), data["X"]])
    coefficients = np.zeros(X.shape[1])
    for _ in range(50):
        mean = 1 / (1 + np.exp(-X @ coefficients))
        weight = mean * (1 - mean)
        step = np.linalg.solve(X.T * weight @ X, X.T @ (data["y"] - mean))
        coefficients += step
        if np.abs(step).max() < 1e-12:
            return coefficients
    raise ArithmeticError("no convergence after 50 steps")
