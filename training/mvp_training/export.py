# SPDX-License-Identifier: MPL-2.0
"""Writes a bundle (docs/bundle.md): ONNX graphs, manifest and card."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import version_converter
from torch import Tensor, nn

from .calibration import Calibration, Evidence
from .config import Config, EncoderConfig
from .data.recording import DataError
from .model import Fusion, Network, valence_of

OPSET = 17
FORMAT = 1


class _Fusion(nn.Module):
    """The fusion with its inputs one by one, as a graph has them. The logits of classes are
    calibrated inside, and valence is that of the calibrated ones."""

    def __init__(self, fusion: Fusion, evidence: Evidence) -> None:
        super().__init__()
        self.fusion, self.temperature = fusion, evidence.temperature
        self.register_buffer("bias", torch.tensor(evidence.bias, dtype=torch.float32))

    def forward(self, *parts: Tensor) -> tuple[Tensor, ...]:
        out: tuple[Tensor, ...] = self.fusion(list(parts[0::2]), list(parts[1::2]))
        if len(out) == 2:
            return out
        evidence = out[2] / self.temperature + self.bias
        return valence_of(evidence), out[1], evidence


# Logits as they are.
UNCHANGED = Evidence(1.0, (0.0, 0.0, 0.0))


def encoder_shape(config: Config, index: int) -> tuple[int, ...]:
    """Shape of what encoder `index` takes (0 is video): values; without the units' axis, of
    `valid`."""
    chunk = config.window.chunk
    if index == 0:
        video = config.video
        n = round((video.encoder.context + chunk) * video.rate)
        return 1, n, len(video.units)
    stream = config.streams[index - 1]
    n = round((stream.encoder.context + chunk) * config.stream_rate(stream))
    return 1, len(stream.channels), n


def graph(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: list[str], name: str
) -> bytes:
    """An ONNX file of opset 17 with fixed shapes, checked."""
    module = module.eval().cpu()
    buffer: Any = io.BytesIO()
    modern = int(torch.__version__.split(".")[0]) >= 2
    options: dict[str, Any] = {"dynamo": False} if modern else {}
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter warns of each constant shape, which is what is wanted.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, tuple(inputs.values()), buffer, input_names=list(inputs),
            output_names=outputs, opset_version=OPSET if modern else 16,
            do_constant_folding=True, **options,
        )
    model = onnx.load_from_string(buffer.getvalue())
    if model.opset_import[0].version != OPSET:
        model = version_converter.convert_version(model, OPSET)
    model.graph.name = name
    model.producer_name = "mvp-training"
    model.producer_version = ""
    model.doc_string = ""
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        if hasattr(node, "metadata_props"):
            del node.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    got = {v.name for v in model.graph.input}
    if got != set(inputs):
        raise RuntimeError(f"{name}: the graph takes {sorted(got)}, expected {sorted(inputs)}")
    content: bytes = model.SerializeToString()
    return content


def graphs(network: Network, evidence: Evidence = UNCHANGED) -> dict[str, bytes]:
    """File name to content of all graphs of a network. evidence: the calibration of its
    classes, which goes into the graph."""
    config = network.config
    result = {}
    names = ["video"] + [s.name for s in config.streams]
    for index, name in enumerate(names):
        shape = encoder_shape(config, index)
        values = torch.zeros(shape)
        valid = torch.ones(shape[:2] if index == 0 else shape)
        encoder = network.video if index == 0 else network.streams[index - 1]
        inputs = {"units" if index == 0 else "signal": values, "valid": valid}
        result[f"{name}.onnx"] = graph(encoder, inputs, ["tokens"], name)
    chunks, width = config.window.chunks, config.model.width
    inputs = {}
    for name, encoder_config in zip(names, encoders(config), strict=True):
        rows = chunks * encoder_config.tokens
        inputs[name] = torch.zeros(1, rows, width)
        inputs[f"{name}_valid"] = torch.ones(1, rows)
    result["fusion.onnx"] = graph(
        _Fusion(network.fusion, evidence), inputs,
        ["valence", "arousal"] + (["classes"] if config.outputs.classes else []), "fusion",
    )
    return result


def encoders(config: Config) -> list[EncoderConfig]:
    """Of video, then of the streams."""
    return [config.video.encoder, *(s.encoder for s in config.streams)]


def toml(value: Any) -> str:
    """A TOML value on one line; tables become inline tables."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    raise TypeError(f"no TOML for {value!r}")


