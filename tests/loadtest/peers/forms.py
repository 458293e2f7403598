"""The tiny bundle's student in the forms in which peers load it, and its golden pairs."""

from __future__ import annotations

import numpy as np
import onnxruntime

from retort.loadtest.peers.weights import FloatArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch


def golden_batch(bundle: Bundle) -> tuple[Batch, FloatArray]:
    """The golden pairs as one batch, and the golden head's logits (pairs,) of the original."""
    encoder = bundle.encoder()
    pairs = [pair for one in bundle.golden for pair in encoder.encode(one.query, [one.passage])]
    return encoder.collate(pairs), np.array([one.logits[0] for one in bundle.golden], np.float32)


def run_graph(graph: bytes, batch: Batch) -> FloatArray:
    """Logits (pairs, heads), of a graph that may want no token types."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    arrays = {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.token_type_ids,
    }
    wanted = {value.name for value in session.get_inputs()}
    logits: FloatArray = session.run(None, {k: v for k, v in arrays.items() if k in wanted})[0]
    return logits
