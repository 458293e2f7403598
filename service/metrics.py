"""Metrics: what Prometheus reads at `/metrics`.

One registry per server, so that two of them in one process do not add up. Names follow the
Prometheus conventions: base units, `_total`, `_seconds`, few labels, fixed buckets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
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

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
    0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
PAIRS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75)
TAUS = (-0.5, 0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99, 1.0)
DIFFERENCES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)
STAGES = ("tokenize", "queue", "infer", "total")
# The batch sizes that `retort_pair_seconds` distinguishes, and the most pairs of each.
BATCHES = {"1-8": 8.0, "9-32": 32.0, "33-128": 128.0, "129+": math.inf}

Role = Literal["student", "teacher"]
ShadowOutcome = Literal["compared", "dropped", "failed"]
CascadeOutcome = Literal["settled", "asked", "late"]


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
        """Seconds per pair since the start, all batch sizes together; None before the first."""
        with self._lock:
            sums = [value for (of, _), value in self._sums.items() if of == role]
        pairs = sum(count for count, _ in sums)
        return sum(total for _, total in sums) / pairs if pairs else None

    def collect(self) -> Iterator[SummaryMetricFamily]:
        """What the registry asks for."""
        family = SummaryMetricFamily(
            "retort_pair_seconds",
            "Seconds of inference per pair, by role and by pairs in the batch.",
            labels=["role", "batch"],
        )
        with self._lock:
            for key, (count, total) in self._sums.items():
                family.add_metric(key, count_value=count, sum_value=total)
        yield family


class ShadowMetrics:
    """The results of shadowed requests; `version` is the student's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        gauge, histogram = partial(Gauge, registry=registry), partial(Histogram, registry=registry)
        self.requests = counter(
            "retort_shadow_requests",
            "Requests sampled for the shadow: compared, dropped for want of room, or failed.",
            ["outcome"],
        )
        self.agreed = counter(
            "retort_shadow_top1_agreed",
            "Compared requests whose best passage is the teacher's best.",
            ["version"],
        )
        self.compared = counter(
            "retort_shadow_compared", "Requests that student and teacher both ranked.", ["version"]
        )
        self.agreement = gauge(
            "retort_shadow_top1_agreement",
            "Share of the last 1,000 compared requests with the same best passage.",
            ["version"],
        )
        self.tau = histogram(
            "retort_shadow_kendall_tau",
            "Kendall's tau-b between the student's and the teacher's ranking of a request.",
            ["version"],
            buckets=TAUS,
        )
        self.difference = histogram(
            "retort_shadow_score_difference",
            "Mean over a request's passages of |student's score - teacher's score|.",
            ["version"],
            buckets=DIFFERENCES,
        )
        self.at_export = gauge(
            "retort_export_top1_agreement",
            "The student's top-1 agreement with its teacher when it was exported.",
            ["version"],
        )


class CascadeMetrics:
    """The results of cascades."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self.passages = counter(
            "retort_cascade_passages",
            "Passages of cascades, by who had the last word on them.",
            ["by"],
        )
        self.requests = counter(
            "retort_cascade_requests",
            "Cascades: settled by the student, teacher asked, or late (no time, no room, failed).",
            ["outcome"],
        )


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        # Creation timestamps are not useful here and double what is scraped.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        gauge, histogram = partial(Gauge, registry=registry), partial(Histogram, registry=registry)
        self.requests = counter(
            "retort_requests", "Requests answered, by route and status.", ["route", "status"]
        )
        self.rejected = counter("retort_rejected", "Requests not scored, by reason.", ["reason"])
        stage = histogram(
            "retort_stage_seconds",
            "Seconds a request spent in a stage.",
            ["stage"],
            buckets=SECONDS,
        )
        self.stages = {name: stage.labels(name) for name in STAGES}
        self.batch_pairs = histogram("retort_batch_pairs", "Pairs in a batch.", buckets=PAIRS)
        self.batch_tokens = histogram(
            "retort_batch_tokens", "Tokens in a batch, padding included.", buckets=TOKENS
        )
        self.padding = histogram(
            "retort_padding_ratio", "Share of a batch's tokens that is padding.", buckets=RATIOS
        )
        self.queue_tokens = gauge("retort_queue_tokens", "Tokens accepted and not yet scored.")
        self.truncated = counter("retort_truncated_pairs", "Pairs that were cut to fit.")
        self.model_info = gauge(
            "retort_model_info",
            "The bundle that is served, and by what; always 1.",
            ["role", "name", "version", "backend", "provider", "precision"],
        )
        self.passage_cache = counter(
            "retort_passage_cache",
            "Passages whose tokens were kept (hit) or not (miss).",
            ["result"],
        )
        self.pair_seconds = PairSeconds()
        registry.register(self.pair_seconds)
        self.shadow = ShadowMetrics(registry)
        self.cascade = CascadeMetrics(registry)

    def batch(self, *, pairs: int, tokens: int, padded: int) -> None:
        """Count one batch that went through a backend."""
        self.batch_pairs.observe(pairs)
        self.batch_tokens.observe(padded)
        self.padding.observe(1 - tokens / padded)

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)
