# SPDX-License-Identifier: MPL-2.0
from __future__ import annotations

import numpy as np
import pytest

from mvp_training.data.recording import (
    SECOND,
    DataError,
    Recording,
    Segment,
    Signal,
    UnitTrack,
    plain_unit,
)


def made(
    eda: Signal | None = None,
    segments: tuple[Segment, ...] = (Segment(0, 30 * SECOND, None, 1.0, "a"),),
    units: UnitTrack | None = None,
) -> Recording:
    signal = Signal.regular(np.full(240, 2.0), 4.0, "uS") if eda is None else eda
    return Recording("S1", "S1/session", {"eda": signal}, units, segments)


def skin(level: float, unit: str) -> Signal:
    return Signal.regular(np.full(240, level), 4.0, unit)


def test_missing_samples_leave_a_gap_and_are_counted() -> None:
    signal = Signal.regular([1.0, np.nan, 3.0, np.inf], 4.0, "uS", start_ns=SECOND)
    assert signal.times.tolist() == [SECOND, SECOND + SECOND // 2]
    assert signal.values.tolist() == [1.0, 3.0]
    assert signal.dropped == 2 and signal.missing_share == 0.5


def test_times_of_a_regular_signal_do_not_drift() -> None:
    signal = Signal.regular(np.zeros(3 * 3600 + 1), 3.0, "")
    assert signal.times[-1] == 3600 * SECOND


def test_coverage_counts_what_is_there() -> None:
    values = np.ones(40)
    values[20:] = np.nan
    assert Signal.regular(values, 4.0, "").coverage(0, 10 * SECOND) == pytest.approx(0.5)
    irregular = Signal.of(np.array([0, 1, 2, 8]) * SECOND, np.ones(4), 0, "")
    assert irregular.coverage(0, 10 * SECOND) == pytest.approx(0.3)
    assert irregular.coverage(3 * SECOND, 7 * SECOND) == 0.0


def test_a_good_recording_passes() -> None:
    recording = made()
    assert recording.check() is recording
    assert recording.end_ns == 60 * SECOND


def test_units_are_read_whatever_their_spelling() -> None:
    assert plain_unit(" kΩ ") == "kohm" and plain_unit("µS") == "us" == plain_unit("μS")


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        (skin(300, "kΩ"), ["S1/session", "resistance", "1000 / kΩ"]),
        (skin(3, "kOhms"), ["resistance"]),
        (skin(300, ""), ["median of 300", "kΩ", "1000 / kΩ"]),
        (skin(300, "uS"), ["median of 300"]),
        (skin(3000, "nS"), ["'nS'", "0.001"]),
        (skin(3, "volts"), ["'volts'", "no known unit"]),
        (skin(-1, ""), ["below 0"]),
    ],
)
def test_what_is_no_conductance_is_refused_and_never_converted(
    signal: Signal, words: list[str]
) -> None:
    with pytest.raises(DataError) as error:
        made(signal).check()
    for word in ["S1", *words]:
        assert word in str(error.value)


def test_a_reader_may_say_that_the_unit_is_unknown() -> None:
    made(skin(-500, "unknown")).check()


def test_faults_of_time_length_and_labels_are_named() -> None:
    back = Signal(np.array([0, 2, 1]) * SECOND, np.ones(3), 1.0, "uS")
    with pytest.raises(DataError, match="'eda' do not rise at sample 2"):
        made(back).check()
    with pytest.raises(DataError, match="too short: 60.0 s, at least 120 s"):
        made().check(min_seconds=120)
    with pytest.raises(DataError, match="no label"):
        made(segments=()).check()
    made(segments=()).check(labels=False)
    mostly = np.where(np.arange(240) % 4 == 0, 2.0, np.nan)
    with pytest.raises(DataError, match="lacks 75% of its samples"):
        made(Signal.regular(mostly, 4.0, "uS")).check()


def test_faults_of_segments_are_named() -> None:
    one = Segment(0, 10 * SECOND, None, 1.0, "a")
    with pytest.raises(DataError, match="'b' starts before 'a' has ended"):
        made(segments=(one, Segment(9 * SECOND, 20 * SECOND, None, 0.0, "b"))).check()
    with pytest.raises(DataError, match="arousal of segment 'a' is 4.5"):
        made(segments=(Segment(0, 9, None, 4.5, "a"),)).check()
    with pytest.raises(DataError, match="not after its start"):
        made(segments=(Segment(9, 9, None, 1.0, "a"),)).check()


def test_face_units_must_lie_in_0_to_1() -> None:
    times = np.array([0, 1], np.int64)
    ones = np.ones(2, np.float32)
    with pytest.raises(DataError, match="reach from 3 to 3"):
        made(units=UnitTrack(times, np.full((2, 1), 3, np.float32), ones, ("AU12",))).check()
    with pytest.raises(DataError, match="2 names"):
        made(units=UnitTrack(times, np.ones((2, 1), np.float32), ones, ("a", "b"))).check()
