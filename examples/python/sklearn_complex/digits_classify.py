# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits (scikit-learn's own data set) told apart by support vectors.

Input: gamma and C of the classifier. Result: the 10 x 10 table of true digits (rows) against predicted ones (columns), each
digit predicted by a model that has not seen it (five-fold cross-validation).
"""
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import SVC

from pyrmap import process_via_mmap


@process_via_mmap
def classify(parameters):
    gamma, c = parameters
    digits = load_digits()
    print(f"{len(digits.target)} digits of {digits.data.shape[1]} pixels, gamma = {gamma:g}, C = {c:g}")
    predicted = cross_val_predict(SVC(gamma=gamma, C=c), digits.data, digits.target, cv=StratifiedKFold(5))
    return confusion_matrix(digits.target, predicted).astype("int32")


if __name__ == "__main__":
    classify()
