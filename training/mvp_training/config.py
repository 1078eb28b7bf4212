# SPDX-License-Identifier: MPL-2.0
"""Presets and configurations: TOML, read strictly, with every unknown of the paper a key.

The tables `[window]`, `[video]`, `[[signal]]`, `[[stream]]` and `[outputs]` have the names
and the meaning of a bundle's `mvp.toml` (docs/bundle.md), so that the program that serves
conditions the training's signals from this very file.
"""

from __future__ import annotations

import tomllib
import types
import typing
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

VARIANTS = (
    "cross", "early", "late", "concat", "reversed", "bidirectional", "video", "physiology",
)
POOLS = ("mean", "attention")
BALANCES = ("class", "minute")
# Classes of a bundle's output `classes` from which valence is computed (`model.Fusion`).
EVIDENCE = ("negative", "neutral", "positive")


class ConfigError(ValueError):
    """A configuration that does not fit; names the file, the field, expected and found."""


@dataclass(frozen=True)
class WindowConfig:
    """Seconds; `duration` and `hop` are multiples of `chunk`."""

    duration: float
    hop: float
    chunk: float
    min_coverage: float
    min_chunk_coverage: float

    @property
    def chunks(self) -> int:
        """Chunks per window."""
        return round(self.duration / self.chunk)


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder takes and gives: seconds of context before the chunk, tokens per chunk."""

    context: float
    tokens: int


@dataclass(frozen=True)
class VideoConfig:
    """The face's units on a grid of `rate` Hz."""

    backbone: str
    rate: float
    max_gap: float
    min_confidence: float
    units: tuple[str, ...]
    encoder: EncoderConfig


@dataclass(frozen=True)
class StreamConfig:
    """One encoder over channels; for each channel the signals that may fill it."""

    name: str
    channels: tuple[tuple[str, ...], ...]
    encoder: EncoderConfig


@dataclass(frozen=True)
class ModelConfig:
    """The network. `feed_forward`: times `width`; `tokenizer`: channels, kernel, stride."""

    variant: str
    width: int
    heads: int
    feed_forward: int
    dropout: float
    video_layers: int
    physio_layers: int
    fusion_layers: int
    pool: str
    tokenizer: tuple[tuple[int, int, int], ...]
    null_tokens: bool


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation and augmentation.

    ema: decay of the weights' running mean per step, which is what is kept; 0 for none
    stream_dropout: probability that a whole stream of a window is masked
    chunk_dropout: longest run of chunks that is masked, as a share of the window
    late: share of the windows of which only the newest chunks are there, as at the start of a
        session and in `valence-now`
    noise, gain, shift: standard deviations, on the normalised scale
    paired: share of the steps in which body and face of two people are put together
    balance: "class": classes, and people within a class, come equally often; "minute": in
        each minute of the protocol in which both classes occur, both come equally often, and
        windows of other minutes are not trained on, so that the label does not follow from
        the time; for sets in which all people do the same in turn
    """

    seed: int
    epochs: int
    windows_per_epoch: int
    batch: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    ema: float
    stream_dropout: float
    chunk_dropout: float
    noise: float
    gain: float
    shift: float
    paired: float
    balance: str = "class"
    late: float = 0.0


@dataclass(frozen=True)
class OutputsConfig:
    """labels: names of the answers; classes: none, or `EVIDENCE`: then valence is learnt as
    evidence for negative, neutral and positive; middle: half the width of valence that is
    called neutral; now: seconds of the face that `valence-now` is of, 0 for none."""

    labels: dict[str, str]
    classes: tuple[str, ...] = ()
    middle: float = 0.1
    now: float = 0.0


@dataclass(frozen=True)
class Config:
    """All of it. `text` is the file as it was; `source` where it came from."""

    name: str
    version: str
    window: WindowConfig
    video: VideoConfig
    signals: tuple[dict[str, Any], ...]
    streams: tuple[StreamConfig, ...]
    model: ModelConfig
    train: TrainConfig
    outputs: OutputsConfig
    text: str = ""
    source: str = ""

    def signal(self, name: str) -> dict[str, Any]:
        """The `[[signal]]` table with this name."""
        for table in self.signals:
            if table["name"] == name:
                return table
        raise ConfigError(f"{self.source}: no [[signal]] is called '{name}'")

    def modality(self, name: str) -> str:
        """The recording's signal that the signal `name` is made from."""
        return str(self.signal(name).get("input", name))

    def stream_rate(self, stream: StreamConfig) -> float:
        """Grid rate of a stream in Hz: all its signals share it."""
        return float(self.signal(stream.channels[0][0])["rate"])

    def with_changes(self, **changes: Any) -> Config:
        """A copy with fields of `model`, `train` or `window` changed: `train__epochs=3`."""
        result = self
        for key, value in changes.items():
            table, _, name = key.partition("__")
            part = getattr(result, table)
            result = replace(result, **{table: replace(part, **{name: value})})
        result.check()
        return result

    def check(self) -> None:
        """Raises `ConfigError` where the numbers do not fit together."""

        def want(ok: bool, field: str, expected: str, found: object) -> None:
            if not ok:
                raise ConfigError(f"{self.source}: {field}: expected {expected}, found {found}")

        w, m, t = self.window, self.model, self.train
        want(w.chunk > 0 and w.duration >= w.chunk, "[window]", "0 < chunk <= duration", w)
        for field, value in (("duration", w.duration), ("hop", w.hop)):
            times = value / w.chunk
            want(
                value > 0 and abs(times - round(times)) < 1e-9,
                f"[window] {field}", f"a multiple of chunk = {w.chunk}", value,
            )
        want(m.variant in VARIANTS, "[model] variant", " or ".join(VARIANTS), m.variant)
        want(m.pool in POOLS, "[model] pool", " or ".join(POOLS), m.pool)
        want(
            m.heads > 0 and m.width % m.heads == 0 and m.width % 2 == 0,
            "[model] width", f"an even multiple of heads = {m.heads}", m.width,
        )
        want(0 <= m.dropout < 1, "[model] dropout", "0 to below 1", m.dropout)
        want(bool(m.tokenizer), "[model] tokenizer", "at least one convolution", "none")
        want(
            m.tokenizer[-1][0] == m.width,
            "[model] tokenizer", f"{m.width} channels at its end, the width", m.tokenizer[-1][0],
        )
        want(t.batch > 0 and t.epochs > 0, "[train]", "batch and epochs above 0", t)
        want(0 <= t.ema < 1, "[train] ema", "0 to below 1", t.ema)
        want(t.balance in BALANCES, "[train] balance", " or ".join(BALANCES), t.balance)
        classes = self.outputs.classes
        want(classes in ((), EVIDENCE), "[outputs] classes", f"none, or {list(EVIDENCE)}", classes)
        want(self.video.backbone in ("units", "clip"), "[video] backbone", "units or clip",
             self.video.backbone)
        want(bool(self.streams), "[[stream]]", "at least one", "none")
        stride = 1
        for _, kernel, step in m.tokenizer:
            want(kernel >= step > 0, "[model] tokenizer", "kernel >= stride > 0", (kernel, step))
            stride *= step
        for stream in self.streams:
            rates = {float(self.signal(n)["rate"]) for c in stream.channels for n in c}
            want(len(rates) == 1, f"[[stream]] {stream.name}", "signals of one rate", rates)
            points = rates.pop() * w.chunk
            want(
                abs(points - stride * stream.encoder.tokens) < 1e-9,
                f"[[stream]] {stream.name} tokens",
                f"{points:g} points of a chunk / tokenizer's stride {stride}", stream.encoder.tokens,
            )


