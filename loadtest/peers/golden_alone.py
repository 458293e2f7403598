"""The golden bundle: a bundle's student with the golden head alone.

Peers serve one head, so ours serves one too, of the same encoder: the comparison is of servers and
not of what they serve. It is made of the bundle's own graph, in the storage of the bundle. A
precision in which one head alone does not rank as it does in float32 is refused to our server, by
the bounds of every export, as the peers are held to theirs.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx

from retort.loadtest.peers.weights import FloatArray, Weights
from retort.loadtest.texts import Request
from retort.models.bundle import Bundle, write_bundle
from retort.models.golden import GoldenPair
from retort.models.manifest import HeadInfo, Parity
from retort.training.data.pairs import Pair
from retort.training.export.graph import build_graph
from retort.training.export.parity import DEFAULT_BOUNDS
from retort.training.export.precisions import measure_precisions
from retort.training.export.storage import shrink
from retort.training.nn.inference import graph_model, run
from retort.training.nn.student import Head


def write_golden_bundle(
    folder: Path, bundle: Bundle, weights: Weights, requests: Sequence[Request] = ()
) -> Bundle:
    """Write it to `folder` and read it back; its golden logits are those of the original.

    `requests`, the answer first in each, are what lower precisions are judged by.
    """
    column = [head.kind for head in bundle.manifest.heads].index("golden")
    golden = [
        GoldenPair(pair.query, pair.passage, (logit,), 1 / (1 + math.exp(-logit)))
        for pair in bundle.golden
        for logit in (pair.logits[column],)
    ]
    manifest = bundle.manifest.model_copy(
        update={
            "name": f"{bundle.manifest.name}-golden",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": {},
            "heads": (HeadInfo(name="golden", kind="golden"),),
            "architecture": bundle.manifest.architecture.model_copy(update={"trimmed": True}),
            # They were measured with all heads.
            "quality": {},
            "parity": None,
            "lower_parity": {},
            "agreement": None,
        }
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        graph = Path(work) / "model.onnx"
        small = shrink(golden_graph(bundle, weights), bundle.manifest.precision.storage)
        graph.write_bytes(small.SerializeToString(deterministic=True))
        lower = lower_parity(graph, bundle, requests) if requests else {}
        return write_bundle(
            folder,
            manifest=manifest.model_copy(update={"lower_parity": lower}),
            graph=graph,
            tokenizer=bundle.tokenizer_path,
            golden=golden,
        )


def lower_parity(graph: Path, bundle: Bundle, requests: Sequence[Request]) -> dict[str, Parity]:
    """How the graph ranks in fewer bits, against itself in float32."""
    pairs = [
        Pair(request.query, passage, float(number == 0))
        for request in requests
        for number, passage in enumerate(request.passages)
    ]
    encoder, manifest = bundle.encoder(), bundle.manifest
    reference = run(graph_model(graph), encoder, pairs)
    storage, width = manifest.precision.storage, manifest.architecture.width
    return measure_precisions(graph, storage, width, encoder, pairs, reference, DEFAULT_BOUNDS)


def golden_graph(bundle: Bundle, weights: Weights, *, trim: bool = True) -> onnx.ModelProto:
    """The graph of encoder and golden head with float32 weights; `trim` as in `build_graph`."""
    from transformers import BertConfig

    size = bundle.manifest.architecture
    config = BertConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.attention_heads,
        intermediate_size=len(weights.encoder["encoder.encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=weights.positions,
        layer_norm_eps=weights.norm_epsilon,
    )
    state: dict[str, FloatArray] = {
        **weights.encoder,
        "head_bank.0.linear.weight": weights.head.reshape(1, -1),
        "head_bank.0.linear.bias": np.array([weights.bias], dtype=np.float32),
        "gain": np.ones(1, dtype=np.float32),
        "shift": np.zeros(1, dtype=np.float32),
    }
    return build_graph(config, (Head("golden"),), state, trim=trim)
