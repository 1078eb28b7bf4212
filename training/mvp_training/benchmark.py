# SPDX-License-Identifier: MPL-2.0
"""The rows that stand beside a network: chance, controls and classical models, for each
length of window, modality and split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from . import baselines, features, metrics
from .baselines import Model
from .data.recording import DataError, Recording
from .data.windows import Windows, cut
from .protocol import Cell, Setting, Split, chance, evaluate, on_rows, predict

CLASSICAL: dict[str, Callable[[], Model]] = {
    "LR": baselines.logistic, "RF": baselines.forest, "SVM": baselines.svm,
}


def available(recordings: Sequence[Recording]) -> tuple[tuple[str, ...], bool]:
    """The signals that any recording has and that there are features for, and whether any
    has a face."""
    found = [s for s in ("ecg", "ppg", "eda") if any(s in r.signals for r in recordings)]
    return tuple(found), any(r.units is not None for r in recordings)


def windows_of(
    recordings: Sequence[Recording], target: str, duration: float, hop: float | None = None
) -> tuple[Windows, features.Mask]:
    """All windows (hop: half a window by default), and which of them have the label."""
    windows = cut(recordings, duration, duration / 2 if hop is None else hop)
    keep = windows.labelled(target)
    if not keep.any():
        raise DataError(
            f"no window of {duration:g} s lies inside one segment with a label for {target};"
            " use shorter windows or another target"
        )
    return windows, keep


def classical(
    recordings: Sequence[Recording],
    dataset: str,
    target: str,
    splits: Callable[[Windows], Iterable[Split]],
    durations: Iterable[float] = (60.0,),
    modalities: Iterable[str] | None = None,
    models: dict[str, Callable[[], Model]] | None = None,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    same_time: bool = False,
) -> list[Cell]:
    """Chance rows, the time-only control and classical models.

    splits:     makes the splits for the labelled windows of one length, for instance
                `lambda w: standard_splits(w.subject, w.trial)`
    durations:  lengths of window in seconds; windows overlap by half
    modalities: of "physiology", "video", "both", and single signals such as "eda"; all
                that the recordings have by default
    same_time:  whether all people did the same in turn, so that "AUC in the same minute"
                says something (`protocol.score`); true for Stress-Predict
    """
    signals, faces = available(recordings)
    if modalities is None:
        both = ["video", "both"] if faces and signals else ["video"] if faces else []
        modalities = (["physiology", *signals] if len(signals) > 1 else list(signals)) + both
    wanted = list(modalities)
    known = CLASSICAL if models is None else models
    cells: list[Cell] = []
    for duration in durations:
        windows, keep = windows_of(recordings, target, duration)
        scaled, _ = features.prepare(recordings, windows, signals, faces)
        columns = np.array(features.names(recordings, signals, faces))
        rows = windows.take(keep)
        x, y, people = scaled[keep], rows.labels(target), rows.subject
        for split in splits(rows):
            setting = Setting(dataset, target, "-", duration)
            cells += chance(setting, split, y, people, draws, seed)
            rivals = [
                (f"time only, {name}", CLASSICAL[name], setting, rows.elapsed[:, None])
                for name in ("RF", "LR")
            ]
            for modality in wanted:
                chosen = x[:, [_belongs(c, modality, signals) for c in columns]]
                if not chosen.shape[1]:
                    raise DataError(
                        f"{dataset}: no features for modality {modality!r}; the recordings"
                        f" have {', '.join(signals) or 'no signal'}"
                        f" and {'a' if faces else 'no'} face"
                    )
                about = Setting(dataset, target, modality, duration)
                rivals += [(name, kind, about, chosen) for name, kind in known.items()]
            for name, kind, about, values in rivals:
                make = on_rows(kind, values, y, people)
                cell, _ = evaluate(
                    name, make, about, split, y, people, draws, seed, progress,
                    rows.elapsed if same_time else None,
                )
                cells.append(cell)
    return cells


def _belongs(column: str, modality: str, signals: Sequence[str]) -> bool:
    source = column.split(".", 1)[0]
    if modality == "both":
        return True
    if modality in ("physiology", "video"):
        return (source in signals) == (modality == "physiology")
    return source == modality


def shifted(
    recordings: Sequence[Recording],
    target: str,
    splits: Callable[[Windows], Split],
    duration: float = 60.0,
    model: Callable[[], Model] = baselines.logistic,
    seeds: int = 10,
) -> tuple[float, float]:
    """Balanced accuracy with circularly shifted labels, trained and scored on them: mean
    and standard deviation over `seeds` draws. It must lie around one half."""
    windows, keep = windows_of(recordings, target, duration)
    signals, faces = available(recordings)
    x = features.prepare(recordings, windows, signals, faces)[0][keep]
    rows = windows.take(keep)
    split = splits(rows)
    values = []
    for seed in range(seeds):
        y = baselines.circular_shift(rows.labels(target), rows.recording, seed)
        found = predict(on_rows(model, x, y, rows.subject), split, y)
        values.append(metrics.balanced_accuracy(y[found.row], found.probability))
    return float(np.mean(values)), float(np.std(values))
