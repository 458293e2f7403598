"""Segments: a graph that works them out gives what it gave when it was told them."""

from __future__ import annotations

import numpy as np

from retort.loadtest.cross_encoder import pair_tokenizer
from retort.loadtest.peers.golden_alone import golden_graph
from retort.loadtest.peers.segments import with_own_segments
from retort.loadtest.peers.weights import read_weights
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from tests.loadtest.peers.forms import golden_batch, run_graph


def test_the_graph_needs_no_token_types(tiny_bundle: Bundle) -> None:
    graph = golden_graph(tiny_bundle, read_weights(tiny_bundle), trim=False)
    mended = with_own_segments(graph, pair_tokenizer(tiny_bundle.tokenizer_path))
    assert [value.name for value in mended.graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in graph.graph.input][-1] == "token_type_ids"
    batch, _ = golden_batch(tiny_bundle)
    assert (batch.attention_mask == 0).any(), "a test without padding says little"
    told = run_graph(graph.SerializeToString(), batch)
    assert np.allclose(run_graph(mended.SerializeToString(), batch), told, atol=1e-5)
    zeros = Batch(batch.input_ids, batch.attention_mask, np.zeros_like(batch.token_type_ids))
    assert not np.allclose(run_graph(graph.SerializeToString(), zeros), told, atol=1e-2)
