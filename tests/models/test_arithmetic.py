"""Arithmetic: as many multiply-adds as the matrix products of the graph take."""

from __future__ import annotations

import math

import onnx
import pytest
import torch
from transformers import BertConfig

from retort.models.manifest import Architecture, arithmetic
from retort.training.export.graph import build_graph
from retort.training.nn.student import Head, Student

WIDTH, ATTENTION_HEADS, BATCH, SEQUENCE = 32, 4, 3, 24


def count(model: onnx.ModelProto) -> int:
    """Multiply-adds of the graph's matrix products at (BATCH, SEQUENCE)."""
    sizes = {"batch": BATCH, "sequence": SEQUENCE}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = sizes[dimension.dim_param]
    known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in known.initializer}
    for value in (*known.value_info, *known.output):
        shapes[value.name] = [d.dim_value for d in value.type.tensor_type.shape.dim]
    products = [node for node in known.node if node.op_type == "MatMul"]
    return sum(math.prod(shapes[n.output[0]]) * shapes[n.input[0]][-1] for n in products)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("heads", [1, 3])
def test_it_is_what_the_graph_takes(layers: int, trimmed: bool, heads: int) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=ATTENTION_HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=64,
    )
    student = Student(config, [Head(f"head-{index}") for index in range(heads)])
    weights = {name: value.numpy() for name, value in student.state_dict().items()}
    graph = build_graph(config, student.heads, weights, trim=trimmed)
    size = Architecture(
        layers=layers,
        width=WIDTH,
        attention_heads=ATTENTION_HEADS,
        vocabulary=50,
        trimmed=trimmed,
    )
    assert arithmetic(size, heads, BATCH, SEQUENCE) == count(graph)


def test_a_trimmed_graph_of_three_layers_takes_a_third_less() -> None:
    full = Architecture(layers=3, width=384, attention_heads=12, vocabulary=30522)
    trimmed = full.model_copy(update={"trimmed": True})
    assert arithmetic(full, 1, 1, 128) == 717_226_368
    assert arithmetic(trimmed, 1, 10, 128) / arithmetic(full, 1, 10, 128) == pytest.approx(
        2 / 3, abs=0.01
    )


def test_each_encoder_of_an_ensemble_is_trimmed() -> None:
    one = Architecture(layers=2, width=32, attention_heads=2, vocabulary=50, trimmed=True)
    two = Architecture(
        encoders=2, layers=4, width=32, attention_heads=2, vocabulary=50, trimmed=True
    )
    assert arithmetic(two, 2, 1, 16) == 2 * arithmetic(one, 1, 1, 16)
