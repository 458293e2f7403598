"""The half graph: a bundle's graph with its encoder in float16, for GPUs.

ONNX Runtime fuses the graph first, in float32; then the weights and what flows between them become
float16. What follows the last normalisation, the heads, stays in float32: that costs nothing, and
rounded logits would make ties between passages that differ.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from retort.models.runtime.base import BackendUnavailable, Graph

logger = logging.getLogger("retort")

LARGEST = 65504.0
# A single number so large is no weight but stands for infinity, as in the attention of padding.
ENDLESS = 1e38
# What attention becomes when it is fused.
ATTENTIONS = frozenset({"Attention", "MultiHeadAttention"})
# An encoder ends in one of these, fused with the node before it or not.
NORMALISATIONS = frozenset(
    {"LayerNormalization", "SkipLayerNormalization", "EmbedLayerNormalization"}
)


def half_graph(
    graph: Graph, kept: Path | None, providers: Sequence[str], *, lengths: bool = False
) -> bytes:
    """`graph` as a serialized model in float16, inputs and logits as they were.

    It is fused for `providers`, and kept in the folder `kept` for the next start. With `lengths`,
    attention is told where each row ends instead of being given a mask. Raises
    `BackendUnavailable` if it cannot be made: without the package onnx, if the first provider is
    not the one that runs, or with a weight that float16 cannot hold.
    """
    kind = "half-lengths" if lengths else "half"
    file = None if kept is None else kept / f"{kind}-{onnxruntime.__version__}-{providers[0]}.onnx"
    if file is not None and file.is_file():
        return file.read_bytes()
    try:
        import onnx
    except ModuleNotFoundError:
        raise BackendUnavailable(
            "fp16 needs the package onnx, which is not installed: install the gpu extra"
        ) from None
    with tempfile.TemporaryDirectory() as work:
        fused = Path(work) / "fused.onnx"
        _fuse(graph, fused, providers)
        model = onnx.load(fused)
    if not any(node.op_type in ATTENTIONS for node in model.graph.node):
        logger.warning("attention was not fused, so it takes several times as long")
    halve(model)
    if lengths:
        tell_lengths(model)
    made: bytes = model.SerializeToString()
    if file is not None:
        _keep(made, file)
    return made


def halve(model: Any) -> None:
    """Turn a fused model's encoder into float16, in place; its heads stay float32.

    Raises `BackendUnavailable` for a weight that float16 cannot hold.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    in_encoder = _encoder(graph.node)
    encoder = [node for node in graph.node if node.output[0] in in_encoder]
    heads = [node for node in graph.node if node.output[0] not in in_encoder]
    if not encoder:
        raise BackendUnavailable("the graph has no layer normalisation to halve: ask for fp32")
    floats = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    _part(graph, encoder, sorted(floats & _read(encoder) & _read(heads)))
    floats = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    weights = floats & _read(encoder)
    for tensor in graph.initializer:
        if tensor.name in weights:
            _halve_tensor(tensor)
    for node in encoder:
        if node.op_type == "Cast":
            target = next(a for a in node.attribute if a.name == "to")
            if target.i != TensorProto.FLOAT:
                continue
            target.i = TensorProto.FLOAT16
        elif node.op_type == "Shape" or not floats.intersection(node.input):
            continue
        floats.update(node.output)
    states = sorted(floats & {node.output[0] for node in encoder} & _read(heads))
    for node in heads:
        node.input[:] = [f"{name}_float" if name in states else name for name in node.input]
    casts = [
        helper.make_node("Cast", [name], [f"{name}_float"], f"{name}_float", to=TensorProto.FLOAT)
        for name in states
    ]
    del graph.node[:]
    graph.node.extend([*encoder, *casts, *heads])
    # They hold the old types.
    del graph.value_info[:]


def _part(graph: Any, encoder: Sequence[Any], shared: Sequence[str]) -> None:
    """Give the encoder weights of its own in place of those that the heads read too, in place."""
    known = {tensor.name: tensor for tensor in graph.initializer}
    own = {name: f"{name}_encoder" for name in shared}
    for name, copy in own.items():
        tensor = graph.initializer.add()
        tensor.CopyFrom(known[name])
        tensor.name = copy
    for node in encoder:
        node.input[:] = [own.get(name, name) for name in node.input]


