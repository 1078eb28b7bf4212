# SPDX-License-Identifier: MPL-2.0
"""What every reader returns: one recording of one person, on one time line.

Times are int64 nanoseconds from the start of the recording. Gaps stay gaps: a sample that
is missing has no time, and nothing is filled in. Labels are 0 (low) or 1 (high) after the
reader's threshold; `None` means that the recording does not say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Times = npt.NDArray[np.int64]

SECOND = 1_000_000_000

# Skin conductance at rest is about 0.05 to 60 microsiemens (Boucsein, Electrodermal
# Activity, 2012, gives 1-40 for most people; dry wrist sensors read lower).
MAX_CONDUCTANCE = 60.0
# Below zero there is no conductance; a few such samples are sensor offset.
MAX_NEGATIVE_SHARE = 0.05

CONDUCTANCE_UNITS = frozenset({"us", "usiemens", "microsiemens", "umho", "micromho"})
RESISTANCE_UNITS = frozenset(
    {"ohm", "ohms", "kohm", "kohms", "kiloohm", "kiloohms", "mohm", "mohms", "megaohm", "megohm"}
)
OTHER_CONDUCTANCE_UNITS = {
    "s": 1e6, "siemens": 1e6, "ms": 1e3, "millisiemens": 1e3,
    "ns": 1e-3, "nsiemens": 1e-3, "nanosiemens": 1e-3,
}
# A reader that knows that the unit is not to be had says so with one of these.
UNKNOWN_UNITS = frozenset({"unknown", "a.u.", "au", "arbitrary"})


class DataError(ValueError):
    """Data that cannot be used as it is; the text names the recording, what is wrong and
    what to do."""


def plain_unit(unit: str) -> str:
    """`unit` in lower-case ASCII: "kΩ" is "kohm", "µS" is "us". Blanks are dropped."""
    text = unit.strip().replace("Ω", "ohm").replace("\u2126", "ohm")
    text = text.replace("µ", "u").replace("μ", "u").lower()
    return "".join(text.split())


@dataclass(frozen=True, eq=False)
class Signal:
    """Samples of one channel.

    times:   int64 [n], ns from the start of the recording, strictly rising
    values:  float64 [n], finite, in `unit`
    rate:    nominal samples per second; 0 where the sender has none
    unit:    as the source writes it; "" where it writes none, "unknown" where a reader
             knows that the numbers are in no plain unit
    dropped: samples that the source held as missing (NaN, infinite, no contact)
    """

    times: Times
    values: Floats
    rate: float
    unit: str
    dropped: int = 0

    @staticmethod
    def of(
        times: npt.ArrayLike, values: npt.ArrayLike, rate: float, unit: str, dropped: int = 0
    ) -> Signal:
        """Makes a signal; samples that are not finite are left out and counted."""
        stamps = np.asarray(times, np.int64)
        samples = np.asarray(values, np.float64)
        if stamps.ndim != 1 or stamps.shape != samples.shape:
            raise DataError(
                f"a signal has times {stamps.shape} and values {samples.shape}; expected two"
                " arrays of one equal dimension"
            )
        good = np.isfinite(samples)
        lost = int(good.size - np.count_nonzero(good))
        if lost:
            stamps, samples = stamps[good], samples[good]
        return Signal(stamps, samples, float(rate), unit, dropped + lost)

    @staticmethod
    def regular(values: npt.ArrayLike, rate: float, unit: str, start_ns: int = 0) -> Signal:
        """Makes a signal whose sample `i` was taken at `start_ns` + i / `rate`."""
        if not rate > 0:
            raise DataError(f"a regular signal needs a rate above 0 Hz, not {rate}")
        count = np.asarray(values).shape[0]
        steps = np.arange(count, dtype=np.float64) * (SECOND / rate)
        return Signal.of(np.rint(steps).astype(np.int64) + start_ns, values, rate, unit)

    def __len__(self) -> int:
        return int(self.times.size)

    @property
    def missing_share(self) -> float:
        """Share of the source's samples that were missing, 0-1."""
        total = len(self) + self.dropped
        return self.dropped / total if total else 1.0

    @property
    def period_ns(self) -> float:
        """Nominal time between samples; the median where the sender has no rate."""
        if self.rate > 0:
            return SECOND / self.rate
        return float(np.median(np.diff(self.times))) if len(self) > 1 else 0.0

    def between(self, start_ns: int, end_ns: int) -> Signal:
        """The samples with start <= time < end, times unchanged."""
        first, last = np.searchsorted(self.times, [start_ns, end_ns])
        return Signal(self.times[first:last], self.values[first:last], self.rate, self.unit)

    def coverage(self, start_ns: int, end_ns: int, max_gap_ns: int = SECOND) -> float:
        """Share of start..end that samples cover, 0-1. A sample stands for one period; a
        gap no longer than `max_gap_ns` counts as covered where there is no rate."""
        if end_ns <= start_ns:
            return 0.0
        part = self.between(start_ns, end_ns).times
        if part.size == 0:
            return 0.0
        if self.rate > 0:
            return float(min(1.0, part.size * self.period_ns / (end_ns - start_ns)))
        steps = np.diff(np.concatenate([part, [min(end_ns, part[-1] + max_gap_ns)]]))
        return float(min(1.0, steps[steps <= max_gap_ns].sum() / (end_ns - start_ns)))


