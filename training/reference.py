#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Writes what the shipped network, in PyTorch, answers for 100 real windows of one person,
and the recording that they are cut from, so that Rust can be held to it without PyTorch.

    python training/reference.py RUN stress-predict.tar.xz S05 tests/data/default

RUN is a run folder, or a bundle that was exported from the preset mvp-default, such as
models/default: its weights are put back into the network of PyTorch.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

sys.path.insert(0, str(Path(__file__).parent))

from mvp_training import heldout, run, train
from mvp_training.calibration import Calibration
from mvp_training.config import Config, load
from mvp_training.batches import Bodies
from mvp_training.conditioning import Conditioner
from mvp_training.data import stress_predict
from mvp_training.data.recording import SECOND, Recording, UnitTrack
from mvp_training.model import Network

SECONDS = 160


def opened(folder: Path) -> tuple[Config, Network, dict[str, Calibration]]:
    """Configuration, network and calibration of a run folder or of a bundle."""
    if not (folder / "mvp.toml").exists():
        here = run.open_run(folder)
        return here.config, run.load_network(here), run.read_calibration(here)
    config = load("mvp-default")
    outputs = tomllib.loads((folder / "mvp.toml").read_text())["outputs"]
    calibrations = {
        n: Calibration(outputs[n]["temperature"], outputs[n]["bias"]) for n in run.OUTPUTS
    }
    return config, restored(folder, config), calibrations


def restored(folder: Path, config: Config) -> Network:
    """The network whose graphs are in a bundle. The exporter keeps the names of weights, except
    of what it folds: matrices that multiply from the right, in the order of their use, and
    the tokens of the fusion graph."""
    network = Network(config)
    state = network.state_dict()
    for i, name in enumerate(["video", *(s.name for s in config.streams)]):
        weights = {
            w.name: torch.from_numpy(numpy_helper.to_array(w).copy())
            for w in onnx.load(folder / f"{name}.onnx").graph.initializer
        }
        prefix = "video." if i == 0 else f"streams.{i - 1}."
        for key, value in weights.items():
            if key.startswith("onnx::MatMul"):
                state[f"{prefix}linear.weight"] = value.T
            elif prefix + key in state:
                state[prefix + key] = value
    graph = onnx.load(folder / "fusion.onnx").graph
    weights = {
        w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in graph.initializer
    }
    for key in [k for k in weights if k in state]:
        state[key] = weights[key]
    number = lambda name: int(name.rsplit("_", 1)[1])  # noqa: E731
    by_kind = lambda kind: [  # noqa: E731
        weights[k] for k in sorted((k for k in weights if k.startswith(f"onnx::{kind}_")), key=number)
    ]
    state["fusion.kinds"] = torch.stack(by_kind("Add"))
    state["fusion.null"] = torch.cat(by_kind("Expand"))[:, 0]
    linear = ["attention.query", "attention.key_value", "attention.out", "feed.0", "feed.3"]
    blocks = [f"fusion.{kind}_blocks.{i}" for kind, layers in (
        ("video", config.model.video_layers), ("physio", config.model.physio_layers),
        ("fusion", config.model.fusion_layers)) for i in range(layers)]
    keys = [f"{block}.{name}.weight" for block in blocks for name in linear]
    for key, value in zip(keys, by_kind("MatMul"), strict=True):
        state[key] = value.T
    network.load_state_dict(state)
    return network.eval()


def main(folder: Path, data: Path, subject: str, out: Path) -> None:
    """Cuts the first SECONDS of the person's recording; faces go through six expressions."""
    config, network, calibrations = opened(folder)
    whole = stress_predict.read(data, [subject])[0]
    signals = {k: s.between(0, SECONDS * SECOND) for k, s in whole.signals.items()}
    # Faces of the expressions file are not shipped: made ones, that move.
    random = np.random.default_rng(7)
    times = np.arange(0, SECONDS * SECOND, SECOND // 5)
    knots = random.beta(1.0, 5.0, (SECONDS // 10 + 2, len(config.video.units)))
    place = times / (10 * SECOND)
    low = place.astype(int)
    part = (place - low)[:, None]
    units = (knots[low] * (1 - part) + knots[low + 1] * part).astype(np.float32)
    sure = np.where((times > 40 * SECOND) & (times < 52 * SECOND), 0.1, 0.9)
    track = UnitTrack(times, units, sure.astype(np.float32), config.video.units)
    recording = Recording(subject, subject, signals, track, ())
    parts = heldout.condition([recording], Conditioner(config))
    bodies = Bodies(config, parts)
    chunks = config.window.chunks
    ends = np.arange(chunks, chunks + 100)
    logits = train.body_logits(network, bodies, ends)
    bodily = train.body_logits(network, bodies, ends, (0,))
    out.mkdir(parents=True, exist_ok=True)
    for name, signal in signals.items():
        rows = np.empty(len(signal), [("t", "<u8"), ("v", "<f4")])
        rows["t"], rows["v"] = signal.times, signal.values
        (out / f"{name}.bin").write_bytes(rows.tobytes())
    (out / "units.bin").write_bytes(
        np.concatenate([sure[:, None].astype("<f4"), units.astype("<f4")], 1).tobytes()
    )
    (out / "expected.json").write_text(json.dumps({
        "source": f"Stress-Predict (MIT licence, (c) 2022 Talha Iqbal), {subject}, first"
                  f" {SECONDS} s; made faces; logits by PyTorch {torch.__version__}",
        "rates": {k: s.rate for k, s in signals.items()},
        "ends": ends.tolist(),
        "both": np.round(logits, 7).tolist(),
        "physiology": np.round(bodily, 7).tolist(),
        "probability": [
            [round(float(calibrations[n].probability(row[i])), 7)
             for i, n in enumerate(run.OUTPUTS)] for row in logits
        ],
    }) + "\n")
    print(f"{out}: 100 windows, logits from {logits.min():.2f} to {logits.max():.2f}")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
