# SPDX-License-Identifier: MPL-2.0
"""Who is trained on and who is tested: splits, the runner, and tables.

Any predictor with `fit(indices)` and `predict_proba(indices)` fits in: a network that
holds its own windows as well as a classical model on a feature matrix (`OnRows`).
Indices count the rows of the arrays given to `evaluate`. Results are out of fold: no row
is scored by a model that was trained on it.

`table` prints beside each model the majority, the class prior and what the paper states.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold

from . import metrics
from .baselines import Majority, Model, Prior, SubjectPrior, random_by_prior
from .data.recording import DataError, Floats
from .data.windows import Ints
from .metrics import Estimate

# F1 in % that the paper states, and its spread (facts on the paper: from public summaries;
# the averaging and the folds are not known). None: not known.
PAPER: dict[tuple[str, str], tuple[float, float | None]] = {
    ("AMIGOS", "valence"): (66.0, 4.0),
    ("AMIGOS", "arousal"): (58.0, 6.0),
    ("DEAP", "valence"): (61.0, None),
    ("DEAP", "arousal"): (55.0, None),
}

DURATIONS = (10.0, 30.0, 60.0, 120.0)
MODALITIES = ("video", "physiology", "both")


class Predictor(Protocol):
    """A model that knows its own inputs; rows are named by index, int64 [m]."""

    def fit(self, indices: Ints) -> object: ...

    def predict_proba(self, indices: Ints) -> Floats:
        """float64 [m], probability of class 1."""
        ...


@dataclass(frozen=True, eq=False)
class Split:
    """Folds as pairs of row indices (train, test). `leaks` says that a person is on both
    sides, so that the figures are no measure of how it does with somebody new."""

    name: str
    folds: tuple[tuple[Ints, Ints], ...]
    leaks: bool = False


def leave_one_subject_out(subjects: npt.ArrayLike) -> Split:
    """One fold for each person."""
    people = np.asarray(subjects)
    names = np.unique(people)
    _enough(names.size, 2, "people", "leave-one-subject-out")
    folds = [(np.flatnonzero(people != n), np.flatnonzero(people == n)) for n in names]
    return Split("LOSO", tuple(folds))


def group_k_fold(subjects: npt.ArrayLike, folds: int = 5) -> Split:
    """`folds` folds with whole people in each, of about equally many rows."""
    people = np.asarray(subjects)
    _enough(np.unique(people).size, folds, "people", f"GroupKFold {folds}")
    made = GroupKFold(folds).split(np.zeros(people.size), groups=people)
    return Split(f"GroupKFold {folds}", tuple((np.asarray(a), np.asarray(b)) for a, b in made))


def trial_random(
    trials: npt.ArrayLike, repeats: int = 10, test: float = 0.2, seed: int = 0
) -> Split:
    """`repeats` random splits of whole trials, `test` of them held out; people are not
    kept apart, so it leaks. Windows of one trial stay together."""
    names, trial = np.unique(np.asarray(trials), return_inverse=True)
    _enough(names.size, 2, "trials", "trial-random")
    random = np.random.default_rng(seed)
    count = min(names.size - 1, max(1, round(test * names.size)))
    folds = []
    for _ in range(repeats):
        held = np.isin(trial.ravel(), random.permutation(names.size)[:count])
        folds.append((np.flatnonzero(~held), np.flatnonzero(held)))
    share = round(100 * test)
    return Split(f"trial-random {repeats}x{100 - share}/{share}", tuple(folds), leaks=True)


def standard_splits(subjects: npt.ArrayLike, trials: npt.ArrayLike) -> list[Split]:
    """The four protocols under which the paper may have been scored, where there are
    enough people for them."""
    people = np.unique(np.asarray(subjects)).size
    splits = [leave_one_subject_out(subjects)]
    splits += [group_k_fold(subjects, k) for k in (5, 10) if people >= k]
    return [*splits, trial_random(trials)]


def _enough(found: int, needed: int, what: str, split: str) -> None:
    if found < needed:
        raise DataError(f"{split} needs at least {needed} {what}, found {found}")


@dataclass(frozen=True, eq=False)
class OnRows:
    """A `Model` on a matrix as a `Predictor`. x: [n, F], y: [n], groups: [n]."""

    model: Model
    x: Floats
    y: Floats
    groups: npt.NDArray[Any]

    def fit(self, indices: Ints) -> OnRows:
        self.model.fit(self.x[indices], self.y[indices], self.groups[indices])
        return self

    def predict_proba(self, indices: Ints) -> Floats:
        return self.model.predict_proba(self.x[indices])


def on_rows(
    kind: Callable[[], Model], x: Floats, y: Floats, groups: npt.NDArray[Any]
) -> Callable[[int], Predictor]:
    """What `predict` and `evaluate` take, for a `Model` on a matrix: a fresh one a fold."""
    return lambda fold: OnRows(kind(), x, y, groups)


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions on held-out rows. row: int64 [m], fold: int64 [m], probability: float64
    [m]. A row comes once under LOSO and GroupKFold, up to `repeats` times otherwise."""

    row: Ints
    fold: Ints
    probability: Floats

    def by_row(self, count: int) -> Floats:
        """float64 [count]: mean probability of each row; NaN for rows never tested."""
        times = np.bincount(self.row, minlength=count)
        total = np.bincount(self.row, weights=self.probability, minlength=count)
        return np.where(times > 0, total / np.maximum(times, 1), np.nan)


