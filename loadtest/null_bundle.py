"""The null bundle: another bundle's tokenizer and heads over a graph that answers at once.

`retort serve` serves it like any other, golden pairs included, so what is left of a request's cost
is that of the server alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from retort.models.bundle import GRAPH_FILE, Bundle, write_bundle
from retort.models.layout import Input
from retort.models.runtime.base import OUTPUT

# To be served with: one thread of the processor is more than it needs.
ENVIRONMENT = {
    "RETORT_BACKEND": "onnxruntime",
    "RETORT_PROVIDER": "cpu",
    "RETORT_PRECISION": "fp32",
    "RETORT_THREADS": "1",
    "RETORT_STREAMS": "1",
}


def write_null_bundle(folder: Path, like: Bundle) -> Bundle:
    """Write to `folder` a bundle like another whose logits are all zero.

    Raises `ModuleNotFoundError` without the package onnx, and `BundleError` as `write_bundle`.
    """
    heads = len(like.manifest.heads)
    logits = (0.0,) * heads
    score = float(like.manifest.scores([logits]).score[0])
    with tempfile.TemporaryDirectory() as work:
        graph = Path(work) / GRAPH_FILE
        _write_graph(graph, heads, like.manifest.inputs)
        return write_bundle(
            folder,
            manifest=like.manifest.model_copy(update={"name": f"{like.manifest.name}-null"}),
            graph=graph,
            tokenizer=like.tokenizer_path,
            golden=[replace(pair, logits=logits, score=score) for pair in like.golden],
        )


def _write_graph(path: Path, heads: int, names: Sequence[Input]) -> None:
    """A graph of zeros, (batch, heads) float32, that reads nothing but the batch's shape."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Shape", [names[0]], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "heads"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], [OUTPUT]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in names
    ]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", heads])
    width = helper.make_tensor("heads", TensorProto.INT64, [1], [heads])
    graph = helper.make_graph(nodes, "null", inputs, [output], [width])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
