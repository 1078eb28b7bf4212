# SPDX-License-Identifier: MPL-2.0
"""Reads Stress-Predict: Empatica E4 on the wrist, stress tasks and rest, 35 people.

Source: T. Iqbal et al., "Stress Monitoring Using Wearable Sensors: A Pilot Study and
Stress-Predict Dataset", Sensors 22(21), 8135, 2022, doi 10.3390/s22218135; the public
repository italha-d/Stress-Predict-Dataset (MIT).

Layout:
    Raw_data/Sxx/BVP.csv   line 1 start (Unix s), line 2 rate (64 Hz), then samples
    Raw_data/Sxx/EDA.csv   the same at 4 Hz, microsiemens
    Processed_data/Improved_All_Combined_hr_rsp_binary.csv
                           Participant, HR, respr, Time(sec), Label; one row per second,
                           Unix time, Label 1 in a stress task and 0 in rest, baseline
                           and recovery. Participant has no leading zero; 1 has no rows.

The label is arousal: the three tasks (Stroop, interview, hyperventilation) were made to
raise it. There is no valence label. The order of the tasks is the same for everybody, so
elapsed time alone predicts the label well: never give it to a model, and print the
time-only control (`baselines.TimeOnly`) beside every figure.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from .recording import SECOND, DataError, Floats, Recording, Segment, Signal

LABEL_FILE = "Improved_All_Combined_hr_rsp_binary.csv"
# name in the plugin, file, unit as info.txt states it
SIGNALS = (("ppg", "BVP.csv", ""), ("eda", "EDA.csv", "uS"))
COLUMNS = ("Participant", "Time(sec)", "Label")
# Labels come each second; a row stands for the second that follows it.
LABEL_PERIOD = 1.0
LABEL_GAP = 1.5


def read(
    path: str | Path,
    subjects: list[str] | None = None,
    unlabelled: bool = False,
    keep_zero_eda: bool = False,
) -> list[Recording]:
    """Reads the data set.

    path:          the .tar.xz (or other tar, or zip) archive, an unpacked directory, or a
                   clone of the public repository
    subjects:      names such as "S02" to keep; all by default
    unlabelled:    whether to return people without labels (S01) too
    keep_zero_eda: the E4 writes exactly 0 µS where there is no contact (always in the
                   first sample); such samples are left out and counted unless this is set

    Returns one recording per person, in order of name, with "ppg" (no unit: the E4 gives
    none for BVP) and "eda" (µS), times from the start of the earlier of the two.
    Raises DataError for a missing or malformed file.
    """
    labels: dict[int, Floats] | None = None
    files: dict[str, dict[str, Floats]] = {}
    for parts, content in _files(Path(path)):
        if parts[-1] == LABEL_FILE:
            labels = _labels(content)
            continue
        person = parts[-2]
        if subjects is None or person in subjects:
            files.setdefault(person, {})[parts[-1]] = _samples("/".join(parts[-2:]), content)
    if labels is None:
        raise DataError(
            f"{path}: Processed_data/{LABEL_FILE} is missing; expected the whole data set"
        )
    if not files:
        raise DataError(
            f"{path}: no Raw_data/Sxx/EDA.csv found"
            + (f" for {', '.join(subjects)}" if subjects else "")
            + "; expected the archive, its unpacked directory or the repository's clone"
        )
    recordings = []
    for person in sorted(files):
        rows = labels.get(_number(person), np.empty((0, 2)))
        if len(rows) or unlabelled:
            recordings.append(_recording(person, files[person], rows, keep_zero_eda))
    if not recordings:
        raise DataError(f"{path}: none of {', '.join(sorted(files))} has labels")
    return recordings


def _wanted(parts: tuple[str, ...]) -> bool:
    if len(parts) >= 2 and parts[-2:] == ("Processed_data", LABEL_FILE):
        return True
    names = {file for _, file, _ in SIGNALS}
    return len(parts) >= 3 and parts[-3] == "Raw_data" and parts[-1] in names


def _files(path: Path) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """The files of interest: path split into parts, and content. Nothing is unpacked."""
    if path.is_dir():
        for file in sorted(path.rglob("*.csv")):
            if _wanted(file.relative_to(path).parts):
                yield file.relative_to(path).parts, file.read_bytes()
    elif not path.exists():
        raise DataError(
            f"{path} does not exist; expected the Stress-Predict archive or directory"
            " (public repository italha-d/Stress-Predict-Dataset)"
        )
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if _wanted(PurePosixPath(name).parts):
                    yield PurePosixPath(name).parts, archive.read(name)
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None and _wanted(parts):
                    yield parts, content.read()
    else:
        raise DataError(f"{path} is neither a directory nor a tar or zip archive")


def _number(person: str) -> int:
    digits = person.lstrip("Ss")
    if not digits.isdigit():
        raise DataError(f"Raw_data/{person}: expected a directory named S and a number")
    return int(digits)


def _samples(name: str, content: bytes) -> Floats:
    try:
        values = np.loadtxt(io.BytesIO(content), dtype=np.float64, ndmin=1)
    except ValueError as error:
        raise DataError(f"{name}: expected one number a line ({error})") from error
    if values.ndim != 1 or values.size < 3 or not values[1] > 0 or not values[0] > 0:
        raise DataError(
            f"{name}: expected a start time, a rate above 0 and samples, one number a line"
        )
    return values


def _labels(content: bytes) -> dict[int, Floats]:
    """For each participant rows of (Unix time, label), as they stand in the file."""
    header, _, _ = content.partition(b"\n")
    names = [n.strip() for n in header.decode("utf-8-sig", "replace").split(",")]
    missing = [c for c in COLUMNS if c not in names]
    if missing:
        raise DataError(
            f"{LABEL_FILE}: no column {', '.join(missing)}; found {', '.join(names)}"
        )
    try:
        table = np.loadtxt(
            io.BytesIO(content), dtype=np.float64, delimiter=",", skiprows=1, ndmin=2,
            usecols=[names.index(c) for c in COLUMNS],
        )
    except ValueError as error:
        raise DataError(f"{LABEL_FILE}: expected numbers in each row ({error})") from error
    table = table[np.isfinite(table).all(axis=1)]
    strange = set(np.unique(table[:, 2])) - {0.0, 1.0}
    if strange:
        raise DataError(f"{LABEL_FILE}: labels are 0 or 1, found {sorted(strange)}")
    people = np.unique(table[:, 0])
    return {int(p): table[table[:, 0] == p][:, 1:] for p in people}


def segments(rows: Floats, start: float) -> tuple[tuple[Segment, ...], int]:
    """Joins label rows (Unix time, label) into runs of one label.

    Rows may be out of order, doubled or have gaps: they are sorted, a second that two rows
    label differently is left out, and a run ends where the next row is more than 1.5 s
    later. Returns the segments, times from `start` (Unix s), and how many seconds were
    left out as contradictory.
    """
    times, index = np.unique(rows[:, 0], return_inverse=True)
    low = np.full(times.size, np.inf)
    high = np.full(times.size, -np.inf)
    np.minimum.at(low, index.ravel(), rows[:, 1])
    np.maximum.at(high, index.ravel(), rows[:, 1])
    agreed = low == high
    times, values = times[agreed], low[agreed]
    if times.size == 0:
        return (), int(np.count_nonzero(~agreed))
    cuts = np.flatnonzero((np.diff(times) > LABEL_GAP) | (np.diff(values) != 0)) + 1
    found: list[Segment] = []
    for first, last in zip([0, *cuts], [*cuts, times.size], strict=True):
        end = times[last - 1] + LABEL_PERIOD
        if last < times.size:
            end = min(end, times[last])
        begin = max(0, round((times[first] - start) * SECOND))
        stop = round((end - start) * SECOND)
        if stop > begin:
            word = "stress" if values[first] else "rest"
            found.append(
                Segment(begin, stop, None, float(values[first]), f"{len(found):02d}-{word}")
            )
    return tuple(found), int(np.count_nonzero(~agreed))


def _recording(
    person: str, files: dict[str, Floats], rows: Floats, keep_zero_eda: bool
) -> Recording:
    lacking = [file for _, file, _ in SIGNALS if file not in files]
    if lacking:
        raise DataError(f"Raw_data/{person}: {', '.join(lacking)} missing")
    start = min(float(values[0]) for values in files.values())
    signals = {}
    for name, file, unit in SIGNALS:
        values = files[file]
        offset = round((float(values[0]) - start) * SECOND)
        samples = values[2:]
        if name == "eda" and not keep_zero_eda:
            samples = np.where(samples == 0, np.nan, samples)
        signals[name] = Signal.regular(samples, float(values[1]), unit, offset)
    runs, contradictory = segments(rows, start)
    notes = [f"{n}: {s.dropped} samples missing" for n, s in signals.items() if s.dropped]
    if contradictory:
        notes.append(f"{contradictory} s with contradictory labels left out")
    return Recording(person, person, signals, None, runs, tuple(notes))