def predict(
    make: Callable[[int], Predictor],
    split: Split,
    labels: npt.ArrayLike,
    progress: Callable[[str], None] | None = None,
) -> OutOfFold:
    """Fits a fresh predictor on each fold's training rows and asks it for the test rows.

    make: takes the number of the fold (for seeds) and returns an unfitted predictor
    labels: [n], 0 or 1; only to check that the split fits them
    """
    y = np.asarray(labels, np.float64)
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError("evaluate labelled windows only: labels must be 0 or 1")
    rows, folds, probabilities = [], [], []
    for number, (train, test) in enumerate(split.folds):
        if np.intersect1d(train, test).size:
            raise DataError(f"{split.name}: fold {number} tests rows that it trains on")
        highest = max(train.max(initial=-1), test.max(initial=-1))
        if highest >= y.size:
            raise DataError(f"{split.name}: row {highest} of {y.size}: made for other windows?")
        predictor = make(number)
        predictor.fit(train)
        said = np.asarray(predictor.predict_proba(test), np.float64)
        if said.shape != test.shape or not ((said >= 0) & (said <= 1)).all():
            raise DataError(
                f"{split.name}: fold {number} gave {said.shape} probabilities for"
                f" {test.size} rows; expected as many numbers in 0-1"
            )
        rows.append(test)
        folds.append(np.full(test.size, number, np.int64))
        probabilities.append(said)
        if progress is not None:
            progress(f"{split.name}: fold {number + 1} of {len(split.folds)}")
    return OutOfFold(np.concatenate(rows), np.concatenate(folds), np.concatenate(probabilities))


