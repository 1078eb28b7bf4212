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

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

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
