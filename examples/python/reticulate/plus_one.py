# SPDX-License-Identifier: Apache-2.0
"""A plain function of plain NumPy: run_python("plus_one.py::plus_one") and reticulate's source_python() both call it."""


def plus_one(x):
    return x + 1
