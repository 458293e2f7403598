"""Reading the server's batch sizes out of its metrics."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from loadtest.scrape import Scrape, shadow_outcomes


def test_mean_pairs_between_two_scrapes() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("retort_batch_pairs", "Pairs a batch.", registry=registry)
    histogram.observe(1000)
    before = Scrape.parse(generate_latest(registry).decode())
    for pairs in (32, 30, 34):
        histogram.observe(pairs)
    after = Scrape.parse(generate_latest(registry).decode())
    assert after.mean_pairs_since(before) == 32
    with pytest.raises(ValueError, match="no batch"):
        after.mean_pairs_since(after)


def test_a_missing_series_is_an_error() -> None:
    with pytest.raises(KeyError):
        Scrape.parse("# TYPE other gauge\nother 1\n")


def test_shadowed_requests_are_counted_by_what_became_of_them() -> None:
    registry = CollectorRegistry()
    counter = Counter("retort_shadow_requests", "Shadowed.", ["outcome"], registry=registry)
    counter.labels("compared").inc(3)
    counter.labels("dropped").inc()
    text = generate_latest(registry).decode()
    assert shadow_outcomes(text) == {"compared": 3, "dropped": 1}
