# SPDX-License-Identifier: MPL-2.0
"""Trains networks on some people and asks them about others, several folds at a time.

Bodies and faces are of different people, so a fold holds back some of each: a network is
trained on both halves and asked about held-out bodies, held-out faces, and both together.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from . import train
from .batches import Bodies, Faces, Source
from .conditioning import Conditioner, Part, parts
from .config import Config
from .data import expressions
from .data.recording import SECOND, DataError, Recording
from .data.windows import Ints, Windows, cut
from .model import Network
from .protocol import Split

Floats = npt.NDArray[np.float64]

MODALITIES = ("video", "physiology", "both")


@dataclass(frozen=True, eq=False)
class Prepared:
    """Data as networks take it.

    parts: per recording the chunks of video and of each stream; dense: windows to train on,
    one each hop; rows: windows to score, one each half window, labelled; faces: single faces
    """

    config: Config
    parts: list[list[Part]]
    dense: Windows
    rows: Windows
    target: str
    faces: expressions.Faces | None

    def labels(self) -> Floats:
        """float64 [n] of `rows`."""
        return self.rows.labels(self.target)


def condition(
    recordings: Sequence[Recording],
    conditioner: Conditioner,
    cache: Path | None = None,
    key: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> list[list[Part]]:
    """`conditioning.parts` of all recordings. cache: a directory that keeps them, by the
    recordings (`key`), the signals' tables and the program that conditions."""
    config = conditioner.config
    file = None
    if cache is not None:
        seen = hashlib.sha256(conditioner.program.read_bytes())
        kept = (key, config.video, config.signals, config.streams, config.window.chunk,
                config.window.min_chunk_coverage)
        seen.update(repr(kept).encode())
        file = cache / f"parts-{seen.hexdigest()[:16]}.npz"
        if file.exists():
            with np.load(file) as content:
                return [
                    [Part(*(content[f"{r}-{i}-{f}"] for f in FIELDS))
                     for i in range(1 + len(config.streams))]
                    for r in range(len(recordings))
                ]
    result = []
    for number, recording in enumerate(recordings):
        result.append(parts(recording, conditioner))
        if progress is not None:
            progress(number + 1, len(recordings))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{r}-{i}-{f}": getattr(part, f)
            for r, recording in enumerate(result)
            for i, part in enumerate(recording)
            for f in FIELDS
        }
        fresh = file.with_suffix(".new.npz")
        np.savez_compressed(fresh, **arrays)
        fresh.replace(file)
    return result


FIELDS = ("values", "valid", "there", "share")


def long_enough(recordings: Sequence[Recording], config: Config) -> list[Recording]:
    """Those that hold a window; `DataError` if none does."""
    held = [r for r in recordings if r.end_ns >= config.window.duration * SECOND]
    if recordings and not held:
        longest = max(r.end_ns for r in recordings) / SECOND
        raise DataError(
            f"the longest recording has {longest:.1f} s, expected at least one window of"
            f" {config.window.duration:g} s; use shorter windows (--set window.duration=…)"
        )
    return held


def prepare(
    config: Config,
    recordings: Sequence[Recording],
    chunks: list[list[Part]],
    faces: expressions.Faces | None,
    target: str = "arousal",
    modality: str = "both",
) -> Prepared:
    """Cuts windows. modality: what of the recordings is seen: "video", "physiology", "both"."""
    if modality not in MODALITIES:
        raise DataError(f"modality {modality!r}: expected {', '.join(MODALITIES)}")
    if faces is not None:
        missing = [u for u in config.video.units if u not in faces.names]
        if missing:
            raise DataError(
                f"the faces lack {', '.join(missing[:3])}…, which {config.source} asks for in"
                " [video] units; use a preset with the faces' own units"
            )
        order = [faces.names.index(u) for u in config.video.units]
        faces = replace(faces, units=faces.units[:, order], names=config.video.units)
    if modality != "both":
        chunks = [
            [p if (i == 0) == (modality == "video") else _nothing(p) for i, p in enumerate(r)]
            for r in chunks
        ]
    window = config.window
    dense = cut(recordings, window.duration, window.hop)
    rows = cut(recordings, window.duration, window.duration / 2)
    dense, rows = dense.take(dense.labelled(target)), rows.take(rows.labelled(target))
    if recordings and not len(rows):
        raise DataError(
            f"no window of {window.duration:g} s lies inside one segment with a label for"
            f" {target}; use shorter windows (--set window.duration=…) or another target"
        )
    return Prepared(config, chunks, dense, rows, target, faces)


