# SPDX-License-Identifier: MPL-2.0
"""Prints models, built from the message descriptors of the `onnx` package, one a line:
`refuse` or `accept`, the path of fields, and the file in hexadecimal.

`refuse`: for each way from ModelProto to a TensorProto one whose weights are in another
file, and to a NodeProto one that holds an EPContext node; a type may be met twice on the way.
`accept`: for each field of each message one that sets it to something harmless.
Used by crates/onnx/src/onnx_scan.rs.
"""

from collections import deque

from onnx import onnx_ml_pb2 as onnx

MODEL = onnx.ModelProto.DESCRIPTOR
TENSOR = onnx.TensorProto.DESCRIPTOR
NODE = onnx.NodeProto.DESCRIPTOR
WIRE = {1: 1, 2: 5, 9: 2, 11: 2, 12: 2}


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def message(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def wrap(path, content):
    for field in reversed(path):
        content = message(field.number, content)
    return content


def harmless(field):
    wire = WIRE.get(field.type, 0)
    content = {0: varint(1), 1: bytes(8), 2: varint(0), 5: bytes(4)}[wire]
    return varint(field.number << 3 | wire) + content


def show(kind, path, extra, content):
    name = ".".join([*(f.name for f in path), extra])
    print(kind, name, wrap(path, content).hex())


def ways(times):
    """Every path of message fields from ModelProto, a type at most `times` on each."""
    todo = deque([(MODEL, ())])
    while todo:
        descriptor, path = todo.popleft()
        yield descriptor, path
        for field in descriptor.fields:
            child = field.message_type
            if child and [MODEL, *(f.message_type for f in path)].count(child) < times:
                todo.append((child, (*path, field)))


def main():
    entry = onnx.StringStringEntryProto(key="location", value="../secret").SerializeToString()
    external = message(TENSOR.fields_by_name["external_data"].number, entry)
    flag = varint(TENSOR.fields_by_name["data_location"].number << 3) + varint(1)
    context = onnx.NodeProto(op_type="EPContext", domain="of.my.own").SerializeToString()
    cache = onnx.NodeProto(op_type="Mine", domain="of.my.own")
    cache.attribute.add(name="ep_cache_context", s=b"../engine", type=3)
    for descriptor, path in ways(2):
        if descriptor is TENSOR:
            show("refuse", path, "external_data", external)
            show("refuse", path, "data_location", flag)
            # Fields may come twice, in any order, and the last one may be harmless.
            show("refuse", path, "twice", flag + external + flag[:-1] + b"\0")
        if descriptor is NODE:
            show("refuse", path, "EPContext", context)
            show("refuse", path, "ep_cache_context", cache.SerializeToString())
    seen = set()
    for descriptor, path in ways(1):
        if descriptor in seen:
            continue
        seen.add(descriptor)
        for field in descriptor.fields:
            if descriptor is TENSOR and field.name in ("external_data", "data_location"):
                continue
            show("accept", path, field.name, harmless(field))


main()
