"""Lower precisions: measured where they run, recorded, refused by a server where they failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.models.bundle import read_bundle, write_bundle
from retort.models.errors import StartError
from retort.models.find import find_bundle
from retort.models.manifest import Parity, ParityBounds
from retort.models.runtime.choose import Wish, choose
from retort.training.data.pairs import Pair
from retort.training.export.precisions import measure_precisions
from retort.training.nn.inference import graph_model, run

BOUNDS = ParityBounds(
    top1_agreement=0.9, kendall_tau=0.9, max_score_difference=0.05, ndcg_change=0.05
)


def test_int8_of_the_shipped_student_ranks_as_its_graph_does() -> None:
    bundle = read_bundle(find_bundle("retort-small"))
    pairs = [
        Pair(query.query, passage.passage, float(query is passage), query.query, passage.passage)
        for query in bundle.golden[::3]
        for passage in (*bundle.golden[:4], query)
    ]
    encoder = bundle.encoder()
    reference = run(graph_model(bundle.graph_path, 1), encoder, pairs)
    found = measure_precisions(
        bundle.graph_path, "int8", bundle.manifest.architecture.width, encoder, pairs, reference,
        BOUNDS,
    )  # fmt: skip
    assert "int8" in found
    assert found["int8"].failures() == []
    assert found["int8"].max_score_difference > 0
    stored = measure_precisions(
        bundle.graph_path, "fp16", 384, encoder, pairs, reference, BOUNDS
    )  # fmt: skip
    assert "int8" not in stored


def test_a_server_does_not_use_a_precision_that_failed(tmp_path: Path) -> None:
    shipped = read_bundle(find_bundle("retort-small"))
    failed = Parity(
        pairs=100, queries=20, top1_agreement=0.5, kendall_tau=1.0, max_score_difference=0.0,
        ndcg_change=0.0, bounds=BOUNDS,
    )  # fmt: skip
    bundle = write_bundle(
        tmp_path / "failed",
        manifest=shipped.manifest.model_copy(update={"lower_parity": {"int8": failed}}),
        graph=shipped.graph_path,
        tokenizer=shipped.tokenizer_path,
        golden=shipped.golden,
    )
    assert bundle.manifest.lower_parity["int8"] == failed
    with pytest.raises(StartError, match=r"in int8: top-1 agreement is 0\.5000, the bound is at"):
        choose(bundle, bundle.encoder(), Wish(precision="int8", threads=1), tmp_path)
