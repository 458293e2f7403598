"""Metrics: what Prometheus reads at `/metrics`.

One registry to each server, so that two of them in one process do not add up. Names follow the
Prometheus conventions: base units, `_total`, `_seconds`, few labels, fixed buckets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import SummaryMetricFamily
from prometheus_client.registry import Collector

from retort.service.comparison_metrics import CascadeMetrics, ShadowMetrics

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
    0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
PAIRS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75)
STAGES = ("tokenize", "queue", "infer", "total")
# Sizes of batches by which `retort_pair_seconds` is told apart, and the most pairs of each.
BATCHES = {"1-8": 8.0, "9-32": 32.0, "33-128": 128.0, "129+": math.inf}

Role = Literal["student", "teacher"]


class PairSeconds(Collector):
    """Seconds in the backend and pairs scored, by role (student, teacher) and batch size.

    A summary whose count is pairs, so that the speedup is a ratio of two rates. Both roles are
    timed at the same place: around the call of the backend.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._sums: dict[tuple[Role, str], tuple[int, float]] = {}
        self.begin("student")

    def begin(self, role: Role) -> None:
        """Show the series of `role` from now on, at zero."""
        for batch in BATCHES:
            self._sums.setdefault((role, batch), (0, 0.0))

    def add(self, role: Role, pairs: int, seconds: float) -> None:
        """Add a batch of `pairs` that took `seconds`."""
        key = role, next(batch for batch, most in BATCHES.items() if pairs <= most)
        with self._lock:
            count, total = self._sums.get(key, (0, 0.0))
            self._sums[key] = count + pairs, total + seconds

    def mean(self, role: Role) -> float | None:
        """Seconds a pair since the start, all batch sizes together; None before the first."""
        with self._lock:
            sums = [value for (of, _), value in self._sums.items() if of == role]
        pairs = sum(count for count, _ in sums)
        return sum(total for _, total in sums) / pairs if pairs else None

    def collect(self) -> Iterator[SummaryMetricFamily]:
        """What the registry asks for."""
        family = SummaryMetricFamily(
            "retort_pair_seconds",
            "Seconds of inference a pair, by role and by pairs in the batch.",
            labels=["role", "batch"],
        )
        with self._lock:
            for key, (count, total) in self._sums.items():
                family.add_metric(key, count_value=count, sum_value=total)
        yield family


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        # When a series began says nothing here and doubles what is scraped.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "retort_requests",
            "Requests answered, by route and status.",
            ["route", "status"],
            registry=self.registry,
        )
        self.rejected = Counter(
            "retort_rejected",
            "Requests not scored, by reason.",
            ["reason"],
            registry=self.registry,
        )
        stage = self._histogram(
            "retort_stage_seconds", "Seconds a request spent in a stage.", SECONDS, ["stage"]
        )
        self.stages = {name: stage.labels(name) for name in STAGES}
        self.batch_pairs = self._histogram("retort_batch_pairs", "Pairs in a batch.", PAIRS)
        self.batch_tokens = self._histogram(
            "retort_batch_tokens", "Tokens in a batch, padding counted.", TOKENS
        )
        self.padding = self._histogram(
            "retort_padding_ratio", "Share of a batch's tokens that is padding.", RATIOS
        )
        self.queue_tokens = Gauge(
            "retort_queue_tokens", "Tokens accepted and not yet scored.", registry=self.registry
        )
        self.truncated = Counter(
            "retort_truncated_pairs", "Pairs that were cut to fit.", registry=self.registry
        )
        self.model_info = Gauge(
            "retort_model_info",
            "The bundle that is served, and by what; always 1.",
            ["role", "name", "version", "backend", "provider", "precision"],
            registry=self.registry,
        )
        self.passage_cache = Counter(
            "retort_passage_cache",
            "Passages whose tokens were kept (hit) or not (miss).",
            ["result"],
            registry=self.registry,
        )
        self.pair_seconds = PairSeconds()
        self.registry.register(self.pair_seconds)
        self.shadow = ShadowMetrics(self.registry)
        self.cascade = CascadeMetrics(self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: list[str] | None = None
    ) -> Histogram:
        return Histogram(name, text, labels or [], buckets=buckets, registry=self.registry)

    def batch(self, *, pairs: int, tokens: int, padded: int) -> None:
        """Count one batch that went through a backend."""
        self.batch_pairs.observe(pairs)
        self.batch_tokens.observe(padded)
        self.padding.observe(1 - tokens / padded)

    def watch_queue(self, tokens: Callable[[], float]) -> None:
        """Read the queue's tokens from `tokens` whenever the metrics are read."""
        self.queue_tokens.set_function(tokens)

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)
