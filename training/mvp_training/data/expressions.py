# SPDX-License-Identifier: MPL-2.0
"""Reads blendshapes of single faces with an expression label: 13,616 photos of people.

Source: numbers (no pictures) derived with MediaPipe's face landmark and blendshape models
from news photos of the repository muxspace/facial_expressions (Apache-2.0); the labels
are by students and noisy.

Layout: an .npz file with `blendshapes` float16 [N, 52], `emotion` str [N], `identity` int
[N]. The 52 columns stand in MediaPipe's order; the first, `_neutral`, is left out.

How a word becomes valence is an argument. `THREE_WAY` counts happiness as positive (1),
neutral as the middle (0.5), and sadness, anger, disgust and fear as negative (0). It drops
surprise, which is as often a happy one as not and says nothing of valence (Russell's
circumplex has it near the middle). `POSITIVE_OR_NOT` has no middle: neutral is 0, as in the
first edition of the shipped model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from .recording import DataError, Floats, Floats32
from .windows import Ints, Names

_WORDS = (
    """browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff
    cheekSquintLeft cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft
    eyeLookDownRight eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft
    eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft
    jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft
    mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight
    mouthPressLeft mouthPressRight mouthPucker mouthRight mouthRollLower mouthRollUpper
    mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
    mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft
    noseSneerRight"""
)
UNITS = tuple(_WORDS.split())

THREE_WAY: Mapping[str, float | None] = MappingProxyType({
    "happiness": 1.0, "neutral": 0.5, "sadness": 0.0, "anger": 0.0, "disgust": 0.0, "fear": 0.0,
    "surprise": None,
})
POSITIVE_OR_NOT: Mapping[str, float | None] = MappingProxyType({**THREE_WAY, "neutral": 0.0})


@dataclass(frozen=True, eq=False)
class Faces:
    """N faces, one each.

    units:    float32 [N, 51], 0-1, columns as in `names`
    names:    the 51 names, in the order of the plugin's face units
    valence:  float64 [N]: 1 positive, 0.5 the middle, 0 negative
    emotion:  str [N], the label's word
    identity: int64 [N]: one number per person; keep people apart by it
    dropped:  how many faces each word cost that has no valence
    """

    units: Floats32
    names: tuple[str, ...]
    valence: Floats
    emotion: Names
    identity: Ints
    dropped: dict[str, int]


def read(path: str | Path, mapping: Mapping[str, float | None] = THREE_WAY) -> Faces:
    """Reads the .npz file.

    mapping: word to 0-1, or None (drop). A word that it lacks is an error.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist; expected an .npz of expression blendshapes")
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
    except (ValueError, OSError) as error:
        raise DataError(f"{file}: no readable .npz file without objects ({error})") from error
    missing = [k for k in ("blendshapes", "emotion", "identity") if k not in arrays]
    if missing:
        raise DataError(f"{file}: no array {', '.join(missing)}; found {', '.join(arrays)}")
    shapes, words, people = arrays["blendshapes"], arrays["emotion"], arrays["identity"]
    count = len(UNITS) + 1
    if shapes.ndim != 2 or shapes.shape[1] != count:
        raise DataError(f"{file}: blendshapes are {shapes.shape}, expected [N, {count}]")
    if words.shape != shapes.shape[:1] or people.shape != shapes.shape[:1]:
        raise DataError(
            f"{file}: {shapes.shape[0]} faces, {words.shape} words, {people.shape} identities"
        )
    kinds = [str(k) for k in np.unique(words)]
    unknown = [k for k in kinds if k not in mapping]
    if unknown:
        raise DataError(
            f"{file}: no valence is given for {', '.join(unknown)}; extend the mapping"
        )
    units: npt.NDArray[np.float32] = shapes[:, 1:].astype(np.float32)
    if not (np.isfinite(units).all() and units.min(initial=0) >= 0):
        raise DataError(f"{file}: blendshapes must be finite and at least 0")
    chosen = [mapping[str(w)] for w in words]
    keep = np.array([c is not None for c in chosen], np.bool_)
    dropped = {k: int(np.count_nonzero(words == k)) for k in kinds if mapping[k] is None}
    return Faces(
        np.clip(units[keep], 0, 1), UNITS,
        np.array([c for c in chosen if c is not None], np.float64),
        words[keep].astype(np.str_), people[keep].astype(np.int64), dropped,
    )
