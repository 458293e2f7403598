"""Metrics: what Prometheus reads at `/metrics`.

One registry per server, so that two of them in one process do not add up. Names follow the
Prometheus conventions: base units, `_total`, `_seconds`, few labels, fixed buckets.

A server of several processes keeps its numbers in files in shared memory, one set per process,
and whoever is asked adds them up: the multiprocess mode of the Prometheus client. A process that
takes the place of another goes on with its files, so nothing that was counted is lost, and the
files do not become more.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Summary,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from retort.models.manifest import Manifest
from retort.models.runtime.base import BackendInfo

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

# Why an engine, and why a front end, may be replaced.
DEATHS = ("died", "silent")
LOSSES = (*DEATHS, "overdue", "wrong", "unwell", "rejected")

Role = Literal["student", "teacher"]
ShadowOutcome = Literal["compared", "dropped", "failed"]
CascadeOutcome = Literal["settled", "asked", "late"]


class PairSeconds(Summary):
    """Seconds in the backend and pairs scored, by role (student, teacher) and batch size.

    Its count is pairs, so that the speedup is a ratio of two rates. Both roles are timed at the
    same place: around the call of the backend.
    """

    def add(self, pairs: int, seconds: float) -> None:
        """Add a batch of `pairs` that took `seconds`."""
        self._count.inc(pairs)
        self._sum.inc(seconds)


class ShadowMetrics:
    """The results of shadowed requests; `version` is the student's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        # Every front end knows all comparisons: the one that made the latest tells.
        gauge = partial(Gauge, registry=registry, multiprocess_mode="mostrecent")
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
        self._seconds = histogram(
            "retort_shadow_request_seconds",
            "Seconds that student and teacher took for a compared request; only of a teacher at a "
            "URL, with the network.",
            ["role"],
            buckets=SECONDS,
        )
        self.at_export = gauge(
            "retort_export_top1_agreement",
            "The student's top-1 agreement with its teacher when it was exported.",
            ["version"],
        )

    def begin_seconds(self) -> None:
        """Show how long requests took from now on, at zero: the teacher is at a URL."""
        for role in get_args(Role):
            self._seconds.labels(role)

    def add_seconds(self, *, student: float, teacher: float) -> None:
        """Count how long both took for a compared request."""
        self._seconds.labels("student").observe(student)
        self._seconds.labels("teacher").observe(teacher)


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
    """All metrics of one server.

    Of several processes, `folder` is where they keep their numbers, and `process` names this one,
    without an underscore: its predecessor's name if it has one.
    """

    def __init__(self, folder: Path | None = None, process: str = "") -> None:
        # Creation timestamps are not useful here and double what is scraped.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._folder = folder
        if folder is not None:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
            own_files = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call]
            values.ValueClass = own_files
        self.registry = registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.requests = counter(
            "retort_requests", "Requests answered, by route and status.", ["route", "status"]
        )
        self._requests: dict[tuple[str, int], Counter] = {}
        self._key_requests = counter(
            "retort_key_requests", "Requests answered, by key and status.", ["key", "status"]
        )
        self._by_key: dict[tuple[str, int], Counter] = {}
        self._keys: frozenset[str] = frozenset()
        self.rejected = counter("retort_rejected", "Requests not scored, by reason.", ["reason"])
        self.answers = counter(
            "retort_answers", "Requests scored, by bundle.", ["model", "version"]
        )
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
        self._queue_tokens = Gauge(
            "retort_queue_tokens",
            "Tokens accepted and not yet scored.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._told_tokens = -1.0
        self.passages = counter("retort_passages", "Passages scored.")
        self.windows = counter(
            "retort_windows", "Pairs that were windows of a passage longer than the model reads."
        )
        self.truncated = counter(
            "retort_truncated_pairs", "Pairs of a query and a passage of which not all was read."
        )
        self.cut_queries = counter("retort_cut_queries", "Requests whose query was cut.")
        self.unknown_tokens = counter(
            "retort_unknown_tokens", "Tokens that the model does not know, of queries and passages."
        )
        flagged = counter(
            "retort_flagged_passages",
            "Passages with nothing to read (empty), or mostly unknown to the model (unfamiliar).",
            ["flag"],
        )
        self.flagged = {flag: flagged.labels(flag) for flag in ("empty", "unfamiliar")}
        self.model_info = Gauge(
            "retort_model_info",
            "The bundle that is served, and by what; always 1.",
            ["role", "name", "version", "backend", "provider", "precision"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.passage_cache = counter(
            "retort_passage_cache",
            "Passages whose tokens were kept (hit) or not (miss).",
            ["result"],
        )
        self.restarts = counter(
            "retort_restarts",
            "Processes replaced, by kind (engine, front_end) and reason.",
            ["kind", "reason"],
        )
        for kind, reason in (*(("engine", r) for r in LOSSES), *(("front_end", r) for r in DEATHS)):
            self.restarts.labels(kind, reason)
        self.reloads = counter(
            "retort_reloads", "Bundles loaded while running, by result.", ["model", "result"]
        )
        self._pair_seconds = PairSeconds(
            "retort_pair_seconds",
            "Seconds of inference per pair, by role and by pairs in the batch.",
            ["role", "batch"],
            registry=registry,
        )
        self._pairs: dict[tuple[Role, str], PairSeconds] = {}
        self._show_pairs("student")
        self.shadow = ShadowMetrics(registry)
        self.cascade = CascadeMetrics(registry)

    def begin_model(self, role: Role, manifest: Manifest, info: BackendInfo) -> None:
        """Show a model from now on: what it is, and its pairs, at zero."""
        self._show_pairs(role)
        for result in ("loaded", "failed"):
            self.reloads.labels(manifest.name, result)
        self.model_info.labels(
            role, manifest.name, manifest.version, info.backend, info.provider, info.precision
        ).set(1)

    def begin_keys(self, names: Iterable[str]) -> None:
        """Count the requests of these keys from now on, each by its name."""
        self._keys = frozenset(names)
        for name in self._keys:
            self._key_requests.labels(name, "200")

    def count_request(self, route: str, status: int, key: str = "") -> None:
        """Count an answered request; `key` is the name of its API key."""
        if key in self._keys:
            counted = self._by_key.get((key, status))
            if counted is None:
                counted = self._by_key[key, status] = self._key_requests.labels(key, str(status))
            counted.inc()
        known = self._requests.get((route, status))
        if known is None:
            known = self._requests[route, status] = self.requests.labels(route, str(status))
        known.inc()

    def batch(self, *, pairs: int, tokens: int, padded: int) -> None:
        """Count one batch that went through a backend."""
        self.batch_pairs.observe(pairs)
        self.batch_tokens.observe(padded)
        self.padding.observe(1 - tokens / padded)

    def add_pairs(self, role: Role, pairs: int, seconds: float) -> None:
        """Count `pairs` that took the backend of `role` so many seconds."""
        batch = next(batch for batch, most in BATCHES.items() if pairs <= most)
        self._pairs[role, batch].add(pairs, seconds)

    def mean_pair_seconds(self, role: Role) -> float | None:
        """Seconds per pair since the start, all batch sizes together; None before the first."""
        return self._mean("retort_pair_seconds", role)

    def mean_shadow_seconds(self, role: Role) -> float | None:
        """Seconds per request compared with a teacher at a URL; None before the first."""
        return self._mean("retort_shadow_request_seconds", role)

    def _mean(self, name: str, role: Role) -> float | None:
        sums = {f"{name}_count": 0.0, f"{name}_sum": 0.0}
        for family in self._collected().collect():
            for sample in family.samples:
                if sample.name in sums and sample.labels["role"] == role:
                    sums[sample.name] += sample.value
        number, seconds = sums.values()
        return seconds / number if number else None

    def watch_queue_tokens(self, tokens: Callable[[], float]) -> None:
        """Ask `tokens` how many wait, whenever Prometheus does; in a server of one process."""
        self._queue_tokens.set_function(tokens)

    def set_queue_tokens(self, tokens: float) -> None:
        """Tell how many tokens wait in this process."""
        if tokens != self._told_tokens:
            self._told_tokens = tokens
            self._queue_tokens.set(tokens)

    def forget(self, process: str) -> None:
        """Take back what a process that has ended told as its present; its counts stay."""
        mark_process_dead(process, self._folder)  # type: ignore[no-untyped-call]

    def render(self) -> bytes:
        """All metrics, of all processes, in the Prometheus text format."""
        return generate_latest(self._collected())

    def _collected(self) -> CollectorRegistry:
        if self._folder is None:
            return self.registry
        merged = CollectorRegistry()
        MultiProcessCollector(merged, str(self._folder))  # type: ignore[no-untyped-call]
        return merged

    def _show_pairs(self, role: Role) -> None:
        for batch in BATCHES:
            self._pairs[role, batch] = self._pair_seconds.labels(role, batch)
