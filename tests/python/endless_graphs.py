# SPDX-License-Identifier: MPL-2.0
"""Makes ONNX files that load or run without end, in place of one in a copy of a model.

    endless_graphs.py load|loop|matmul MODEL FILE TARGET [SIZE]

MODEL is a directory with the ONNX file FILE, whose inputs and outputs the new graph keeps;
TARGET is the copy. `mvp.toml`, where there is one, gets the new file's SHA-256.

load    functions that call each other twice, 30 deep: ONNX Runtime puts each into its caller
loop    a Loop whose condition is always true; ONNX Runtime looks between the rounds whether
        it shall end
matmul  a product of two SIZE x SIZE matrices, one operator that nothing interrupts
"""
import hashlib
import pathlib
import shutil
import sys

import onnx
from onnx import TensorProto, helper, numpy_helper
import numpy as np

OPSET = 17
DOMAIN = "endless"


def constant(name, values, dtype):
    return numpy_helper.from_array(np.array(values, dtype), name)


def load(_size):
    functions = []
    depth = 30
    for i in range(depth):
        inner = ("Identity", "") if i == 0 else (f"f{i - 1}", DOMAIN)
        nodes = [
            helper.make_node(inner[0], ["x"], ["y"], domain=inner[1]),
            helper.make_node(inner[0], ["y"], ["z"], domain=inner[1]),
        ]
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
        functions.append(helper.make_function(DOMAIN, f"f{i}", ["x"], ["z"], nodes, opsets))
    return [helper.make_node(f"f{depth - 1}", ["zero"], ["result"], domain=DOMAIN)], [], functions


def loop(_size):
    scalar = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [])
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v_in", "v_in"], ["v_out"]),
            helper.make_node("Identity", ["go_in"], ["go_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            scalar("v_in"),
        ],
        [helper.make_tensor_value_info("go_out", TensorProto.BOOL, []), scalar("v_out")],
    )
    nodes = [helper.make_node("Loop", ["", "go", "zero"], ["result"], body=body)]
    return nodes, [constant("go", True, np.bool_)], []


def matmul(size):
    nodes = [
        helper.make_node("Expand", ["zero", "shape"], ["a"]),
        helper.make_node("MatMul", ["a", "a"], ["b"]),
        helper.make_node("ReduceMax", ["b"], ["result"], keepdims=0),
    ]
    return nodes, [constant("shape", [size, size], np.int64)], []


def main():
    kind, model, file, target = sys.argv[1:5]
    size = int(sys.argv[5]) if len(sys.argv) > 5 else 24000
    target = pathlib.Path(target)
    shutil.copytree(model, target, dirs_exist_ok=True)
    old = onnx.load(target / file).graph
    nodes, initialisers = [], [constant("nought", 0, np.float32)]
    # The inputs' sum is not folded, and every input is used.
    for i, value in enumerate(old.input):
        nodes.append(helper.make_node("ReduceMean", [value.name], [f"mean{i}"], keepdims=0))
    nodes.append(helper.make_node("Sum", [f"mean{i}" for i in range(len(old.input))], ["sum"]))
    nodes.append(helper.make_node("Mul", ["sum", "nought"], ["zero"]))
    more, more_initialisers, functions = {"load": load, "loop": loop, "matmul": matmul}[kind](size)
    nodes += more
    initialisers += more_initialisers
    for i, value in enumerate(old.output):
        shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
        initialisers.append(constant(f"shape{i}", shape, np.int64))
        nodes.append(helper.make_node("Expand", ["result", f"shape{i}"], [value.name]))
    graph = helper.make_graph(nodes, kind, old.input, old.output, initialisers)
    opsets = [helper.make_opsetid("", OPSET)]
    if functions:
        opsets.append(helper.make_opsetid(DOMAIN, 1))
    made = helper.make_model(graph, opset_imports=opsets, functions=functions)
    made.ir_version = 9
    data = made.SerializeToString()
    before = hashlib.sha256((target / file).read_bytes()).hexdigest()
    (target / file).write_bytes(data)
    manifest = target / "mvp.toml"
    if manifest.exists():
        text = manifest.read_text()
        assert before in text, f"{manifest} does not name the SHA-256 of {file}"
        manifest.write_text(text.replace(before, hashlib.sha256(data).hexdigest()))


main()
