"""The graph of a student: a BERT encoder and its heads written as plain ONNX operators.

It is written operator by operator rather than traced, for three reasons: only standard operators
appear, so ONNX Runtime, OpenVINO and TensorRT all read it; ONNX Runtime fuses its attention at
load (of a traced graph it fuses none, because of how the mask comes out and of the opset); and
the same student always gives the same bytes. The parity gate holds it to the PyTorch student (see
`parity.py`).

    input_ids, attention_mask, token_type_ids   int64    (batch, sequence)
    logits                                      float32  (batch, heads)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from transformers import BertConfig

from training.bi_lstm import is_bi_lstm
from training.student import Head

FloatArray = NDArray[np.float32]

# ONNX Runtime (1.31) fuses BERT's attention only where MatMul and Unsqueeze are those of opset 12
# and layer normalisation is spelled out; it then fuses that too, as OpenVINO does.
OPSET = 12
IR_VERSION = 7
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "logits"
# Added to the attention scores of padding: far below any score, and still finite in float16.
MASKED = -10000.0
# Below this squared length a pooled vector counts as zero; representable in float16.
TINY = 1e-6


class UnsupportedStudentError(ValueError):
    """The student's configuration has something that the graph cannot say."""


def check_config(config: BertConfig) -> None:
    """Raise `UnsupportedStudentError` for an encoder that `build_graph` would get wrong."""
    if is_bi_lstm(config):
        raise UnsupportedStudentError(
            "a Bi-LSTM student is for comparison alone: export one of kind encoder"
        )
    if config.hidden_act != "gelu":
        raise UnsupportedStudentError(
            f'hidden_act is "{config.hidden_act}": the exporter writes "gelu" alone'
        )
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        raise UnsupportedStudentError(
            f'position_embedding_type is "{config.position_embedding_type}": use "absolute"'
        )
    if config.hidden_size % config.num_attention_heads:
        raise UnsupportedStudentError(
            f"width {config.hidden_size} does not divide into {config.num_attention_heads} "
            "attention heads"
        )


