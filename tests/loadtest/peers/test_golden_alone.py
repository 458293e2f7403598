"""The golden bundle: one head, the original's golden logits, and a graph that gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retort.loadtest.extract import read_ranking_requests
from retort.loadtest.peers.golden_alone import golden_graph, write_golden_bundle
from retort.loadtest.peers.weights import read_weights
from retort.models.bundle import Bundle
from tests.loadtest.peers.forms import golden_batch, run_graph


def test_its_graph_gives_the_golden_logits(tiny_bundle: Bundle, tmp_path: Path) -> None:
    made = write_golden_bundle(tmp_path / "made", tiny_bundle, read_weights(tiny_bundle))
    batch, wanted = golden_batch(made)
    logits = run_graph(made.graph_path.read_bytes(), batch)
    assert logits.shape == (len(made.golden), 1)
    assert np.allclose(logits[:, 0], wanted, atol=1e-3)
    assert made.manifest.name == "tiny-golden"
    assert [head.kind for head in made.manifest.heads] == ["golden"]
    assert made.manifest.architecture.trimmed
    first = made.golden[0]
    assert first.score == 1 / (1 + np.exp(-first.logits[0]))


def test_trimmed_or_not_it_says_the_same(tiny_bundle: Bundle) -> None:
    weights = read_weights(tiny_bundle)
    batch, _ = golden_batch(tiny_bundle)
    graphs = [golden_graph(tiny_bundle, weights, trim=trim) for trim in (True, False)]
    short, whole = (run_graph(graph.SerializeToString(), batch) for graph in graphs)
    assert np.allclose(short, whole, atol=1e-4)


def test_lower_precisions_are_judged_by_the_bounds_of_an_export(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    requests = read_ranking_requests(passages=4)[:25]
    weights = read_weights(tiny_bundle)
    made = write_golden_bundle(tmp_path / "made", tiny_bundle, weights, requests)
    found = made.manifest.lower_parity
    assert set(found) <= {"bf16"}, "weights that are stored as fp32 have no int8"
    assert all(parity.queries == 25 for parity in found.values())
    whole = write_golden_bundle(tmp_path / "whole", tiny_bundle, weights)
    assert whole.manifest.lower_parity == {}