@dataclass(frozen=True)
class Cell:
    """One model under one protocol.

    scores: name of the score (`metrics.SCORES`) to its value over all held-out rows, with
            the 95 % interval of a bootstrap over people
    folds:  name of the score to mean and standard deviation over folds (the form in which
            papers state it); folds where it is not defined are left out
    """

    model: str
    dataset: str
    target: str
    modality: str
    duration: float
    split: str
    leaks: bool
    rows: int
    people: int
    ones: float
    scores: dict[str, Estimate]
    folds: dict[str, tuple[float, float]]
    note: str = field(default="")

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; what is not defined is null."""
        return {
            "model": self.model, "dataset": self.dataset, "target": self.target,
            "modality": self.modality, "duration": self.duration, "split": self.split,
            "leaks": self.leaks, "rows": self.rows, "people": self.people,
            "ones": _plain(self.ones), "note": self.note,
            "scores": {
                k: {"value": _plain(s.value), "low": _plain(s.low), "high": _plain(s.high)}
                for k, s in self.scores.items()
            },
            "folds": {
                k: {"mean": _plain(m), "std": _plain(s)} for k, (m, s) in self.folds.items()
            },
        }


def cell_from_json(content: dict[str, Any]) -> Cell:
    """What `Cell.to_json` wrote."""

    def number(value: float | None) -> float:
        return float("nan") if value is None else value

    plain = {k: content[k] for k in (
        "model", "dataset", "target", "modality", "duration", "split", "leaks", "rows",
        "people", "note",
    )}
    return Cell(
        **plain, ones=number(content["ones"]),
        scores={
            k: Estimate(number(s["value"]), number(s["low"]), number(s["high"]))
            for k, s in content["scores"].items()
        },
        folds={k: (number(f["mean"]), number(f["std"])) for k, f in content["folds"].items()},
    )


def _plain(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


@dataclass(frozen=True)
class Setting:
    """What a cell is about, apart from its model and split."""

    dataset: str
    target: str
    modality: str = "both"
    duration: float = 60.0


def score(
    model: str,
    setting: Setting,
    split: Split,
    found: OutOfFold,
    labels: npt.ArrayLike,
    subjects: npt.ArrayLike,
    draws: int = 1000,
    seed: int = 0,
    note: str = "",
    elapsed: npt.ArrayLike | None = None,
) -> Cell:
    """Scores held-out predictions. labels, subjects: [n], of the rows that `split` names.

    elapsed: float [n], seconds since the session began (`Windows.elapsed`). Where it is
             given, the cell also has "auc_same_time": the AUC over pairs from the same
             minute of the session only, which a model that has merely learnt the order of
             the protocol does not raise. For sets in which all people do the same in turn.
             With people held out, what knows the time and nothing else falls *below* one
             half there: the person's own label is what the others' lack.
    """
    y = np.asarray(labels, np.float64)[found.row]
    people = np.asarray(subjects)[found.row]
    scores, folds = {}, {}
    for name, measure in metrics.SCORES.items():
        scores[name] = metrics.bootstrap(y, found.probability, people, measure, draws, seed)
        each = np.array([
            measure(y[found.fold == f], found.probability[found.fold == f])
            for f in np.unique(found.fold)
        ])
        each = each[np.isfinite(each)]
        folds[name] = (
            (float(each.mean()), float(each.std())) if each.size else (np.nan, np.nan)
        )
    if elapsed is not None:
        minute = np.asarray(elapsed, np.float64)[found.row] // 60
        scores["auc_same_time"] = metrics.bootstrap_within(
            y, found.probability, people, minute, min(draws, 200), seed
        )
    return Cell(
        model, setting.dataset, setting.target, setting.modality, setting.duration,
        split.name, split.leaks, int(y.size), int(np.unique(people).size),
        float(y.mean()), scores, folds, note,
    )


def evaluate(
    model: str,
    make: Callable[[int], Predictor],
    setting: Setting,
    split: Split,
    labels: npt.ArrayLike,
    subjects: npt.ArrayLike,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    elapsed: npt.ArrayLike | None = None,
) -> tuple[Cell, OutOfFold]:
    """`predict`, then `score`."""
    found = predict(make, split, labels, progress)
    cell = score(
        model, setting, split, found, labels, subjects, draws, seed, elapsed=elapsed
    )
    return cell, found


def chance(
    setting: Setting,
    split: Split,
    labels: npt.ArrayLike,
    subjects: npt.ArrayLike,
    draws: int = 1000,
    seed: int = 0,
) -> list[Cell]:
    """The rows that stand in every table: majority, class prior and prior by subject.

    Hard scores (F1, accuracies) of the two priors are what one can expect who answers at
    random with that probability (mean of 200 draws); AUC, Brier score and calibration are
    those of the probability itself. Its AUC falls a little below one half when people are
    held out: who has more ones leaves fewer for training.
    """
    y = np.asarray(labels, np.float64)
    _, number = np.unique(np.asarray(subjects), return_inverse=True)
    x = number.reshape(-1, 1).astype(np.float64)
    groups = np.asarray(subjects)
    cells = []
    rows: tuple[tuple[str, Callable[[], Model]], ...] = (
        ("majority", Majority), ("class prior", Prior), ("prior by subject", SubjectPrior),
    )
    for name, kind in rows:
        found = predict(on_rows(kind, x, y, groups), split, y)
        cell = score(name, setting, split, found, y, groups, draws, seed)
        if name != "majority":
            truth, people = y[found.row], groups[found.row]
            for measure in ("balanced_accuracy", "f1_positive", "f1_macro", "f1_weighted",
                            "accuracy"):
                function = metrics.SCORES[measure]

                def expected(
                    labels: npt.ArrayLike, priors: npt.ArrayLike, f: metrics.Score = function
                ) -> float:
                    return random_by_prior(labels, priors, f, 20, seed)

                spread = metrics.bootstrap(
                    truth, found.probability, people, expected, min(draws, 100), seed
                )
                exact = random_by_prior(truth, found.probability, function, 200, seed)
                cell.scores[measure] = Estimate(exact, spread.low, spread.high)
                each = [
                    random_by_prior(
                        truth[found.fold == f], found.probability[found.fold == f],
                        function, 20, seed,
                    )
                    for f in np.unique(found.fold)
                ]
                cell.folds[measure] = (float(np.nanmean(each)), float(np.nanstd(each)))
        cells.append(cell)
    return cells


COLUMNS = (
    ("balanced_accuracy", "balanced accuracy"), ("f1_positive", "F1 of class 1"),
    ("f1_macro", "F1 macro"), ("f1_weighted", "F1 weighted"), ("auc", "AUC"),
    ("auc_same_time", "AUC in the same minute"), ("brier", "Brier"), ("ece", "ECE"),
)


def table(cells: Iterable[Cell]) -> str:
    """Markdown: one table for each data set, target, split and length of window, chance
    rows first, the paper's figure last where there is one."""
    grouped: dict[tuple[str, str, str, float], list[Cell]] = {}
    for cell in cells:
        key = (cell.dataset, cell.target, cell.split, cell.duration)
        grouped.setdefault(key, []).append(cell)
    pages = []
    for (dataset, target, split, duration), rows in grouped.items():
        first = rows[0]
        head = (
            f"### {dataset}, {target}, {duration:g} s windows, {split}\n\n"
            f"{first.people} people, {first.rows} held-out windows, {first.ones:.1%} of"
            " class 1. Value over all of them, 95 % interval by bootstrap over people; F1"
            " over folds as mean ± standard deviation."
        )
        if first.leaks:
            head += (
                "\n\n**Leaks: the same people are in training and test. Not a measure of"
                " how it does with somebody new.**"
            )
        columns = [(k, n) for k, n in COLUMNS if any(k in c.scores for c in rows)]
        lines = [
            "| model | modality | " + " | ".join(n for _, n in columns) + " | F1 over folds |",
            "| --- | --- |" + " --- |" * (len(columns) + 1),
        ]
        for cell in rows:
            mean, spread = cell.folds["f1_positive"]
            over = f"{mean:.3f} ± {spread:.3f}" if np.isfinite(mean) else "-"
            name = cell.model + (f" ({cell.note})" if cell.note else "")
            values = " | ".join(str(cell.scores.get(k, "-")) for k, _ in columns)
            lines.append(f"| {name} | {cell.modality} | {values} | {over} |")
        if (dataset, target) in PAPER:
            stated, deviation = PAPER[dataset, target]
            text = f"{stated / 100:.2f} ± " + (f"{deviation / 100:.2f}" if deviation else "?")
            blank = " | ".join("-" for _ in columns)
            lines.append(
                f"| MVP as published (averaging and folds not known) | both | {blank} | {text} |"
            )
        pages.append(head + "\n\n" + "\n".join(lines))
    return "\n\n".join(pages) + "\n"


def to_json(cells: Sequence[Cell]) -> str:
    """The same as JSON, with the paper's figures."""
    paper = [
        {"dataset": d, "target": t, "f1": f / 100, "std": None if s is None else s / 100}
        for (d, t), (f, s) in PAPER.items()
    ]
    content = {"cells": [c.to_json() for c in cells], "paper": paper}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