@dataclass(frozen=True, eq=False)
class UnitTrack:
    """Face units over time.

    times:      int64 [n], ns from the start of the recording, strictly rising
    values:     float32 [n, U], 0-1
    confidence: float32 [n], 0-1: how sure the tracker is of the face
    names:      U names
    """

    times: Times
    values: Floats32
    confidence: Floats32
    names: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.times.size)

    def between(self, start_ns: int, end_ns: int) -> UnitTrack:
        """The frames with start <= time < end, times unchanged."""
        first, last = np.searchsorted(self.times, [start_ns, end_ns])
        return UnitTrack(
            self.times[first:last], self.values[first:last], self.confidence[first:last],
            self.names,
        )

    def moved(self, offset_ns: int) -> UnitTrack:
        """The frames `offset_ns` later; those that would come before 0 are left out."""
        times = self.times + offset_ns
        keep = times >= 0
        return UnitTrack(times[keep], self.values[keep], self.confidence[keep], self.names)


@dataclass(frozen=True)
class Segment:
    """A stretch start_ns <= t < end_ns with one label per dimension (0, 1 or None)."""

    start_ns: int
    end_ns: int
    valence: float | None
    arousal: float | None
    trial: str


@dataclass(frozen=True, eq=False)
class Recording:
    """One person, one session (or one trial, where a set is published in trials).

    signals are named as the plugin names its pads: "eda", "ecg", "ppg"; `notes` hold what
    a reader had to leave out, in words.
    """

    subject: str
    name: str
    signals: dict[str, Signal]
    units: UnitTrack | None
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def end_ns(self) -> int:
        """The end of the last sample or frame; 0 where there is none."""
        ends = [int(s.times[-1] + s.period_ns) for s in self.signals.values() if len(s)]
        if self.units is not None and len(self.units):
            ends.append(int(self.units.times[-1]))
        return max(ends, default=0)

    def check(
        self,
        min_seconds: float = 10.0,
        max_missing: float = 0.5,
        labels: bool = True,
        conductance: bool = True,
    ) -> Recording:
        """Raises DataError where the recording cannot be used; returns it otherwise.

        min_seconds: shortest length that is of use (the window's)
        max_missing: largest share of missing samples in a signal, 0-1
        labels:      whether a recording without a label is an error
        conductance: whether "eda" must be skin conductance in microsiemens
        """
        if not self.signals and self.units is None:
            raise self._error("holds no signal and no face", "check the reader's arguments")
        for name, signal in self.signals.items():
            self._check_times(name, signal.times)
            if not np.isfinite(signal.values).all():
                raise self._error(
                    f"signal {name!r} holds values that are not finite",
                    "make it with Signal.of, which leaves them out and counts them",
                )
            if signal.missing_share > max_missing:
                raise self._error(
                    f"signal {name!r} lacks {signal.missing_share:.0%} of its samples"
                    f" (at most {max_missing:.0%} may be missing)",
                    "leave this recording or this signal out",
                )
        if self.units is not None:
            self._check_units(self.units)
        if self.end_ns < min_seconds * SECOND:
            raise self._error(
                f"is too short: {self.end_ns / SECOND:.1f} s, at least {min_seconds:g} s needed",
                "leave it out or use shorter windows",
            )
        if conductance and "eda" in self.signals:
            self._check_conductance(self.signals["eda"])
        self._check_segments(labels)
        return self

    def _error(self, found: str, remedy: str) -> DataError:
        return DataError(f"recording {self.name!r} (subject {self.subject}): {found}; {remedy}")

    def _check_times(self, name: str, times: npt.NDArray[Any]) -> None:
        steps = np.diff(times)
        if steps.size and int(steps.min()) <= 0:
            at = int(np.argmax(steps <= 0)) + 1
            raise self._error(
                f"the times of {name!r} do not rise at sample {at}"
                f" ({int(times[at - 1])} ns, then {int(times[at])} ns)",
                "sort the samples and drop doubles before making the signal",
            )

    def _check_units(self, units: UnitTrack) -> None:
        self._check_times("units", units.times)
        shape = (len(units), len(units.names))
        if units.values.shape != shape or units.confidence.shape != shape[:1]:
            raise self._error(
                f"face units have values {units.values.shape} and confidence"
                f" {units.confidence.shape} for {shape[0]} times and {shape[1]} names",
                f"expected {shape} and {shape[:1]}",
            )
        if len(units) and not (units.values.min() >= 0 and units.values.max() <= 1):
            raise self._error(
                f"face units reach from {units.values.min():g} to {units.values.max():g},"
                " expected 0 to 1",
                "scale them (OpenFace intensities are divided by 5)",
            )

    def _check_conductance(self, signal: Signal) -> None:
        unit = plain_unit(signal.unit)
        if unit in UNKNOWN_UNITS or not len(signal):
            return
        if unit in RESISTANCE_UNITS:
            raise self._error(
                f"EDA is skin resistance ({signal.unit!r}), which falls where conductance"
                " rises; expected conductance in µS",
                "convert it: µS = 1000 / kΩ = 1000000 / Ω",
            )
        if unit in OTHER_CONDUCTANCE_UNITS:
            raise self._error(
                f"EDA is in {signal.unit!r}, expected µS",
                f"multiply it by {OTHER_CONDUCTANCE_UNITS[unit]:g} and name the unit 'uS'",
            )
        if unit and unit not in CONDUCTANCE_UNITS:
            raise self._error(
                f"EDA is in {signal.unit!r}, which is no known unit of skin conductance;"
                " expected µS",
                "convert it, or name the unit 'unknown' to rely on running normalisation",
            )
        middle = float(np.median(signal.values))
        if middle > MAX_CONDUCTANCE:
            raise self._error(
                f"EDA has a median of {middle:g}, above the {MAX_CONDUCTANCE:g} µS that skin"
                " reaches; it looks like resistance in kΩ (tens to thousands, and it falls"
                " where conductance rises) or like raw counts",
                "convert kΩ with µS = 1000 / kΩ; for raw counts use the device's formula",
            )
        negative = float(np.mean(signal.values < 0))
        if negative > MAX_NEGATIVE_SHARE:
            raise self._error(
                f"{negative:.0%} of EDA is below 0, which conductance cannot be",
                "use the signal before it was filtered or centred, or name its unit"
                " 'unknown' to rely on running normalisation",
            )

    def _check_segments(self, labels: bool) -> None:
        before = None
        for segment in self.segments:
            if segment.end_ns <= segment.start_ns:
                raise self._error(
                    f"segment {segment.trial!r} ends at {segment.end_ns} ns, not after its"
                    f" start at {segment.start_ns} ns",
                    "check the label file",
                )
            if before is not None and segment.start_ns < before.end_ns:
                raise self._error(
                    f"segment {segment.trial!r} starts before {before.trial!r} has ended",
                    "give segments in order of time, without overlap",
                )
            for name, value in (("valence", segment.valence), ("arousal", segment.arousal)):
                if value is not None and value not in (0.0, 1.0):
                    raise self._error(
                        f"{name} of segment {segment.trial!r} is {value}",
                        "labels are 0 or 1 after thresholding, or None",
                    )
            before = segment
        if labels and all(s.valence is None and s.arousal is None for s in self.segments):
            raise self._error(
                "has no label", "leave it out of training, or read it with labels=False"
            )
