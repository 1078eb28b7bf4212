# SPDX-License-Identifier: MPL-2.0
"""Classical features of a window, and their causal normalisation.

Eleven features for PPG or ECG with EDA (five and six, `CARDIAC` and `EDA`), and mean and
standard deviation of each face unit. Filters run forwards and backwards, but inside the
window only: nothing after the window's end is used. Normalisation is an expanding
z-score: a window is scaled with the windows up to and including itself.

Definitions: heart rate and variability after Task Force (Circulation 93, 1996); skin
conductance responses after Boucsein, Electrodermal Activity (2012).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import signal as dsp

from .data.recording import (
    CONDUCTANCE_UNITS,
    SECOND,
    Floats,
    Recording,
    Signal,
    Times,
    plain_unit,
)
from .data.windows import Windows

Mask = npt.NDArray[np.bool_]

CARDIAC = ("rate", "sdnn", "rmssd", "amplitude_mean", "amplitude_std")
EDA = ("mean", "std", "slope", "range", "scr_rate", "scr_amplitude")

# Beats closer than 0.33 s (182/min) or further apart than 1.5 s (40/min) are not believed,
# nor is an interval that differs from the window's median by more than 30 %.
MIN_INTERVAL, MAX_INTERVAL, MAX_DEVIATION = 0.33, 1.5, 0.3
MIN_BEATS = 6
# Band in Hz in which beats are sought.
BANDS = {"ppg": (0.6, 5.0), "ecg": (5.0, 25.0)}
# A skin conductance response rises by at least this, in µS.
SCR_MIN = 0.01
# The same where the unit is not known: share of the window's range.
SCR_MIN_SHARE = 0.05
EDA_RATE = 4.0
MIN_COVERAGE = 0.5


def runs(part: Signal, max_gap: float) -> list[tuple[Times, Floats]]:
    """Splits a signal where samples are more than `max_gap` seconds apart."""
    if len(part) == 0:
        return []
    cuts = np.flatnonzero(np.diff(part.times) > max_gap * SECOND) + 1
    return list(zip(np.split(part.times, cuts), np.split(part.values, cuts), strict=True))


def _even(times: Times, values: Floats, rate: float) -> tuple[Floats, Floats]:
    """Seconds and values of one run on an even grid, linearly between neighbours."""
    seconds = (times - times[0]) / SECOND
    grid = np.arange(0, int(np.floor(seconds[-1] * rate)) + 1) / rate
    return grid + times[0] / SECOND, np.interp(grid, seconds, values)


def beats(part: Signal, kind: str) -> tuple[Floats, Floats, Floats]:
    """Finds heart beats in one window of PPG (systolic peaks) or ECG (R peaks).

    Returns intervals between neighbouring beats [m] in seconds, their order in the window
    as the index [m] of the first beat, and the beats' amplitudes [k] (prominence of the
    pulse, height of the R wave, both in the band, in the signal's unit). No interval spans a gap.
    """
    low, high = BANDS[kind]
    rate = part.rate if part.rate > 0 else (64.0 if kind == "ppg" else 128.0)
    high = min(high, 0.45 * rate)
    sos = dsp.butter(2, (low, high), "bandpass", fs=rate, output="sos")
    intervals: list[Floats] = []
    firsts: list[Floats] = []
    amplitudes: list[Floats] = []
    count = 0
    for times, values in runs(part, 3.0 / rate + 0.02):
        if times[-1] - times[0] < 3 * SECOND:
            continue
        seconds, even = _even(times, values, rate)
        band: Floats = dsp.sosfiltfilt(sos, even - even.mean())
        sought = band
        if kind == "ecg":
            # Slope energy over 80 ms stands out at the QRS complex whatever its sign.
            width = max(1, round(0.08 * rate))
            sought = np.sqrt(
                np.convolve(np.gradient(band) ** 2, np.ones(width) / width, "same")
            )
        spread = float(np.std(sought))
        if not spread > 0:
            continue
        distance = max(1, round(MIN_INTERVAL * rate))
        found, about = dsp.find_peaks(sought, distance=distance, prominence=0.5 * spread)
        if found.size < 2:
            continue
        height = about["prominences"]
        if kind == "ecg":
            # The energy's top is flat: the R wave itself is the largest swing near it.
            sought = np.abs(band)
            reach = round(0.06 * rate)
            near = np.arange(-reach, reach + 1)
            places = np.clip(found[:, None] + near, 1, sought.size - 2)
            found = places[np.arange(found.size), np.argmax(sought[places], axis=1)]
            height = sought[found]
        # A parabola through the peak and its neighbours finds it between two samples.
        before, at, after = sought[found - 1], sought[found], sought[found + 1]
        bend = before - 2 * at + after
        shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, -1), 0)
        moments = seconds[found] + shift / rate
        intervals.append(np.diff(moments))
        firsts.append(np.arange(count, count + found.size - 1, dtype=np.float64))
        amplitudes.append(height)
        count += found.size + 1
    if not intervals:
        return np.empty(0), np.empty(0), np.empty(0)
    return np.concatenate(intervals), np.concatenate(firsts), np.concatenate(amplitudes)


def cardiac(part: Signal, kind: str) -> Floats:
    """The five features `CARDIAC` of one window of "ppg" or "ecg"; NaN with too few beats.

    rate (1/min, from the median interval), SDNN and RMSSD (ms), mean and standard
    deviation of the beats' amplitude (the signal's unit).
    """
    intervals, firsts, amplitudes = beats(part, kind)
    good = (intervals >= MIN_INTERVAL) & (intervals <= MAX_INTERVAL)
    if np.count_nonzero(good) < MIN_BEATS:
        return np.full(len(CARDIAC), np.nan)
    middle = np.median(intervals[good])
    good &= np.abs(intervals - middle) <= MAX_DEVIATION * middle
    if np.count_nonzero(good) < MIN_BEATS:
        return np.full(len(CARDIAC), np.nan)
    kept, order = 1000 * intervals[good], firsts[good]
    neighbours = np.diff(order) == 1
    steps = np.diff(kept)[neighbours]
    return np.array([
        60_000 / np.median(kept),
        np.std(kept, ddof=1),
        np.sqrt(np.mean(steps**2)) if steps.size >= 3 else np.nan,
        np.mean(amplitudes),
        np.std(amplitudes),
    ])


def electrodermal(part: Signal) -> Floats:
    """The six features `EDA` of one window.

    mean, standard deviation and range (µS), slope (µS/min), skin conductance responses
    per minute, and the sum of their amplitudes (µS per minute). Where the unit is not
    microsiemens the numbers are in that unit, and a response is one that rises by 5 % of
    the window's range.
    """
    pieces = []
    responses, amplitude, length = 0, 0.0, 0.0
    lowest = SCR_MIN
    if plain_unit(part.unit) not in CONDUCTANCE_UNITS and len(part):
        lowest = SCR_MIN_SHARE * float(np.ptp(part.values))
    sos = dsp.butter(2, 1.0, "lowpass", fs=EDA_RATE, output="sos")
    for times, values in runs(part, 1.5):
        if times[-1] - times[0] < 3 * SECOND:
            continue
        seconds, even = _even(times, values, EDA_RATE)
        smooth: Floats = dsp.sosfiltfilt(sos, even)
        pieces.append(np.stack([seconds, smooth]))
        # Without its straight line, so that a response on a falling level still rises.
        level = dsp.detrend(smooth)
        found, about = dsp.find_peaks(level, prominence=max(lowest, 1e-12), distance=4)
        responses += found.size
        amplitude += float(np.sum(level[found] - level[about["left_bases"]]))
        length += even.size / EDA_RATE
    if not pieces or length < 5:
        return np.full(len(EDA), np.nan)
    seconds, smooth = np.concatenate(pieces, axis=1)
    slope = 60 * np.polyfit(seconds - seconds[0], smooth, 1)[0]
    return np.array([
        np.mean(smooth), np.std(smooth), slope, np.ptp(smooth),
        60 * responses / length, 60 * amplitude / length,
    ])


def unit_statistics(
    recording: Recording, start_ns: int, end_ns: int, min_confidence: float = 0.5
) -> Floats:
    """Mean, then standard deviation, of each face unit in a window, float64 [2 U]; NaN
    where fewer than five frames have a face."""
    if recording.units is None:
        return np.empty(0)
    part = recording.units.between(start_ns, end_ns)
    seen = part.values[part.confidence >= min_confidence].astype(np.float64)
    if len(seen) < 5:
        return np.full(2 * len(part.names), np.nan)
    return np.concatenate([seen.mean(axis=0), seen.std(axis=0)])


def names(recordings: Sequence[Recording], signals: Sequence[str], units: bool) -> list[str]:
    """The columns of `extract`, such as "eda.slope" or "units.mouthSmileLeft.mean"."""
    found = [f"{s}.{f}" for s in signals for f in (EDA if s == "eda" else CARDIAC)]
    if units:
        tracks = [r.units for r in recordings if r.units is not None]
        if tracks:
            for statistic in ("mean", "std"):
                found += [f"units.{u}.{statistic}" for u in tracks[0].names]
    return found


def extract(
    recordings: Sequence[Recording],
    windows: Windows,
    signals: Sequence[str] = ("ppg", "eda"),
    units: bool = False,
) -> Floats:
    """Raw features of each window, float64 [n, F]; columns as in `names`.

    NaN where a signal is not there or covers less than half of the window.
    """
    columns = names(recordings, signals, units)
    out = np.full((len(windows), len(columns)), np.nan)
    for row in range(len(windows)):
        recording = recordings[windows.recording[row]]
        start, end = int(windows.start_ns[row]), int(windows.end_ns[row])
        at = 0
        for name in signals:
            width = len(EDA) if name == "eda" else len(CARDIAC)
            signal = recording.signals.get(name)
            if signal is not None and signal.coverage(start, end) >= MIN_COVERAGE:
                part = signal.between(start, end)
                made = electrodermal(part) if name == "eda" else cardiac(part, name)
                out[row, at : at + width] = made
            at += width
        if units and recording.units is not None:
            out[row, at:] = unit_statistics(recording, start, end)
    return out


def expanding(
    values: npt.ArrayLike, groups: npt.ArrayLike, min_count: int = 2, clip: float = 5.0
) -> tuple[Floats, Mask]:
    """Causal z-score: each row is scaled with the rows of its group up to and with itself.

    values: [n, F] in order of time inside each group; NaN is missing
    groups: [n], usually the recording
    Returns float64 [n, F] (0, the running mean, where a value is missing, where fewer
    than `min_count` have been seen or where nothing has varied yet), clipped at `clip`,
    and bool [n, F]: whether there was a value.
    """
    raw = np.asarray(values, np.float64)
    keys = np.asarray(groups)
    valid = np.isfinite(raw)
    out = np.zeros_like(raw)
    for key in np.unique(keys):
        rows = np.flatnonzero(keys == key)
        part, there = raw[rows], valid[rows]
        # Counted from the first value, so that the sums keep their precision.
        first = np.zeros(raw.shape[1])
        for column in range(raw.shape[1]):
            seen = np.flatnonzero(there[:, column])
            first[column] = part[seen[0], column] if seen.size else 0.0
        centred = np.where(there, part - first, 0.0)
        count = np.maximum(1, np.cumsum(there, axis=0))
        mean = np.cumsum(centred, axis=0) / count
        square = np.cumsum(centred**2, axis=0) / count
        deviation = np.sqrt(np.maximum(0.0, square - mean**2))
        floor = 1e-9 * (np.abs(first) + np.sqrt(square)) + 1e-300
        usable = there & (count >= min_count) & (deviation > floor)
        scaled = (centred - mean) / np.where(usable, deviation, 1.0)
        out[rows] = np.where(usable, np.clip(scaled, -clip, clip), 0.0)
    return out, valid


def prepare(
    recordings: Sequence[Recording],
    windows: Windows,
    signals: Sequence[str] = ("ppg", "eda"),
    units: bool = False,
) -> tuple[Floats, Mask]:
    """`extract`, then `expanding`: float64 [n, F] without NaN, and bool [n, F].

    Windows are scaled with what the recording held before them. Where a data set is
    published in trials (several recordings of one person) they are scaled with the
    person's earlier trials in the order of the list, because one trial holds too few
    windows; in DEAP that order is not the one in which they were seen.
    """
    people = [r.subject for r in recordings]
    single = len(set(people)) == len(people)
    groups = windows.recording if single else windows.subject
    return expanding(extract(recordings, windows, signals, units), groups)
