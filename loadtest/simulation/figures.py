"""The figures of a simulated run: what its policy did to padding and to those who waited."""

from __future__ import annotations

from dataclasses import dataclass

from retort.loadtest.figures import percentile
from retort.loadtest.simulation.simulator import Run


@dataclass(frozen=True, slots=True)
class Figures:
    """Latencies are from a request's arrival to its last score; shares are of one."""

    padding: float  # of the tokens in the batches, those that are no pair's
    pairs_per_batch: float
    busy: float  # of the time until the last batch ended
    p50_ms: float
    p99_ms: float
    longest_ms: float
    answered: int
    refused: float  # of the requests that came
    shapes: int  # how many different (batch, sequence) the backend was given

    @classmethod
    def of(cls, run: Run) -> Figures:
        """Sum up a run; requests that come again and again count in its batches alone.

        Raises `ValueError` if no other request was answered.
        """
        seconds = [answer.seconds for answer in run.answers if not answer.arrival.again]
        if not seconds:
            raise ValueError("no request was answered: there is nothing to sum up")
        pairs = sum(batch.pairs for batch in run.batches)
        padded = sum(batch.pairs * batch.length for batch in run.batches)
        working = sum(batch.finish - batch.start for batch in run.batches)
        return cls(
            padding=1 - sum(batch.tokens for batch in run.batches) / padded,
            pairs_per_batch=pairs / len(run.batches),
            busy=working / run.batches[-1].finish,
            p50_ms=percentile(seconds, 50) * 1e3,
            p99_ms=percentile(seconds, 99) * 1e3,
            longest_ms=max(seconds) * 1e3,
            answered=len(seconds),
            refused=len(run.refused) / (len(run.refused) + len(seconds)),
            shapes=len({(batch.pairs, batch.length) for batch in run.batches}),
        )