def _nothing(part: Part) -> Part:
    return replace(part, there=np.zeros_like(part.there), share=np.zeros_like(part.share))


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows of `Prepared.rows` and of faces on both sides. state: where to go on after an
    interruption; out: where the result is kept."""

    number: int
    seed: int
    train: Ints
    test: Ints
    face_train: Ints
    face_test: Ints
    state: Path | None = None
    out: Path | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """Logits of valence, arousal and classes, float64 [n, outputs], of held-out rows and faces.

    body, face: each alone; joint: row `i` of `body` together with the held-out face
    `partner[i]`, empty where there are no faces; alone: [n, parts], logits of the target
    of the rows with video alone and with each stream alone; losses: [epochs, 2], valence and
    arousal
    """

    number: int
    rows: Ints
    body: Floats
    face_rows: Ints
    face: Floats
    joint: Floats
    partner: Ints
    alone: Floats
    losses: Floats


def folds(prepared: Prepared, split: Split | None, folder: Path | None = None) -> list[Fold]:
    """The folds of a split of the rows. Faces are split by identity into as many folds;
    without recordings (`split` None) into five."""
    random = np.random.default_rng(prepared.config.train.seed)
    count = 5 if split is None else len(split.folds)
    nothing = np.empty(0, np.int64)
    group = nothing
    if prepared.faces is not None:
        people = np.unique(prepared.faces.identity)
        count = min(count, people.size) if split is None else count
        place = random.permutation(people.size) % count
        group = place[np.searchsorted(people, prepared.faces.identity)]
    result = []
    for number in range(count):
        learn, test = (nothing, nothing) if split is None else split.folds[number]
        result.append(Fold(
            number, prepared.config.train.seed + number, learn, test,
            np.flatnonzero(group != number), np.flatnonzero(group == number),
            None if folder is None else folder / f"fold{number:02d}.state",
            None if folder is None else folder / f"fold{number:02d}.npz",
        ))
    return result


def source(prepared: Prepared, bodies: Bodies | None, rows: Ints, face_rows: Ints) -> Source:
    """What to train on: dense windows of the trials that `rows` are from, and faces."""
    dense = prepared.dense
    wanted = np.isin(dense.trial, np.unique(prepared.rows.trial[rows]))
    nothing = np.full(int(wanted.sum()), np.nan)
    label = dense.labels(prepared.target)[wanted]
    _, subject = np.unique(dense.subject[wanted], return_inverse=True)
    ends = bodies.ends(dense)[wanted] if bodies is not None else np.empty(0, np.int64)
    valence = prepared.target == "valence"
    if bodies is not None and not np.isin((0.0, 1.0), label).all():
        raise DataError(
            f"all training windows have the same {prepared.target}; both classes are needed"
        )
    faces = None if prepared.faces is None else Faces(prepared.config, prepared.faces.units)
    labels = np.empty(0) if prepared.faces is None else prepared.faces.valence[face_rows]
    return Source(
        bodies, ends, nothing if valence else label, label if valence else nothing,
        np.asarray(subject, np.int64).ravel(), (dense.elapsed[wanted] // 60).astype(np.int64),
        faces, face_rows, np.asarray(labels, np.float64),
    )


def run_fold(
    prepared: Prepared, bodies: Bodies | None, fold: Fold,
    epoch_done: Callable[[int, dict[str, float]], None] | None = None,
) -> Found:
    """Trains one network and asks it about what it has not seen."""
    config = prepared.config
    losses: list[list[float]] = []

    def done(epoch: int, mean: dict[str, float]) -> None:
        losses.append([mean["valence"], mean["arousal"]])
        if epoch_done is not None:
            epoch_done(epoch, mean)

    wanted = source(prepared, bodies, fold.train, fold.face_train)
    network = train.fit(config, wanted, fold.seed, fold.state, done)
    empty = np.empty((0, train.outputs(config)))
    body, joint, partner = empty, empty, np.empty(0, np.int64)
    every = range(1 + len(config.streams))
    alone = np.empty((0, len(every)))
    if bodies is not None:
        ends = bodies.ends(prepared.rows)[fold.test]
        body = train.body_logits(network, bodies, ends)
        target = ("valence", "arousal").index(prepared.target)
        alone = np.stack([
            train.body_logits(network, bodies, ends, tuple(p for p in every if p != part))[:, target]
            for part in every
        ], 1)
        if wanted.faces is not None and fold.face_test.size and ends.size:
            random = np.random.default_rng(fold.seed)
            partner = random.choice(fold.face_test, ends.size)
            joint = train.paired_logits(network, bodies, ends, wanted.faces, partner)
    face = empty
    if wanted.faces is not None:
        face = train.face_logits(network, wanted.faces, fold.face_test)
    found = Found(
        fold.number, fold.test, body, fold.face_test, face, joint, partner, alone,
        np.array(losses).reshape(-1, 2),
    )
    if fold.out is not None:
        fresh = fold.out.with_suffix(".new.npz")
        np.savez(fresh, **{k: v for k, v in vars(found).items()})
        fresh.replace(fold.out)
        if fold.state is not None:
            fold.state.unlink(missing_ok=True)
    return found


def read_found(file: Path) -> Found:
    """What `run_fold` kept."""
    with np.load(file) as content:
        values: dict[str, Any] = {k: content[k] for k in content.files}
    return Found(**{**values, "number": int(values["number"])})


_worker: tuple[Prepared, Bodies | None] | None = None


def _start(file: str, threads: int) -> None:
    global _worker
    torch.set_num_threads(threads)
    with open(file, "rb") as stream:
        prepared: Prepared = pickle.load(stream)
    _worker = prepared, _bodies(prepared)


def _bodies(prepared: Prepared) -> Bodies | None:
    return Bodies(prepared.config, prepared.parts) if prepared.parts else None


def _work(fold: Fold) -> Found:
    if _worker is None:
        raise RuntimeError("a worker has not started")
    return run_fold(_worker[0], _worker[1], fold)


def run(
    prepared: Prepared,
    wanted: Sequence[Fold],
    folder: Path,
    jobs: int | None = None,
    progress: Callable[[Found, int, int], None] | None = None,
) -> list[Found]:
    """Runs the folds, `jobs` at a time (by default as many as there are cores, one on a
    GPU), and returns them in order. What `folder` has from an earlier run is not run again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[int, Found] = {}
    for fold in wanted:
        if fold.out is not None and fold.out.exists():
            done[fold.number] = read_found(fold.out)
    rest = [f for f in wanted if f.number not in done]
    cuda = torch.cuda.is_available()
    jobs = jobs or (4 if cuda else max(1, len(os.sched_getaffinity(0))))
    jobs = max(1, min(jobs, len(rest)))

    def told(found: Found) -> None:
        done[found.number] = found
        if progress is not None:
            progress(found, len(done), len(wanted))

    if jobs == 1:
        bodies = _bodies(prepared)
        for fold in rest:
            told(run_fold(prepared, bodies, fold))
    elif rest:
        threads = max(1, len(os.sched_getaffinity(0)) // jobs)
        kept = folder / "prepared.pickle"
        with kept.open("wb") as stream:
            pickle.dump(prepared, stream, pickle.HIGHEST_PROTOCOL)
        try:
            with ProcessPoolExecutor(
                jobs, multiprocessing.get_context("spawn"), _start, (str(kept), threads)
            ) as pool:
                for future in as_completed([pool.submit(_work, f) for f in rest]):
                    told(future.result())
        finally:
            kept.unlink(missing_ok=True)
    return [done[f.number] for f in wanted]


def final(
    prepared: Prepared, state: Path | None = None,
    epoch_done: Callable[[int, dict[str, float]], None] | None = None,
) -> Network:
    """A network trained on all of it."""
    bodies = _bodies(prepared)
    # Steps are small: more threads wait for each other more than they compute.
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))
    count = 0 if prepared.faces is None else prepared.faces.valence.size
    wanted = source(prepared, bodies, np.arange(len(prepared.rows)), np.arange(count))
    return train.fit(prepared.config, wanted, None, state, epoch_done)


def gathered(found: Sequence[Found], count: int, what: str) -> Floats:
    """float64 [count, outputs]: mean logits by row (of faces for what = "face"); NaN where no
    fold asked. what: "body", "face", "joint" or "alone"."""
    width = getattr(found[0], what).shape[1] if found else 2
    total, times = np.zeros((count, width)), np.zeros(count)
    for one in found:
        values: npt.NDArray[Any] = getattr(one, what)
        rows = one.face_rows if what == "face" else one.rows
        if values.shape[0]:
            np.add.at(total, rows, values)
            np.add.at(times, rows, 1.0)
    return np.where(times[:, None] > 0, total / np.maximum(times, 1.0)[:, None], np.nan)
