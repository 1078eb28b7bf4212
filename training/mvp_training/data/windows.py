# SPDX-License-Identifier: MPL-2.0
"""Cuts recordings into windows: the rows that features, networks and tables share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from .recording import SECOND, DataError, Floats, Recording, Times

Ints = npt.NDArray[np.int64]
Names = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Windows:
    """n windows, in order of recording and time.

    recording: int64 [n], index into the list of recordings
    start_ns, end_ns: int64 [n], ns from the start of that recording
    subject:   str [n]
    trial:     str [n], "recording/trial"; "" where the window has no label
    valence, arousal: float64 [n], 0, 1 or NaN where there is no label
    elapsed:   float64 [n], seconds from the subject's first recording's start to the
               window's end. For the time-only control; never an input of a model.
    """

    recording: Ints
    start_ns: Times
    end_ns: Times
    subject: Names
    trial: Names
    valence: Floats
    arousal: Floats
    elapsed: Floats

    def __len__(self) -> int:
        return int(self.recording.size)

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Windows:
        """The windows with these indices, or where this mask is true."""
        return Windows(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def labels(self, target: str) -> Floats:
        """float64 [n]: 0, 1 or NaN; `target` is "valence" or "arousal"."""
        if target not in ("valence", "arousal"):
            raise DataError(f"target {target!r}: expected 'valence' or 'arousal'")
        return self.valence if target == "valence" else self.arousal

    def labelled(self, target: str) -> npt.NDArray[np.bool_]:
        """bool [n]: whether the window has this label."""
        return np.isfinite(self.labels(target))


def cut(
    recordings: Sequence[Recording],
    duration: float = 60.0,
    hop: float = 30.0,
    anchor: str = "recording",
) -> Windows:
    """Cuts every recording into windows of `duration` seconds, one each `hop` seconds.

    A window has a label when it lies wholly inside one segment; one that crosses the
    border between two labels, or leaves a labelled run, has none (NaN). Windows without a
    label are kept, because running normalisation sees them as the live element does; drop
    them for training and scoring with `take(labelled(target))`.

    anchor: "recording" puts window k at k * hop from the recording's start, as a live
            element does; "segment" starts anew at each segment (every window has a label;
            more of them for short trials)
    """
    if not (duration > 0 and hop > 0):
        raise DataError(f"windows of {duration} s each {hop} s: both must be above 0")
    if anchor not in ("recording", "segment"):
        raise DataError(f"anchor {anchor!r}: expected 'recording' or 'segment'")
    length, step = round(duration * SECOND), round(hop * SECOND)
    rows: list[tuple[int, int, str, str, float, float, float]] = []
    before: dict[str, int] = {}
    for index, recording in enumerate(recordings):
        offset = before.get(recording.subject, 0)
        if anchor == "recording":
            starts = list(range(0, recording.end_ns - length + 1, step))
        else:
            starts = [
                start
                for segment in recording.segments
                for start in range(segment.start_ns, segment.end_ns - length + 1, step)
            ]
        for start in starts:
            end = start + length
            inside = [
                s for s in recording.segments if s.start_ns <= start and end <= s.end_ns
            ]
            trial, valence, arousal = "", np.nan, np.nan
            if inside:
                trial = f"{recording.name}/{inside[0].trial}"
                valence = np.nan if inside[0].valence is None else inside[0].valence
                arousal = np.nan if inside[0].arousal is None else inside[0].arousal
            elapsed = (offset + end) / SECOND
            rows.append((index, start, recording.subject, trial, valence, arousal, elapsed))
        before[recording.subject] = offset + recording.end_ns
    start_ns = np.array([r[1] for r in rows], np.int64)
    return Windows(
        recording=np.array([r[0] for r in rows], np.int64),
        start_ns=start_ns,
        end_ns=start_ns + length,
        subject=np.array([r[2] for r in rows], np.str_),
        trial=np.array([r[3] for r in rows], np.str_),
        valence=np.array([r[4] for r in rows], np.float64),
        arousal=np.array([r[5] for r in rows], np.float64),
        elapsed=np.array([r[6] for r in rows], np.float64),
    )
