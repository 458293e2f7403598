"""The graph of a student: a BERT encoder and its heads written as plain ONNX operators.

It is written operator by operator rather than traced, for three reasons: only standard operators
appear, so ONNX Runtime, OpenVINO and TensorRT all read it; ONNX Runtime fuses its attention at
load (of a traced graph it fuses none, because of how the mask comes out and of the opset); and
the same student always gives the same bytes. The parity gate holds it to the PyTorch student (see
`parity.py`).

    input_ids, attention_mask, token_type_ids   int64    (batch, sequence)
    logits                                      float32  (batch, heads)

All heads are one matrix product: the logits are `first @ weight + cosine * scale + bias`, where
`first` (batch, width) is the last state of `[CLS]`, `cosine` (batch, 1) that of the two texts, a
linear head has scale 0 and a cosine head a column of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto
from transformers import BertConfig

from retort.models.runtime.base import OUTPUT
from retort.training.export.builder import FloatArray, GraphBuilder
from retort.training.export.encoder import Encoder, check_config
from retort.training.nn.student import Head, reads_first_alone

# Below this squared length a pooled vector counts as zero; representable in float16.
TINY = 1e-6


def unit_mean(builder: GraphBuilder, hidden: str, mask: str) -> str:
    """Mean of the tokens that `mask` (batch, sequence) keeps, scaled to length 1: (batch, width).

    Mean and scaling come before the product, unlike in the PyTorch head: sums over a passage
    squared and multiplied leave the range of float16.
    """
    b = builder
    count = b.op("ReduceSum", mask, axes=[1], keepdims=1)
    share = b.op("Div", mask, b.op("Max", count, b.scalar(1.0)))
    total = b.op("MatMul", b.op("Unsqueeze", share, axes=[1]), hidden)
    mean = b.op("Squeeze", total, axes=[1])
    square = b.op("ReduceSum", b.op("Mul", mean, mean), axes=[1], keepdims=1)
    return b.op("Div", mean, b.op("Sqrt", b.op("Max", square, b.scalar(TINY))))


def write_heads(
    builder: GraphBuilder,
    hidden: str,
    heads: Sequence[Head],
    weights: Mapping[str, FloatArray],
    scope: str = "",
    name: str = "",
) -> str:
    """Write the heads on the last hidden states; returns their logits (batch, heads).

    `name`, if given, is what the logits are called in the graph.
    """
    b = builder
    weight, scale, bias = join_heads(heads, weights)
    offset = b.weight(f"{scope}head_bank.bias", bias)
    terms: list[str] = []
    if any(head.kind == "linear" for head in heads):
        factor = b.weight(f"{scope}head_bank.weight", weight)
        terms.append(b.op("MatMul", b.first(hidden), factor))
    if any(head.kind == "cosine" for head in heads):
        factor = b.weight(f"{scope}head_bank.scale", scale)
        terms.append(b.op("Mul", write_cosine(b, hidden), factor))
    total = terms[0] if len(terms) == 1 else b.op("Add", *terms)
    return b.op("Add", total, offset, name=name)


def write_cosine(builder: GraphBuilder, hidden: str) -> str:
    """The cosine of the mean of the query's states and that of the passage's: (batch, 1)."""
    b = builder
    mask = b.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    types = b.op("Cast", "token_type_ids", to=TensorProto.FLOAT)
    passage = b.op("Mul", types, mask)
    query = b.op("Sub", mask, passage)
    product = b.op("Mul", unit_mean(b, hidden, query), unit_mean(b, hidden, passage))
    return b.op("ReduceSum", product, axes=[1], keepdims=1)


def join_heads(
    heads: Sequence[Head], weights: Mapping[str, FloatArray]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """All heads as weight (width, heads), scale (heads,) and bias (heads,).

    Gain and shift, each head's affine map to a probability, are folded in.
    """
    columns: list[FloatArray] = []
    scale = np.zeros(len(heads), np.float32)
    bias = np.zeros(len(heads), np.float32)
    width = weights["encoder.embeddings.LayerNorm.weight"].shape[0]
    for index, head in enumerate(heads):
        gain, shift = weights["gain"][index], weights["shift"][index]
        prefix = f"head_bank.{index}"
        if head.kind == "cosine":
            columns.append(np.zeros(width, np.float32))
            scale[index] = weights[f"{prefix}.scale"] * gain
            bias[index] = weights[f"{prefix}.bias"] * gain + shift
        else:
            columns.append(weights[f"{prefix}.linear.weight"][0] * gain)
            bias[index] = weights[f"{prefix}.linear.bias"][0] * gain + shift
    return np.stack(columns, axis=1), scale, bias


def build_graph(
    config: BertConfig,
    heads: Sequence[Head],
    weights: Mapping[str, FloatArray],
    *,
    trim: bool = True,
) -> onnx.ModelProto:
    """Write the student's graph with float32 weights.

    `weights` is the student's state dict as float32 arrays. Unless `trim` is off, or a head reads
    more than `[CLS]`, the last layer is computed for `[CLS]` alone. Raises
    `UnsupportedStudentError` for an encoder that these operators cannot express.
    """
    check_config(config)
    builder = GraphBuilder()
    trimmed = trim and reads_first_alone(heads)
    hidden = Encoder(builder, config, weights).write(trim=trimmed)
    write_heads(builder, hidden, heads, weights, name=OUTPUT)
    return builder.finish(len(heads), "student")
