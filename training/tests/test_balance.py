# SPDX-License-Identifier: MPL-2.0
"""With balance = "minute" the label does not follow from the time."""

from __future__ import annotations

import numpy as np
import pytest

from mvp_training.batches import Source, _Picker
from mvp_training.data.recording import DataError


def source(minute: np.ndarray, label: np.ndarray, subject: np.ndarray) -> Source:
    nothing = np.full(label.size, np.nan)
    bodies: object = object()
    return Source(
        bodies, np.arange(label.size), label, nothing, subject, minute, None,  # type: ignore[arg-type]
        np.empty(0, np.int64), np.empty(0),
    )


def protocol() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """20 people: rest up to about minute 10, then stress; the change comes at a minute of
    each one's own."""
    random = np.random.default_rng(3)
    rows = []
    for person in range(20):
        change = random.integers(7, 14)
        for minute in range(20):
            rows.append((minute, float(minute >= change), person))
    minute, label, subject = (np.array(x) for x in zip(*rows))
    return minute.astype(np.int64), label.astype(float), subject.astype(np.int64)


def test_the_label_does_not_follow_from_the_minute() -> None:
    minute, label, subject = protocol()
    random = np.random.default_rng(0)
    assert abs(np.corrcoef(minute, label)[0, 1]) > 0.7
    drawn = _Picker(source(minute, label, subject), random, "minute").windows(4000)
    assert abs(np.corrcoef(minute[drawn], label[drawn])[0, 1]) < 0.05
    for m in np.unique(minute[drawn]):
        assert label[drawn][minute[drawn] == m].mean() == pytest.approx(0.5, abs=0.12)
    plain = _Picker(source(minute, label, subject), random, "class").windows(4000)
    assert abs(np.corrcoef(minute[plain], label[plain])[0, 1]) > 0.5


def test_a_protocol_without_such_minutes_is_refused() -> None:
    minute = np.repeat(np.arange(10), 4)
    label = (minute >= 5).astype(float)
    with pytest.raises(DataError, match="use balance"):
        _Picker(source(minute, label, np.tile(np.arange(4), 10)), np.random.default_rng(0), "minute")
