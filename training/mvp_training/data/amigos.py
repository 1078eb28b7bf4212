# SPDX-License-Identifier: MPL-2.0
"""Reads AMIGOS, preprocessed in MATLAB: people watching short and long films.

Source: J. A. Miranda-Correa et al., "AMIGOS: A Dataset for Affect, Personality and Mood
Research on Individuals and Groups", IEEE Trans. Affective Computing 12(2), 2021. The data
need a signed agreement.

Layout: `Data_Preprocessed_Pxx.mat` (also one directory deeper) with
    joined_data            cell [1, 20]: each [samples, 17] at 128 Hz; channels 0-13 EEG, 14 ECG
                           right, 15 ECG left, 16 GSR
    labels_selfassessment  cell [1, 20]: each [1, 12]: arousal, valence, dominance, liking,
                           familiarity, and seven basic emotions. The order is not DEAP's.
    VideoIDs               cell [1, 20]: name of each film (used where it is there)
The first 16 trials are the short films, on which the paper that is rebuilt here stands.
Some people lack trials: those are empty or NaN and are left out.

GSR comes from a Shimmer; the preprocessed files name no unit, so it is "unknown" here
and rests on running normalisation.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from .openface import read as read_openface
from .recording import SECOND, DataError, Floats, Recording, Segment, Signal

RATE = 128.0
ECG = {"right": 14, "left": 15}
GSR = 16
CHANNELS = 17
AROUSAL, VALENCE = 0, 1
SHORT = 16


def read(
    path: str | Path,
    threshold: float = 4.5,
    trials: int = SHORT,
    ecg: str = "right",
    skip: float = 0.0,
    faces: str | Path | None = None,
    min_seconds: float = 10.0,
) -> list[Recording]:
    """Reads one file `Data_Preprocessed_Pxx.mat`, or all below a directory.

    threshold:   a rating above it is 1 (4.5 as in EmotionLab/EEGain)
    trials:      how many trials to take, from the first; 16 are the short films
    ecg:         "right" or "left" arm
    skip:        seconds to leave out at the start of each trial. Whether trials begin with
                 a baseline is not certain: compare lengths with the films'
    faces:       directory of OpenFace files named `Pxx_<film>.csv`, with the film as in
                 VideoIDs and xx as in the MATLAB file (where the file names no films: the
                 trial, from 01); also in a directory `Pxx`. A trial without a file has no
                 face.
    min_seconds: shorter trials are left out

    Returns one recording per trial, named "Pxx/MM", with "ecg" and "eda" (units unknown).
    """
    if ecg not in ECG:
        raise DataError(f"ecg {ecg!r}: expected 'right' or 'left'")
    where = Path(path)
    if not where.exists():
        raise DataError(f"{where} does not exist; expected Data_Preprocessed_Pxx.mat")
    pattern = "Data_Preprocessed_P*.mat"
    files = sorted(where.rglob(pattern)) if where.is_dir() else [where]
    if not files:
        raise DataError(f"{where}: no {pattern} below it")
    found: list[Recording] = []
    for file in files:
        match = re.search(r"P(\d+)", file.stem)
        if match is None:
            raise DataError(f"{file}: expected a name such as Data_Preprocessed_P01.mat")
        subject = f"P{int(match.group(1)):02d}"
        cells, ratings, films = _load(file)
        kept = []
        for trial in range(min(trials, len(cells))):
            data = _trial(file, trial, cells[trial])
            rating = np.asarray(ratings[trial], np.float64).ravel()
            if data is None or rating.size < 2:
                continue
            data = data[round(skip * RATE) :]
            if len(data) < min_seconds * RATE:
                continue
            kept.append(
                _recording(subject, trial, data, rating, threshold, ecg, films, faces)
            )
        found += [r for r in kept if any(s.valence is not None for s in r.segments)
                  or any(s.arousal is not None for s in r.segments)]
    if not found:
        raise DataError(f"{where}: every trial is empty, NaN or shorter than {min_seconds:g} s")
    return found


def _load(file: Path) -> tuple[list[Any], list[Any], list[str]]:
    try:
        content = loadmat(file)
    except NotImplementedError as error:
        raise DataError(
            f"{file}: MATLAB 7.3 file; save it with -v7 (AMIGOS is published as v5)"
        ) from error
    except Exception as error:
        # A damaged file raises nearly anything.
        raise DataError(f"{file}: no readable MATLAB file ({error})") from error
    missing = [k for k in ("joined_data", "labels_selfassessment") if k not in content]
    if missing:
        here = sorted(k for k in content if not k.startswith("__"))
        raise DataError(f"{file}: no variable {', '.join(missing)}; found {', '.join(here)}")
    cells = list(np.asarray(content["joined_data"], object).ravel())
    ratings = list(np.asarray(content["labels_selfassessment"], object).ravel())
    if len(cells) != len(ratings):
        raise DataError(f"{file}: {len(cells)} trials but {len(ratings)} self-assessments")
    films = [
        str(np.asarray(v).ravel()[0]) if np.asarray(v).size else ""
        for v in np.asarray(content.get("VideoIDs", np.empty(0, object)), object).ravel()
    ]
    return cells, ratings, films


def _trial(file: Path, trial: int, cell: object) -> Floats | None:
    """The samples [n, 17], or None where the trial is empty or all NaN."""
    data = np.asarray(cell)
    if data.size == 0:
        return None
    if data.ndim != 2 or data.shape[1] != CHANNELS or data.dtype.kind not in "fiu":
        raise DataError(
            f"{file}: trial {trial + 1} is {data.shape} of {data.dtype}, expected"
            f" [samples, {CHANNELS}] numbers"
        )
    values = np.asarray(data, np.float64)
    physiology = values[:, [*ECG.values(), GSR]]
    return values if np.isfinite(physiology).any(axis=0).all() else None


def _recording(
    subject: str, trial: int, data: Floats, rating: Floats, threshold: float, ecg: str,
    films: list[str], faces: str | Path | None,
) -> Recording:
    signals = {
        "ecg": Signal.regular(data[:, ECG[ecg]], RATE, "unknown"),
        "eda": Signal.regular(data[:, GSR], RATE, "unknown"),
    }
    valence, arousal = (
        float(v > threshold) if np.isfinite(v) else None
        for v in (rating[VALENCE], rating[AROUSAL])
    )
    film = films[trial] if trial < len(films) and films[trial] else f"{trial + 1:02d}"
    segment = Segment(0, round(len(data) * SECOND / RATE), valence, arousal, film)
    units = None
    if faces is not None:
        for file in (Path(faces) / f"{subject}_{film}.csv",
                     Path(faces) / subject / f"{subject}_{film}.csv"):
            if file.is_file():
                units = read_openface(file, rate=25.0)
                break
    notes = tuple(f"{n}: {s.dropped} samples missing" for n, s in signals.items() if s.dropped)
    return Recording(subject, f"{subject}/{trial + 1:02d}", signals, units, (segment,), notes)
