"""A Ray cluster of several nodes on this machine, by Ray's own test utilities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NODE_BYTES = 100 * 1024 * 1024  # of each node's object store


@contextmanager
def ray_nodes(count: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster with so many nodes of one core each; its head runs no tasks.

    This process is connected to it. Tests are skipped where Ray is not installed.
    """
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # What nodes import is this checkout.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")
    head = {"num_cpus": 0, "object_store_memory": NODE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1, object_store_memory=NODE_BYTES)
        ray.init(address=cluster.address, log_to_driver=False)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