def tell_lengths(model: Any) -> None:
    """Give each attention of a fused model where rows end in the place of their mask, in place.

    On CUDA, ONNX Runtime has kernels that compute attention in one go, without its matrix of
    weights in memory. With a mask (batch, sequence) it does not use them, with one of these numbers
    it does, `3 batch + 2` in all: the length of each row, where each row begins and where the last
    ends, and the same again for the keys. Padding must be at the end of each row, as it is here.
    They are computed from the mask on the device: sums and running sums, no shapes, so that the
    whole can be recorded as a CUDA graph.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    attentions = [node for node in graph.node if node.op_type == "Attention"]
    masks = {node.input[3] for node in attentions}
    if len(masks) != 1:
        raise BackendUnavailable("the layers of the graph have no mask in common: ask for fp32")
    (mask,) = masks

    def made(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, inputs, [output], f"lengths_{output}", **attributes)

    def summed(name: str, output: str) -> Any:
        # The axes became an input with operator set 13.
        if opset < 13:
            return made("ReduceSum", [name], output, axes=[1], keepdims=0)
        return made("ReduceSum", [name, "row_axis"], output, keepdims=0)

    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    constants = {"row_zero": [0], "row_one": [1], "row_axis": [1], "batch_axis": [0]}
    for name, values in constants.items():
        kind = TensorProto.INT64 if name.endswith("axis") else TensorProto.INT32
        shape = [] if name == "batch_axis" else [1]
        if name != "row_axis" or opset >= 13:
            graph.initializer.append(helper.make_tensor(name, kind, shape, values))
    added = [
        summed(mask, "row_lengths"),
        made("Mul", [mask, "row_zero"], "row_zeros"),
        made("Add", ["row_zeros", "row_one"], "row_ones"),
        summed("row_ones", "row_sizes"),
        made("CumSum", ["row_sizes", "batch_axis"], "row_ends"),
        made("Concat", ["row_zero", "row_ends"], "row_starts", axis=0),
        made("Concat", ["row_lengths", "row_starts", "row_starts"], "row_numbers", axis=0),
    ]
    for node in attentions:
        node.input[3] = "row_numbers"
    nodes = list(graph.node)
    maker = next(n for n, node in enumerate(nodes) if mask in node.output)
    del graph.node[:]
    graph.node.extend([*nodes[: maker + 1], *added, *nodes[maker + 1 :]])


def _encoder(nodes: Sequence[Any]) -> set[str]:
    """The first outputs of all nodes up to the last normalisation, that one included."""
    before: set[str] = set()
    found: set[str] = set()
    for node in reversed(nodes):
        if node.op_type in NORMALISATIONS or before.intersection(node.output):
            before.update(node.input)
            found.add(node.output[0])
    return found


def _read(nodes: Sequence[Any]) -> set[str]:
    """The names of the nodes' inputs."""
    return {name for node in nodes for name in node.input}


def _halve_tensor(tensor: Any) -> None:
    import numpy as np
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    if values.size == 1 and np.abs(values).item() >= ENDLESS:
        values = np.clip(values, -LARGEST, LARGEST)
    largest = float(np.abs(values).max(initial=0.0))
    if largest > LARGEST:
        raise BackendUnavailable(
            f"the weight {tensor.name} has a value of {largest:g}, and float16 ends at "
            f"{LARGEST:g}: ask for fp32"
        )
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))


def _fuse(graph: Graph, fused: Path, providers: Sequence[str]) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Not the highest level: its layouts are for this processor alone.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(fused)
    session = onnxruntime.InferenceSession(
        graph if isinstance(graph, bytes) else str(graph),
        options,
        providers=list(providers),
        enable_fallback=False,
    )
    if (active := session.get_providers()[0]) != providers[0]:
        raise BackendUnavailable(
            f"asked for {providers[0]}, but {active} runs: see ONNX Runtime's message above"
        )


def _keep(model: bytes, file: Path) -> None:
    part = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(model)
        part.replace(file)
    except OSError as problem:
        logger.warning("the fp16 graph is not kept: %s", problem)
