"""Storage: how many bytes a graph's weights take on disk.

    fp32   as they are
    fp16   half as many; the graph casts them back
    int8   a quarter; each row of an embedding table, and each output of a matrix, has a scale

The graph keeps standard operators: a cast, and for int8 a multiplication by the scales, in front of
each weight. ONNX Runtime folds them into a float32 constant when it loads the graph, and then fuses
as it would without them. OpenVINO folds fp16 too; in int8 it sees compressed weights and may keep
them, multiplying in int8 with activations quantised on the fly (its property
DYNAMIC_QUANTIZATION_GROUP_SIZE=0 turns that off). DequantizeLinear would do the same as the
cast and the scale, but takes no scale per row in the opset used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Storage = Literal["int8", "fp16", "fp32"]
Floats = NDArray[np.float32]

# Smaller tensors (biases, norms) stay as they are: they take little space and every row needs them.
MIN_ELEMENTS = 256
# Operators whose first input is a table of rows. Of all others the last axis holds the outputs, but
# for a Gemm that transposes its weight.
# A table needs its scales by row: given them by column, OpenVINO 2026.4 crashes in its Gather.
ROW_OPERATORS = frozenset({"Gather", "Slice"})


class StorageError(ValueError):
    """A weight that the storage cannot hold."""


def quantise(values: Floats, axis: int) -> tuple[NDArray[np.int8], Floats]:
    """Symmetric int8 along `axis`: (integers, scales), `integers * scales` is near `values`.

    `scales` keeps the rank of `values`, with length 1 on every axis but `axis`.
    """
    others = tuple(index for index in range(values.ndim) if index != axis % values.ndim)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)
    integers = np.clip(np.rint(values / scales), -127, 127).astype(np.int8)
    return integers, scales


def shrink(model: onnx.ModelProto, storage: Storage) -> onnx.ModelProto:
    """A copy of `model` whose weights are stored as `storage` says.

    Raises `StorageError` for a weight that is not finite, or too large for fp16.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    if storage == "fp32":
        return small
    axes = _axes(small.graph.node)
    kept: list[onnx.TensorProto] = []
    restored: list[onnx.NodeProto] = []
    for tensor in small.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2 or values.size < MIN_ELEMENTS:
            kept.append(tensor)
            continue
        if not np.isfinite(values).all():
            raise StorageError(f"{tensor.name} has weights that are not finite: train it again")
        pack = _pack_int8 if storage == "int8" else _pack_fp16
        tensors, nodes = pack(tensor.name, values, axes.get(tensor.name, -1))
        kept.extend(tensors)
        restored.extend(nodes)
    nodes = [*restored, *small.graph.node]
    del small.graph.initializer[:], small.graph.node[:]
    small.graph.initializer.extend(kept)
    small.graph.node.extend(nodes)
    onnx.checker.check_model(small)
    return small


def _axes(nodes: Iterable[onnx.NodeProto]) -> dict[str, int]:
    """The axis along which each weight gets its scales, where that is not the last."""
    found = {}
    for node in nodes:
        if node.op_type in ROW_OPERATORS and node.input:
            found[node.input[0]] = 0
        elif node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
            found[node.input[1]] = 0
    return found


Packed = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]


def _cast(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=target, to=TensorProto.FLOAT)


def _pack_int8(name: str, values: Floats, axis: int) -> Packed:
    integers, scales = quantise(values, axis)
    tensors = [
        numpy_helper.from_array(integers, f"{name}.int8"),
        numpy_helper.from_array(scales, f"{name}.scale"),
    ]
    nodes = [
        _cast(f"{name}.int8", f"{name}.cast"),
        helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name], name=name),
    ]
    return tensors, nodes


def _pack_fp16(name: str, values: Floats, axis: int) -> Packed:
    if np.abs(values).max() > np.finfo(np.float16).max:
        raise StorageError(
            f"{name} reaches {np.abs(values).max():.3g}: fp16 ends at 65504, use fp32"
        )
    half = numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16")
    return [half], [_cast(f"{name}.fp16", name)]
