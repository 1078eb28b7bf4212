# SPDX-License-Identifier: MPL-2.0
"""Temperature and bias that make a network's logits probabilities.

probability = 1 / (1 + exp(-(logit / temperature + bias))), as in a bundle's [outputs]
(J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999). Classes weigh the
same in the fit: a bundle does not know how often its user's people are stressed, so it
answers as for a set with as many ones as zeros, and its threshold of one half is the one of
balanced accuracy. `shifted` turns the answer into one for another share of ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from .data.recording import DataError

Floats = npt.NDArray[np.float64]

# Beyond these a fit has found nothing to hold on to.
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Calibration:
    """What goes into a bundle's [outputs]."""

    temperature: float
    bias: float

    def probability(self, logits: npt.ArrayLike) -> Floats:
        """float64 [n], 0-1."""
        z = np.asarray(logits, np.float64) / self.temperature + self.bias
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)), np.float64)


def balance(labels: npt.ArrayLike) -> Floats:
    """Weights with which both classes weigh the same; they sum to 1."""
    y = np.asarray(labels, np.float64)
    ones, zeros = int((y == 1).sum()), int((y == 0).sum())
    if ones + zeros != y.size or not ones or not zeros:
        raise DataError(
            f"calibration needs labels 0 and 1, both of them; found {zeros} zeros, {ones} ones"
            f" and {y.size - ones - zeros} others"
        )
    return np.where(y == 1, 0.5 / ones, 0.5 / zeros)


