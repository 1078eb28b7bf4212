# SPDX-License-Identifier: MPL-2.0
"""Scores of binary predictions, and what they are worth: intervals over people.

Every score takes `labels` (n numbers 0 or 1) and `probabilities` (n, of class 1) and
returns a float; a probability of at least one half is class 1. Where a score is not
defined (AUC with one class) it is NaN, never an exception: with few people a bootstrap
draw may well hold one class only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from .data.recording import Floats

Score = Callable[[npt.ArrayLike, npt.ArrayLike], float]


def _pair(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Floats, Floats]:
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    if y.ndim != 1 or y.shape != p.shape:
        raise ValueError(f"{y.shape} labels and {p.shape} probabilities: expected equal, [n]")
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1; leave windows without a label out")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities must lie in 0-1 and be no NaN")
    return y, p


def _confusion(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[int, int, int, int]:
    """True positives, false positives, false negatives, true negatives."""
    y, p = _pair(labels, probabilities)
    says = p >= 0.5
    is_one = y == 1
    return (
        int(np.count_nonzero(says & is_one)), int(np.count_nonzero(says & ~is_one)),
        int(np.count_nonzero(~says & is_one)), int(np.count_nonzero(~says & ~is_one)),
    )


def accuracy(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Share that is right, 0-1."""
    tp, fp, fn, tn = _confusion(labels, probabilities)
    n = tp + fp + fn + tn
    return (tp + tn) / n if n else float("nan")


