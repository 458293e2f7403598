"""The counters: sums of the server's metrics, and what they grew by between two moments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

STAGE = "retort_stage_seconds"


@dataclass(frozen=True, slots=True)
class Counters:
    """Batches, their pairs, their tokens with padding; requests and seconds by stage."""

    batches: float
    pairs: float
    tokens: float
    stages: Mapping[str, tuple[float, float]]

    @classmethod
    def parse(cls, text: str) -> Counters:
        """Read the Prometheus text of `/metrics`. Raises `KeyError` if a series is not there."""
        plain: dict[str, float] = {}
        stages: dict[str, dict[str, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if family.name == STAGE:
                    kind = sample.name.removeprefix(f"{STAGE}_")
                    stages.setdefault(sample.labels["stage"], {})[kind] = sample.value
                elif not sample.labels:
                    plain[sample.name] = sample.value
        return cls(
            plain["retort_batch_pairs_count"],
            plain["retort_batch_pairs_sum"],
            plain["retort_batch_tokens_sum"],
            {name: (sums["count"], sums["sum"]) for name, sums in stages.items()},
        )

    def since(self, before: Counters) -> Counters:
        """What was added after `before`."""
        return Counters(
            self.batches - before.batches,
            self.pairs - before.pairs,
            self.tokens - before.tokens,
            {
                name: (count - before.stages[name][0], seconds - before.stages[name][1])
                for name, (count, seconds) in self.stages.items()
            },
        )

    def usual_batch(self) -> int:
        """Pairs in the mean batch, rounded. Raises `ValueError` if no batch ran."""
        if not self.batches:
            raise ValueError("the server ran no batch meanwhile")
        return max(1, math.floor(self.pairs / self.batches + 0.5))

    def mean_seconds(self, stage: str) -> float:
        """Mean seconds that a request spent in a stage. Raises `ValueError` if none was in it."""
        count, seconds = self.stages[stage]
        if not count:
            raise ValueError(f"no request went through the stage {stage!r} meanwhile")
        return seconds / count


def shadow_outcomes(text: str) -> dict[str, int]:
    """Shadowed requests by what became of them: compared, dropped for want of room, or failed."""
    return {
        sample.labels["outcome"]: round(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "retort_shadow_requests_total"
    }
