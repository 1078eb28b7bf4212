#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Makes the face graphs of models/face from the converted originals, and a reference.

    face_models.py graphs ORIGINALS models/face
    face_models.py reference ORIGINALS target/media tests/data/face_graphs.json

ORIGINALS holds the three graphs as tf2onnx writes them (models/face/README.md); any other
graph is refused. Needs the packages of scripts/requirements-test.txt.

`graphs` writes graphs that compute the same and cost ONNX Runtime's CPU provider less:

  landmarks    PRelu, y = s*x + (1 - s)*relu(x), becomes convolutions, because PRelu is
               slow there and forces every convolution around it to change its memory
               layout. Pad and the Transpose of the input become convolutions too.
  blendshapes  The token mixer is written with matrix products and LayerNormalization;
               what the one token that is read does not depend on is left out.
  detector     Copied: the same steps gain nothing.

All weights are computed in double precision and rounded once; two runs write the same bytes.

`reference` stores what the originals answer to a few crops of real faces, for
tests/face_graphs.rs. Frames are decoded by gst-launch-1.0 and sampled with whole numbers
only, so that the test takes exactly the same crops.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

DETECTOR = "face_detector.onnx"
LANDMARKS = "face_landmarks_detector.onnx"
BLENDSHAPES = "face_blendshapes.onnx"
ORIGINALS = {
    DETECTOR: "c0a3e67dbfdb323e655a5d3c4c3c94871dfa2042d8cd4d7156d47df4667d1caa",
    LANDMARKS: "d154ad4a21eaaf099b58dc331218bae006f6c67c11e2e66f915b237e4bb71195",
    BLENDSHAPES: "194243ef63112ba0fa59db0e089855778a6c89068c24f6787f4d62b7cacd91b5",
}

# ONNX Runtime keeps channels in blocks of 16 where the CPU has AVX-512: fewer are
# padded, so that up to 16 cost nothing.
BLOCK = 16


def original(directory, name):
    path = os.path.join(directory, name)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as e:
        sys.exit(f"{path}: {e.strerror}; expected the original graph, see models/face/README.md")
    found = hashlib.sha256(data).hexdigest()
    if found != ORIGINALS[name]:
        sys.exit(f"{path}: sha256 expected {ORIGINALS[name]}, found {found}; only the graph that "
                 "this script was written for can be rewritten, see models/face/README.md")
    return data


def known(condition, what):
    """The steps rely on it; the digest promises it."""
    if not condition:
        sys.exit(f"the graph is not the expected one: {what}")


def attributes(node):
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def as_column(values):
    return np.asarray(values).reshape(-1, 1, 1, 1)


