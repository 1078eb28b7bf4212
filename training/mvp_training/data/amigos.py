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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from .openface import read as read_openface
from .recording import SECOND, DataError, Floats, Recording, Segment, Signal, UnitTrack

RATE = 128.0
ECG = {"right": 14, "left": 15}
GSR = 16
CHANNELS = 17
AROUSAL, VALENCE = 0, 1
SHORT = 16
# Frames per second of the face films; used only where OpenFace wrote no times.
FILM_RATE = 25.0


def read(
    path: str | Path,
    threshold: float = 4.5,
    trials: int = SHORT,
    ecg: str = "right",
    skip: float = 0.0,
    faces: str | Path | None = None,
    face_offset: float = 0.0,
    min_seconds: float = 10.0,
) -> list[Recording]:
    """Reads one file `Data_Preprocessed_Pxx.mat`, or all below a directory.

    threshold:   a rating above it is 1 (4.5 as in EmotionLab/EEGain)
    trials:      how many trials to take, from the first; 16 are the short films
    ecg:         "right" or "left" arm
    skip:        seconds to leave out at the start of each trial. Whether trials begin with
                 a baseline is not certain: compare lengths with the films'
    faces:       directory of OpenFace files, named as AMIGOS names its films,
                 `P<person>_<film>_face.csv` (P4_18_face.csv), film as in VideoIDs and
                 persons with or without a leading zero; also in a directory below it. A
                 trial without a file has no face
    face_offset: seconds from the trial's first sample to the film's first frame
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
        for trial in range(min(trials, len(cells))):
            data = _trial(file, trial, cells[trial])
            rating = np.asarray(ratings[trial], np.float64).ravel()
            if data is None or rating.size < 2:
                continue
            data = data[round(skip * RATE) :]
            if len(data) < min_seconds * RATE:
                continue
            film = films[trial] if trial < len(films) else ""
            if not re.fullmatch(r"[A-Za-z0-9]+", film):
                # A name that is none, or that would lead elsewhere as a file's name.
                film = f"{trial + 1:02d}"
            made = _recording(subject, trial, film, data, rating, threshold, ecg)
            if faces is not None:
                units = _face(Path(faces), subject, film)
                if units is not None:
                    units = units.moved(round((face_offset - skip) * SECOND))
                made = replace(made, units=units)
            if any(s.valence is not None or s.arousal is not None for s in made.segments):
                found.append(made)
    if not found:
        raise DataError(f"{where}: every trial is empty, NaN or shorter than {min_seconds:g} s")
    return found


def _load(file: Path) -> tuple[list[Any], list[Any], list[str]]:
    try:
        # Some of the published files fail zlib's check and are read well without.
        content = loadmat(file, verify_compressed_data_integrity=False)
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
    subject: str, trial: int, film: str, data: Floats, rating: Floats, threshold: float, ecg: str
) -> Recording:
    signals = {
        "ecg": Signal.regular(data[:, ECG[ecg]], RATE, "unknown"),
        "eda": Signal.regular(data[:, GSR], RATE, "unknown"),
    }
    valence, arousal = (
        float(v > threshold) if np.isfinite(v) else None
        for v in (rating[VALENCE], rating[AROUSAL])
    )
    segment = Segment(0, round(len(data) * SECOND / RATE), valence, arousal, film)
    notes = tuple(f"{n}: {s.dropped} samples missing" for n, s in signals.items() if s.dropped)
    return Recording(subject, f"{subject}/{trial + 1:02d}", signals, None, (segment,), notes)


def _face(faces: Path, subject: str, film: str) -> UnitTrack | None:
    for person in (subject, f"P{int(subject[1:])}"):
        for ending in ("_face.csv", ".csv"):
            name = f"{person}_{film}{ending}"
            for file in (faces / name, *sorted(faces.glob(f"*/{name}"))):
                if file.is_file():
                    return read_openface(file, rate=FILM_RATE)
    return None
