# SPDX-License-Identifier: MPL-2.0
"""Probabilities: the fit finds what was put in, and weighs classes the same."""

from __future__ import annotations

import numpy as np
import pytest

from mvp_training import calibration, metrics
from mvp_training.calibration import Calibration
from mvp_training.data.recording import DataError




def test_the_fit_finds_what_was_put_in() -> None:
    random = np.random.default_rng(1)
    labels = (random.random(60_000) < 0.5).astype(float)
    logits = np.where(labels == 1, 1.0, -1.0) * 2.0 + random.normal(0, 2.0, labels.size)
    # Two normals 4 apart with standard deviation 2: the log odds are the logit itself.
    found = calibration.fit(3.0 * logits + 1.5, labels)
    assert found.temperature == pytest.approx(3.0, rel=0.05)
    assert found.bias == pytest.approx(-0.5, abs=0.05)
    said = found.probability(3.0 * logits + 1.5)
    assert metrics.ece(labels, said) < 0.02


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_ones_does_not_move_the_threshold(share: float) -> None:
    random = np.random.default_rng(2)
    labels = (random.random(60_000) < share).astype(float)
    logits = np.where(labels == 1, 1.0, -1.0) + random.normal(0, 1.5, labels.size)
    found = calibration.fit(logits, labels)
    assert found.probability([0.0])[0] == pytest.approx(0.5, abs=0.03)
    said = calibration.shifted(found.probability(logits), share)
    assert metrics.ece(labels, said) < 0.03
    assert calibration.ece(labels, found.probability(logits), calibration.balance(labels)) < 0.03


def test_a_shift_undoes_itself_and_keeps_order() -> None:
    p = np.linspace(0.01, 0.99, 50)
    assert np.allclose(calibration.shifted(p, 0.5), p)
    assert np.allclose(calibration.shifted(calibration.shifted(p, 0.2), 0.8), p)
    assert (np.diff(calibration.shifted(p, 0.2)) > 0).all()


def test_weighted_error_is_the_plain_one_with_equal_weights() -> None:
    random = np.random.default_rng(3)
    p = random.random(500)
    y = (random.random(500) < p**2).astype(float)
    assert calibration.ece(y, p) == pytest.approx(metrics.ece(y, p))
    doubled = np.where(y == 1, 2.0, 1.0)
    twice = np.concatenate([np.flatnonzero(y == 1), np.arange(500)])
    assert calibration.ece(y, p, doubled) == pytest.approx(metrics.ece(y[twice], p[twice]))


def test_nested_fits_do_not_see_their_own_group() -> None:
    random = np.random.default_rng(4)
    labels = (random.random(400) < 0.5).astype(float)
    logits = labels + random.normal(0, 1, 400)
    groups = np.arange(400) % 4
    before, _ = calibration.nested(logits, labels, groups)
    labels_b = labels.copy()
    labels_b[groups == 0] = 1 - labels_b[groups == 0]
    after, _ = calibration.nested(logits, labels_b, groups)
    assert np.allclose(before[groups == 0], after[groups == 0])
    assert not np.allclose(before[groups == 1], after[groups == 1])


def test_what_cannot_be_calibrated_is_told() -> None:
    with pytest.raises(DataError, match="both of them; found 3 zeros, 0 ones"):
        calibration.fit(np.zeros(3), np.zeros(3))
    with pytest.raises(DataError, match="finite"):
        calibration.fit(np.array([np.nan, 1.0]), np.array([0.0, 1.0]))


def three(count: int = 30_000) -> tuple[np.ndarray, np.ndarray]:
    """Evidence of which the truth is known: labels drawn from the softmax of the logits."""
    random = np.random.default_rng(5)
    logits = random.normal(0, 1.5, (count, 3))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    place = (random.random(count)[:, None] > p.cumsum(1)).sum(1)
    return logits, 0.5 * place


def test_evidence_is_found_again() -> None:
    logits, labels = three()
    found = calibration.fit_evidence(2.0 * logits + np.array([0.7, 0.0, -0.4]), labels)
    assert found.temperature == pytest.approx(2.0, rel=0.05)
    assert found.bias[0] == pytest.approx(-0.35, abs=0.06)
    assert found.bias[2] == pytest.approx(0.2, abs=0.06)
    p = found.probability(logits)
    assert np.allclose(p.sum(1), 1)


def test_the_middle_of_valence_is_the_neutral_ones() -> None:
    logits, labels = three()
    slanted = logits + np.array([1.0, 0.0, 0.0])
    valence = calibration.valence_of(slanted)
    found = calibration.fit_middle(valence, labels)
    said = found.probability(valence)
    assert np.median(said[labels == 0.5]) == pytest.approx(0.5, abs=1e-6)
    assert np.median(said[labels == 0]) < 0.4 and np.median(said[labels == 1]) > 0.6


def test_valence_is_positive_and_half_of_neutral() -> None:
    logits, _ = three(50)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = p[:, 2] + 0.5 * p[:, 1]
    assert np.allclose(1 / (1 + np.exp(-calibration.valence_of(logits))), expected)


def test_evidence_says_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="labels 0, 0.5, 1"):
        calibration.fit_evidence(np.zeros((4, 3)), [0, 1, 2, 0])
