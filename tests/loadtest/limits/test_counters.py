"""What the server's own metrics are read as."""

from __future__ import annotations

import pytest

from loadtest.limits.counters import Counters
from service.metrics import Metrics


def parsed(metrics: Metrics) -> Counters:
    return Counters.parse(metrics.render().decode())


def test_only_what_came_after_is_counted() -> None:
    metrics = Metrics()
    metrics.batch(pairs=100, tokens=900, padded=1000)
    metrics.stages["infer"].observe(9.0)
    before = parsed(metrics)
    metrics.batch(pairs=4, tokens=50, padded=64)
    metrics.batch(pairs=6, tokens=70, padded=96)
    metrics.stages["infer"].observe(0.1)
    metrics.stages["infer"].observe(0.3)
    found = parsed(metrics).since(before)
    assert (found.batches, found.pairs, found.tokens) == (2, 10, 160)
    assert found.mean_seconds("infer") == pytest.approx(0.2)
    with pytest.raises(ValueError, match="no request went through the stage 'queue'"):
        found.mean_seconds("queue")


def test_a_missing_series_is_an_error() -> None:
    with pytest.raises(KeyError):
        Counters.parse("# TYPE other gauge\nother 1\n")
