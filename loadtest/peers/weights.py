"""The weights: what a bundle's graph holds, as float32 arrays under the state dict's names.

A graph stores them small and transposed (see `training/storage.py` and `training/graph.py`). Here
they are as PyTorch has them, so that a peer can be given the student of a bundle, and no checkpoint
is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from retort.models.bundle import Bundle

FloatArray = NDArray[np.float32]

# How a stored weight ends: int8 and fp16 ones are restored by nodes of the graph.
INT8, SCALE, FP16 = ".int8", ".scale", ".fp16"
TABLES = "embeddings."  # tables are stored as they are, matrices transposed


@dataclass(frozen=True, slots=True)
class Weights:
    """The encoder's arrays by name, and the golden head as `weight` (width,) and `bias`."""

    encoder: Mapping[str, FloatArray]
    head: FloatArray
    bias: float
    norm_epsilon: float

    @property
    def positions(self) -> int:
        """How many tokens long a text may be."""
        return len(self.encoder["encoder.embeddings.position_embeddings.weight"])


def read_weights(bundle: Bundle) -> Weights:
    """Read the bundle's graph.

    Raises `ValueError` for an ensemble, whose graph has several encoders, and for a golden head
    that is not linear, which no peer can serve.
    """
    name = bundle.manifest.name
    if bundle.manifest.architecture.encoders > 1:
        raise ValueError(f"{name} is an ensemble: a peer serves one encoder, give a student")
    graph = onnx.load(str(bundle.graph_path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    arrays = restored(stored)
    head, bias = golden_head(arrays, [head.kind for head in bundle.manifest.heads].index("golden"))
    if not head.any():
        raise ValueError(f"{name}: the golden head is not linear: a peer serves linear heads alone")
    return Weights(
        encoder={
            key: np.ascontiguousarray(value.T) if is_matrix(key, value) else value
            for key, value in arrays.items()
            if key.startswith("encoder.")
        },
        head=head,
        bias=bias,
        norm_epsilon=norm_epsilon(graph, stored),
    )


def restored(stored: Mapping[str, NDArray[np.generic]]) -> dict[str, FloatArray]:
    """All float weights as float32, whatever they are stored as.

    >>> restored({"a.int8": np.int8([2]), "a.scale": np.float32([0.5]), "b": np.float32([3])})
    {'a': array([1.], dtype=float32), 'b': array([3.], dtype=float32)}
    """
    found: dict[str, FloatArray] = {}
    for name, values in stored.items():
        if name.endswith(INT8):
            base = name.removesuffix(INT8)
            scale = stored[base + SCALE].astype(np.float32)
            found[base] = values.astype(np.float32) * scale
        elif name.endswith(FP16):
            found[name.removesuffix(FP16)] = values.astype(np.float32)
        elif values.dtype == np.float32 and name.removesuffix(SCALE) + INT8 not in stored:
            found[name] = values.astype(np.float32)
    return found


def golden_head(arrays: Mapping[str, FloatArray], column: int) -> tuple[FloatArray, float]:
    """Weight (width,) and bias of the golden head, `column` of all heads.

    The weight of a head that is not linear is zero. Graphs of before 0.3 keep each head apart.
    """
    if "head_bank.bias" in arrays:
        bias = float(arrays["head_bank.bias"][column])
        if "head_bank.weight" not in arrays:
            return np.zeros(1, dtype=np.float32), bias
        return np.ascontiguousarray(arrays["head_bank.weight"][:, column]), bias
    prefix = f"head_bank.{column}.linear"
    if f"{prefix}.weight" not in arrays:
        return np.zeros(1, dtype=np.float32), 0.0
    bias = float(arrays[f"{prefix}.bias"].reshape(-1)[0])
    return arrays[f"{prefix}.weight"].reshape(-1), bias


def is_matrix(name: str, values: FloatArray) -> bool:
    """Whether the graph multiplies by it, and so holds it transposed."""
    return values.ndim == 2 and TABLES not in name


def norm_epsilon(graph: onnx.GraphProto, stored: Mapping[str, NDArray[np.generic]]) -> float:
    """What layer normalisation adds below its square root. Raises `ValueError` if there is none."""
    sources = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        if node.op_type == "Sqrt" and (under := sources.get(node.input[0])) is not None:
            for name in under.input if under.op_type == "Add" else ():
                if name in stored and stored[name].ndim == 0:
                    return float(stored[name])
    raise ValueError("the graph has no layer normalisation as this project writes it")
