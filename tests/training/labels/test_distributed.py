"""Labels on a Ray cluster of three nodes: the store is that of one process, whatever is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from retort.parallel.cluster import Cluster
from retort.training.labels.label import label_recipe
from retort.training.recipes.distill import DistillRecipe
from retort.training.teachers.scoring.http import HttpScorer
from tests.ray_cluster import ray_nodes
from tests.retort.client.rankers.strange import Failure, Strange, serve_strange
from tests.training.backbones import save_backbone
from tests.training.labels.test_blocks import PAIRS, content, make_recipe, quiet, stored_at
from tests.training.saved_teachers import save_checkpoint

NODES, BLOCK = 3, 3


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, ray_nodes(NODES, patch) as cluster:
        yield cluster


def labelled(recipe: DistillRecipe, store: Path, cluster: Cluster | None) -> dict[str, bytes]:
    label_recipe(stored_at(recipe, store), (), quiet, cluster=cluster)
    return content(store)


def test_a_cluster_writes_what_one_process_writes(nodes: Any, tmp_path: Path) -> None:
    backbone = save_backbone(tmp_path / "backbone")
    checkpoint = save_checkpoint(tmp_path / "ce", backbone)
    recipe = make_recipe(tmp_path, backbone, [{"name": "ce", "path": str(checkpoint)}])
    alone = labelled(recipe, tmp_path / "alone", None)
    assert any(name.endswith(".parquet") for name in alone)
    assert labelled(recipe, tmp_path / "cluster", Cluster()) == alone


@dataclass
class Holding(Strange):
    """Holds what it is asked of these pairs until `go`, and counts what has come."""

    come: int = 0
    go: threading.Event = field(default_factory=threading.Event)

    def reply(self, body: dict[str, Any], authorization: str | None) -> tuple[Failure, Any]:
        if body["query"] in {pair.query for pair in PAIRS}:
            self.come += 1
            self.go.wait(60)
        return super().reply(body, authorization)


def test_a_node_that_is_lost_loses_nothing_and_repeats_its_part(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpScorer, "block_pairs", BLOCK)
    # Every pair is a query of its own, and every query a request.
    with serve_strange(Holding()) as server:
        far = {"name": "far", "path": server.url, "kind": "http"}
        recipe = make_recipe(tmp_path, save_backbone(tmp_path / "backbone"), [far])
        found: list[dict[str, bytes]] = []
        # A daemon, so that a cluster that hangs ends this test and not all of them.
        work = threading.Thread(
            target=lambda: found.append(labelled(recipe, tmp_path / "cluster", Cluster())),
            daemon=True,
        )
        work.start()
        try:
            stop = time.monotonic() + 60
            while server.come < NODES * BLOCK:
                assert time.monotonic() < stop
                assert work.is_alive()
                time.sleep(0.05)
            lost = next(iter(nodes.worker_nodes))
            nodes.remove_node(lost, allow_graceful=False)
        finally:
            server.go.set()
        work.join(timeout=120)
        assert found, "labelling failed, or has not ended"
        times = Counter(query for query, _ in server.asked if query in {p.query for p in PAIRS})
        assert set(times) == {pair.query for pair in PAIRS}
        assert max(times.values()) <= 2
        # Those of the block that the node was at.
        assert sum(count == 2 for count in times.values()) == BLOCK
        assert labelled(recipe, tmp_path / "alone", None) == found[0]
