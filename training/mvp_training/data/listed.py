# SPDX-License-Identifier: MPL-2.0
"""Reads one's own recordings from a list: a CSV file with one row per recording or trial.

Columns: `subject`, `name`, `faces` (an OpenFace CSV file, as StressID's features are) and
`physiology` (a CSV file with a column `time` in seconds and any of `eda` in µS, `ecg`,
`ppg`; blank where there is no sample), `valence`, `arousal` (0, 1 or blank). Files are
named from the list's directory; either column of files may be blank or absent. All times
count from the recording's start.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from . import openface
from .recording import SECOND, DataError, Recording, Segment, Signal

SIGNALS = {"eda": "uS", "ecg": "", "ppg": ""}


def read(path: str | Path) -> list[Recording]:
    """Reads the recordings that a list names; errors name the list and its line."""
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist; expected a CSV file that lists recordings")
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as text:
        rows = csv.DictReader(text, skipinitialspace=True)
        names = [n.strip() for n in rows.fieldnames or []]
        missing = [n for n in ("subject", "name") if n not in names]
        if missing or not {"faces", "physiology"} & set(names):
            raise DataError(
                f"{file}: expected columns subject, name, faces and/or physiology, valence,"
                f" arousal; found {', '.join(names) or 'none'}"
            )
        found = [_recording(file, rows.line_num, row) for row in rows]
    if not found:
        raise DataError(f"{file}: lists no recording")
    return found


def _recording(file: Path, line: int, row: dict[str, str | None]) -> Recording:
    where = f"{file}, line {line}"

    def text(name: str) -> str:
        return (row.get(name) or "").strip()

    def label(name: str) -> float | None:
        value = text(name)
        if value not in ("", "0", "1", "0.0", "1.0"):
            raise DataError(f"{where}: {name} is {value!r}, expected 0, 1 or nothing")
        return float(value) if value else None

    if not text("subject") or not text("name"):
        raise DataError(f"{where}: subject and name must not be blank")
    units = openface.read(file.parent / text("faces")) if text("faces") else None
    signals = _signals(file.parent / text("physiology")) if text("physiology") else {}
    if units is None and not signals:
        raise DataError(f"{where}: neither faces nor physiology is named")
    bare = Recording(text("subject"), text("name"), signals, units, ())
    if not bare.end_ns:
        raise DataError(f"{where}: the recording is empty")
    segment = Segment(0, bare.end_ns, label("valence"), label("arousal"), "all")
    return Recording(bare.subject, bare.name, signals, units, (segment,)).check()


def _signals(file: Path) -> dict[str, Signal]:
    if not file.is_file():
        raise DataError(f"{file} does not exist; expected a CSV file with time, eda, ecg, ppg")
    try:
        table: Any = np.genfromtxt(file, delimiter=",", names=True, dtype=np.float64, ndmin=1)
    except ValueError as error:
        raise DataError(f"{file}: rows of unequal length ({error})") from error
    names = table.dtype.names or ()
    present = [s for s in SIGNALS if s in names]
    if "time" not in names or not present:
        raise DataError(
            f"{file}: expected columns time and any of {', '.join(SIGNALS)}; found"
            f" {', '.join(names) or 'none'}"
        )
    seconds = table["time"]
    if not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any() or seconds.min(initial=0) < 0:
        raise DataError(f"{file}: times must be numbers that rise from 0 or later")
    result = {}
    for name in present:
        there = np.isfinite(table[name])
        if there.sum() < 2:
            continue
        times = np.rint(seconds[there] * SECOND).astype(np.int64)
        # Rows may be those of a faster signal; the own rate is that of the own samples.
        rate = 1.0 / float(np.median(np.diff(seconds[there])))
        result[name] = Signal.of(times, table[name][there], rate, SIGNALS[name])
    return result
