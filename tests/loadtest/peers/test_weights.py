"""Weights: read back from a graph in any storage, under PyTorch's names and in its layout."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from retort.loadtest.peers.golden_alone import golden_graph
from retort.loadtest.peers.weights import golden_head, norm_epsilon, read_weights, restored
from retort.models.bundle import Bundle
from retort.training.export.storage import shrink


def test_matrices_come_back_as_pytorch_has_them(tiny_bundle: Bundle) -> None:
    weights = read_weights(tiny_bundle)
    encoder = weights.encoder
    assert encoder["encoder.encoder.layer.0.intermediate.dense.weight"].shape == (64, 32)
    assert encoder["encoder.embeddings.word_embeddings.weight"].shape[1] == 32
    assert weights.positions == 64
    assert weights.head.shape == (32,)
    assert weights.norm_epsilon == pytest.approx(1e-12)


@pytest.mark.parametrize(("storage", "within"), [("fp16", 1e-3), ("int8", 0.01)])
def test_small_storage_is_restored(tiny_bundle: Bundle, storage: str, within: float) -> None:
    full = golden_graph(tiny_bundle, read_weights(tiny_bundle))
    small = shrink(full, "fp16" if storage == "fp16" else "int8")
    stored = {t.name: numpy_helper.to_array(t) for t in small.graph.initializer}
    found = restored(stored)
    wanted = {t.name: numpy_helper.to_array(t) for t in full.graph.initializer}
    name = "encoder.encoder.layer.1.attention.self.key.weight"
    assert f"{name}.{storage}" in stored
    scale = float(np.abs(wanted[name]).max())
    assert np.allclose(found[name], wanted[name], atol=within * scale)
    assert "scale" not in {key.rpartition(".")[2] for key in found}


def test_a_head_is_found_joined_and_apart() -> None:
    joined = {
        "head_bank.weight": np.array([[1, 3], [2, 4]], np.float32),
        "head_bank.bias": np.array([5, 6], np.float32),
    }
    weight, bias = golden_head(joined, 1)
    assert (weight.tolist(), bias) == ([3, 4], 6)
    apart = {
        "head_bank.1.linear.weight": np.array([[3], [4]], np.float32),
        "head_bank.1.linear.bias": np.array([6], np.float32),
    }
    weight, bias = golden_head(apart, 1)
    assert (weight.tolist(), bias) == ([3, 4], 6)
    assert not golden_head({"head_bank.2.scale": np.ones((1, 1), np.float32)}, 2)[0].any()


def test_a_graph_of_other_making_is_refused() -> None:
    with pytest.raises(ValueError, match="no layer normalisation"):
        norm_epsilon(onnx.GraphProto(), {})