def _build(kind: Any, value: Any, where: str) -> Any:
    """Makes `kind` from plain TOML values; refuses what it does not know."""
    origin = typing.get_origin(kind)
    if origin is tuple:
        items = typing.get_args(kind)
        if not isinstance(value, list):
            raise ConfigError(f"{where}: expected a list, found {value!r}")
        if len(items) == 2 and items[1] is Ellipsis:
            return tuple(_build(items[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(items) != len(value):
            raise ConfigError(f"{where}: expected {len(items)} values, found {value!r}")
        return tuple(_build(k, v, where) for k, v in zip(items, value, strict=True))
    if origin is dict or isinstance(kind, types.GenericAlias) and origin is dict:
        return dict(value)
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected a table, found {value!r}")
        hints = typing.get_type_hints(kind)
        known = {f.name.replace("_", "-"): f for f in fields(kind)}
        for key in value:
            if key not in known:
                raise ConfigError(f"{where}: unknown field '{key}'; known: {', '.join(known)}")
        for key, field in known.items():
            if key not in value and field.default is MISSING:
                raise ConfigError(f"{where}: field '{key}' is missing")
        make: Any = kind
        return make(**{
            known[k].name: _build(hints[known[k].name], v, f"{where}.{k}")
            for k, v in value.items()
        })
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (float, int, str, bool) and type(value) is not kind:
        raise ConfigError(f"{where}: expected {kind.__name__}, found {value!r}")
    return value


def parse(text: str, source: str) -> Config:
    """A configuration from TOML text; `source` names it in errors."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: {error}") from error
    parts: dict[str, Any] = {}
    for key, kind in (
        ("window", WindowConfig), ("video", VideoConfig), ("model", ModelConfig),
        ("train", TrainConfig), ("outputs", OutputsConfig),
    ):
        if key not in raw:
            raise ConfigError(f"{source}: table [{key}] is missing")
        parts[key] = _build(kind, raw.pop(key), f"{source}: [{key}]")
    streams = raw.pop("stream", [])
    signals = raw.pop("signal", [])
    for table in signals:
        if "name" not in table or "rate" not in table:
            raise ConfigError(f"{source}: [[signal]] needs 'name' and 'rate', found {table}")
    config = Config(
        name=str(raw.pop("name", "")), version=str(raw.pop("version", "")),
        signals=tuple(signals),
        streams=tuple(_build(StreamConfig, s, f"{source}: [[stream]]") for s in streams),
        text=text, source=source, **parts,
    )
    if raw:
        raise ConfigError(f"{source}: unknown field '{next(iter(raw))}'")
    config.check()
    return config


def presets() -> list[str]:
    """Names of the presets that come with the package."""
    folder = resources.files("mvp_training") / "presets"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))


def load(name: str) -> Config:
    """A preset by its name ("default" is "mvp-default") or a TOML file by its path."""
    for preset in (name, f"mvp-{name}"):
        if preset in presets():
            text = (resources.files("mvp_training") / "presets" / f"{preset}.toml").read_text()
            return parse(text, f"preset {preset}")
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"no preset and no file is called '{name}'; presets: {', '.join(presets())}"
        )
    return parse(path.read_text(), str(path))
