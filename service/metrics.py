"""Metrics: what Prometheus reads at `/metrics`.

One registry to each server, so that two of them in one process do not add up. Names follow the
Prometheus conventions: base units, `_total`, `_seconds`, few labels, fixed buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

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

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
    0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
PAIRS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75)
STAGES = ("tokenize", "queue", "infer", "total")


class PairSeconds(Collector):
    """Seconds of inference and pairs scored, by role: teacher and student.

    A summary whose count is pairs, so that the speedup is a ratio of two rates.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._sums: dict[str, tuple[int, float]] = {"student": (0, 0.0)}

    def add(self, role: str, pairs: int, seconds: float) -> None:
        """Add a batch of `pairs` that took `seconds`."""
        with self._lock:
            count, total = self._sums.get(role, (0, 0.0))
            self._sums[role] = (count + pairs, total + seconds)

    def collect(self) -> Iterator[SummaryMetricFamily]:
        """What the registry asks for."""
        family = SummaryMetricFamily(
            "retort_pair_seconds", "Seconds of inference a pair, by role.", labels=["role"]
        )
        with self._lock:
            for role, (count, total) in self._sums.items():
                family.add_metric([role], count_value=count, sum_value=total)
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
            ["name", "version", "backend", "provider", "precision"],
            registry=self.registry,
        )
        self.pair_seconds = PairSeconds()
        self.registry.register(self.pair_seconds)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: list[str] | None = None
    ) -> Histogram:
        return Histogram(name, text, labels or [], buckets=buckets, registry=self.registry)

    def batch(self, *, pairs: int, tokens: int, padded: int, seconds: float) -> None:
        """Count one batch that went through the backend."""
        self.batch_pairs.observe(pairs)
        self.batch_tokens.observe(padded)
        self.padding.observe(1 - tokens / padded)
        self.pair_seconds.add("student", pairs, seconds)

    def watch_queue(self, tokens: Callable[[], float]) -> None:
        """Read the queue's tokens from `tokens` whenever the metrics are read."""
        self.queue_tokens.set_function(tokens)

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)