def fit(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Calibration:
    """The least cross-entropy with both classes weighing the same. logits, labels: [n]."""
    x, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    if not np.isfinite(x).all() or x.shape != y.shape:
        raise DataError(f"{x.shape} logits and {y.shape} labels: expected finite and as many")
    weight = balance(y)

    def cost(parameters: Floats) -> tuple[float, Floats]:
        scale, bias = np.exp(parameters[0]), parameters[1]
        z = scale * x + bias
        p = 0.5 * (1.0 + np.tanh(0.5 * z))
        value = float((weight * (np.logaddexp(0.0, z) - y * z)).sum())
        slope = weight * (p - y)
        return value, np.array([float((slope * scale * x).sum()), float(slope.sum())])

    bounds = [(-np.log(TEMPERATURES[1]), -np.log(TEMPERATURES[0])), (-10.0, 10.0)]
    found = minimize(cost, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds)
    return Calibration(float(np.exp(-found.x[0])), float(found.x[1]))


@dataclass(frozen=True)
class Evidence:
    """What makes logits of negative, neutral and positive, [n, 3], evidence: logits /
    temperature + bias."""

    temperature: float
    bias: tuple[float, float, float]

    def logits(self, raw: npt.ArrayLike) -> Floats:
        """float64 [n, 3]."""
        z = np.asarray(raw, np.float64) / self.temperature
        return np.asarray(z + np.array(self.bias), np.float64)

    def probability(self, raw: npt.ArrayLike) -> Floats:
        """float64 [n, 3], rows sum to 1."""
        return np.asarray(np.exp(log_softmax(self.logits(raw), 1)), np.float64)


def fit_evidence(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Evidence:
    """The least cross-entropy with the classes weighing the same. logits: [n, 3]; labels: [n],
    0 negative, 0.5 neutral, 1 positive."""
    x, place, weight = _three(logits, labels)
    target = np.eye(3)[place]

    def cost(parameters: Floats) -> tuple[float, Floats]:
        scale = np.exp(parameters[0])
        z = scale * x + np.array([parameters[1], 0.0, parameters[2]])
        rows: Any = log_softmax(z, 1)
        value = float(-(weight * rows[np.arange(place.size), place]).sum())
        slope = weight[:, None] * (np.exp(rows) - target)
        return value, np.array([float((slope * scale * x).sum()), slope[:, 0].sum(),
                                slope[:, 2].sum()])

    bounds = [(-np.log(TEMPERATURES[1]), -np.log(TEMPERATURES[0])), (-10.0, 10.0), (-10.0, 10.0)]
    found = minimize(cost, np.zeros(3), jac=True, method="L-BFGS-B", bounds=bounds).x
    return Evidence(float(np.exp(-found[0])), (float(found[1]), 0.0, float(found[2])))


def fit_middle(valence: npt.ArrayLike, labels: npt.ArrayLike) -> Calibration:
    """Temperature and bias for logits of valence, with which the median of the neutral ones
    is one half: the least cross-entropy under this condition, the classes weighing the same.
    valence: logits [n]; labels: [n], 0 negative, 0.5 neutral, 1 positive.

    Half of the faces that are called negative look neutral (the labels are noisy), so that
    without the condition a neutral face would be given the share of negative ones among its
    like.
    """
    x, place, weight = _three(valence, labels)
    middle = float(np.median(x[place == 1])) if (place == 1).any() else 0.0

    def cost(scale: float) -> float:
        z = np.exp(scale) * (x - middle)
        return float((weight * (np.logaddexp(0.0, z) - 0.5 * place * z)).sum())

    bounds = (-np.log(TEMPERATURES[1]), -np.log(TEMPERATURES[0]))
    scale = float(np.exp(minimize_scalar(cost, bounds=bounds, method="bounded").x))
    return Calibration(1.0 / scale, -scale * middle)


def _three(
    logits: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[Floats, npt.NDArray[np.int64], Floats]:
    """Logits, places 0-2 of the labels, and weights with which the classes weigh the same."""
    x, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    if not np.isfinite(x).all() or x.shape[:1] != y.shape or not np.isin(y, (0, 0.5, 1)).all():
        raise DataError(
            f"{x.shape} logits and {y.size} labels: expected finite ones and labels 0, 0.5, 1"
        )
    place = np.rint(2 * y).astype(np.int64)
    count = np.bincount(place, minlength=3)
    return x, place, (1.0 / count[place]) / (count > 0).sum()


def valence_of(evidence: npt.ArrayLike) -> Floats:
    """`model.valence_of` for arrays: float64 [n] of logits [n, 3]."""
    z = np.asarray(evidence, np.float64)
    half = z[:, 1] - np.log(2.0)
    return np.asarray(np.logaddexp(z[:, 2], half) - np.logaddexp(z[:, 0], half), np.float64)


def nested_evidence(
    logits: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Probabilities of the classes, float64 [n, 3], and valence, float64 [n], for each group
    by fits on all other groups."""
    x, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    keys = np.asarray(groups)
    p, valence = np.empty(x.shape), np.empty(y.shape)
    for key in np.unique(keys):
        here = keys == key
        evidence = fit_evidence(x[~here], y[~here])
        middle = fit_middle(valence_of(evidence.logits(x[~here])), y[~here])
        p[here] = evidence.probability(x[here])
        valence[here] = middle.probability(valence_of(evidence.logits(x[here])))
    return p, valence


def nested(
    logits: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Probabilities for each group (fold, person) by a fit on all other groups, so that the
    figures are those of people that neither training nor calibration has seen. Also the
    share of ones among the others, float64 [n] each."""
    x, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    keys = np.asarray(groups)
    p, share = np.empty(x.size), np.empty(x.size)
    for key in np.unique(keys):
        here = keys == key
        p[here] = fit(x[~here], y[~here]).probability(x[here])
        share[here] = y[~here].mean()
    return p, share


def shifted(probability: npt.ArrayLike, share: npt.ArrayLike) -> Floats:
    """What a probability for as many ones as zeros becomes where ones have this share."""
    p = np.clip(np.asarray(probability, np.float64), 1e-12, 1 - 1e-12)
    ones = np.asarray(share, np.float64)
    up = p * ones
    return np.asarray(up / (up + (1 - p) * (1 - ones)), np.float64)


def ece(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, weights: npt.ArrayLike | None = None,
    bins: int = 10,
) -> float:
    """Expected calibration error, 0-1, of weighted rows: over bins of equal width, the
    distance of mean probability and share of ones."""
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    w = np.full(y.size, 1.0 / y.size) if weights is None else np.asarray(weights, np.float64)
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, weights=w * (p - y), minlength=bins)
    return float(np.abs(gap).sum() / w.sum())


def reliability(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, weights: npt.ArrayLike, bins: int = 10
) -> Sequence[tuple[float, float, float]]:
    """Per bin that holds anything: mean probability, share of ones, weight."""
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    w = np.asarray(weights, np.float64)
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    rows = []
    for b in range(bins):
        here = place == b
        total = float(w[here].sum())
        if total > 0:
            rows.append((
                float((w[here] * p[here]).sum() / total),
                float((w[here] * y[here]).sum() / total), total,
            ))
    return rows