def manifest(
    config: Config, files: Mapping[str, bytes], calibrations: Mapping[str, Calibration],
    known: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """The text of mvp.toml."""

    def encoder(name: str, c: EncoderConfig) -> str:
        return toml({
            "file": f"{name}.onnx", "sha256": hashlib.sha256(files[f"{name}.onnx"]).hexdigest(),
            "context": c.context, "tokens": c.tokens,
        })

    w, v = config.window, config.video
    lines = [
        "# Written by `mvp-training export`; what each field means stands in docs/bundle.md.",
        f"format = {FORMAT}", f"name = {toml(config.name)}", f"version = {toml(config.version)}",
        "trained = true", 'card = "MODEL_CARD.md"', "",
        "[window]", f"duration = {toml(w.duration)}", f"hop = {toml(w.hop)}",
        f"chunk = {toml(w.chunk)}", f"min-coverage = {toml(w.min_coverage)}",
        f"min-chunk-coverage = {toml(w.min_chunk_coverage)}", "",
        "[video]", f"backbone = {toml(v.backbone)}", f"rate = {toml(v.rate)}",
        f"max-gap = {toml(v.max_gap)}", f"min-confidence = {toml(v.min_confidence)}",
        "units = [", *(f"    {toml(u)}," for u in v.units), "]",
        f"encoder = {encoder('video', v.encoder)}", "",
    ]
    for table in config.signals:
        lines += ["[[signal]]", *(f"{k} = {toml(x)}" for k, x in table.items()), ""]
    for stream in config.streams:
        lines += [
            "[[stream]]", f"name = {toml(stream.name)}", f"channels = {toml(stream.channels)}",
            f"encoder = {encoder(stream.name, stream.encoder)}", "",
        ]
    lines += [
        "[fusion]", 'file = "fusion.onnx"',
        f"sha256 = {toml(hashlib.sha256(files['fusion.onnx']).hexdigest())}",
        f"width = {config.model.width}", "", "[outputs]",
    ]
    for name in ("valence", "arousal"):
        c = calibrations[name]
        lines.append(f"{name} = " + toml({
            "temperature": round(c.temperature, 6), "bias": round(c.bias, 6), "prior": 0.5,
        }))
    if config.outputs.classes:
        lines.append(f"classes = {toml(config.outputs.classes)}")
    if "neutral" in config.outputs.labels:
        lines.append(f"middle = {toml(config.outputs.middle)}")
    if config.outputs.now:
        lines.append(f"now = {toml(config.outputs.now)}")
    if known is not None:
        lines.append(f"known = {toml(known)}")
    lines += ["", "[outputs.labels]"]
    lines += [f"{k} = {toml(x)}" for k, x in config.outputs.labels.items()]
    return "\n".join(lines) + "\n"


def export(
    network: Network, calibrations: Mapping[str, Calibration], card: str, folder: Path,
    evidence: Evidence = UNCHANGED,
    known: Mapping[str, Mapping[str, float]] | None = None,
) -> int:
    """Writes the bundle and returns its size in bytes. A directory that is there is replaced
    if it is a bundle or empty, and left alone otherwise."""
    if folder.exists() and not (folder / "mvp.toml").is_file() and any(folder.iterdir()):
        raise DataError(f"{folder} is there and is no bundle; name another directory")
    files = graphs(network, evidence)
    text = manifest(network.config, files, calibrations, known)
    size = sum(len(f) for f in files.values()) + len(text) + len(card.encode())
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, content in files.items():
        (fresh / name).write_bytes(content)
    (fresh / "mvp.toml").write_text(text)
    (fresh / "MODEL_CARD.md").write_text(card)
    if folder.exists():
        shutil.rmtree(folder)
    fresh.rename(folder)
    return size


def reference(network: Network, inputs: list[tuple[Tensor, Tensor, Tensor]]) -> np.ndarray[Any, Any]:
    """float64 [n, outputs]: the network's own answer, to compare with."""
    network.eval()
    with torch.no_grad():
        return np.asarray(torch.cat(network(inputs), 1).numpy(), np.float64)
