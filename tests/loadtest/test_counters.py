"""What the server's own metrics are read as."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from retort.loadtest.counters import Counters, shadow_outcomes
from retort.service.metrics import Metrics


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
    assert found.usual_batch() == 5
    assert found.mean_seconds("infer") == pytest.approx(0.2)
    with pytest.raises(ValueError, match="no request went through the stage 'queue'"):
        found.mean_seconds("queue")
    with pytest.raises(ValueError, match="no batch"):
        before.since(before).usual_batch()


def test_a_missing_series_is_an_error() -> None:
    with pytest.raises(KeyError):
        Counters.parse("# TYPE other gauge\nother 1\n")


def test_shadowed_requests_are_counted_by_what_became_of_them() -> None:
    registry = CollectorRegistry()
    counter = Counter("retort_shadow_requests", "Shadowed.", ["outcome"], registry=registry)
    counter.labels("compared").inc(3)
    counter.labels("dropped").inc()
    text = generate_latest(registry).decode()
    assert shadow_outcomes(text) == {"compared": 3, "dropped": 1}
