#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Writes a small MVP-shaped bundle with random weights: the untrained fixture.

It has the shapes, names and masks of a real bundle, is the same to the byte on every
run, and knows nothing about emotion. Tests stand on it; needs only onnx and numpy.

    python3 training/fixture.py models/fixture
    python3 training/fixture.py --lanes models/fixture-lanes

The second has the signals and streams of mvp-default: two signals are made of one sensor's
samples and go into one encoder, and one encoder takes the heart rate of PPG or ECG.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 32
HEADS = 4
DURATION = 60
CHUNK = 1
VIDEO_RATE = 5
VIDEO_CONTEXT = 1
# name, signals of each channel, grid rate in Hz, seconds of left context, convolution
# kernel and stride
PLAIN_STREAMS = [
    ("eda", [["eda"]], 4, 4, 4, 2),
    ("ecg", [["ecg"]], 128, 1, 16, 8),
    ("ppg", [["ppg"]], 64, 1, 16, 8),
]
LANES_STREAMS = [
    ("eda", [["eda"], ["eda_phasic"]], 4, 3, 4, 2),
    ("cardiac", [["ppg", "ecg"]], 4, 3, 4, 2),
]
UNITS = """browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff
cheekSquintLeft cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight
eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight
eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight
mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel
mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker
mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft
mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight
noseSneerLeft noseSneerRight""".split()


class Graph:
    """Collects nodes and weights; every call returns the name of its result."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def constant(self, values):
        name = f"w{len(self.weights)}"
        array = np.ascontiguousarray(values)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def shape(self, *dims):
        return self.constant(np.array(dims, np.int64))

    def op(self, kind, *inputs, output=None, **attributes):
        output = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def linear(self, x, fan_in, fan_out, output=None):
        weight = self.random.normal(0, fan_in**-0.5, (fan_in, fan_out))
        product = self.op("MatMul", x, self.constant(weight))
        return self.op("Add", product, self.constant(np.zeros(fan_out)), output=output)

    def norm(self, x, output=None):
        ones, zeros = self.constant(np.ones(WIDTH)), self.constant(np.zeros(WIDTH))
        return self.op("LayerNormalization", x, ones, zeros, axis=-1, output=output)

    def masked_mean(self, x, mask, axis):
        """Mean of `x` over `axis` where `mask` (same rank) is 1; 0 where nothing is."""
        axes = self.shape(axis)
        total = self.op("ReduceSum", self.op("Mul", x, mask), axes, keepdims=1)
        count = self.op("ReduceSum", mask, axes, keepdims=1)
        return self.op("Div", total, self.op("Max", count, self.constant(np.ones(1))))

    def save(self, path, inputs, outputs):
        def info(items):
            return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in items]

        graph = helper.make_graph(
            self.nodes, path.stem, info(inputs), info(outputs), initializer=self.weights
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="gst-plugin-mvp"
        )
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString())
        return hashlib.sha256(path.read_bytes()).hexdigest()


def video_encoder(path):
    """units [1,n,U], valid [1,n] -> tokens [1,1,width]: mean over time, one hidden layer."""
    n = (CHUNK + VIDEO_CONTEXT) * VIDEO_RATE
    g = Graph(1)
    mask = g.op("Unsqueeze", "valid", g.shape(2))
    mean = g.masked_mean("units", mask, 1)
    hidden = g.op("Tanh", g.linear(mean, len(UNITS), WIDTH))
    g.norm(g.linear(hidden, WIDTH, WIDTH), output="tokens")
    return g.save(
        path,
        [("units", [1, n, len(UNITS)]), ("valid", [1, n])],
        [("tokens", [1, 1, WIDTH])],
    )


def signal_encoder(path, seed, channels, rate, context, kernel, stride):
    """signal, valid [1,channels,n] -> tokens [1,1,width]: strided convolution, tanh, mean."""
    n = (CHUNK + context) * rate
    g = Graph(seed)
    fan_in = channels * kernel
    kernels = g.constant(g.random.normal(0, fan_in**-0.5, (WIDTH, channels, kernel)))
    signal = g.op("Mul", "signal", "valid")
    conv = g.op("Tanh", g.op("Conv", signal, kernels, kernel_shape=[kernel], strides=[stride]))
    mean = g.op("ReduceMean", conv, axes=[2], keepdims=0)
    rows = g.op("Reshape", mean, g.shape(1, 1, WIDTH))
    g.norm(g.linear(rows, WIDTH, WIDTH), output="tokens")
    return g.save(
        path,
        [("signal", [1, channels, n]), ("valid", [1, channels, n])],
        [("tokens", [1, 1, WIDTH])],
    )


def fusion(path, streams):
    """Cross-attention: query = physiology tokens, key and value = video tokens."""
    tokens = DURATION // CHUNK
    g = Graph(99)
    # Position counts back from the window's end, the only clock the network has.
    back = np.arange(tokens)[::-1, None] / 10000 ** (np.arange(0, WIDTH, 2) / WIDTH)
    position = np.stack([np.sin(back), np.cos(back)], -1).reshape(1, tokens, WIDTH)
    position = g.constant(position)

    queries, masks = [], []
    for name, *_ in streams:
        kind = g.constant(g.random.normal(0, 0.5, (1, 1, WIDTH)))
        queries.append(g.op("Add", g.op("Add", name, position), kind))
        masks.append(f"{name}_valid")
    query = g.op("Concat", *queries, axis=1)
    query_mask = g.op("Unsqueeze", g.op("Concat", *masks, axis=1), g.shape(2))
    key = g.op("Add", "video", position)

    def heads(x, count):
        split = g.op("Reshape", x, g.shape(1, count, HEADS, WIDTH // HEADS))
        return g.op("Transpose", split, perm=[0, 2, 1, 3])

    total = tokens * len(streams)
    q = heads(g.linear(g.norm(query), WIDTH, WIDTH), total)
    q = g.op("Mul", q, g.constant(np.full(1, (WIDTH // HEADS) ** -0.5)))
    k = heads(g.linear(g.norm(key), WIDTH, WIDTH), tokens)
    v = heads(g.linear(g.norm("video"), WIDTH, WIDTH), tokens)
    score = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
    off = g.op("Sub", "video_valid", g.constant(np.ones(1)))
    bias = g.op("Mul", off, g.constant(np.full(1, 1e4)))
    score = g.op("Add", score, g.op("Unsqueeze", bias, g.shape(1, 2)))
    mixed = g.op("MatMul", g.op("Softmax", score, axis=-1), v)
    mixed = g.op("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = g.op("Reshape", mixed, g.shape(1, total, WIDTH))
    # With no video at all attention is a mean of nothing: shut it off.
    seen = g.op("ReduceMax", "video_valid", axes=[1], keepdims=1)
    gate = g.op("Unsqueeze", seen, g.shape(2))
    mixed = g.op("Mul", g.linear(mixed, WIDTH, WIDTH), gate)
    body = g.masked_mean(g.norm(g.op("Add", query, mixed)), query_mask, 1)
    # The face alone speaks where physiology is silent.
    face = g.masked_mean("video", g.op("Unsqueeze", "video_valid", g.shape(2)), 1)
    both = g.op("Reshape", g.op("Concat", body, face, axis=2), g.shape(1, 2 * WIDTH))
    hidden = g.op("Tanh", g.linear(both, 2 * WIDTH, WIDTH))
    for name in ("valence", "arousal"):
        g.linear(hidden, WIDTH, 1, output=name)

    parts = ["video"] + [name for name, *_ in streams]
    inputs = []
    for part in parts:
        inputs += [(part, [1, tokens, WIDTH]), (f"{part}_valid", [1, tokens])]
    return g.save(path, inputs, [("valence", [1, 1]), ("arousal", [1, 1])])


PLAIN_SIGNALS = """\
[[signal]]
name = "eda"
rate = 4.0
max-gap = 1.0
checks = { flat = 10.0, range = [0.0, 100.0] }
filters = [{ type = "lowpass", order = 2, cutoff = 1.0 }]
normalisation = { type = "running", time-constant = 300.0, warm-up = 4.0, min-std = 0.01, clip = 6.0 }

