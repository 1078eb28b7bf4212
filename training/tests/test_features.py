# SPDX-License-Identifier: MPL-2.0
"""Windows, features and causal normalisation, on signals whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mvp_training import features
from mvp_training.data import stress_predict
from mvp_training.data.recording import (
    SECOND,
    DataError,
    Floats,
    Recording,
    Segment,
    Signal,
    UnitTrack,
)
from mvp_training.data.windows import cut

LENGTH = 60.0


def pulses(intervals: Floats, rate: float, width: float, heights: Floats | None = None) -> Floats:
    """Gaussian pulses `intervals` seconds apart."""
    seconds = np.arange(int(LENGTH * rate)) / rate
    beats = np.cumsum(intervals) - 0.3
    tall = np.ones(beats.size) if heights is None else heights
    out = np.zeros(seconds.size)
    for beat, height in zip(beats, tall, strict=True):
        out += height * np.exp(-0.5 * ((seconds - beat) / width) ** 2)
    return out


def steady(bpm: float) -> Floats:
    return np.full(int(LENGTH * bpm / 60) + 1, 60 / bpm)


@pytest.mark.parametrize("bpm", [50.0, 75.0, 110.0, 150.0])
@pytest.mark.parametrize(("kind", "rate", "width"), [("ppg", 64.0, 0.09), ("ecg", 128.0, 0.012)])
def test_rate_of_a_steady_pulse(bpm: float, kind: str, rate: float, width: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, int(LENGTH * rate))
    part = Signal.regular(pulses(steady(bpm), rate, width) + noise, rate, "")
    found = dict(zip(features.CARDIAC, features.cardiac(part, kind), strict=True))
    assert found["rate"] == pytest.approx(bpm, abs=0.5)
    assert found["sdnn"] < 12 and found["rmssd"] < 20


def test_inverted_r_waves_are_found() -> None:
    part = Signal.regular(-pulses(steady(75), 128.0, 0.012), 128.0, "")
    assert features.cardiac(part, "ecg")[0] == pytest.approx(75, abs=0.5)


def test_variability_and_amplitude_follow_the_beats() -> None:
    intervals = np.tile([0.75, 0.85], 37)
    heights = np.where(np.arange(74) % 2 == 0, 1.0, 2.0)
    even = features.cardiac(Signal.regular(pulses(intervals, 64.0, 0.09), 64.0, ""), "ppg")
    tall = features.cardiac(Signal.regular(2 * pulses(intervals, 64.0, 0.09), 64.0, ""), "ppg")
    odd = features.cardiac(
        Signal.regular(pulses(intervals, 64.0, 0.09, heights), 64.0, ""), "ppg"
    )
    assert even[1] == pytest.approx(50, abs=6) and even[2] == pytest.approx(100, abs=10)
    assert tall[3] == pytest.approx(2 * even[3], rel=0.01)
    assert odd[4] > 5 * even[4]


def test_no_interval_spans_a_gap_and_noise_has_no_pulse() -> None:
    values = pulses(steady(75), 64.0, 0.09)
    values[20 * 64 : 40 * 64] = np.nan
    found = features.cardiac(Signal.regular(values, 64.0, ""), "ppg")
    assert found[0] == pytest.approx(75, abs=0.5) and found[1] < 20
    assert np.isnan(features.cardiac(Signal.regular(np.ones(3840), 64.0, ""), "ppg")).all()
    assert np.isnan(features.cardiac(Signal.regular([], 64.0, ""), "ppg")).all()


def skin(responses: tuple[float, ...], height: float, unit: str = "uS") -> Signal:
    seconds = np.arange(int(LENGTH * 4)) / 4
    level = 2.0 + 0.01 * seconds
    for at in responses:
        since = np.maximum(0, seconds - at)
        level += height * 2.2 * (np.exp(-since / 4) - np.exp(-since / 1.2)) * (seconds > at)
    return Signal.regular(level, 4.0, unit)


def test_skin_conductance_responses_are_counted() -> None:
    found = dict(
        zip(features.EDA, features.electrodermal(skin((8, 24, 40), 0.3)), strict=True)
    )
    assert found["scr_rate"] == pytest.approx(3, abs=0.1)
    assert found["scr_amplitude"] == pytest.approx(3 * 0.3, rel=0.25)
    calm = dict(zip(features.EDA, features.electrodermal(skin((), 0)), strict=True))
    assert calm["scr_rate"] == 0 and calm["slope"] == pytest.approx(0.6, rel=0.02)
    assert calm["mean"] == pytest.approx(2.3, abs=0.01)
    assert calm["range"] == pytest.approx(0.6, abs=0.02)


def test_without_a_unit_responses_are_relative() -> None:
    """The same signal in other numbers has as many responses, if its unit is not known."""
    big = skin((8, 24, 40), 0.3, "unknown")
    small = Signal(big.times, 1e-5 * big.values, 4.0, "unknown")
    assert features.electrodermal(big)[4] == features.electrodermal(small)[4] > 0


def recording(name: str = "A", seconds: int = 300, seed: int = 0) -> Recording:
    random = np.random.default_rng(seed)
    bvp = np.tile(pulses(steady(75), 64.0, 0.09), seconds // 60)
    eda = 2 + np.cumsum(random.normal(0, 0.01, seconds * 4))
    times = np.arange(seconds * 5, dtype=np.int64) * (SECOND // 5)
    values = np.zeros((times.size, 2), np.float32)
    values[:, 1] = np.arange(times.size) % 2
    confidence = np.ones(times.size, np.float32)
    confidence[: 60 * 5] = 0
    return Recording(
        name, name,
        {"ppg": Signal.regular(bvp, 64.0, ""), "eda": Signal.regular(eda, 4.0, "uS")},
        UnitTrack(times, values, confidence, ("a", "b")),
        (
            Segment(0, 130 * SECOND, None, 0.0, "rest"),
            Segment(130 * SECOND, 300 * SECOND, 1.0, 1.0, "stress"),
        ),
    )


def test_windows_across_a_border_have_no_label() -> None:
    windows = cut([recording("A"), recording("B")], 60, 30)
    assert len(windows) == 18
    first = windows.take(windows.subject == "A")
    assert (first.start_ns // SECOND).tolist() == list(range(0, 241, 30))
    expected = [0, 0, 0, np.nan, np.nan, 1, 1, 1, 1]
    np.testing.assert_array_equal(first.arousal, expected)
    np.testing.assert_array_equal(first.valence, [np.nan] * 5 + [1] * 4)
    assert first.trial[0] == "A/rest" and first.trial[3] == "" and first.trial[8] == "A/stress"
    assert first.elapsed[0] == 60
    assert windows.labelled("arousal").sum() == 14
    anew = cut([recording("A")], 60, 30, "segment")
    assert (anew.start_ns // SECOND).tolist() == [0, 30, 60, 130, 160, 190, 220]
    assert anew.labelled("arousal").all()


def test_time_goes_on_over_the_recordings_of_one_person() -> None:
    one, two = recording("A"), recording("A")
    windows = cut([one, two], 60, 60)
    assert windows.elapsed[5] == windows.elapsed[0] + 300
    with pytest.raises(DataError, match="above 0"):
        cut([one], 0, 30)
    with pytest.raises(DataError, match="expected 'recording'"):
        cut([one], 60, 30, "trial")
    assert len(cut([one], 600, 30)) == 0


def test_features_are_in_their_columns() -> None:
    recordings = [recording()]
    windows = cut(recordings, 60, 60)
    names = features.names(recordings, ("eda", "ppg"), True)
    found = features.extract(recordings, windows, ("eda", "ppg"), units=True)
    assert found.shape == (5, len(names)) == (5, 6 + 5 + 4)
    column = dict(zip(names, found.T, strict=True))
    assert column["ppg.rate"] == pytest.approx(np.full(5, 75), abs=1)
    eda = recordings[0].signals["eda"].values[240:480]
    assert column["eda.mean"][1] == pytest.approx(eda.mean(), abs=1e-3)
    # No face in the first minute; then unit b is up in every second frame.
    assert np.isnan(column["units.b.mean"][0]) and column["units.a.std"][1] == 0
    assert column["units.b.mean"][1] == pytest.approx(0.5)
    assert column["units.b.std"][1] == pytest.approx(0.5)


def test_a_signal_that_is_not_there_is_missing() -> None:
    whole = recording()
    values = whole.signals["eda"].values.copy()
    values[: 45 * 4] = np.nan
    part = Recording("A", "A", {"eda": Signal.regular(values, 4.0, "uS")}, None, whole.segments)
    windows = cut([part], 60, 60)
    found = features.extract([part], windows)
    assert np.isnan(found[:, :5]).all()
    assert np.isnan(found[0, 5:]).all() and np.isfinite(found[1:, 5:]).all()
    scaled, there = features.expanding(found, windows.recording)
    assert np.isfinite(scaled).all() and not there[:, :5].any() and not scaled[:, :5].any()


def test_features_use_nothing_after_the_window() -> None:
    whole = recording()
    windows = cut([whole], 60, 30)
    changed = Recording(
        "A", "A",
        {
            name: Signal(s.times, np.where(s.times < 120 * SECOND, s.values, 9 - s.values),
                         s.rate, s.unit)
            for name, s in whole.signals.items()
        },
        None, whole.segments,
    )
    before = windows.end_ns <= 120 * SECOND
    kept = [
        features.expanding(features.extract([r], windows), windows.recording)[0]
        for r in (whole, changed)
    ]
    np.testing.assert_array_equal(kept[0][before], kept[1][before])
    assert (kept[0][~before] != kept[1][~before]).any()


def test_expanding_is_the_z_score_of_what_was_seen() -> None:
    random = np.random.default_rng(0)
    values = 1e6 + random.normal(size=(20, 2))
    values[4, 1] = np.nan
    groups = np.repeat(["a", "b"], 10)
    scaled, there = features.expanding(values, groups)
    assert not scaled[0].any() and not scaled[10].any()
    for row in (1, 5, 9, 15):
        first = 0 if row < 10 else 10
        seen = values[first : row + 1]
        expected = (values[row] - np.nanmean(seen, axis=0)) / np.nanstd(seen, axis=0)
        np.testing.assert_allclose(scaled[row], expected, atol=1e-6)
    assert not there[4, 1] and scaled[4, 1] == 0
    assert np.abs(features.expanding(np.eye(200)[:, :1][::-1], np.zeros(200))[0]).max() == 5
    assert not features.expanding(np.full((9, 1), 0.1), np.zeros(9))[0].any()


def test_real_logistic_regression_reaches_its_mark(stress_predict_path: Path) -> None:
    """Eleven features, leave one subject out: 0.732 balanced accuracy, as measured before."""
    from mvp_training import baselines, metrics, protocol

    recordings = stress_predict.read(stress_predict_path)
    windows = cut(recordings, 60, 30)
    scaled, _ = features.expanding(features.extract(recordings, windows), windows.recording)
    keep = windows.labelled("arousal")
    x, y, people = scaled[keep], windows.arousal[keep], windows.subject[keep]
    split = protocol.leave_one_subject_out(people)

    def score(rows: slice) -> float:
        found = protocol.predict(
            lambda fold: protocol.OnRows(baselines.logistic(), x[:, rows], y, people), split, y
        )
        return metrics.balanced_accuracy(y, found.by_row(y.size))

    assert score(slice(0, 11)) == pytest.approx(0.732, abs=0.01)
    assert score(slice(5, 11)) == pytest.approx(0.696, abs=0.015)
