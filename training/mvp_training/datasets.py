# SPDX-License-Identifier: MPL-2.0
"""What stands on the command line as `--data KIND=PATH[,OPTION=VALUE]…`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .data import amigos, deap, expressions, listed, made, stress_predict
from .data.expressions import Faces
from .data.recording import DataError, Recording

HELP = """\
stress-predict=PATH   the archive or directory of Stress-Predict (EDA, PPG; arousal)
expressions=FILE.npz  blendshapes of expression faces (valence)
amigos=PATH           Data_Preprocessed_Pxx.mat; options faces, threshold, trials, ecg
deap=PATH             sNN.dat; options faces and ratings, threshold, eda
listed=FILE.csv       your own: OpenFace CSV and physiology CSV (training/README.md)
made[=SEED]           people and faces whose answer is known; options people, seconds"""


@dataclass(frozen=True, eq=False)
class Dataset:
    """recordings and, for sets of single faces, faces. `same_time`: whether all people did
    the same in turn (see `protocol.score`)."""

    name: str
    spec: str
    recordings: tuple[Recording, ...]
    faces: Faces | None = None
    same_time: bool = False


def _split(spec: str) -> tuple[str, str, dict[str, str]]:
    head, *rest = spec.split(",")
    kind, _, path = head.partition("=")
    options = {}
    for item in rest:
        key, equals, value = item.partition("=")
        if not equals:
            raise DataError(f"--data {spec}: expected OPTION=VALUE after the comma, found {item!r}")
        options[key] = value
    return kind, path, options


def read(spec: str) -> Dataset:
    """Reads what `spec` names."""
    kind, path, options = _split(spec)
    taken: set[str] = set()

    def option(name: str, kind: Callable[[str], object], default: object) -> object:
        taken.add(name)
        try:
            return kind(options[name]) if name in options else default
        except ValueError as error:
            raise DataError(f"--data {spec}: option {name}: {error}") from error

    if not path and kind != "made":
        raise DataError(f"--data {spec}: expected KIND=PATH; known kinds:\n{HELP}")
    faces: Faces | None = None
    found: list[Recording] = []
    name, same_time = kind, False
    if kind == "stress-predict":
        found, name, same_time = stress_predict.read(path), "Stress-Predict", True
    elif kind == "expressions":
        faces, name = expressions.read(path), "expressions"
    elif kind == "amigos":
        found = amigos.read(
            path, faces=options.get("faces"), threshold=float(str(option("threshold", float, 4.5))),
            trials=int(str(option("trials", int, amigos.SHORT))), ecg=options.get("ecg", "right"),
        )
        name = "AMIGOS"
        taken |= {"faces", "ecg"}
    elif kind == "deap":
        found = deap.read(
            path, faces=options.get("faces"), ratings=options.get("ratings"),
            threshold=float(str(option("threshold", float, 4.5))),
            eda=options.get("eda", "negated"),
        )
        name = "DEAP"
        taken |= {"faces", "ratings", "eda"}
    elif kind == "listed":
        found, name = listed.read(path), Path(path).stem
    elif kind == "made":
        seed = int(path) if path else 0
        found = made.recordings(
            people=int(str(option("people", int, 6))),
            seconds=float(str(option("seconds", float, 120.0))),
            runs=int(str(option("runs", int, 4))),
            effect=float(str(option("effect", float, 1.0))), seed=seed,
        )
        faces, name = made.faces(seed=seed), "made"
    else:
        raise DataError(f"--data {spec}: no such kind; known:\n{HELP}")
    unknown = set(options) - taken
    if unknown:
        raise DataError(f"--data {spec}: {kind} has no option {', '.join(sorted(unknown))}")
    return Dataset(name, spec, tuple(found), faces, same_time)


def read_all(specs: Sequence[str]) -> list[Dataset]:
    """Reads all; people of several sets keep apart by the set's name."""
    if not specs:
        raise DataError(f"no --data is given; known kinds:\n{HELP}")
    sets = [read(s) for s in specs]
    if sum(bool(s.recordings) for s in sets) > 1:
        sets = [
            replace(s, recordings=tuple(
                replace(r, subject=f"{s.name}:{r.subject}", name=f"{s.name}:{r.name}")
                for r in s.recordings
            )) for s in sets
        ]
    if sum(s.faces is not None for s in sets) > 1:
        raise DataError("expected at most one set of single faces among --data")
    return sets


def digest(sets: Sequence[Dataset]) -> str:
    """A short digest of what was read, so that a cache is not used for other data."""
    seen = hashlib.sha256()
    for one in sets:
        for r in one.recordings:
            seen.update(r.name.encode())
            for name, signal in sorted(r.signals.items()):
                seen.update(name.encode() + signal.times.tobytes() + signal.values.tobytes())
            if r.units is not None:
                seen.update(r.units.times.tobytes() + r.units.values.tobytes())
            seen.update(repr(r.segments).encode())
        if one.faces is not None:
            seen.update(one.faces.units.tobytes() + one.faces.valence.tobytes())
    return seen.hexdigest()[:16]


def paths(specs: Sequence[str]) -> list[str]:
    """The specs with paths shortened to their last part, for files that others see."""
    out = []
    for spec in specs:
        kind, path, _ = _split(spec)
        out.append(f"{kind}={Path(path).name}" if path else kind)
    return out
