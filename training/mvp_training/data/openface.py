# SPDX-License-Identifier: MPL-2.0
"""Reads OpenFace 2 CSV files (FeatureExtraction), for people who hold such features.

Source: T. Baltrusaitis et al., "OpenFace 2.0: Facial Behavior Analysis Toolkit", FG 2018;
the output format is described in the toolkit's wiki. One row per frame: frame, face_id,
timestamp (s), confidence (0-1), success (0 or 1), ..., AU01_r ... AU45_r (intensity, 0-5,
17 columns) and AUxx_c (presence). Column names may have a leading blank. OpenFace itself
may be used for research only; nothing of it is in this project.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .recording import SECOND, DataError, UnitTrack

ACTION_UNITS = tuple(
    f"AU{n:02d}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
)
MAX_INTENSITY = 5.0


def read(path: str | Path, rate: float | None = None, face: int | None = None) -> UnitTrack:
    """Reads one file.

    rate: frames per second of the film. Needed only where the file has no timestamp
          column (output for a directory of images); times are then (frame - 1) / rate
    face: face_id to keep; by default the face of most frames in a file with several

    Returns the 17 intensities divided by 5, clipped to 0-1, named "AU01" to "AU45"; frames
    without a face (success 0) keep their time and have confidence 0 and values 0. Frames
    whose numbers are not finite count as frames without a face.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist; expected an OpenFace CSV file")
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as text:
        header = next(csv.reader([text.readline()]), [])
        names = [n.strip() for n in header]
        wanted = [f"{u}_r" for u in ACTION_UNITS]
        missing = [n for n in ("confidence", "success", *wanted) if n not in names]
        if missing:
            raise DataError(
                f"{file}: no column {', '.join(missing)}; expected an OpenFace file with"
                " action units (FeatureExtraction with -aus)"
            )
        timed = "timestamp" in names
        if not timed and (rate is None or "frame" not in names):
            raise DataError(
                f"{file}: no column timestamp; give the film's rate (and keep column frame)"
            )
        clock = "timestamp" if timed else "frame"
        with_id = "face_id" in names
        columns = [clock, "confidence", "success", *wanted] + (["face_id"] if with_id else [])
        lines = [line for line in text if line.strip()]
    if not lines:
        raise DataError(f"{file}: no frame")
    try:
        table = np.genfromtxt(
            lines, delimiter=",", usecols=[names.index(n) for n in columns], dtype=np.float64
        ).reshape(-1, len(columns))
    except ValueError as error:
        raise DataError(f"{file}: rows of unequal length ({error})") from error
    if with_id:
        ids = table[:, -1]
        known = ids[np.isfinite(ids)]
        if face is not None and not np.any(known == face):
            raise DataError(f"{file}: no face_id {face}; found {sorted(set(known.astype(int)))}")
        if known.size:
            kinds, counts = np.unique(known, return_counts=True)
            table = table[ids == (kinds[np.argmax(counts)] if face is None else face)]
    table = table[np.isfinite(table[:, 0])]
    if not len(table):
        raise DataError(f"{file}: no frame has a number in column {clock}")
    seconds = table[:, 0] if timed else (table[:, 0] - 1) / float(rate or 1)
    order = np.argsort(seconds, kind="stable")
    times = np.rint(seconds[order] * SECOND).astype(np.int64)
    keep = np.concatenate([[True], np.diff(times) > 0])
    table, times = table[order][keep], times[keep]
    units = table[:, 3 : 3 + len(wanted)]
    good = np.isfinite(units).all(axis=1) & np.isfinite(table[:, 1]) & (table[:, 2] == 1)
    values = np.where(good[:, None], np.clip(units / MAX_INTENSITY, 0, 1), 0.0)
    confidence = np.where(good, np.clip(table[:, 1], 0, 1), 0.0)
    return UnitTrack(
        times, values.astype(np.float32), confidence.astype(np.float32), ACTION_UNITS
    )
