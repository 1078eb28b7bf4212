# SPDX-License-Identifier: MPL-2.0
"""A run folder: what was trained on what, and everything that came out of it.

    config.toml      the preset as it was
    run.json         changes to it, data, seed, versions
    folds/           a network's answers for each fold, kept as they come (resumable)
    heldout.npz      answers for every held-out window and face
    network.pt       the network trained on all of it
    calibration.json temperature and bias per output
    metrics.json, report.md, curves.png, reliability.png
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from . import calibration, metrics, plots, protocol
from .calibration import Calibration, Evidence
from .config import Config, parse
from .data.recording import DataError
from .heldout import Found, Prepared, gathered
from .model import Network
from .protocol import OutOfFold, Setting, Split

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """A folder; made by `create`, found again by `open_run`."""

    folder: Path
    config: Config
    info: dict[str, Any]

    def path(self, name: str) -> Path:
        return self.folder / name


def versions() -> dict[str, str]:
    """What results depend on beside the code."""
    return {"python": platform.python_version(), "torch": torch.__version__,
            "numpy": np.__version__}


def create(
    folder: Path, config: Config, changes: dict[str, Any], info: dict[str, Any]
) -> Run:
    """Makes the folder, or goes on in one that was made for the same."""
    info = {"source": config.source, "changes": changes, **info}
    file = folder / "run.json"
    if file.exists():
        before = json.loads(file.read_text())
        same = {k: before.get(k) for k in info} == json.loads(json.dumps(info))
        if not same or (folder / "config.toml").read_text() != config.text:
            raise DataError(
                f"{folder} holds a run of another configuration or other data; name another"
                " --run, or remove it"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is there and holds no run; name another --run")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(config.text)
    file.write_text(json.dumps({**info, "versions": versions()}, indent=1) + "\n")
    return Run(folder, config, info)


def open_run(folder: Path) -> Run:
    """A run that is there."""
    try:
        info = json.loads((folder / "run.json").read_text())
        text = (folder / "config.toml").read_text()
    except OSError as error:
        raise DataError(f"{folder} is no run folder ({error}); make one with 'train'") from error
    config = parse(text, info.get("source", str(folder / "config.toml")))
    return Run(folder, config.with_changes(**info["changes"]), info)


@dataclass(frozen=True, eq=False)
class Heldout:
    """Answers for what no network had seen in training.

    Rows: label, subject, trial, elapsed [n], fold [n], body and joint logits [n, outputs];
    faces: face_label, face_identity [m], face_fold [m], face logits [m, outputs]. `partner` [n]: the row
    of the face that stands in `joint`. alone: [n, parts], logits of the target with video
    alone and with each stream alone.
    """

    target: str
    label: Floats
    subject: npt.NDArray[np.str_]
    elapsed: Floats
    fold: npt.NDArray[np.int64]
    body: Floats
    joint: Floats
    partner: npt.NDArray[np.int64]
    alone: Floats
    face_label: Floats
    face_identity: npt.NDArray[np.int64]
    face_fold: npt.NDArray[np.int64]
    face: Floats

    def save(self, file: Path) -> None:
        np.savez_compressed(file, **vars(self))

    @staticmethod
    def load(file: Path) -> Heldout:
        if not file.exists():
            raise DataError(f"{file} is missing: train with held-out people (--split loso)")
        with np.load(file) as content:
            values: dict[str, Any] = {k: content[k] for k in content.files}
        values["target"] = str(values["target"])
        return Heldout(**values)


def collect(prepared: Prepared, found: Sequence[Found]) -> Heldout:
    """Answers of all folds in order of the rows."""
    n = len(prepared.rows)
    faces = prepared.faces
    m = 0 if faces is None else faces.valence.size
    fold, face_fold = np.full(n, -1, np.int64), np.full(m, -1, np.int64)
    partner = np.full(n, -1, np.int64)
    for one in found:
        fold[one.rows], face_fold[one.face_rows] = one.number, one.number
        if one.partner.size:
            partner[one.rows] = one.partner
    return Heldout(
        prepared.target, prepared.labels(), prepared.rows.subject, prepared.rows.elapsed, fold,
        gathered(found, n, "body"), gathered(found, n, "joint"), partner,
        gathered(found, n, "alone"),
        np.empty(0) if faces is None else faces.valence.astype(np.float64),
        np.empty(0, np.int64) if faces is None else faces.identity, face_fold,
        gathered(found, m, "face"),
    )


OUTPUTS = ("valence", "arousal")


def calibrate(run: Run, heldout: Heldout) -> dict[str, Calibration]:
    """Fits temperature and bias on all held-out answers, and writes them with what a nested
    fit (on the other people's answers) reaches."""
    result: dict[str, Calibration] = {}
    kept: dict[str, Any] = {}
    pictures = {}
    three = bool(run.config.outputs.classes) and bool(heldout.face_label.size)
    if three:
        result["valence"], kept["valence"], pictures["valence (face)"] = _calibrate_faces(heldout)
    for index, name in enumerate(OUTPUTS):
        if name in result:
            continue
        parts = []
        if heldout.target == name and heldout.label.size:
            parts.append(("physiology", heldout.body[:, index], heldout.label, heldout.fold))
        if name == "valence" and heldout.face_label.size:
            parts.append(
                ("face", heldout.face[:, index], heldout.face_label, heldout.face_fold)
            )
        if not parts:
            # Nothing was learnt of this output: it stays at one half, whatever is said.
            result[name] = Calibration(calibration.TEMPERATURES[1], 0.0)
            kept[name] = {"temperature": result[name].temperature, "bias": 0.0, "from": "nothing"}
            continue
        logits = np.concatenate([p[1] for p in parts])
        labels = np.concatenate([p[2] for p in parts])
        folds = np.concatenate([p[3] for p in parts])
        result[name] = calibration.fit(logits, labels)
        said, share = calibration.nested(logits, labels, folds)
        weight = calibration.balance(labels)
        kept[name] = {
            "temperature": result[name].temperature, "bias": result[name].bias,
            "from": " and ".join(p[0] for p in parts), "rows": int(labels.size),
            "ece": round(calibration.ece(labels, said, weight), 6),
            "ece_as_found": round(
                calibration.ece(labels, calibration.shifted(said, share)), 6),
            "ece_before": round(
                calibration.ece(labels, Calibration(1.0, 0.0).probability(logits), weight), 6),
        }
        pictures[f"{name} ({kept[name]['from']})"] = calibration.reliability(labels, said, weight)
    if pictures:
        plots.reliability(pictures, run.path("reliability.png"))
    run.path("calibration.json").write_text(json.dumps(kept, indent=1) + "\n")
    return result


def _calibrate_faces(
    heldout: Heldout,
) -> tuple[Calibration, dict[str, Any], Sequence[tuple[float, float, float]]]:
    """Valence from evidence for negative, neutral and positive, and the middle of it."""
    logits, labels = heldout.face[:, 2:], heldout.face_label
    evidence = calibration.fit_evidence(logits, labels)
    middle = calibration.fit_middle(calibration.valence_of(evidence.logits(logits)), labels)
    classes, said = calibration.nested_evidence(logits, labels, heldout.face_fold)
    place = np.rint(2 * labels).astype(np.int64)
    weight = 1.0 / np.bincount(place)[place]
    top = classes.argmax(1)
    kept = {
        "temperature": middle.temperature, "bias": middle.bias, "from": "face",
        "rows": int(labels.size),
        "evidence": {"temperature": evidence.temperature, "bias": list(evidence.bias)},
        "ece": round(calibration.ece(labels, said, weight), 6),
        "ece_classes": round(calibration.ece(top == place, classes.max(1), weight), 6),
    }
    return middle, kept, calibration.reliability(labels, said, weight)


def shares(config: Config, heldout: Heldout) -> dict[str, dict[str, float]]:
    """The table `known` of a bundle: for each axis and modality, how much of the skill on
    held-out people is left with this modality alone. Skill is AUC − 1/2."""
    result: dict[str, dict[str, float]] = {name: {} for name in OUTPUTS}
    parts = [{"video"}] + [
        {config.modality(name) for channel in stream.channels for name in channel}
        for stream in config.streams
    ]
    if heldout.label.size and np.isfinite(heldout.alone).all():
        column = OUTPUTS.index(heldout.target)
        def skill_of(logits: Floats) -> float:
            return metrics.auc(heldout.label, 0.5 * (1 + np.tanh(logits / 2))) - 0.5

        whole = skill_of(heldout.body[:, column])
        for part, names in enumerate(parts):
            share = skill_of(heldout.alone[:, part]) / max(whole, 1e-6)
            share = round(float(np.clip(share, 0.0, 1.0)), 3)
            # What is not in the recordings, or says nothing, does not give the axis.
            folds = np.unique(heldout.fold)
            varies = any(np.ptp(heldout.alone[heldout.fold == f, part]) > 1e-6 for f in folds)
            for name in sorted(names) if share > 0 and varies else ():
                result[heldout.target][name] = share
    if heldout.face_label.size:
        result["valence"]["video"] = 1.0
    return result


def read_evidence(run: Run) -> Evidence | None:
    """What `calibrate` found for the classes, if the network has any."""
    kept = json.loads(run.path("calibration.json").read_text())["valence"].get("evidence")
    return None if kept is None else Evidence(kept["temperature"], tuple(kept["bias"]))


def read_calibration(run: Run) -> dict[str, Calibration]:
    """What `calibrate` wrote."""
    file = run.path("calibration.json")
    if not file.exists():
        raise DataError(f"{file} is missing: run 'calibrate {run.folder}' first")
    kept = json.loads(file.read_text())
    return {k: Calibration(kept[k]["temperature"], kept[k]["bias"]) for k in OUTPUTS}


def report(
    run: Run, heldout: Heldout, dataset: str, split: str, same_time: bool, draws: int = 1000
) -> tuple[str, dict[str, Any]]:
    """Scores of the held-out answers: Markdown, and plain numbers for metrics.json."""
    calibrations = read_calibration(run)
    cells = []
    index = OUTPUTS.index(heldout.target)
    duration = run.config.window.duration
    if heldout.label.size:
        everyone = Split(split, ())
        rows = np.arange(heldout.label.size)
        for name, logits, modality in (
            ("MVP, face missing", heldout.body, "physiology"),
            ("MVP, a held-out face beside it", heldout.joint, "both"),
        ):
            if not np.isfinite(logits).all() or not logits.size:
                continue
            said, _ = calibration.nested(logits[:, index], heldout.label, heldout.fold)
            found = OutOfFold(rows, heldout.fold, said)
            setting = Setting(dataset, heldout.target, modality, duration)
            cells.append(protocol.score(
                name, setting, everyone, found, heldout.label, heldout.subject, draws,
                elapsed=heldout.elapsed if same_time else None,
            ))
    three = bool(run.config.outputs.classes)
    if heldout.face_label.size and not three:
        folds = int(heldout.face_fold.max()) + 1
        everyone = Split(f"{folds} folds by identity", ())
        beside = heldout.partner >= 0
        for name, logits, label, person, fold, modality in (
            ("MVP, physiology missing", heldout.face, heldout.face_label,
             heldout.face_identity, heldout.face_fold, "video"),
            ("MVP, a held-out body beside it", heldout.joint[beside],
             heldout.face_label[heldout.partner[beside]],
             heldout.face_identity[heldout.partner[beside]], heldout.fold[beside], "both"),
        ):
            if not label.size:
                continue
            said, _ = calibration.nested(logits[:, 0], label, fold)
            found = OutOfFold(np.arange(label.size), fold, said)
            setting = Setting("expressions", "valence", modality, duration)
            cells.append(protocol.score(
                name, setting, everyone, found, label, person.astype(np.str_), draws
            ))
    for cell in cells:
        # Answers are for as many ones as zeros, which is not how windows were found: what
        # probabilities are worth stands under "calibration", with that taken care of.
        for name in ("brier", "ece", "ece_adaptive"):
            cell.scores.pop(name, None)
    numbers = {
        "cells": [c.to_json() for c in cells],
        "calibration": json.loads(run.path("calibration.json").read_text()),
        "outputs": {k: vars(v) for k, v in calibrations.items()},
    }
    text = protocol.table(cells)
    if heldout.face_label.size and three:
        numbers["faces"] = faces = face_figures(heldout, min(draws, 200))
        text += "\n" + face_table(faces)
    return text, numbers


def face_figures(heldout: Heldout, draws: int = 200, seed: int = 0) -> dict[str, Any]:
    """Figures of held-out faces: balanced accuracy of the three classes with the 95 % interval
    of a bootstrap over people, and quartiles of valence for each class; with the face alone,
    and with a held-out body beside it."""
    beside = heldout.partner >= 0
    rows = heldout.partner[beside]
    result: dict[str, Any] = {"folds": int(heldout.face_fold.max()) + 1}
    for name, logits, label, person, fold in (
        ("physiology missing", heldout.face, heldout.face_label, heldout.face_identity,
         heldout.face_fold),
        ("a held-out body beside it", heldout.joint[beside], heldout.face_label[rows],
         heldout.face_identity[rows], heldout.fold[beside]),
    ):
        if not label.size or not np.isfinite(logits).all():
            continue
        classes, valence = calibration.nested_evidence(logits[:, 2:], label, fold)
        right = classes.argmax(1) == np.rint(2 * label)

        value, low, high = _balanced(label, right, person, draws, seed)
        result[name] = {
            "rows": int(label.size),
            "balanced_accuracy": [value, low, high],
            "valence": {
                word: [round(float(q), 4) for q in np.percentile(valence[label == c], (25, 50, 75))]
                for c, word in ((0.0, "negative"), (0.5, "neutral"), (1.0, "positive"))
                if (label == c).any()
            },
        }
    return result


def _balanced(
    label: Floats, right: npt.NDArray[np.bool_], person: npt.NDArray[Any], draws: int, seed: int
) -> tuple[float, float, float]:
    """The mean over classes of the share that is right, with the 95 % interval of a bootstrap
    over people."""
    names, who = np.unique(person, return_inverse=True)
    _, place = np.unique(label, return_inverse=True)
    shape = (names.size, int(place.max()) + 1)
    count, hits = np.zeros(shape), np.zeros(shape)
    np.add.at(count, (who.ravel(), place.ravel()), 1.0)
    np.add.at(hits, (who.ravel(), place.ravel()), right.astype(np.float64))

    def of(rows: npt.NDArray[np.int64]) -> float:
        return float(np.mean(hits[rows].sum(0) / np.maximum(count[rows].sum(0), 1.0)))

    random = np.random.default_rng(seed)
    drawn = [of(random.integers(0, names.size, names.size)) for _ in range(draws)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return of(np.arange(names.size)), float(low), float(high)


def face_table(figures: dict[str, Any]) -> str:
    """Markdown of `face_figures`."""
    lines = [
        f"### Faces, valence, {figures['folds']} folds by identity", "",
        "Balanced accuracy of negative, neutral and positive, 95 % interval by bootstrap over"
        " people; median valence with quartiles.", "",
        "| MVP | three-way balanced accuracy | negative | neutral | positive |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, one in figures.items():
        if not isinstance(one, dict):
            continue
        value, low, high = one["balanced_accuracy"]
        words = " | ".join(
            "{1:.2f} ({0:.2f}–{2:.2f})".format(*one["valence"][w]) if w in one["valence"] else "-"
            for w in ("negative", "neutral", "positive")
        )
        lines.append(f"| {name} | {value:.3f} [{low:.3f}–{high:.3f}] | {words} |")
    return "\n".join(lines) + "\n"


def save_network(network: Network, file: Path) -> None:
    torch.save({k: v.cpu() for k, v in network.state_dict().items()}, file)


def load_network(run: Run) -> Network:
    """The network trained on all of it, in evaluation mode."""
    file = run.path("network.pt")
    if not file.exists():
        raise DataError(f"{file} is missing: run 'train' to its end first")
    network = Network(run.config)
    network.load_state_dict(torch.load(file, map_location="cpu"))
    return network.eval()


def lengthened(run: Run, network: Network, duration: float) -> Network:
    """The same weights for another length of window: only the table of places grows. What
    the answers are worth at that length has not been measured."""
    longer = Network(run.config.with_changes(window__duration=duration))
    longer.load_state_dict(network.state_dict())
    return longer.eval()