class GraphBuilder:
    """Collects nodes and initializers; `op` names and adds one node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.shapes: list[onnx.ValueInfoProto] = []

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output and return that output's name."""
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, values: NDArray[np.generic]) -> str:
        """Add an initializer under `name`."""
        self.initializers[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def shape(self, name: str, shape: Sequence[str | int]) -> None:
        """State a float32 value's shape where inference loses it: fusions ask for it."""
        self.shapes.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def scalar(self, value: float) -> str:
        """A float32 constant, shared by all who ask for the same value."""
        return self.weight(f"scalar_{value:g}", np.asarray(value, dtype=np.float32))

    def integers(self, *values: int) -> str:
        """An int64 vector, shared by all who ask for the same values."""
        name = "integers_" + "_".join(map(str, values))
        return self.weight(name, np.asarray(values, dtype=np.int64))


class Encoder:
    """Writes an encoder: embeddings, then layer after layer.

    `scope` goes before the names of its weights where a graph holds several encoders.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        config: BertConfig,
        weights: Mapping[str, FloatArray],
        scope: str = "",
    ) -> None:
        self.builder = builder
        self.config = config
        self.weights = weights
        self.scope = scope

    def weight(self, name: str) -> str:
        """The encoder's weight `name` as an initializer."""
        return self.builder.weight(f"{self.scope}{name}", self.weights[name])

    def norm(self, value: str, prefix: str) -> str:
        b = self.builder
        scale, bias = self.weight(f"{prefix}.weight"), self.weight(f"{prefix}.bias")
        epsilon = b.scalar(float(self.config.layer_norm_eps))
        centred = b.op("Sub", value, b.op("ReduceMean", value, axes=[-1], keepdims=1))
        variance = b.op("ReduceMean", b.op("Pow", centred, b.scalar(2.0)), axes=[-1], keepdims=1)
        unit = b.op("Div", centred, b.op("Sqrt", b.op("Add", variance, epsilon)))
        return b.op("Add", b.op("Mul", unit, scale), bias)

    def linear(self, value: str, prefix: str) -> str:
        b = self.builder
        name = f"{prefix}.weight"
        weight = b.weight(f"{self.scope}{name}", self.weights[name].T)
        bias = self.weight(f"{prefix}.bias")
        return b.op("Add", b.op("MatMul", value, weight), bias)

    def embed(
        self,
        ids: str = "input_ids",
        types: str = "token_type_ids",
        positions: str = "",
        length: str = "sequence",
    ) -> str:
        """Embeddings of `ids` (batch, `length`); `positions` are 0, 1, 2 … where none are given."""
        b = self.builder
        prefix = "encoder.embeddings"
        tables = {
            kind: self.weight(f"{prefix}.{kind}.weight")
            for kind in ("word_embeddings", "position_embeddings", "token_type_embeddings")
        }
        places = tables["position_embeddings"]
        if positions:
            placed = b.op("Gather", places, positions, axis=0)
        else:
            end = b.op("Gather", b.op("Shape", ids), b.integers(1), axis=0)
            placed = b.op("Slice", places, b.integers(0), end, b.integers(0))
        words = b.op("Gather", tables["word_embeddings"], ids, axis=0)
        typed = b.op("Gather", tables["token_type_embeddings"], types, axis=0)
        total = b.op("Add", b.op("Add", words, typed), placed)
        b.shape(total, ["batch", length, self.config.hidden_size])
        return self.norm(total, f"{prefix}.LayerNorm")

    def attention_bias(self) -> str:
        """0 where the mask is 1 and `MASKED` where it is 0, (batch, 1, 1, sequence)."""
        b = self.builder
        mask = b.op("Unsqueeze", b.op("Unsqueeze", "attention_mask", axes=[1]), axes=[2])
        present = b.op("Cast", mask, to=TensorProto.FLOAT)
        return b.op("Mul", b.op("Sub", b.scalar(1.0), present), b.scalar(MASKED))

    def split_heads(self, value: str, perm: Sequence[int]) -> str:
        heads = self.config.num_attention_heads
        shape = self.builder.integers(0, 0, heads, self.config.hidden_size // heads)
        return self.builder.op("Transpose", self.builder.op("Reshape", value, shape), perm=perm)

    def attend(self, hidden: str, bias: str, prefix: str) -> str:
        b = self.builder
        query = self.split_heads(self.linear(hidden, f"{prefix}.self.query"), (0, 2, 1, 3))
        key = self.split_heads(self.linear(hidden, f"{prefix}.self.key"), (0, 2, 3, 1))
        value = self.split_heads(self.linear(hidden, f"{prefix}.self.value"), (0, 2, 1, 3))
        scale = math.sqrt(self.config.hidden_size // self.config.num_attention_heads)
        scores = b.op("Add", b.op("Div", b.op("MatMul", query, key), b.scalar(scale)), bias)
        mixed = b.op("MatMul", b.op("Softmax", scores, axis=3), value)
        rows = b.op("Transpose", mixed, perm=(0, 2, 1, 3))
        joined = b.op("Reshape", rows, b.integers(0, 0, self.config.hidden_size))
        output = self.linear(joined, f"{prefix}.output.dense")
        return self.norm(b.op("Add", output, hidden), f"{prefix}.output.LayerNorm")

    def gelu(self, value: str) -> str:
        b = self.builder
        error = b.op("Erf", b.op("Div", value, b.scalar(math.sqrt(2.0))))
        return b.op("Mul", b.op("Mul", value, b.op("Add", error, b.scalar(1.0))), b.scalar(0.5))

    def write(self) -> str:
        """Write the whole encoder; returns the last hidden states (batch, sequence, width)."""
        return self.layers(self.embed(), self.attention_bias())

    def layers(self, hidden: str, bias: str) -> str:
        """Write the layers alone; `bias` is added to the attention scores of each."""
        b = self.builder
        for layer in range(self.config.num_hidden_layers):
            prefix = f"encoder.encoder.layer.{layer}"
            hidden = self.attend(hidden, bias, f"{prefix}.attention")
            wide = self.gelu(self.linear(hidden, f"{prefix}.intermediate.dense"))
            narrow = self.linear(wide, f"{prefix}.output.dense")
            hidden = self.norm(b.op("Add", narrow, hidden), f"{prefix}.output.LayerNorm")
        return hidden


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
) -> list[str]:
    """Write the heads on the last hidden states; returns one column (batch, 1) for each."""
    b = builder
    columns: list[str] = []
    cosine = ""
    if any(head.kind == "cosine" for head in heads):
        mask = b.op("Cast", "attention_mask", to=TensorProto.FLOAT)
        types = b.op("Cast", "token_type_ids", to=TensorProto.FLOAT)
        passage = b.op("Mul", types, mask)
        query = b.op("Sub", mask, passage)
        product = b.op("Mul", unit_mean(b, hidden, query), unit_mean(b, hidden, passage))
        cosine = b.op("ReduceSum", product, axes=[1], keepdims=1)
    first = b.op("Gather", hidden, b.weight("first", np.asarray(0, dtype=np.int64)), axis=1)
    for index, head in enumerate(heads):
        gain, shift = weights["gain"][index], weights["shift"][index]
        prefix = f"head_bank.{index}"
        source, factor = (
            (cosine, f"{prefix}.scale")
            if head.kind == "cosine"
            else (first, f"{prefix}.linear.weight")
        )
        offset = f"{prefix}.bias" if head.kind == "cosine" else f"{prefix}.linear.bias"
        weight = np.reshape(weights[factor] * gain, (-1, 1))
        bias = np.reshape(weights[offset] * gain + shift, (1,))
        product = b.op("MatMul", source, b.weight(f"{scope}{factor}", weight))
        columns.append(b.op("Add", product, b.weight(f"{scope}{offset}", bias)))
    return columns


def build_graph(
    config: BertConfig, heads: Sequence[Head], weights: Mapping[str, FloatArray]
) -> onnx.ModelProto:
    """Write the student's graph with float32 weights.

    `weights` is the student's state dict as float32 arrays. Each head's affine map to a
    probability, `gain` and `shift`, is folded into that head's own weights. Raises
    `UnsupportedStudentError` for an encoder that these operators cannot say.
    """
    check_config(config)
    builder = GraphBuilder()
    hidden = Encoder(builder, config, weights).write()
    return finish(builder, write_heads(builder, hidden, heads, weights))


def finish(
    builder: GraphBuilder, columns: Sequence[str], title: str = "student"
) -> onnx.ModelProto:
    """Make the columns (batch, 1) the logits, and the nodes collected so far a checked model."""
    builder.op("Concat", *columns, axis=1, name=OUTPUT)
    shape = ["batch", "sequence"]
    graph = helper.make_graph(
        builder.nodes,
        title,
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in INPUTS],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", len(columns)])],
        list(builder.initializers.values()),
        value_info=builder.shapes,
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], producer_name="retort")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model
