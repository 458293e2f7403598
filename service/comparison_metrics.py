"""Metrics of teacher and student side by side: shadow and cascade."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

TAUS = (-0.5, 0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99, 1.0)
DIFFERENCES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)

ShadowOutcome = Literal["compared", "dropped", "failed"]
CascadeOutcome = Literal["settled", "asked", "late"]


class ShadowMetrics:
    """What shadowed requests said; `version` is the student's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "retort_shadow_requests",
            "Requests sampled for the shadow: compared, dropped for want of room, or failed.",
            ["outcome"],
            registry=registry,
        )
        self.agreed = Counter(
            "retort_shadow_top1_agreed",
            "Compared requests whose best passage is the teacher's best.",
            ["version"],
            registry=registry,
        )
        self.compared = Counter(
            "retort_shadow_compared",
            "Requests that student and teacher both ranked.",
            ["version"],
            registry=registry,
        )
        self.agreement = Gauge(
            "retort_shadow_top1_agreement",
            "Share of the last 1,000 compared requests with the same best passage.",
            ["version"],
            registry=registry,
        )
        self.tau = Histogram(
            "retort_shadow_kendall_tau",
            "Kendall's tau-b between the student's and the teacher's ranking of a request.",
            ["version"],
            buckets=TAUS,
            registry=registry,
        )
        self.difference = Histogram(
            "retort_shadow_score_difference",
            "Mean over a request's passages of |student's score - teacher's score|.",
            ["version"],
            buckets=DIFFERENCES,
            registry=registry,
        )
        self.at_export = Gauge(
            "retort_export_top1_agreement",
            "The student's top-1 agreement with its teacher when it was exported.",
            ["version"],
            registry=registry,
        )


class CascadeMetrics:
    """What cascades did."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.passages = Counter(
            "retort_cascade_passages",
            "Passages of cascades, by who had the last word on them.",
            ["by"],
            registry=registry,
        )
        self.requests = Counter(
            "retort_cascade_requests",
            "Cascades: settled by the student, teacher asked, or late (no time, no room, failed).",
            ["outcome"],
            registry=registry,
        )
