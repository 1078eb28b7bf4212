# SPDX-License-Identifier: MPL-2.0
"""What a network is fed: windows of recordings, faces held for a window, and both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .conditioning import Part
from .config import Config
from .data.recording import DataError
from .data.windows import Windows

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Inputs = list[tuple[Tensor, Tensor, Tensor]]


class Bodies:
    """Recordings cut into chunks (`conditioning.parts`), asked for by window."""

    def __init__(self, config: Config, recordings: Sequence[Sequence[Part]]) -> None:
        self.config = config
        self.starts = np.cumsum([0] + [r[0].there.size for r in recordings])[:-1]
        self.parts = [
            tuple(
                torch.from_numpy(np.concatenate([getattr(r[i], field) for r in recordings]))
                for field in ("values", "valid", "there", "share")
            )
            for i in range(1 + len(config.streams))
        ]
        if config.video.encoder.tokens == 1:
            self.parts[0] = _pooled(self.parts[0])

    def ends(self, windows: Windows) -> Ints:
        """int64 [n]: the chunk after each window's last, counted over all recordings."""
        per = self.config.window.chunk * 1e9
        return np.asarray(
            self.starts[windows.recording] + np.rint(windows.end_ns / per), np.int64
        )

    def window(self, ends: Ints) -> Inputs:
        """The chunks of the windows that end at `ends`; a modality that covers less than
        the configuration's `min-coverage` of the window is masked, as live."""
        chunks = self.config.window.chunks
        rows = torch.from_numpy(ends[:, None] + np.arange(-chunks, 0)[None, :])
        result = []
        for values, valid, there, share in self.parts:
            held = there[rows]
            covered = share[rows].mean(1) >= self.config.window.min_coverage
            result.append((values[rows], valid[rows], held * covered[:, None]))
        return result