[[signal]]
name = "ecg"
rate = 128.0
max-gap = 0.1
checks = { flat = 1.0 }
filters = [
    { type = "highpass", order = 2, cutoff = 0.5 },
    { type = "lowpass", order = 4, cutoff = 40.0 },
]
normalisation = { type = "running", time-constant = 60.0, warm-up = 2.0, min-std = 1e-6, clip = 8.0 }

[[signal]]
name = "ppg"
rate = 64.0
max-gap = 0.2
checks = { flat = 1.0 }
filters = [
    { type = "highpass", order = 2, cutoff = 0.4 },
    { type = "lowpass", order = 2, cutoff = 8.0 },
]
normalisation = { type = "running", time-constant = 60.0, warm-up = 2.0, min-std = 1e-6, clip = 8.0 }
"""

LANES_SIGNALS = """\
[[signal]]
name = "eda"
rate = 4.0
max-gap = 1.0
checks = { flat = 10.0, range = [0.0, 100.0] }
filters = [{ type = "lowpass", order = 2, cutoff = 1.0 }, { type = "log", offset = 0.05 }]
normalisation = { type = "running", time-constant = 1200.0, warm-up = 4.0, min-std = 0.02, clip = 6.0 }

[[signal]]
name = "eda_phasic"
input = "eda"
rate = 4.0
max-gap = 1.0
checks = { flat = 10.0, range = [0.0, 100.0] }
filters = [{ type = "lowpass", order = 2, cutoff = 1.0 }, { type = "highpass", order = 1, cutoff = 0.05 }]
normalisation = { type = "running", time-constant = 1200.0, warm-up = 4.0, min-std = 0.003, clip = 6.0 }