class Graph:
    """A graph under work: nodes in order, constants by name."""

    def __init__(self, model):
        self.model = model
        self.nodes = list(model.graph.node)
        self.constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}

    def of(self, op):
        return [n for n in self.nodes if n.op_type == op]

    def weight(self, name):
        return self.constants[name].astype(np.float64)

    def constant(self, name, value):
        known(name not in self.constants, f"{name} is there twice")
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        self.constants[name] = np.ascontiguousarray(value)
        return name

    def consumers(self, name):
        return [n for n in self.nodes if name in n.input]

    def producer(self, name):
        return next((n for n in self.nodes if name in n.output), None)

    def replace(self, node, new):
        at = next(i for i, n in enumerate(self.nodes) if n is node)
        self.nodes[at:at + 1] = new

    def conv(self, x, y, weight, bias=None, **more):
        """A convolution that makes `y`; `weight` and `bias` are values."""
        inputs = [x, self.constant(f"{y}/weight", weight)]
        if bias is not None:
            inputs.append(self.constant(f"{y}/bias", bias))
        more.setdefault("kernel_shape", list(weight.shape[2:]))
        return helper.make_node("Conv", inputs, [y], name=y, **more)

    def again(self, node, x, weight, bias, **more):
        """Replaces a convolution by one with other values."""
        y = node.output[0]
        for old in (f"{y}/weight", f"{y}/bias"):
            self.constants.pop(old, None)
        self.replace(node, [self.conv(x, y, weight, bias, **(attributes(node) | more))])

    def bytes(self):
        used = {i for n in self.nodes for i in n.input}
        graph = self.model.graph
        for field in (graph.node, graph.initializer, graph.value_info):
            del field[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(
            numpy_helper.from_array(v, k) for k, v in self.constants.items() if k in used)
        onnx.checker.check_model(self.model, full_check=True)
        return self.model.SerializeToString(deterministic=True)


def interleaved_input(graph):
    """The first convolution reads the picture as it lies in memory: rows of R, G, B are one
    channel of three times the width. Saves turning [1, H, W, 3] into [1, 3, H, W]."""
    turn = graph.nodes[0]
    known(turn.op_type == "Transpose" and attributes(turn)["perm"] == [0, 3, 1, 2],
          "it does not begin with a Transpose to NCHW")
    (first,) = graph.consumers(turn.output[0])
    about = attributes(first)
    known(first.op_type == "Conv" and about["group"] == 1, "the first layer is no plain Conv")
    _, height, width, channels = (
        d.dim_value for d in graph.model.graph.input[0].type.tensor_type.shape.dim)
    weight = graph.weight(first.input[1])
    outputs, _, rows, columns = weight.shape
    top, left, bottom, right = about["pads"]
    down, across = about["strides"]
    rgb = turn.output[0]
    # 0: the batch stays as it is.
    shape = graph.constant(f"{rgb}/shape", np.array([0, 1, height, width * channels], np.int64))
    graph.replace(turn, [helper.make_node("Reshape", [turn.input[0], shape], [rgb], name=rgb)])
    graph.again(first, rgb, weight.transpose(0, 2, 3, 1).reshape(outputs, 1, rows, -1),
                graph.weight(first.input[2]), kernel_shape=[rows, columns * channels],
                strides=[down, across * channels],
                pads=[top, left * channels, bottom, right * channels])


def padding_as_convolution(graph):
    """Channels of zeros come from a convolution with the unit matrix, which needs no other
    memory layout and takes the addition that follows along."""
    for pad in graph.of("Pad"):
        pads = graph.constants[pad.input[1]]
        known(len(pads) == 8 and not np.delete(pads, 5).any(), "Pad does more than add channels")
        y = pad.output[0]
        (add,) = graph.consumers(y)
        (other,) = (graph.producer(i) for i in add.input if i != y)
        known(add.op_type == "Add" and other.op_type == "Conv", "Pad feeds no residual sum")
        channels = graph.constants[other.input[1]].shape[0]
        unit = np.eye(channels, channels - int(pads[5]))
        graph.replace(pad, [graph.conv(pad.input[0], y, unit[:, :, None, None])])


def narrow_prelu(graph):
    """Conv, PRelu, depthwise Conv, Conv with few channels: the first makes x and -x, then
    y = relu(x) - s*relu(-x), and the difference is taken by the last. Relu costs nothing
    after a convolution, and the doubled channels fit the block."""
    for node in graph.of("PRelu"):
        x, y = node.input[0], node.output[0]
        slope = graph.weight(node.input[1]).reshape(-1)
        count = len(slope)
        before, after = graph.producer(x), graph.consumers(y)
        if 2 * count > BLOCK or before.op_type != "Conv" or len(after) != 1:
            continue
        (depthwise,) = after
        known(len(graph.consumers(x)) == 1 and attributes(depthwise).get("group") == count,
              "a narrow PRelu feeds no depthwise Conv")
        (last,) = graph.consumers(depthwise.output[0])
        known(last.op_type == "Conv" and attributes(last)["group"] == 1,
              "a depthwise Conv feeds no Conv")
        weight, bias = graph.weight(before.input[1]), graph.weight(before.input[2])
        graph.again(before, before.input[0], np.concatenate([weight, -weight]),
                    np.concatenate([bias, -bias]))
        graph.replace(node, [helper.make_node("Relu", [x], [y], name=y)])
        weight, bias = graph.weight(depthwise.input[1]), graph.weight(depthwise.input[2])
        graph.again(depthwise, y, np.concatenate([weight, -as_column(slope) * weight]),
                    np.concatenate([bias, np.zeros(count)]), group=2 * count)
        weight, bias = graph.weight(last.input[1]), graph.weight(last.input[2])
        graph.again(last, last.input[0], np.concatenate([weight, weight], axis=1), bias)


def prelu(graph):
    """y = s*x + (1 - s)*relu(x) as two depthwise convolutions: relu(|1 - s|*x), whose Relu
    comes for free, and s*x, which takes the sum along.

    Where s > 1 the sum would have to be a difference. Such channels are kept negated
    instead: the convolutions that read them, and those that are added to them, have the
    sign in their weights. Where something else reads them, 1 - s gets its own step.
    """
    # Names whose channels are kept negated, as 1 and -1.
    signs = {}
    for node in graph.of("PRelu"):
        x, y = node.input[0], node.output[0]
        slope = graph.weight(node.input[1]).reshape(-1)
        count = len(slope)
        given = signs.get(x, np.ones(count))
        after = graph.consumers(y)
        sign = np.where(slope > 1, -1.0, 1.0)
        absorbed = all(n.op_type in ("Conv", "Add") for n in after)
        if not absorbed:
            sign[:] = 1.0

        def scale(source, part, factor):
            return graph.conv(source, f"{y}/{part}", as_column(factor), group=count)

        def relu(source):
            return helper.make_node("Relu", [source], [f"{y}/relu"], name=f"{y}/relu")

        line = scale(x, "line", given * sign * slope)
        if absorbed or (slope <= 1).all():
            new = [scale(x, "bend", given * abs(1 - slope)), relu(f"{y}/bend"), line]
            summands = [f"{y}/line", f"{y}/relu"]
        else:
            positive = [] if (given == 1).all() else [scale(x, "sign", given)]
            new = positive + [relu(f"{y}/sign" if positive else x), line,
                              scale(f"{y}/relu", "bend", 1 - slope)]
            summands = [f"{y}/line", f"{y}/bend"]
        graph.replace(node, new + [helper.make_node("Add", summands, [y], name=y)])

        if (sign == 1).all():
            continue
        for reader in after:
            if reader.op_type == "Conv":
                weight = graph.weight(reader.input[1])
                depthwise = attributes(reader)["group"] == count
                weight = weight * (as_column(sign) if depthwise else sign[:, None, None])
                graph.again(reader, reader.input[0], weight, graph.weight(reader.input[2]))
            else:
                (other,) = (graph.producer(i) for i in reader.input if i != y)
                known(other.op_type == "Conv" and len(graph.consumers(other.output[0])) == 1,
                      "a residual sum adds no Conv of its own")
                graph.again(other, other.input[0], as_column(sign) * graph.weight(other.input[1]),
                            sign * graph.weight(other.input[2]))
                signs[reader.output[0]] = sign


def landmarks(model):
    graph = Graph(model)
    interleaved_input(graph)
    padding_as_convolution(graph)
    narrow_prelu(graph)
    prelu(graph)
    known(not graph.of("PRelu"), "a PRelu is left")
    return graph.bytes()


def blendshapes(model):
    """An MLP mixer on 97 tokens of 64 values: 4 blocks that mix first over the tokens, then
    over the values. Only the first token is read at the end."""
    old = Graph(model)
    layers = [(old.weight(n.input[1])[:, :, 0, 0], old.weight(n.input[2])) for n in old.of("Conv")]
    block = [(384, 97), (97, 384), (256, 64), (64, 256)]
    known([w.shape for w, _ in layers] == [(96, 146), (64, 2)] + 4 * block + [(52, 64)],
          "other layers than a mixer of 4 blocks")

    def constants(op):
        return [old.weight(i) for n in old.of(op) for i in n.input if i in old.constants]

    scale, *gains = constants("Mul")
    known(scale.shape == () and [g.shape for g in gains] == 8 * [(64,)], "other gains")
    small = {float(e.reshape(())) for e in constants("Add")}
    known(len(small) == 1, "several epsilons")
    (epsilon,) = small
    (first,) = constants("Concat")

    model = helper.make_model(
        helper.make_graph([], model.graph.name, model.graph.input, model.graph.output),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
        producer_name=model.producer_name, producer_version=model.producer_version)
    graph = Graph(model)

    def add(op, inputs, y, **more):
        graph.nodes.append(helper.make_node(op, inputs, [y], name=y, **more))
        return y

    def whole(name, values):
        return graph.constant(name, np.array(values, np.int64))

    def over_tokens(layer, x, y):
        weight, bias = layer
        return add("Gemm", [graph.constant(f"{y}/weight", weight), x,
                            graph.constant(f"{y}/bias", bias[:, None])], y)

    def over_values(layer, x, y):
        weight, bias = layer
        return add("Gemm", [x, graph.constant(f"{y}/weight", weight.T),
                            graph.constant(f"{y}/bias", bias)], y)

    def normalize(x, y):
        gain = graph.constant(f"{y}/gain", gains.pop(0))
        return add("LayerNormalization", [x, gain], y, axis=-1, epsilon=epsilon)

    # Points around their mean, relative to their mean distance from it.
    points = add("Reshape", [model.graph.input[0].name, whole("points/shape", [146, 2])], "points")
    mean = add("ReduceMean", [points], "mean", axes=[0], keepdims=1)
    points = add("Sub", [points, mean], "centered")
    size = add("ReduceL2", [points], "distance", axes=[1], keepdims=1)
    size = add("ReduceMean", [size], "size", axes=[0], keepdims=1)
    points = add("Div", [points, size], "scaled")

    (weight, bias), embed, *mixer, head = layers
    tokens = over_tokens((scale * weight, bias), points, "gathered")
    tokens = over_values(embed, tokens, "embedded")
    first = graph.constant("first", first.reshape(1, 64))
    tokens = add("Concat", [first, tokens], "tokens", axis=0)
    for i in range(4):
        at = f"block{i}"
        up, (weight, bias), wide, narrow = mixer[4 * i:4 * i + 4]
        mixed = normalize(tokens, f"{at}/normal")
        mixed = add("Relu", [over_tokens(up, mixed, f"{at}/up")], f"{at}/up/relu")
        if i == 3:
            weight, bias = weight[:1], bias[:1]
            ends = [whole("begin", [0]), whole("end", [1])]
            tokens = add("Slice", [tokens, *ends, whole("axis", [0])], "read")
        mixed = over_tokens((weight, bias), mixed, f"{at}/down")
        tokens = add("Add", [tokens, mixed], f"{at}/tokens")
        mixed = normalize(tokens, f"{at}/tokens/normal")
        mixed = add("Relu", [over_values(wide, mixed, f"{at}/wide")], f"{at}/wide/relu")
        tokens = add("Add", [tokens, over_values(narrow, mixed, f"{at}/narrow")], f"{at}/mixed")
    values = add("Sigmoid", [over_values(head, tokens, "logits")], "values")
    add("Reshape", [values, whole("values/shape", [52])], model.graph.output[0].name)
    return graph.bytes()


def write_graphs(originals, target):
    data = {name: original(originals, name) for name in ORIGINALS}
    made = {name: rewrite(onnx.load_model_from_string(data[name]))
            for name, rewrite in ((LANDMARKS, landmarks), (BLENDSHAPES, blendshapes))}
    os.makedirs(target, exist_ok=True)
    for name in ORIGINALS:
        path = os.path.join(target, name)
        if name in made:
            with open(path, "wb") as file:
                file.write(made[name])
        elif not (os.path.exists(path) and os.path.samefile(path, os.path.join(originals, name))):
            shutil.copyfile(os.path.join(originals, name), path)
        with open(path, "rb") as file:
            now = file.read()
        print(f"{name}: {len(data[name])} -> {len(now)} bytes, sha256 "
              f"{hashlib.sha256(now).hexdigest()}")


# --- What the originals say -------------------------------------------------------

# File, format, width, height; crops as frame, left, top, side. The formats are those in the
# files, so that no converter takes part.
CROPS = [
    ("astronaut.png", "RGB", 512, 512,
     [(0, 146, 46, 158), (0, 126, 30, 190), (0, 155, 55, 140)]),
    ("single_face.mp4", "I420", 640, 360,
     [(0, 150, 60, 288), (12, 160, 64, 270), (36, 140, 50, 300), (60, 150, 50, 288)]),
]
SIDE = 256
# The landmarks that the blendshape network takes, in its order (crates/face/src/lib.rs).
POINTS = [
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65,
    66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136,
    144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172,
    173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283,
    284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324,
    332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385,
    386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472,
    473, 474, 475, 476, 477,
]


def decode(path, pixels, width, height):
    raw = subprocess.run(
        ["gst-launch-1.0", "-q", "filesrc", f"location={path}", "!", "decodebin", "!",
         f"video/x-raw,format={pixels}", "!", "fdsink", "fd=1", "sync=false"],
        check=True, stdout=subprocess.PIPE).stdout
    size = width * height * 3 // (1 if pixels == "RGB" else 2)
    if not raw or len(raw) % size:
        sys.exit(f"{path}: expected frames of {width}x{height} {pixels}, {size} bytes each, "
                 f"found {len(raw)} bytes")
    return np.frombuffer(raw, np.uint8).reshape(-1, size)


def crop(frame, pixels, width, height, left, top, side):
    """The nearest pixels, R, G, B, without any fraction that could be rounded differently."""
    x = left + np.arange(SIDE) * side // SIDE
    y = top + np.arange(SIDE) * side // SIDE
    if pixels == "RGB":
        return frame.reshape(height, width, 3)[np.ix_(y, x)]
    planes = np.split(frame.astype(np.int64), [width * height, width * height * 5 // 4])
    luma = planes[0].reshape(height, width)[np.ix_(y, x)] - 16
    u, v = (p.reshape(height // 2, width // 2)[np.ix_(y // 2, x // 2)] - 128 for p in planes[1:])
    rgb = [298 * luma + 409 * v, 298 * luma - 100 * u - 208 * v, 298 * luma + 516 * u]
    return np.clip(np.stack([c + 128 >> 8 for c in rgb], axis=-1), 0, 255).astype(np.uint8)


def write_reference(originals, media, output):
    import onnxruntime

    def session(name):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        # As written, and without anything that this CPU does its own way.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(original(originals, name), options,
                                            providers=["CPUExecutionProvider"])

    def run(net, value):
        return net.run(None, {net.get_inputs()[0].name: value.astype(np.float32)})

    mesh, shapes = session(LANDMARKS), session(BLENDSHAPES)
    crops = []
    for name, pixels, width, height, places in CROPS:
        frames = decode(os.path.join(media, name), pixels, width, height)
        for index, left, top, side in places:
            picture = crop(frames[index], pixels, width, height, left, top, side)
            points, presence, _ = run(mesh, picture[None] / np.float32(255))
            points = np.round(points.reshape(-1).astype(np.float64), 5)
            values = run(shapes, points.reshape(-1, 3)[None, POINTS, :2])[0]
            known(presence.item() > 0, f"no face in {name} {index} {left} {top} {side}")
            crops.append({
                "file": name, "format": pixels, "width": width, "height": height, "frame": index,
                "left": left, "top": top, "side": side,
                "sha256": hashlib.sha256(picture.tobytes()).hexdigest(),
                "presence": round(presence.item(), 5), "landmarks": points.tolist(),
                "blendshapes": np.round(values.astype(np.float64), 7).tolist()})
    about = {"command": "scripts/face_models.py reference ORIGINALS target/media "
                        "tests/data/face_graphs.json",
             "originals": ORIGINALS, "onnxruntime": onnxruntime.__version__, "points": POINTS}
    text = json.dumps(about | {"crops": crops}, separators=(",", ":"))
    with open(output, "w", encoding="utf-8") as file:
        file.write(text.replace('{"file"', '\n{"file"') + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    graphs = commands.add_parser("graphs", help="rewrite the originals")
    graphs.add_argument("originals", help="directory of the originals")
    graphs.add_argument("target", help="directory to write into")
    reference = commands.add_parser("reference", help="store what the originals answer")
    reference.add_argument("originals", help="directory of the originals")
    reference.add_argument("media", help="directory with " + ", ".join(c[0] for c in CROPS))
    reference.add_argument("output", help="JSON file to write")
    args = parser.parse_args()
    if args.command == "graphs":
        write_graphs(args.originals, args.target)
    else:
        write_reference(args.originals, args.media, args.output)


if __name__ == "__main__":
    main()
