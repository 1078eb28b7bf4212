# SPDX-License-Identifier: MPL-2.0
"""Readers to tables, on made people whose label shows in their signals."""

from __future__ import annotations

import numpy as np
import pytest

from mvp_training import baselines, benchmark, protocol
from mvp_training.data.recording import SECOND, DataError, Recording, Segment, Signal, UnitTrack
from mvp_training.data.windows import Windows


def person(number: int, trials: bool = False) -> list[Recording]:
    """Four minutes of EDA and face; EDA is higher where arousal is, unit "smile" tells
    nothing."""
    random = np.random.default_rng(number)
    labels = random.permutation([0.0, 1.0, 0.0, 1.0])
    level = 2 + 0.8 * np.repeat(labels, 240) + random.normal(0, 0.1, 960)
    times = np.arange(1200, dtype=np.int64) * (SECOND // 5)
    smile = random.random((1200, 1)).astype(np.float32)
    name = f"P{number:02d}"

    def recording(first: int, last: int, title: str) -> Recording:
        return Recording(
            name, title,
            {"eda": Signal.regular(level[240 * first : 240 * last], 4.0, "uS")},
            UnitTrack(times[: 300 * (last - first)], smile[300 * first : 300 * last],
                      np.ones(300 * (last - first), np.float32), ("smile",)),
            tuple(
                Segment((i - first) * 60 * SECOND, (i - first + 1) * 60 * SECOND, None,
                        float(labels[i]), f"{i}")
                for i in range(first, last)
            ),
        )

    if trials:
        return [recording(i, i + 1, f"{name}/{i}") for i in range(4)]
    return [recording(0, 4, name)]


@pytest.mark.parametrize("trials", [False, True])
def test_the_label_is_found_where_it_is(trials: bool) -> None:
    recordings = [r for n in range(10) for r in person(n, trials)]
    cells = benchmark.classical(
        recordings, "made", "arousal",
        lambda w: [protocol.group_k_fold(w.subject, 5)], (20.0,), models={
            "LR": baselines.logistic
        }, draws=50,
    )
    value = {(c.model, c.modality): c.scores["balanced_accuracy"].value for c in cells}
    assert set(value) == {
        ("majority", "-"), ("class prior", "-"), ("prior by subject", "-"),
        ("time only, RF", "-"), ("time only, LR", "-"),
        ("LR", "eda"), ("LR", "video"), ("LR", "both"),
    }
    assert value["LR", "eda"] > 0.75 and value["LR", "both"] > 0.75
    assert value["LR", "video"] == pytest.approx(0.5, abs=0.15)
    assert value["time only, LR", "-"] == pytest.approx(0.5, abs=0.15)
    assert "| LR | eda |" in protocol.table(cells)


def test_shifted_labels_are_at_chance() -> None:
    recordings = [r for n in range(10) for r in person(n)]
    mean, spread = benchmark.shifted(
        recordings, "arousal", lambda w: protocol.group_k_fold(w.subject, 5), 20.0, seeds=5
    )
    assert mean == pytest.approx(0.5, abs=0.12) and spread < 0.15


def test_what_is_not_there_is_named() -> None:
    recordings = [r for n in range(5) for r in person(n)]

    def splits(windows: Windows) -> list[protocol.Split]:
        return [protocol.group_k_fold(windows.subject, 5)]

    with pytest.raises(DataError, match="no features for modality 'ecg'"):
        benchmark.classical(
            recordings, "made", "arousal", splits, (20.0,), ["ecg"], draws=2
        )
    with pytest.raises(DataError, match="label for valence"):
        benchmark.classical(recordings, "made", "valence", splits, (20.0,))
    with pytest.raises(DataError, match="no window of 90 s"):
        benchmark.classical(recordings, "made", "arousal", splits, (90.0,))
