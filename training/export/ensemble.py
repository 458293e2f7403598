"""The graph of an ensemble: several teachers side by side on the same inputs, one head each.

Weights that several of them share, such as word embeddings that were frozen in training, are stored
once.

A cross-encoder is written as a student is. A bi-encoder needs the two texts apart; its encoder is
still written once, over the pair with one more `[CLS]` in front, the passage's own:

    tokens      [CLS]  [CLS]  q1  q2  [SEP]  p1  p2  [SEP]
    segment       1      0     0   0    0     1   1    1
    position      0      0     1   2    3     1   2    3

Attention goes only to tokens of the same segment, and token types are 0, so each half is encoded
exactly as if it stood alone, for the price of one pass over the pair. `teachers/ensemble.py` does
the same in PyTorch by cutting the pair in two; the parity gate holds the graph to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from retort.models.runtime.base import OUTPUT
from retort.training.export.builder import FloatArray, GraphBuilder
from retort.training.export.encoder import MASKED, Encoder, check_config
from retort.training.export.graph import unit_mean, write_heads
from retort.training.nn.student import reads_first_alone
from retort.training.teachers.ensemble import CrossMember, Ensemble

LENGTH = "sequence_and_one"


@dataclass(frozen=True, slots=True)
class _Halves:
    """Names of values over the pair with the passage's own `[CLS]` in front."""

    ids: str  # (batch, 1 + sequence), int64
    positions: str  # the same
    query: str  # (batch, 1 + sequence), 1.0 for the query's tokens
    passage: str  # the same for the passage's
    bias: str  # (batch, 1, 1 + sequence, 1 + sequence), added to attention scores


def build_ensemble_graph(ensemble: Ensemble, weights: Mapping[str, FloatArray]) -> onnx.ModelProto:
    """Write the ensemble's graph with float32 weights, gain and shift folded into each head.

    `weights` is the ensemble's state dict as float32 arrays. Raises `UnsupportedStudentError` for
    an encoder that the operators cannot express.
    """
    builder = GraphBuilder()
    halves: _Halves | None = None
    columns: list[str] = []
    for index, member in enumerate(ensemble.parts):
        check_config(member.config)
        scope = f"members.{index}."
        own = {
            name.removeprefix(scope).removeprefix("student.").removeprefix("bi_encoder."): array
            for name, array in weights.items()
            if name.startswith(scope)
        }
        gain, shift = weights["gain"][index], weights["shift"][index]
        encoder = Encoder(builder, member.config, own, scope)
        if isinstance(member, CrossMember):
            # The checkpoint's own calibration, then the ensemble's on top of it.
            own["gain"], own["shift"] = own["gain"] * gain, own["shift"] * gain + shift
            heads = member.student.heads
            hidden = encoder.write(trim=reads_first_alone(heads))
            columns.append(write_heads(builder, hidden, heads, own, scope))
        elif member.kind == "bi-encoder":
            halves = halves or _split(
                builder, max(c.max_position_embeddings for c in ensemble.configs)
            )
            cosine = _cosine(encoder, halves)
            columns.append(_affine(builder, cosine, scope, np.asarray(gain), np.asarray(shift)))
        else:
            first = builder.first(encoder.write(trim=True))
            pooled = builder.op("Tanh", encoder.linear(first, "pooler"))
            weight, bias = own["weight"] * gain, own["bias"] * gain + shift
            columns.append(_affine(builder, pooled, scope, weight, bias))
    builder.op("Concat", *columns, axis=1, name=OUTPUT)
    return _share(builder.finish(len(ensemble.heads), "ensemble"))


def _share(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, in place, with each of its initializers there once, whoever uses it."""
    first: dict[tuple[bytes, int, tuple[int, ...]], str] = {}
    kept: list[onnx.TensorProto] = []
    names: dict[str, str] = {}
    for tensor in model.graph.initializer:
        digest = hashlib.sha256(tensor.raw_data).digest()
        key = (digest, tensor.data_type, tuple(tensor.dims))
        names[tensor.name] = first.setdefault(key, tensor.name)
        if names[tensor.name] == tensor.name:
            kept.append(tensor)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    return model


def _cosine(encoder: Encoder, halves: _Halves) -> str:
    """The cosine of a bi-encoder's two texts: (batch, 1)."""
    b = encoder.builder
    embedded = encoder.embed(halves.ids, b.index(0), halves.positions, LENGTH)
    hidden = encoder.layers(embedded, halves.bias)
    product = b.op("Mul", unit_mean(b, hidden, halves.query), unit_mean(b, hidden, halves.passage))
    return b.op("ReduceSum", product, axes=[1], keepdims=1)


def _affine(
    builder: GraphBuilder, source: str, scope: str, weight: FloatArray, bias: FloatArray
) -> str:
    """`source` (batch, width) to one column (batch, 1)."""
    b = builder
    factor = b.weight(f"{scope}head.weight", np.reshape(weight, (-1, 1)).astype(np.float32))
    offset = b.weight(f"{scope}head.bias", np.reshape(bias, (1,)).astype(np.float32))
    return b.op("Add", b.op("MatMul", source, factor), offset)


def _split(builder: GraphBuilder, places: int) -> _Halves:
    """The two halves of a pair, from the graph's inputs; `places` is the longest position table."""
    b = builder
    zero, one, rows = b.integers(0), b.integers(1), b.integers(1)

    def before(value: str, first: str) -> str:
        """`value` (batch, sequence) with the column `first` (batch, 1) in front."""
        return b.op("Concat", first, value, axis=1)

    present = b.op("Slice", "attention_mask", zero, one, rows)  # a pair has its [CLS]: ones
    absent = b.op("Sub", present, present)
    ids = before("input_ids", b.op("Slice", "input_ids", zero, one, rows))
    of_passage = b.op("Mul", "token_type_ids", "attention_mask")
    of_query = b.op("Sub", "attention_mask", of_passage)
    # A passage's first token comes after its [CLS], so it is at 1: as many less as the query has
    # tokens, its own [CLS] not counted.
    query_tokens = b.op("ReduceSum", of_query, axes=[1], keepdims=1)
    places_name = b.weight("places", np.arange(places, dtype=np.int64))
    end = b.op("Gather", b.op("Shape", "input_ids"), one, axis=0)
    columns = b.op("Slice", places_name, zero, end, zero)
    moved = b.op("Mul", of_passage, b.op("Sub", query_tokens, one))
    positions = before(b.op("Sub", columns, moved), absent)
    query = b.op("Cast", before(of_query, absent), to=TensorProto.FLOAT)
    passage = b.op("Cast", before(of_passage, present), to=TensorProto.FLOAT)
    # Row i may attend to column j where both are the query's or both the passage's. Padding
    # attends to nothing in particular and is read by nobody.
    pairs = [
        b.op("Mul", b.op("Unsqueeze", half, axes=[2]), b.op("Unsqueeze", half, axes=[1]))
        for half in (query, passage)
    ]
    allowed = b.op("Add", *pairs)
    bias = b.op("Mul", b.op("Sub", b.scalar(1.0), allowed), b.scalar(MASKED))
    return _Halves(ids, positions, query, passage, b.op("Unsqueeze", bias, axes=[1]))
