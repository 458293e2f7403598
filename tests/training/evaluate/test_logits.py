"""Logits of a bundle are computed once, and never taken for those of another set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retort.models.bundle import Bundle
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.evaluate.logits import logits_of
from retort.training.nn.inference import graph_model, run


def make_set(bundle: Bundle, count: int) -> EvaluationSet:
    golden = bundle.golden[:count]
    return EvaluationSet(
        "far", tuple(Pair(g.query, g.passage, float(n % 2)) for n, g in enumerate(golden))
    )


def test_logits_are_those_of_the_graph_and_are_kept(tiny_bundle: Bundle, tmp_path: Path) -> None:
    items = make_set(tiny_bundle, 12)
    expected = run(graph_model(tiny_bundle.graph_path), tiny_bundle.encoder(), items.pairs)
    found = logits_of(tiny_bundle, [items], tmp_path)["far"]
    assert found == pytest.approx(expected, abs=1e-6)

    kept = next(tmp_path.glob("*.npz"))
    assert tiny_bundle.digest[:12] in kept.name
    with np.load(kept) as arrays:
        marked = {name: arrays[name] + 1 for name in arrays.files}
    np.savez_compressed(kept, **marked)
    assert logits_of(tiny_bundle, [items], tmp_path)["far"] == pytest.approx(found + 1)


def test_a_set_that_has_changed_is_scored_again(tiny_bundle: Bundle, tmp_path: Path) -> None:
    logits_of(tiny_bundle, [make_set(tiny_bundle, 12)], tmp_path)
    assert len(logits_of(tiny_bundle, [make_set(tiny_bundle, 9)], tmp_path)["far"]) == 9
