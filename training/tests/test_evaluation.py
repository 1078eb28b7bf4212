# SPDX-License-Identifier: MPL-2.0
"""Scores, baselines, splits and tables; scores against scikit-learn's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from mvp_training import baselines, metrics, protocol
from mvp_training.data.recording import DataError, Floats
from mvp_training.data.windows import Ints


def made(seed: int = 0, n: int = 200) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    y = (random.random(n) < 0.3).astype(np.float64)
    return y, np.clip(0.3 * y + np.round(random.random(n) * 0.7, 2), 0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_scikit_learn(seed: int) -> None:
    y, p = made(seed)
    says = (p >= 0.5).astype(int)
    assert metrics.accuracy(y, p) == pytest.approx(reference.accuracy_score(y, says))
    assert metrics.balanced_accuracy(y, p) == pytest.approx(
        reference.balanced_accuracy_score(y, says)
    )
    assert metrics.auc(y, p) == pytest.approx(reference.roc_auc_score(y, p))
    assert metrics.brier(y, p) == pytest.approx(reference.brier_score_loss(y, p))
    for ours, average in (
        (metrics.f1_positive, "binary"), (metrics.f1_macro, "macro"),
        (metrics.f1_weighted, "weighted"),
    ):
        assert ours(y, p) == pytest.approx(reference.f1_score(y, says, average=average))


def test_calibration_error_by_hand() -> None:
    p = np.array([0.1, 0.1, 0.1, 0.1, 0.85, 0.85])
    y = np.array([0, 0, 0, 1, 1, 0])
    # Bin of .1: mean .1, share .25; bin of .85: mean .85, share .5.
    by_hand = (4 * 0.15 + 2 * 0.35) / 6
    assert metrics.ece(y, p) == pytest.approx(by_hand)
    assert metrics.ece_adaptive(y, p) == pytest.approx(by_hand)
    assert metrics.ece([1, 0], [1.0, 0.0]) == 0
    random = np.random.default_rng(0)
    chances = random.random(20_000)
    assert metrics.ece(random.random(20_000) < chances, chances) < 0.02
    assert metrics.ece_adaptive(random.random(20_000) < chances, chances**3) > 0.2


def test_one_class_and_nothing_raise_nothing() -> None:
    for name, score in metrics.SCORES.items():
        assert np.isnan(score([], [])), name
        assert np.isfinite(score([0, 0], [0.2, 0.1])) == (name not in ("auc", "f1_positive"))
    assert np.isnan(metrics.auc([1, 1], [0.2, 0.1]))
    assert metrics.f1_positive([0, 1], [0.1, 0.2]) == 0
    assert metrics.balanced_accuracy([1, 1], [0.9, 0.1]) == 0.5
    estimate = metrics.bootstrap([0, 0], [0.1, 0.2], ["a", "b"], metrics.auc, 20)
    assert np.isnan(estimate.value) and np.isnan(estimate.low) and str(estimate) == "-"


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [([0, 2], [0, 1], "0 or 1"), ([0, 1], [0, 1.5], "0-1"), ([0, 1], [0, np.nan], "0-1"),
     ([0], [0, 1], "expected equal"), ([0, np.nan], [0, 1], "0 or 1")],
)
def test_wrong_input_is_refused(y: list[float], p: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.balanced_accuracy(y, p)


def test_auc_within_strata_is_blind_to_what_the_strata_tell() -> None:
    time = np.repeat(np.arange(10), 20)
    y = (np.random.default_rng(0).random(200) < time / 10).astype(np.float64)
    clock = time / 10
    assert metrics.auc(y, clock) > 0.7
    assert metrics.auc_within(y, clock, time) == pytest.approx(0.5)
    assert metrics.auc_within(y, 0.5 * y + 0.05 * clock, time) == 1.0
    assert np.isnan(metrics.auc_within([0, 1], [0.1, 0.9], [1, 2]))


def test_the_same_minute_shows_who_reads_the_clock() -> None:
    people, minutes = np.repeat(np.arange(10), 30), np.tile(np.arange(30), 10)
    random = np.random.default_rng(0)
    y = (random.random(300) < 0.2 + 0.6 * (minutes >= 15)).astype(np.float64)
    split = protocol.leave_one_subject_out(people)
    setting = protocol.Setting("made", "arousal")
    clock = (minutes >= 15).astype(np.float64)
    cells = {}
    for name, column in (("clock", clock), ("true", y + random.normal(0, 0.5, 300))):
        cells[name] = protocol.evaluate(
            name, protocol.on_rows(baselines.logistic, column[:, None], y, people), setting,
            split, y, people, draws=50, elapsed=60.0 * minutes + 30,
        )[0].scores
    assert cells["clock"]["auc"].value > 0.7
    assert cells["clock"]["auc_same_time"].value < 0.55
    assert cells["true"]["auc_same_time"].low > 0.7


def test_bootstrap_draws_people() -> None:
    """Rows of one person are copies of each other, so more rows narrow nothing."""
    random = np.random.default_rng(0)
    y = (random.random(30) < 0.5).astype(np.float64)
    p = np.clip(random.random(30) * 0.6 + 0.3 * y, 0, 1)
    people = np.arange(30)
    once = metrics.bootstrap(y, p, people, draws=500)
    often = metrics.bootstrap(
        np.repeat(y, 20), np.repeat(p, 20), np.repeat(people, 20), draws=500
    )
    assert (once.low, once.high) == pytest.approx((often.low, often.high))
    assert once.low < once.value < once.high and once.high - once.low > 0.15
    assert metrics.bootstrap(y, p, people, draws=500) == once
    assert metrics.bootstrap(y, p, people, draws=500, seed=1) != once


def test_paired_differences() -> None:
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(20), 20)
    y = (random.random(400) < 0.5).astype(np.float64)
    good = np.clip(0.5 + 0.6 * (y - 0.5) + random.normal(0, 0.2, 400), 0, 1)
    bad = np.clip(0.5 + 0.1 * (y - 0.5) + random.normal(0, 0.2, 400), 0, 1)
    found = metrics.paired(y, good, bad, people, draws=300)
    assert found.value == pytest.approx(
        metrics.balanced_accuracy(y, good) - metrics.balanced_accuracy(y, bad)
    )
    assert found.low > 0 and found.share == 0
    same = metrics.paired(y, good, good, people, draws=50)
    assert (same.value, same.low, same.high, same.share) == (0, 0, 0, 1)


# --- baselines


def separable(n: int = 120, people: int = 6) -> tuple[Floats, Floats, Ints]:
    random = np.random.default_rng(1)
    y = (random.random(n) < 0.4).astype(np.float64)
    x = random.normal(size=(n, 3))
    x[:, 0] += 3 * y
    return x, y, np.arange(n) % people


@pytest.mark.parametrize("kind", [baselines.logistic, baselines.forest, baselines.svm])
@pytest.mark.parametrize("balanced", [True, False])
def test_classical_models_learn_and_repeat(kind: Any, balanced: bool) -> None:
    x, y, people = separable()
    first = kind(balanced=balanced).fit(x[:80], y[:80], people[:80]).predict_proba(x[80:])
    again = kind(balanced=balanced).fit(x[:80], y[:80], people[:80]).predict_proba(x[80:])
    assert first.shape == (40,) and first.min() >= 0 and first.max() <= 1
    assert metrics.auc(y[80:], first) > 0.9
    np.testing.assert_array_equal(first, again)
    # A fold of one class is no error, nor is one person.
    only = kind().fit(x[:9], np.ones(9), people[:9]).predict_proba(x)
    assert (only == 1).all()
    kind().fit(x, y, np.zeros(len(y))).predict_proba(x)


def test_chance_baselines() -> None:
    x, y, people = separable()
    share = y.mean()
    assert (baselines.Majority().fit(x, y, people).predict_proba(x) == 0).all()
    assert baselines.Prior().fit(x, y, people).predict_proba(x)[0] == pytest.approx(share)
    by_subject = baselines.SubjectPrior().fit(people[:, None].astype(np.float64), y, people)
    said = by_subject.predict_proba(np.array([[2.0], [99.0]]))
    assert said == pytest.approx([y[people == 2].mean(), share])


def test_random_by_prior_is_what_one_can_expect() -> None:
    y = (np.arange(1000) < 300).astype(np.float64)
    priors = np.full(1000, 0.3)
    expected = baselines.random_by_prior(y, priors, metrics.balanced_accuracy)
    assert expected == pytest.approx(0.5, abs=0.005)
    assert baselines.random_by_prior(y, priors, metrics.f1_positive) == pytest.approx(0.3, abs=0.01)


def test_shifted_labels_keep_all_but_their_place() -> None:
    groups = np.repeat(["a", "b", "c"], [10, 7, 1])
    y = (np.arange(18) % 10 < 3).astype(np.float64)
    for seed in range(20):
        turned = baselines.circular_shift(y, groups, seed)
        for key in "abc":
            part, was = turned[groups == key], y[groups == key]
            turns = [np.roll(was, k) for k in range(1, was.size)] or [was]
            assert any((part == t).all() for t in turns)


# --- protocol


PEOPLE = np.repeat([f"P{i}" for i in range(12)], 10)
TRIALS = np.array([f"{p}/{i // 5}" for i, p in enumerate(PEOPLE)])


def test_splits_keep_people_apart_except_where_they_say_so() -> None:
    splits = protocol.standard_splits(PEOPLE, TRIALS)
    assert [s.name for s in splits] == [
        "LOSO", "GroupKFold 5", "GroupKFold 10", "trial-random 10x80/20",
    ]
    assert [len(s.folds) for s in splits] == [12, 5, 10, 10]
    for split in splits:
        for train, test in split.folds:
            assert not np.intersect1d(train, test).size
            assert train.size + test.size == PEOPLE.size
            assert not np.intersect1d(TRIALS[train], TRIALS[test]).size
            shared = np.intersect1d(PEOPLE[train], PEOPLE[test]).size
            assert (shared > 0) == split.leaks
    for split in splits[:3]:
        tested = np.sort(np.concatenate([test for _, test in split.folds]))
        np.testing.assert_array_equal(tested, np.arange(PEOPLE.size))
    assert [len(s.folds) for s in protocol.standard_splits(PEOPLE[:30], TRIALS[:30])] == [3, 10]


def test_splits_name_what_is_lacking() -> None:
    with pytest.raises(DataError, match="at least 2 people, found 1"):
        protocol.leave_one_subject_out(["a", "a"])
    with pytest.raises(DataError, match="GroupKFold 5 needs at least 5 people, found 2"):
        protocol.group_k_fold(["a", "b"], 5)
    with pytest.raises(DataError, match="trials"):
        protocol.trial_random(["a"])


class Oracle:
    """Knows the labels, and remembers on what it was trained."""

    def __init__(self, y: Floats, fold: int) -> None:
        self.y, self.number = y, fold
        self.trained: Ints | None = None

    def fit(self, indices: Ints) -> None:
        assert self.trained is None
        self.trained = indices

    def predict_proba(self, indices: Ints) -> Floats:
        assert self.trained is not None and not np.intersect1d(self.trained, indices).size
        return 0.1 + 0.8 * self.y[indices]


def test_any_predictor_is_run_out_of_fold() -> None:
    y = np.random.default_rng(0).integers(0, 2, PEOPLE.size).astype(np.float64)
    setting = protocol.Setting("made", "arousal", "physiology", 30.0)
    for split in protocol.standard_splits(PEOPLE, TRIALS):
        numbers: list[int] = []
        said: list[str] = []

        def make(fold: int, seen: list[int] = numbers) -> Oracle:
            seen.append(fold)
            return Oracle(y, fold)

        cell, found = protocol.evaluate(
            "oracle", make, setting, split, y, PEOPLE, draws=20, progress=said.append
        )
        assert numbers == list(range(len(split.folds))) and len(said) == len(numbers)
        assert cell.scores["balanced_accuracy"].value == 1.0
        assert cell.scores["ece"].value == pytest.approx(0.1)
        assert cell.folds["f1_positive"] == (1.0, 0.0)
        assert (cell.people, cell.leaks) == (12, split.leaks)
        by_row = found.by_row(y.size)
        tested = np.isfinite(by_row)
        np.testing.assert_allclose(by_row[tested], 0.1 + 0.8 * y[tested])
        assert tested.all() or split.leaks


def test_the_runner_refuses_what_cannot_be_right() -> None:
    y = np.zeros(4)
    rows = np.arange(4)

    class Wrong:
        def fit(self, indices: Ints) -> None: ...

        def predict_proba(self, indices: Ints) -> Floats:
            return np.full(indices.size, np.nan)

    def run(train: Ints, test: Ints, labels: Floats = y) -> None:
        protocol.predict(lambda f: Wrong(), protocol.Split("s", ((train, test),)), labels)

    with pytest.raises(DataError, match="tests rows that it trains on"):
        run(rows, rows)
    with pytest.raises(DataError, match="row 9 of 4"):
        run(rows[:2], np.array([9]))
    with pytest.raises(DataError, match="numbers in 0-1"):
        run(rows[:2], rows[2:])
    with pytest.raises(DataError, match="labels must be 0 or 1"):
        run(rows[:2], rows[2:], np.array([0, 1, np.nan, 0]))


def test_tables_hold_chance_rows_intervals_and_the_paper() -> None:
    random = np.random.default_rng(0)
    # Six of each person's ten rows: the majority is the same in every fold.
    y = np.tile([1.0, 1, 0, 1, 0, 1, 0, 1, 0, 1], 12)
    x = random.normal(size=(y.size, 2)) + y[:, None]
    setting = protocol.Setting("AMIGOS", "valence")
    cells = []
    for split in (protocol.group_k_fold(PEOPLE, 5), protocol.trial_random(TRIALS)):
        cells += protocol.chance(setting, split, y, PEOPLE, draws=20)
        cells.append(protocol.evaluate(
            "LR", lambda f: protocol.OnRows(baselines.logistic(), x, y, PEOPLE), setting,
            split, y, PEOPLE, draws=20,
        )[0])
    by_name = {c.model: c for c in cells[:4]}
    assert by_name["majority"].scores["balanced_accuracy"].value == 0.5
    assert by_name["majority"].scores["f1_positive"].value == pytest.approx(0.75, abs=0.02)
    assert by_name["class prior"].scores["f1_positive"].value == pytest.approx(0.6, abs=0.06)
    assert by_name["LR"].scores["balanced_accuracy"].low > 0.5
    text = protocol.table(cells)
    assert text.count("### AMIGOS, valence, 60 s windows") == 2
    assert text.count("**Leaks:") == 1
    assert text.count("0.66 ± 0.04") == 2
    for name in ("| majority |", "| class prior |", "| prior by subject |", "| LR |"):
        assert text.count(name) == 2
    content = json.loads(protocol.to_json(cells))
    assert len(content["cells"]) == 8
    first = content["cells"][3]["scores"]["balanced_accuracy"]
    assert first["low"] <= first["value"] <= first["high"]
    assert content["paper"][0] == {
        "dataset": "AMIGOS", "target": "valence", "f1": 0.66, "std": 0.04,
    }
    assert content["cells"][0]["scores"]["auc"]["value"] == 0.5
