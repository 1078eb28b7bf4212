# SPDX-License-Identifier: MPL-2.0
"""What a model has to beat: chance, classical models, and controls for the protocol.

Each has `fit(X, y, groups)` and `predict_proba(X)`, which returns float64 [n], the
probability of class 1. X is float64 [n, F] without NaN, y 0 or 1, groups the people.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from .data.recording import DataError, Floats


class Model(Protocol):
    """What `protocol.OnRows` takes."""

    def fit(self, x: Floats, y: Floats, groups: npt.NDArray[Any]) -> Model: ...

    def predict_proba(self, x: Floats) -> Floats: ...


class Majority:
    """Says the class that is more frequent in training (class 1 at a tie)."""

    def fit(self, x: Floats, y: Floats, groups: npt.NDArray[Any]) -> Majority:
        self.answer = 1.0 if np.mean(y) >= 0.5 else 0.0
        return self

    def predict_proba(self, x: Floats) -> Floats:
        return np.full(len(x), self.answer)


class Prior:
    """Gives the training share of class 1 to everybody: what a calibrated model says that
    knows nothing. For its hard answers see `random_by_prior`."""

    def fit(self, x: Floats, y: Floats, groups: npt.NDArray[Any]) -> Prior:
        self.answer = float(np.mean(y))
        return self

    def predict_proba(self, x: Floats) -> Floats:
        return np.full(len(x), self.answer)


class SubjectPrior:
    """Gives the training share of class 1 of the same person, the overall share to people
    not seen in training. X is one column, the person's number. Above chance means that a
    split lets the person through."""

    def fit(self, x: Floats, y: Floats, groups: npt.NDArray[Any]) -> SubjectPrior:
        self.overall = float(np.mean(y))
        people = x[:, 0]
        self.shares = {float(p): float(np.mean(y[people == p])) for p in np.unique(people)}
        return self

    def predict_proba(self, x: Floats) -> Floats:
        return np.array([self.shares.get(float(p), self.overall) for p in x[:, 0]])


class _Scikit:
    """A scikit-learn classifier behind `Model`, robust to a training set of one class."""

    def __init__(self, make: Callable[[Floats, Floats, npt.NDArray[Any]], Any]) -> None:
        self.make = make
        self.classifier: Any = None
        self.only = 0.0

    def fit(self, x: Floats, y: Floats, groups: npt.NDArray[Any]) -> _Scikit:
        kinds = np.unique(y)
        self.classifier, self.only = None, float(kinds[0])
        if kinds.size > 1:
            self.classifier = self.make(x, y, groups).fit(x, y.astype(np.int64))
        return self

    def predict_proba(self, x: Floats) -> Floats:
        if self.classifier is None:
            return np.full(len(x), self.only)
        return np.asarray(self.classifier.predict_proba(x)[:, 1], np.float64)


def logistic(c: float = 1.0, balanced: bool = True) -> Model:
    """Logistic regression on standardised columns. `balanced` weighs the classes equally,
    which puts the threshold for balanced accuracy at one half and makes the
    probabilities those of a set with as many ones as zeros."""
    weight = "balanced" if balanced else None
    return _Scikit(
        lambda x, y, g: make_pipeline(
            StandardScaler(), LogisticRegression(C=c, class_weight=weight, max_iter=2000)
        )
    )


def forest(trees: int = 200, leaf: int = 5, balanced: bool = True, seed: int = 0) -> Model:
    """Random forest."""
    weight = "balanced" if balanced else None
    return _Scikit(
        lambda x, y, g: RandomForestClassifier(
            trees, min_samples_leaf=leaf, class_weight=weight, random_state=seed
        )
    )


def svm(c: float = 1.0, balanced: bool = True) -> Model:
    """Support vector machine, radial kernel; its distances become probabilities by Platt's
    sigmoid, fitted on three folds of people inside the training set."""
    weight = "balanced" if balanced else None

    def make(x: Floats, y: Floats, groups: npt.NDArray[Any]) -> Any:
        machine = make_pipeline(StandardScaler(), SVC(C=c, class_weight=weight))
        people = np.unique(groups).size
        folds = list(GroupKFold(min(3, people)).split(x, y, groups)) if people > 1 else []
        if not folds or any(np.unique(y[train]).size < 2 for train, _ in folds):
            # Too few people to hold some back: folds of rows, both classes in each.
            few = int(min(np.count_nonzero(y == 0), np.count_nonzero(y == 1)))
            if few < 2:
                raise DataError("an SVM needs at least two windows of each class to train on")
            return CalibratedClassifierCV(machine, cv=2, ensemble=False)
        return CalibratedClassifierCV(machine, cv=folds, ensemble=False)

    return _Scikit(make)


def random_by_prior(
    labels: npt.ArrayLike,
    priors: npt.ArrayLike,
    score: Callable[[npt.ArrayLike, npt.ArrayLike], float],
    draws: int = 200,
    seed: int = 0,
) -> float:
    """The score to expect of one who says 1 with probability `priors` [n] at random:
    the mean over `draws` seeded draws."""
    chances = np.asarray(priors, np.float64)
    random = np.random.default_rng(seed)
    says = random.random((draws, chances.size)) < chances
    return float(np.nanmean([score(labels, row.astype(np.float64)) for row in says]))


def circular_shift(labels: npt.ArrayLike, groups: npt.ArrayLike, seed: int = 0) -> Floats:
    """Turns the labels of each group (in order of time) round by a random amount, any but
    none with equal chance.

    The control keeps each group's share of ones and how labels follow each other, but
    not what they belong to: a model trained and scored on them must be at chance. Every
    place in the session is then equally likely to be a one, so the control says nothing
    about what a model reads from elapsed time; for that see the time-only control and
    `metrics.auc_within`. One draw varies by some hundredths: average over several seeds.
    """
    y = np.asarray(labels, np.float64)
    keys = np.asarray(groups)
    random = np.random.default_rng(seed)
    out = y.copy()
    for key in np.unique(keys):
        rows = np.flatnonzero(keys == key)
        if rows.size > 1:
            out[rows] = np.roll(y[rows], int(random.integers(1, rows.size)))
    return out
