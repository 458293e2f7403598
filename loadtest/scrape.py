"""Scrape: what the server's own metrics say of one stretch of load."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Scrape:
    """Sums of the server's histograms since it started."""

    batches: float
    pairs: float

    @classmethod
    def parse(cls, text: str) -> Scrape:
        """Read the Prometheus text of `/metrics`. Raises `KeyError` if a series is not there."""
        samples = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            if family.name == "retort_batch_pairs"
            for sample in family.samples
        }
        return cls(samples["retort_batch_pairs_count"], samples["retort_batch_pairs_sum"])

    def mean_pairs_since(self, before: Scrape) -> float:
        """Pairs a batch between two scrapes. Raises `ValueError` if no batch ran."""
        if self.batches <= before.batches:
            raise ValueError("the server ran no batch between the two scrapes")
        return (self.pairs - before.pairs) / (self.batches - before.batches)


def shadow_outcomes(text: str) -> dict[str, int]:
    """Shadowed requests by what became of them: compared, dropped for want of room, or failed."""
    return {
        sample.labels["outcome"]: round(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "retort_shadow_requests_total"
    }
