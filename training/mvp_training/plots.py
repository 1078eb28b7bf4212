# SPDX-License-Identifier: MPL-2.0
"""Pictures of a run: how the losses fell, and how far probabilities can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def curves(losses: Sequence[Floats], path: Path) -> None:
    """losses: per network float64 [epochs, 2], valence and arousal; thin lines, their mean
    thick."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharex=True)
    for column, (name, axis) in enumerate(zip(("valence", "arousal"), axes, strict=True)):
        drawn = [one[:, column] for one in losses if one.shape[0]]
        for one in drawn:
            axis.plot(np.arange(1, one.size + 1), one, color="tab:blue", alpha=0.2, lw=0.8)
        whole = [one for one in drawn if one.size == max(d.size for d in drawn)]
        if whole:
            mean = np.mean(whole, 0)
            axis.plot(np.arange(1, mean.size + 1), mean, color="tab:blue", lw=2)
        axis.axhline(np.log(2), color="0.5", ls=":", lw=1)
        axis.set(title=f"{name}: {len(drawn)} networks", xlabel="epoch",
                 ylabel="training loss (cross-entropy)")
    figure.tight_layout()
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def reliability(
    rows: Mapping[str, Sequence[tuple[float, float, float]]], path: Path
) -> None:
    """rows: name to what `calibration.reliability` gives."""
    figure, axes = plt.subplots(1, max(1, len(rows)), figsize=(4.2 * max(1, len(rows)), 4))
    drawn: Any = np.atleast_1d(axes)
    for axis, (name, bins) in zip(drawn, rows.items(), strict=False):
        axis.plot([0, 1], [0, 1], color="0.6", ls=":")
        said, share, weight = (np.array(v) for v in zip(*bins, strict=True))
        axis.scatter(said, share, 400 * weight / weight.max(), color="tab:blue", alpha=0.7)
        axis.plot(said, share, color="tab:blue", lw=1)
        axis.set(xlim=(0, 1), ylim=(0, 1), title=name, xlabel="probability said",
                 ylabel="share of ones (classes weighing the same)")
    figure.tight_layout()
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
