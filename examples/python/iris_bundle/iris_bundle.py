# SPDX-License-Identifier: Apache-2.0
"""Fits a classifier on measurements and labels, and says what it thinks of each flower."""
import numpy as np
import pandas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis


def fit(data):
    """data: a dict, X one flower a row, y their species. Labels and probabilities come back, with what R needs to name them."""
    X, y = data["X"], data["y"]
    model = LinearDiscriminantAnalysis().fit(X, y)
    return {"labels": model.predict(X), "probabilities": model.predict_proba(X), "classes": model.classes_}


def cross_validated(X, y, folds=5):
    """The accuracy in each fold, for y as a separate argument."""
    fold = np.arange(len(y)) % folds
    right = []
    for k in range(folds):
        model = LinearDiscriminantAnalysis().fit(X[fold != k], y[fold != k])
        right.append(np.mean(model.predict(X[fold == k]) == y[fold == k]))
    return right


def doubtful(flowers, species, least=0.9):
    """The rows of a data frame of whose species the classifier is less sure than `least`, least sure first."""
    X = flowers.drop(columns=species)
    model = LinearDiscriminantAnalysis().fit(X.to_numpy(), flowers[species])
    sure = model.predict_proba(X.to_numpy())
    table = flowers.assign(predicted=pandas.Categorical(model.predict(X.to_numpy()), categories=model.classes_),
                           sure=sure.max(axis=1).round(3))
    return table[table.sure < least].sort_values("sure")
