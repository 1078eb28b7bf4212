# SPDX-License-Identifier: MPL-2.0
"""Reads DEAP, `data_preprocessed_python`: people watching music videos.

Source: S. Koelstra et al., "DEAP: A Database for Emotion Analysis using Physiological
Signals", IEEE Trans. Affective Computing 3(1), 2012. The data need a signed agreement.

Layout: `sNN.dat`, a pickle of Python 2 (read as latin-1) of a dictionary
    data    [40 trials, 40 channels, 8064 samples]: 128 Hz, 3 s before the video and 60 s
    labels  [40 trials, 4]: valence, arousal, dominance, liking, each 1-9
Channel 36 is GSR, 38 the plethysmograph (counted from 0). Trials stand in the order of
the videos and not in that in which they were seen.

The set's documentation names GSR's unit "values from Twente converted to Geneva format
(Ohm)": skin *resistance*. The preprocessed numbers may be offset (they fall below zero),
so they are not ohms that can be inverted. The reader therefore turns the sign round,
so that it rises with conductance, names the unit "unknown" and leaves the rest to running
normalisation; `eda="as is"` gives the file's numbers, `eda="conductance"` 10^6 / ohm in µS
where all numbers are above zero.

A pickle can run any program when it is loaded. This reader loads numpy arrays and plain
containers only and refuses a file that asks for anything else.
"""

from __future__ import annotations

import csv
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .openface import read as read_openface
from .recording import SECOND, DataError, Floats, Recording, Segment, Signal, UnitTrack

RATE = 128.0
BASELINE = 3.0
# Frames per second of the face films; used only where OpenFace wrote no times.
FILM_RATE = 50.0
PPG, GSR = 38, 36
VALENCE, AROUSAL = 0, 1
CHANNELS = 40

