# SPDX-License-Identifier: MPL-2.0
"""The protocol matrix: networks beside chance and classical rows, under each split, length
of window, modality and way to fuse. Every cell is kept as it comes, so that a run that was
stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import baselines, benchmark, heldout, protocol
from .baselines import Model, circular_shift
from .conditioning import Conditioner
from .config import Config
from .data.windows import Windows
from .datasets import Dataset
from .heldout import Found, Prepared
from .protocol import Cell, OutOfFold, Setting, Split

Tell = Callable[[str], None]

SPLITS = ("loso", "5", "10", "random")


def splits_of(windows: Windows, wanted: Sequence[str]) -> list[Split]:
    """The splits with these names, for labelled windows."""
    made = {
        "loso": lambda: protocol.leave_one_subject_out(windows.subject),
        "5": lambda: protocol.group_k_fold(windows.subject, 5),
        "10": lambda: protocol.group_k_fold(windows.subject, 10),
        "random": lambda: protocol.trial_random(windows.trial),
    }
    return [made[w]() for w in wanted]


@dataclass(frozen=True)
class Wish:
    """What to evaluate."""

    targets: tuple[str, ...] = ("valence", "arousal")
    splits: tuple[str, ...] = ("loso",)
    durations: tuple[float, ...] = (60.0,)
    modalities: tuple[str, ...] = ("physiology",)
    variants: tuple[str, ...] = ("cross",)
    networks: bool = True
    classical: bool = True
    shifted: int = 0
    draws: int = 1000
    jobs: int | None = None


def probabilities(found: Sequence[Found], column: int, what: str) -> OutOfFold:
    """Logits as out-of-fold probabilities. what: "body", "joint" or "face"."""
    rows = [f.face_rows if what == "face" else f.rows for f in found]
    logits = [getattr(f, what)[:, column] for f in found]
    fold = [np.full(r.size, f.number, np.int64) for r, f in zip(rows, found, strict=True)]
    z = np.concatenate(logits)
    return OutOfFold(np.concatenate(rows), np.concatenate(fold), 0.5 * (1 + np.tanh(z / 2)))


class Kept:
    """Cells by name, in a directory."""

    def __init__(self, folder: Path, tell: Tell) -> None:
        self.folder, self.tell = folder, tell
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, make: Callable[[], list[Cell]]) -> list[Cell]:
        """The cells of this name: from the directory, or made and put there.

        Always as the directory has them, rounded, so that a second run prints what the first
        one did.
        """
        file = self.folder / f"{name}.json"
        if not file.exists():
            self.tell(name)
            fresh = file.with_suffix(".new")
            fresh.write_text(json.dumps([c.to_json() for c in make()], indent=1) + "\n")
            fresh.replace(file)
        return [protocol.cell_from_json(c) for c in json.loads(file.read_text())]


def evaluate(
    config: Config,
    sets: Sequence[Dataset],
    wish: Wish,
    folder: Path,
    program: Path | None,
    tell: Tell,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Cell]:
    """All cells that are wished for and that the data has labels and signals for."""
    kept = Kept(folder / "cells", tell)
    faces = next((s for s in sets if s.faces is not None), None)
    bodies = [s for s in sets if s.recordings]
    cells: list[Cell] = []
    for one in bodies:
        for target in wish.targets:
            if all(getattr(s, target) is None for r in one.recordings for s in r.segments):
                continue
            for duration in wish.durations:
                cells += _body_cells(
                    config, one, faces, target, duration, wish, folder, program, kept, progress
                )
    if faces is not None and "valence" in wish.targets:
        cells += _face_cells(config, faces, wish, folder, kept, progress)
    return cells


def _body_cells(
    config: Config, one: Dataset, faces: Dataset | None, target: str, duration: float,
    wish: Wish, folder: Path, program: Path | None, kept: Kept,
    progress: Callable[[str, int, int], None] | None,
) -> list[Cell]:
    cells: list[Cell] = []
    base = f"{one.name}-{target}-{duration:g}s"
    if wish.classical:
        for split in wish.splits:
            cells += kept.get(f"{base}-{split}-classical", lambda split=split: benchmark.classical(  # type: ignore[misc]
                one.recordings, one.name, target,
                lambda w: splits_of(w, [split]), [duration], None, None, wish.draws,
                same_time=one.same_time,
            ))
    if not wish.networks:
        return cells
    for variant in wish.variants:
        changed = config.with_changes(window__duration=duration, model__variant=variant)
        recordings = heldout.long_enough(one.recordings, changed)
        parts = heldout.condition(
            recordings, Conditioner(changed, program), folder / "cache",
            f"{one.spec}:{len(recordings)}",
        )
        turned = False
        for modality in wish.modalities:
            if modality != "physiology" and all(r.units is None for r in recordings):
                continue
            if (variant == "video") != (modality == "video") and variant in (
                "video", "physiology"
            ):
                continue
            beside = faces.faces if faces is not None and modality == "physiology" and (
                variant != "physiology"
            ) else None
            prepared = heldout.prepare(changed, recordings, parts, beside, target, modality)
            for split in wish.splits:
                made = splits_of(prepared.rows, [split])[0]
                name = f"{base}-{split}-{modality}-{variant}"
                cells += kept.get(name, lambda: _network(
                    name, prepared, made, one, modality, wish, folder, progress
                ))
            if wish.shifted and not turned:
                turned = True
                # Each draw is kept on its own: more of them may be asked for later.
                for seed in range(wish.shifted):
                    name = f"{base}-shifted{seed}-{variant}"
                    cells += kept.get(name, lambda: _shifted(
                        name, prepared, one, modality, seed, wish, folder, progress
                    ))
    return cells


def _network(
    name: str, prepared: Prepared, split: Split, one: Dataset, modality: str, wish: Wish,
    folder: Path, progress: Callable[[str, int, int], None] | None, note: str = "",
) -> list[Cell]:
    where = folder / "folds" / name
    found = heldout.run(
        prepared, heldout.folds(prepared, split, where), where, wish.jobs,
        None if progress is None else lambda f, done, of: progress(name, done, of),
    )
    variant, duration = prepared.config.model.variant, prepared.config.window.duration
    column = ("valence", "arousal").index(prepared.target)
    label = f"MVP {variant}" + (", with faces" if prepared.faces is not None else "")
    rows = [("body", modality)] + ([("joint", "both")] if found[0].joint.size else [])
    return [
        protocol.score(
            label if what == "body" else f"{label}, a held-out face beside it",
            Setting(one.name, prepared.target, seen, duration), split,
            probabilities(found, column, what), prepared.labels(), prepared.rows.subject,
            wish.draws, note=note, elapsed=prepared.rows.elapsed if one.same_time else None,
        )
        for what, seen in rows
    ]


def _shifted(
    name: str, prepared: Prepared, one: Dataset, modality: str, seed: int, wish: Wish,
    folder: Path, progress: Callable[[str, int, int], None] | None,
) -> list[Cell]:
    """The network trained and scored on labels that were turned round by a random amount
    within each recording: must be at chance."""
    # One turn for dense and scored windows alike: the label of the nearest window.
    dense = circular_shift(
        prepared.dense.labels(prepared.target), prepared.dense.recording, seed
    )
    rows = np.empty(len(prepared.rows))
    for r in np.unique(prepared.rows.recording):
        mine, theirs = prepared.rows.recording == r, prepared.dense.recording == r
        near = np.abs(
            prepared.rows.end_ns[mine][:, None] - prepared.dense.end_ns[theirs][None, :]
        ).argmin(1)
        rows[mine] = dense[theirs][near]
    changed: dict[str, Any] = {
        "dense": _with(prepared.dense, prepared.target, dense),
        "rows": _with(prepared.rows, prepared.target, rows),
    }
    turned = Prepared(**{**vars(prepared), **changed})
    split = protocol.group_k_fold(turned.rows.subject, 5)
    return _network(
        name, turned, split, one, modality, wish, folder, progress,
        f"labels shifted, draw {seed}",
    )


def _with(windows: Windows, target: str, labels: Any) -> Windows:
    return Windows(**{**vars(windows), target: labels})


def _face_cells(
    config: Config, faces: Dataset, wish: Wish, folder: Path, kept: Kept,
    progress: Callable[[str, int, int], None] | None,
) -> list[Cell]:
    """Positive or not, of single faces: classical models on the units, and the video side
    alone."""
    if faces.faces is None:
        return []
    rows = faces.faces
    y, people = (rows.valence == 1).astype(np.float64), rows.identity.astype(np.str_)
    x = rows.units.astype(np.float64)
    duration = config.window.duration
    setting = Setting("expressions", "valence", "video", duration)
    prepared = heldout.prepare(config.with_changes(model__variant="video"), [], [], rows)
    wanted = heldout.folds(prepared, None, folder / "folds" / "expressions-video")
    split = Split("5 folds by identity", tuple((f.face_train, f.face_test) for f in wanted))
    cells: list[Cell] = []
    if wish.classical:
        def classical() -> list[Cell]:
            made = protocol.chance(setting, split, y, people, wish.draws)
            models: dict[str, Callable[[], Model]] = {
                "LR on units": baselines.logistic, "RF on units": baselines.forest,
            }
            for name, kind in models.items():
                cell, _ = protocol.evaluate(
                    name, protocol.on_rows(kind, x, y, people), setting, split, y, people,
                    wish.draws,
                )
                made.append(cell)
            return made

        cells += kept.get("expressions-valence-classical", classical)
    if wish.networks:
        def network() -> list[Cell]:
            where = folder / "folds" / "expressions-video"
            found = heldout.run(
                prepared, wanted, where, wish.jobs,
                None if progress is None else lambda f, d, n: progress("expressions", d, n),
            )
            return [protocol.score(
                "MVP video, faces alone", setting, split, probabilities(found, 0, "face"),
                y, people, wish.draws,
            )]

        cells += kept.get("expressions-valence-video", network)
    return cells