def _pooled(part: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Video chunks with one point each, their mean: an encoder that makes one token of a
    chunk takes that mean first, so the tokens are the same and the memory a tenth."""
    values, valid, there, share = part
    held = valid.unsqueeze(-1)
    mean = (values * held).sum(1) / held.sum(1).clamp(min=1.0)
    return mean.unsqueeze(1), valid.amax(1, keepdim=True), there, share


class Faces:
    """Single faces. A window holds one for its whole length, or changes between faces of
    both classes, its target then being the share of the positive ones."""

    def __init__(self, config: Config, units: npt.NDArray[np.float32]) -> None:
        self.config = config
        self.units = torch.from_numpy(np.ascontiguousarray(units, np.float32))
        video = config.video
        self.points = video_points(config)

    def still(self, rows: Ints) -> tuple[Tensor, Tensor, Tensor]:
        """Each face held for a window: the form in which faces are scored."""
        return self._held(self.units[torch.from_numpy(rows)].unsqueeze(1), rows.size)

    def _held(self, units: Tensor, b: int) -> tuple[Tensor, Tensor, Tensor]:
        chunks = self.config.window.chunks
        values = units.unsqueeze(2).expand(b, chunks, self.points, -1)
        return values, torch.ones(b, chunks, self.points), torch.ones(b, chunks)

    def moving(
        self, rows: Ints, others: Ints, share: Tensor, random: np.random.Generator, noise: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Faces `rows` in the window's chunks but for a share, in which `others` are."""
        b, chunks = rows.size, self.config.window.chunks
        wave = torch.from_numpy(random.random((b, chunks)).astype(np.float32))
        # Episodes and not single chunks: expressions last.
        smooth = torch.nn.functional.avg_pool1d(wave.unsqueeze(1), 5, 1, 2).squeeze(1)
        rank = smooth.argsort(1).argsort(1).float() / chunks
        other = (rank < share.unsqueeze(1)).unsqueeze(-1)
        a = self.units[torch.from_numpy(rows)].unsqueeze(1)
        c = self.units[torch.from_numpy(others)].unsqueeze(1)
        units = torch.where(other, c, a)
        gain = 1.0 + noise * torch.from_numpy(random.standard_normal((b, 1, 1)).astype(np.float32))
        flicker = torch.from_numpy(
            random.standard_normal((b, chunks, units.shape[2])).astype(np.float32)
        )
        units = (units * gain + 0.2 * noise * flicker).clamp(0.0, 1.0)
        return self._held(units, b)


@dataclass(frozen=True, eq=False)
class Batch:
    """inputs: as `Network.forward` takes them; valence, arousal: [b] in 0-1; evidence: [b, 3],
    shares of negative, neutral and positive; weights [b]."""

    inputs: Inputs
    valence: Tensor
    arousal: Tensor
    valence_weight: Tensor
    arousal_weight: Tensor
    evidence: Tensor
    evidence_weight: Tensor


@dataclass(frozen=True, eq=False)
class Source:
    """What may be trained on. ends: int64 [n]; labels float64 [n], NaN where there is none;
    subject, minute (of the protocol): int64 [n]; faces: rows of `Faces` and their labels,
    0, 0.5 or 1."""

    bodies: Bodies | None
    ends: Ints
    arousal: Floats
    valence: Floats
    subject: Ints
    minute: Ints
    faces: Faces | None
    face_rows: Ints
    face_label: Floats


# What is not known weighs this much, with a target of one half.
IGNORANCE = 0.1


def sample(source: Source, config: Config, random: np.random.Generator) -> Iterator[Batch]:
    """One epoch of augmented batches: people and classes come equally often."""
    t = config.train
    pick = _Picker(source, random, t.balance)
    for _ in range(max(1, t.windows_per_epoch // t.batch)):
        yield _batch(source, config, random, pick)


# People that a class needs in a minute of the protocol for that minute to be trained on.
ENOUGH_PEOPLE = 2


class _Picker:
    """Draws windows so that classes, and people within a class, weigh the same; with
    balance = "minute" within each minute of the protocol that has both classes."""

    def __init__(self, source: Source, random: np.random.Generator, balance: str) -> None:
        self.random = random
        key = np.where(np.isfinite(source.arousal), source.arousal, source.valence)
        everywhere = np.zeros_like(source.minute)
        # strata[i][class][person]: rows.
        self.strata = _strata(key, source.subject, everywhere, 1)
        if balance == "minute" and source.bodies is not None:
            self.strata = _strata(key, source.subject, source.minute, ENOUGH_PEOPLE)
            if not self.strata:
                raise DataError(
                    "balance = \"minute\": no minute of the protocol has"
                    f" {ENOUGH_PEOPLE} people of both classes; use balance = \"class\""
                )
        label = source.face_label
        self.face_classes = np.unique(label)
        self.faces = [source.face_rows[label == c] for c in self.face_classes]

    def windows(self, count: int) -> Ints:
        rows = []
        for i in range(count):
            classes = self.strata[self.random.integers(len(self.strata))]
            people = classes[i % len(classes)]
            rows.append(self.random.choice(people[self.random.integers(len(people))]))
        return np.array(rows, np.int64)

    def face(self, kinds: npt.NDArray[np.int64]) -> Ints:
        """A face of each class in `kinds`, which are places in `face_classes`."""
        out = np.empty(kinds.size, np.int64)
        for c, rows in enumerate(self.faces):
            here = kinds == c
            out[here] = self.random.choice(rows, int(here.sum()))
        return out


def _strata(key: Floats, subject: Ints, minute: Ints, people: int) -> list[list[list[Ints]]]:
    """For each minute with at least `people` people of every class: class, person, rows."""
    classes = [c for c in (0.0, 1.0) if (key == c).any()]
    result = []
    for m in np.unique(minute):
        found = [
            [np.flatnonzero(here & (subject == s)) for s in np.unique(subject[here])]
            for here in ((key == c) & (minute == m) for c in classes)
        ]
        if found and all(len(f) >= people for f in found):
            result.append(found)
    return result


def _batch(
    source: Source, config: Config, random: np.random.Generator, pick: _Picker
) -> Batch:
    t, b = config.train, config.train.batch
    chunks = config.window.chunks

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(random.standard_normal(shape).astype(np.float32))

    has_body = torch.zeros(b, dtype=torch.bool)
    has_face = torch.zeros(b, dtype=torch.bool)
    kind = random.random(b)
    if source.bodies is not None and source.faces is not None:
        paired = torch.from_numpy(kind < t.paired)
        body_only = torch.from_numpy(kind < t.paired + (1 - t.paired) / 2)
        has_body, has_face = paired | body_only, paired | ~body_only
    else:
        has_body[:] = source.bodies is not None
        has_face[:] = source.faces is not None

    arousal, valence = torch.full((b,), 0.5), torch.full((b,), 0.5)
    arousal_weight, valence_weight = torch.full((b,), IGNORANCE), torch.full((b,), IGNORANCE)
    inputs: Inputs = []
    own_face = torch.zeros(b)
    evidence, evidence_weight = torch.zeros(b, 3), torch.zeros(b)
    if source.bodies is not None:
        rows = pick.windows(b)
        inputs = source.bodies.window(source.ends[rows])
        for target, weight, values in (
            (arousal, arousal_weight, source.arousal), (valence, valence_weight, source.valence),
        ):
            label = torch.from_numpy(values[rows].astype(np.float32))
            known = torch.isfinite(label) & has_body
            target[known], weight[known] = label[known], 1.0
        own_face = (inputs[0][2].sum(1) > 0).float()
        inputs[1:] = [
            _augmented(part, has_body, t.noise, t.gain, t.shift, normal) for part in inputs[1:]
        ]
    if source.faces is not None:
        classes = pick.face_classes.size
        kinds = random.integers(0, classes, b)
        others = (kinds + random.integers(1, max(2, classes), b)) % classes
        mixed = torch.from_numpy((random.random(b) < 0.3) * random.random(b)).float()
        face = source.faces.moving(pick.face(kinds), pick.face(others), mixed, random, t.noise)
        shown = torch.from_numpy(pick.face_classes[np.stack([kinds, others])].astype(np.float32))
        share = shown[0] * (1 - mixed) + shown[1] * mixed
        take = has_face & (own_face == 0)
        # 0, 0.5 and 1 are negative, neutral and positive.
        place = (2.0 * shown).round().long()
        held = torch.nn.functional.one_hot(place, 3).float()
        evidence = held[0] * (1 - mixed).unsqueeze(1) + held[1] * mixed.unsqueeze(1)
        evidence_weight = take.float()
        valence = torch.where(take, share, valence)
        valence_weight = torch.where(take, torch.ones(b), valence_weight)
        if inputs:
            old = inputs[0]
            inputs[0] = (
                torch.where(take[:, None, None, None], face[0], old[0]),
                torch.where(take[:, None, None], face[1], old[1]),
                torch.where(take[:, None], face[2], old[2]),
            )
        else:
            inputs = [face, *_silent(config, b)]
    dropped = _drop(inputs, t.stream_dropout, t.chunk_dropout, t.late, chunks, random)
    if config.outputs.classes:
        valence_weight = torch.where(evidence_weight > 0, torch.zeros(b), valence_weight)
    return Batch(
        dropped, valence, arousal, valence_weight, arousal_weight, evidence, evidence_weight
    )


def _augmented(
    part: tuple[Tensor, Tensor, Tensor], has: Tensor, noise: float, gain: float, shift: float,
    normal: object,
) -> tuple[Tensor, Tensor, Tensor]:
    values, valid, there = part
    b, c = values.shape[0], values.shape[2]
    draw = normal  # a function of the shape
    scale = 1.0 + gain * draw(b, 1, c, 1)  # type: ignore[operator]
    offset = shift * draw(b, 1, c, 1)  # type: ignore[operator]
    wander = noise * draw(b, values.shape[1], c, 1)  # type: ignore[operator]
    return (values * scale + offset + wander) * valid, valid, there * has.float().unsqueeze(1)


def _silent(config: Config, b: int) -> Inputs:
    """Streams with nothing in them."""
    result: Inputs = []
    for stream in config.streams:
        n = round((stream.encoder.context + config.window.chunk) * config.stream_rate(stream))
        zeros = torch.zeros(b, config.window.chunks, len(stream.channels), n)
        result.append((zeros, zeros, torch.zeros(b, config.window.chunks)))
    return result


def video_points(config: Config) -> int:
    """Points per chunk with which video is fed in training (see `_pooled`)."""
    if config.video.encoder.tokens == 1:
        return 1
    return round((config.video.encoder.context + config.window.chunk) * config.video.rate)


def face_windows(config: Config, faces: Faces, rows: Ints) -> Inputs:
    """Windows of a face alone."""
    return [faces.still(rows), *_silent(config, rows.size)]


def _drop(
    inputs: Inputs, stream: float, run: float, late: float, chunks: int,
    random: np.random.Generator,
) -> Inputs:
    """Masks whole streams, but never the last that a window has, runs of chunks, and in a
    share `late` of the windows all but the newest chunks."""
    b = inputs[0][2].shape[0]
    there = torch.stack([part[2].amax(1) > 0 for part in inputs], 1)
    off = torch.from_numpy(random.random((b, len(inputs))) < stream) & there
    off[:, 0] = False
    body = there[:, 1:]
    all_gone = (off[:, 1:] | ~body).all(1)
    off[all_gone] = False
    begin = np.where(random.random(b) < late, random.integers(0, chunks, b), 0)
    begun = torch.from_numpy(np.arange(chunks)[None, :] >= begin[:, None]).float()
    result = []
    for i, (values, valid, held) in enumerate(inputs):
        length = (random.random(b) * run * chunks).astype(np.int64)
        start = random.integers(0, chunks, b)
        place = np.arange(chunks)[None, :]
        hole = (place >= start[:, None]) & (place < (start + length)[:, None])
        kept = held * begun * torch.from_numpy(~hole).float() * (~off[:, i]).float().unsqueeze(1)
        result.append((values, valid, kept))
    return result