def balanced_accuracy(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of the recalls of the classes that occur, 0-1; chance is 0.5 with both."""
    tp, fp, fn, tn = _confusion(labels, probabilities)
    recalls = [hit / (hit + miss) for hit, miss in ((tp, fn), (tn, fp)) if hit + miss]
    return float(np.mean(recalls)) if recalls else float("nan")


def _f1(hit: int, wrong: int, missed: int) -> float:
    """F1 of one class; 0 where the class occurs but is never met, NaN where it neither
    occurs nor is predicted."""
    total = 2 * hit + wrong + missed
    return 2 * hit / total if total else float("nan")


def f1_positive(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """F1 of class 1, 0-1."""
    tp, fp, fn, _ = _confusion(labels, probabilities)
    return _f1(tp, fp, fn)


def f1_macro(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of the F1 of the classes that occur or are predicted, 0-1."""
    tp, fp, fn, tn = _confusion(labels, probabilities)
    both = [f for f in (_f1(tp, fp, fn), _f1(tn, fn, fp)) if np.isfinite(f)]
    return float(np.mean(both)) if both else float("nan")


def f1_weighted(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of the F1 of the classes, weighted by how often each occurs, 0-1."""
    tp, fp, fn, tn = _confusion(labels, probabilities)
    n = tp + fp + fn + tn
    if not n:
        return float("nan")
    parts = [(_f1(tp, fp, fn), tp + fn), (_f1(tn, fn, fp), tn + fp)]
    return sum(f * w for f, w in parts if w) / n


def auc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Area under the ROC curve, 0-1 (ties count half); NaN with one class."""
    y, p = _pair(labels, probabilities)
    ones = int(np.count_nonzero(y))
    zeros = y.size - ones
    if not ones or not zeros:
        return float("nan")
    ranks = rankdata(p)
    return float((ranks[y == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def auc_within(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, strata: npt.ArrayLike
) -> float:
    """AUC over pairs of one stratum only, each pair counting once; NaN without a pair.

    With elapsed time in bins as strata this asks whether, of two people at the same
    moment of the protocol, the one in class 1 is told from the one in class 0. A
    predictor that knows the time and nothing else is at 0.5 here.
    """
    y, p = _pair(labels, probabilities)
    keys = np.asarray(strata)
    total, pairs = 0.0, 0
    for key in np.unique(keys):
        there = keys == key
        ones = int(np.count_nonzero(y[there]))
        count = ones * (int(np.count_nonzero(there)) - ones)
        if count:
            total += count * auc(y[there], p[there])
            pairs += count
    return total / pairs if pairs else float("nan")


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared difference of probability and label, 0 (best) to 1."""
    y, p = _pair(labels, probabilities)
    return float(np.mean((p - y) ** 2)) if y.size else float("nan")


def _gap(y: Floats, p: Floats, bins: npt.NDArray[np.int64], count: int) -> float:
    """Sum over bins of |sum of probabilities - number of ones|, per sample."""
    difference = np.bincount(bins, weights=p - y, minlength=count)
    return float(np.abs(difference).sum() / y.size)


def ece(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 10) -> float:
    """Expected calibration error, 0-1: over `bins` bins of equal width in the probability
    of class 1, the mean distance of mean probability and share of ones, weighted by size."""
    y, p = _pair(labels, probabilities)
    if not y.size:
        return float("nan")
    return _gap(y, p, np.minimum((p * bins).astype(np.int64), bins - 1), bins)


def ece_adaptive(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 10) -> float:
    """Expected calibration error with bins that hold equally many samples; samples of one
    probability stay together."""
    y, p = _pair(labels, probabilities)
    if not y.size:
        return float("nan")
    place = (rankdata(p, method="average") - 0.5) / y.size
    return _gap(y, p, np.minimum((place * bins).astype(np.int64), bins - 1), bins)


SCORES: dict[str, Score] = {
    "balanced_accuracy": balanced_accuracy,
    "f1_positive": f1_positive,
    "f1_macro": f1_macro,
    "f1_weighted": f1_weighted,
    "auc": auc,
    "accuracy": accuracy,
    "brier": brier,
    "ece": ece,
    "ece_adaptive": ece_adaptive,
}


@dataclass(frozen=True)
class Estimate:
    """A score with its 95 % interval (percentiles of a bootstrap over people)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "-"
        return f"{self.value:.3f} [{self.low:.3f}-{self.high:.3f}]"


def _draws(subjects: npt.ArrayLike, count: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Row indices of `count` draws of people with replacement."""
    names, person = np.unique(np.asarray(subjects), return_inverse=True)
    order = np.argsort(person, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(person.ravel()))[:-1])
    random = np.random.default_rng(seed)
    picks = random.integers(0, names.size, (count, names.size))
    return [np.concatenate([rows[i] for i in pick]) for pick in picks]


def _interval(values: list[float]) -> tuple[float, float]:
    finite = np.array(values)[np.isfinite(values)]
    if not finite.size:
        return float("nan"), float("nan")
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def bootstrap(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    subjects: npt.ArrayLike,
    score: Score = balanced_accuracy,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """A score over all rows, with an interval from drawing people (not rows) anew.

    Rows of one person are not independent, so people are what is drawn. Draws in which
    the score is not defined are left out. The same seed gives the same interval.
    """
    y, p = _pair(labels, probabilities)
    values = [score(y[rows], p[rows]) for rows in _draws(subjects, draws, seed)]
    return Estimate(score(y, p), *_interval(values))


def bootstrap_within(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    subjects: npt.ArrayLike,
    strata: npt.ArrayLike,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """`auc_within` with its interval; as `bootstrap`."""
    y, p = _pair(labels, probabilities)
    keys = np.asarray(strata)
    values = [
        auc_within(y[rows], p[rows], keys[rows]) for rows in _draws(subjects, draws, seed)
    ]
    return Estimate(auc_within(y, p, keys), *_interval(values))


@dataclass(frozen=True)
class Difference:
    """How much better the first is than the second, with its 95 % interval; `share` is the
    share of draws in which it is not better (a one-sided bootstrap p-value)."""

    value: float
    low: float
    high: float
    share: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}-{self.high:+.3f}], p {self.share:.3f}"


def paired(
    labels: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    subjects: npt.ArrayLike,
    score: Score = balanced_accuracy,
    draws: int = 1000,
    seed: int = 0,
) -> Difference:
    """Difference of two predictors on the same rows; both see the same draws of people."""
    y, a = _pair(labels, first)
    _, b = _pair(labels, second)
    values = [
        score(y[rows], a[rows]) - score(y[rows], b[rows])
        for rows in _draws(subjects, draws, seed)
    ]
    finite = np.array([v for v in values if np.isfinite(v)])
    share = float(np.mean(finite <= 0)) if finite.size else float("nan")
    return Difference(score(y, a) - score(y, b), *_interval(values), share)
