# SPDX-License-Identifier: MPL-2.0
"""How much of the time since the start can be read from what the network is given.

In a protocol whose tasks come in the same order for all, a network that can read the time
scores well without knowing anything of the person. So for every bundle the time is regressed
from summaries of the network's own inputs, for people whom the regression has not seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .batches import Bodies
from .data.recording import DataError, Floats
from .heldout import Prepared

# A bundle whose inputs tell more than this of the time is named as such in its card.
LIMIT = 0.10


def summaries(prepared: Prepared, bodies: Bodies) -> Floats:
    """float64 [n, F]: of each channel of the physiological streams in a window the mean, the
    standard deviation, the smallest and largest value, the change from the first half to the
    second, and the share that is there."""
    ends = bodies.ends(prepared.rows)
    columns = []
    for i in range(0, ends.size, 256):
        rows = []
        for values, valid, there in bodies.window(ends[i : i + 256])[1:]:
            b, _, c, _ = values.shape
            held = (valid * there[:, :, None, None]).permute(0, 2, 1, 3).reshape(b, c, -1).numpy()
            x = values.permute(0, 2, 1, 3).reshape(b, c, -1).numpy().astype(np.float64)
            half = x.shape[2] // 2

            def mean(a: Floats, w: Floats) -> Floats:
                return np.asarray((a * w).sum(2) / np.maximum(w.sum(2), 1), np.float64)

            centre = mean(x, held)
            spread = np.sqrt(mean((x - centre[:, :, None]) ** 2, held))
            low = np.where(held > 0, x, np.inf).min(2)
            high = np.where(held > 0, x, -np.inf).max(2)
            change = mean(x[:, :, half:], held[:, :, half:]) - mean(x[:, :, :half], held[:, :, :half])
            finite = np.isfinite(low)
            rows += [centre, spread, np.where(finite, low, 0), np.where(finite, high, 0), change,
                     held.mean(2)]
        columns.append(np.concatenate(rows, 1))
    return np.concatenate(columns)


def probe(features: Floats, elapsed: Floats, people: npt.NDArray[Any], seed: int = 0) -> float:
    """R² of the time since the start, regressed from `features`, on people who were not in the
    regression: the better one of a linear and a boosted regression. Below 0: nothing."""
    groups = np.unique(people).size
    if groups < 2:
        raise DataError(f"the clock probe needs at least 2 people, found {groups}")
    models = (
        make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 7))),
        HistGradientBoostingRegressor(max_iter=100, max_depth=4, random_state=seed),
    )
    total = float(((elapsed - elapsed.mean()) ** 2).sum())
    best = -np.inf
    for model in models:
        said = np.empty(elapsed.size)
        for train, test in GroupKFold(min(5, groups)).split(features, groups=people):
            said[test] = model.fit(features[train], elapsed[train]).predict(features[test])
        best = max(best, 1.0 - float(((elapsed - said) ** 2).sum()) / total)
    return best