[[signal]]
name = "ppg"
rate = 4.0
max-gap = 0.2
checks = { flat = 1.0 }
derive = { type = "pulse-rate", min = 40.0, max = 180.0, span = 10.0 }
normalisation = { type = "running", time-constant = 1200.0, warm-up = 10.0, min-std = 1.0, clip = 6.0 }

[[signal]]
name = "ecg"
rate = 4.0
max-gap = 0.1
checks = { flat = 1.0 }
derive = { type = "pulse-rate", min = 40.0, max = 180.0, span = 10.0 }
normalisation = { type = "running", time-constant = 1200.0, warm-up = 10.0, min-std = 1.0, clip = 6.0 }
"""

MANIFEST = """\
# Made by training/fixture.py: random weights, no meaning.
format = 1
name = "{name}"
version = "0.1.0"
trained = false
card = "MODEL_CARD.md"

[window]
duration = {duration}.0
hop = 1.0
chunk = {chunk}.0
min-coverage = 0.05
min-chunk-coverage = 0.5

[video]
backbone = "units"
rate = {video_rate}.0
max-gap = 0.5
min-confidence = 0.5
units = [
{units}
]
encoder = {{ file = "video.onnx", sha256 = "{video}", context = {video_context}.0, tokens = 1 }}

{signals}

{streams}
[fusion]
file = "fusion.onnx"
sha256 = "{fusion}"
width = {width}

[outputs]
valence = {{ temperature = 1.0, bias = 0.0, prior = 0.5 }}
arousal = {{ temperature = 1.0, bias = 0.0, prior = 0.5 }}

[outputs.labels]
high-valence-high-arousal = "excited"
high-valence-low-arousal = "content"
low-valence-high-arousal = "distressed"
low-valence-low-arousal = "downcast"
unknown = "unknown"
"""

STREAM = """\
[[stream]]
name = "{name}"
channels = {channels}
encoder = {{ file = "{name}.onnx", sha256 = "{digest}", context = {context}.0, tokens = 1 }}
"""

CARD = """\
# {name}: an untrained network

**Its answers mean nothing.** The weights are random numbers (`training/fixture.py`,
seeds 1, {seeds} and 99). The bundle has the shapes, names, masks and files of a real one,
so that everything around the network can be built, run and tested before the trained
network is there. The overlay, the metadata and the JSON lines say `trained` = false.

- Data: none. Licence: MPL-2.0, as the project.
- Input: 51 face units at 5 Hz; {body}.
- Window: 60 s, an answer each second, query = physiology, key and value = face.
- Protocol, figures, chance rows: there is nothing to measure.
- Limits: all of them. Do not use it to say anything about anybody.
"""


def main(folder, *, lanes):
    folder.mkdir(parents=True, exist_ok=True)
    if lanes:
        about = {
            "name": "mvp-fixture-lanes",
            "seeds": "10, 11",
            "body": "EDA and its changes at 4 Hz, the heart rate of PPG or ECG at 4 Hz",
        }
        signals, shapes = LANES_SIGNALS, LANES_STREAMS
    else:
        about = {
            "name": "mvp-fixture",
            "seeds": "10–12",
            "body": "EDA at 4 Hz, ECG at 128 Hz, PPG at 64 Hz",
        }
        signals, shapes = PLAIN_SIGNALS, PLAIN_STREAMS
    streams = ""
    for seed, (name, channels, rate, context, kernel, stride) in enumerate(shapes, start=10):
        path = folder / f"{name}.onnx"
        digest = signal_encoder(path, seed, len(channels), rate, context, kernel, stride)
        # A list of lists of plain names is written in TOML as in JSON.
        names = json.dumps(channels)
        streams += STREAM.format(name=name, channels=names, digest=digest, context=context)
        streams += "\n"
    manifest = MANIFEST.format(
        name=about["name"],
        duration=DURATION,
        chunk=CHUNK,
        video_rate=VIDEO_RATE,
        video_context=VIDEO_CONTEXT,
        units="\n".join(f'    "{unit}",' for unit in UNITS),
        video=video_encoder(folder / "video.onnx"),
        signals=signals.rstrip("\n"),
        streams=streams,
        fusion=fusion(folder / "fusion.onnx", shapes),
        width=WIDTH,
    )
    (folder / "mvp.toml").write_text(manifest)
    (folder / "MODEL_CARD.md").write_text(CARD.format(**about))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes an untrained bundle.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--lanes", action="store_true", help="with the shape of mvp-default")
    arguments = parser.parse_args()
    main(arguments.directory, lanes=arguments.lanes)
