"""A bundle as a place to start from: its encoder, with weights read back from its graph.

A bundle's graph keeps each weight under its name in the student (`export/encoder.py`), matrices
transposed, and perhaps as integers and scales (`export/storage.py`). So whoever has a bundle can go
on from it without the checkpoint that it was made of; what int8 rounded off stays lost. Who starts
from it leaves its heads out, as any student gets heads for its own teachers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn
from transformers import BertConfig, BertModel

from retort.models.bundle import Bundle
from retort.training.nn.student import CosineHead, Head, LinearHead, Student

_LAYER = re.compile(r"encoder\.encoder\.layer\.(\d+)\.")
# Of a layer that is trimmed no key bias is kept: it adds the same to every score of the softmax.
_NO_EFFECT = re.compile(r"attention\.self\.key\.bias$")


class BundleWeightsError(ValueError):
    """A bundle's graph does not hold one BERT encoder under its weights' names."""


def student_of(bundle: Bundle) -> Student:
    """A bundle's student, gain and shift of each head folded into it. Raises as `encoder_of`."""
    weights = read_weights(onnx.load_from_string(bundle.graph()))
    encoder = _encoder(bundle, weights)
    found = [_head(weights, column, bundle) for column in range(len(bundle.manifest.heads))]
    heads = [
        Head(told.name, "linear" if isinstance(head, LinearHead) else "cosine", told.teacher)
        for told, head in zip(bundle.manifest.heads, found, strict=True)
    ]
    student = Student(encoder.config, heads)
    student.encoder = encoder
    student.head_bank = nn.ModuleList(found)
    return student.eval()


def encoder_of(bundle: Bundle) -> BertModel:
    """The encoder of a bundle of one student. Raises `BundleWeightsError` and as `Bundle.graph`."""
    return _encoder(bundle, read_weights(onnx.load_from_string(bundle.graph())))


def _encoder(bundle: Bundle, weights: Mapping[str, NDArray[np.float32]]) -> BertModel:
    words = weights.get("encoder.embeddings.word_embeddings.weight")
    layers = {int(found[1]) for name in weights if (found := _LAYER.match(name))}
    if words is None or not layers:
        raise BundleWeightsError(
            f"{bundle.folder}: its graph has no weights of one BERT encoder; a student starts from "
            "a bundle that `retort export` made of a student"
        )
    wide = weights["encoder.encoder.layer.0.intermediate.dense.bias"]
    config = BertConfig(
        vocab_size=words.shape[0],
        hidden_size=words.shape[1],
        num_hidden_layers=len(layers),
        num_attention_heads=bundle.manifest.architecture.attention_heads,
        intermediate_size=wide.shape[0],
        max_position_embeddings=weights["encoder.embeddings.position_embeddings.weight"].shape[0],
    )
    config._attn_implementation = "eager"
    encoder = BertModel(config, add_pooling_layer=False)
    encoder.load_state_dict(_state(encoder.state_dict(), weights, bundle))
    encoder.eval()
    return encoder


def _head(
    weights: Mapping[str, NDArray[np.float32]], column: int, bundle: Bundle
) -> LinearHead | CosineHead:
    """The head whose logits are `column`. Graphs from before 0.3 keep each head apart."""
    bank, apart = "head_bank", f"head_bank.{column}"
    if f"{bank}.bias" in weights:
        maps = {name: weights.get(f"{bank}.{name}") for name in ("weight", "scale", "bias")}
        own = {name: value[..., column] for name, value in maps.items() if value is not None}
    else:
        own = {
            name.rpartition(".")[2]: value.reshape(-1)
            for name, value in weights.items()
            if name.startswith(f"{apart}.")
        }
    if "bias" not in own:
        raise BundleWeightsError(f"{bundle.folder}: its graph has no weights of head {column}")
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in own.items()}
    linear = tensors.get("weight")
    head: LinearHead | CosineHead
    with torch.no_grad():
        if linear is not None and linear.any():
            head = LinearHead(len(linear))
            head.linear.weight.copy_(linear[None])
            head.linear.bias.copy_(tensors["bias"].reshape(1))
        else:
            head = CosineHead(0)
            head.scale.copy_(tensors["scale"].reshape(()))
            head.bias.copy_(tensors["bias"].reshape(()))
    return head


def _state(
    wanted: Mapping[str, torch.Tensor], weights: Mapping[str, NDArray[np.float32]], bundle: Bundle
) -> dict[str, torch.Tensor]:
    """The encoder's state dict: linear maps are (in, out) in a graph, tables are as they are."""
    state: dict[str, torch.Tensor] = {}
    for name, value in wanted.items():
        found = weights.get(f"encoder.{name}")
        if found is None and _NO_EFFECT.search(name):
            found = np.zeros(tuple(value.shape), np.float32)
        if found is not None and found.ndim == 2 and "embeddings" not in name:
            found = found.T
        if found is None or found.shape != tuple(value.shape):
            shape = "missing" if found is None else f"of shape {found.shape}"
            raise BundleWeightsError(
                f"{bundle.folder}: the weight {name} is {shape}, expected {tuple(value.shape)}"
            )
        state[name] = torch.from_numpy(np.array(found))
    return state


def read_weights(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """A graph's weights by name, in float32 whatever they are stored as."""
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weights: dict[str, NDArray[np.float32]] = {}
    for name, values in stored.items():
        whole, _, kind = name.rpartition(".")
        if kind == "int8":
            weights[whole] = values.astype(np.float32) * stored[f"{whole}.scale"]
        elif kind == "fp16":
            weights[whole] = values.astype(np.float32)
        elif values.dtype == np.float32 and f"{whole}.int8" not in stored:
            weights[name] = values
    return weights