# All that a pickled dictionary of numpy arrays asks for, in the spellings of old and new
# numpy.
_ALLOWED = {
    (module, name)
    for name in ("_reconstruct", "scalar")
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class _Arrays(pickle.Unpickler):
    """Loads numpy arrays, numbers, texts, lists, tuples and dictionaries; nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        if name in ("_reconstruct", "scalar"):
            # Taken from what numpy itself pickles with: the module's name depends on its
            # version.
            example: Any = np.empty(0) if name == "_reconstruct" else np.float64(0)
            return example.__reduce__()[0]
        if name == "encode":
            return _latin1
        return super().find_class(module, name)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Stands in for codecs.encode, which would look for any encoding that a file names."""
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


def load(path: str | Path) -> dict[str, Any]:
    """The dictionary in a `.dat` file; DataError where it is anything but arrays."""
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist; expected DEAP's data_preprocessed_python/sNN.dat")
    try:
        with file.open("rb") as stream:
            content = _Arrays(stream, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{file}: refused: {error}; a DEAP file holds numpy arrays only, so this one is"
            " damaged or harmful"
        ) from error
    except Exception as error:
        # A broken pickle raises nearly anything.
        raise DataError(f"{file}: no readable pickle ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected a dictionary, found {type(content).__name__}")
    return content


def read(
    path: str | Path,
    threshold: float = 4.5,
    eda: str = "negated",
    faces: str | Path | None = None,
    ratings: str | Path | None = None,
) -> list[Recording]:
    """Reads one file `sNN.dat`, or all of a directory.

    threshold: a rating above it is 1 (4.5 as in EmotionLab/EEGain; 5 is as usual)
    eda:       "negated", "as is" or "conductance"; see above
    faces:     directory of OpenFace files, named as DEAP names its films:
               `sNN/sNN_trialMM.csv` or `sNN_trialMM.csv`, MM from 01. A trial without a
               file has no face
    ratings:   the set's `participant_ratings.csv`, needed with `faces`: films are numbered
               in the order in which they were seen (column Trial), data in that of the
               videos (column Experiment_id)

    Returns one recording per trial (60 s), named "sNN/MM", with "ppg" (unit unknown) and
    "eda". The 3 s before the video are left out.
    """
    if eda not in ("negated", "as is", "conductance"):
        raise DataError(f"eda {eda!r}: expected 'negated', 'as is' or 'conductance'")
    films: dict[tuple[int, int], int] = {}
    if faces is not None:
        if ratings is None:
            raise DataError(
                "faces need ratings=participant_ratings.csv: DEAP numbers its films in"
                " another order than its data"
            )
        films = _films(Path(ratings))
    where = Path(path)
    files = sorted(where.glob("s[0-9][0-9].dat")) if where.is_dir() else [where]
    if not files:
        raise DataError(f"{where}: no sNN.dat; expected DEAP's data_preprocessed_python")
    found: list[Recording] = []
    for file in files:
        content = load(file)
        if "data" not in content or "labels" not in content:
            raise DataError(f"{file}: expected keys data and labels, found {sorted(content)}")
        data = _array(file, "data", content["data"], 3)
        labels = _array(file, "labels", content["labels"], 2)
        skip = round(BASELINE * RATE)
        if data.shape[1] != CHANNELS or data.shape[2] <= skip:
            raise DataError(
                f"{file}: data is {data.shape}, expected [trials, {CHANNELS}, more than"
                f" {skip} samples]"
            )
        if labels.shape[0] != data.shape[0] or labels.shape[1] < 2:
            raise DataError(
                f"{file}: labels are {labels.shape}, expected [{data.shape[0]}, 4]"
            )
        for trial in range(data.shape[0]):
            made = _recording(
                file.stem, trial, data[trial, :, skip:], labels[trial], threshold, eda
            )
            if faces is not None:
                made = replace(made, units=_face(Path(faces), file.stem, trial + 1, films))
            found.append(made)
    return found


def _films(file: Path) -> dict[tuple[int, int], int]:
    """Person and number of the video to the number of the film."""
    if not file.is_file():
        raise DataError(f"{file} does not exist; expected DEAP's participant_ratings.csv")
    columns = ("Participant_id", "Trial", "Experiment_id")
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as text:
        rows = csv.DictReader(text)
        missing = [c for c in columns if c not in (rows.fieldnames or ())]
        if missing:
            raise DataError(f"{file}: no column {', '.join(missing)}")
        try:
            return {
                (int(r["Participant_id"]), int(r["Experiment_id"])): int(r["Trial"])
                for r in rows
            }
        except (TypeError, ValueError) as error:
            raise DataError(f"{file}: expected whole numbers ({error})") from error


def _face(
    faces: Path, subject: str, video: int, films: dict[tuple[int, int], int]
) -> UnitTrack | None:
    digits = subject.lstrip("s")
    film = films.get((int(digits), video)) if digits.isdigit() else None
    if film is None:
        return None
    stem = f"{subject}_trial{film:02d}.csv"
    for file in (faces / subject / stem, faces / stem):
        if file.is_file():
            return read_openface(file, rate=FILM_RATE)
    return None


def _array(file: Path, key: str, value: object, dimensions: int) -> Floats:
    if not isinstance(value, np.ndarray) or value.ndim != dimensions:
        raise DataError(f"{file}: {key} is no array of {dimensions} dimensions")
    if value.dtype.kind not in "fiu":
        raise DataError(f"{file}: {key} holds {value.dtype}, expected numbers")
    return np.asarray(value, np.float64)


def _recording(
    subject: str, trial: int, data: Floats, labels: Floats, threshold: float, eda: str
) -> Recording:
    name = f"{subject}/{trial + 1:02d}"
    skin, unit = data[GSR], "unknown"
    if eda == "negated":
        skin = -skin
    elif eda == "conductance":
        if np.nanmin(skin) <= 0:
            raise DataError(
                f"recording {name!r}: GSR reaches {np.nanmin(skin):g}; resistance in ohm is"
                " above 0, so it cannot be inverted; use eda='negated'"
            )
        skin, unit = 1e6 / skin, "uS"
    signals = {
        "ppg": Signal.regular(data[PPG], RATE, "unknown"),
        "eda": Signal.regular(skin, RATE, unit),
    }
    valence, arousal = (
        float(v > threshold) if np.isfinite(v) else None
        for v in (labels[VALENCE], labels[AROUSAL])
    )
    end = round(data.shape[1] * SECOND / RATE)
    segment = Segment(0, end, valence, arousal, f"{trial + 1:02d}")
    return Recording(subject, name, signals, None, (segment,))
