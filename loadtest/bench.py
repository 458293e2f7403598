"""The benchmark: the server beside its bare backend and beside PyTorch, in turn, in one run.

Each round measures every thing once, and every other round backwards (A B C, C B A, …), so that a
machine that slows down or speeds up does so for all of them alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from time import perf_counter
from typing import Protocol, TypeVar

from retort.loadtest.client import Load, Outcome
from retort.loadtest.report import Round
from retort.loadtest.texts import Request, encode
from retort.models.encoding import Batch, EncodedPair, PairEncoder

ROUTE = "/score"


Work = TypeVar("Work")
# One forward pass of a backend: a batch in, logits out; it returns when they are there.
Forward = Callable[[Batch], object]


class PairRate(Protocol):
    """Scores requests for `seconds`; the pairs per second it managed."""

    def __call__(self, requests: Sequence[Request], seconds: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, how often and for how long each time."""

    requests: tuple[Request, ...]
    clients: int
    rounds: int
    seconds: float

    def bodies(self) -> tuple[str, ...]:
        """The requests as JSON bodies of `POST /score`."""
        return tuple(
            json.dumps({"query": request.query, "passages": list(request.passages)})
            for request in self.requests
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """The things to measure. `send` runs a load in a process of its own."""

    plan: Plan
    encoder: PairEncoder
    forward: Forward
    send: Callable[[Load], Outcome]
    host: str
    port: int
    batch_pairs: int
    slots: int = 1  # batches that the server has in the backend at once
    streams: int = 1  # batches that the backend computes side by side
    reference: PairRate | None = None

    def load(self, clients: int, seconds: float) -> Load:
        """The plan's requests from that many clients."""
        return Load(self.host, self.port, ROUTE, self.plan.bodies(), clients, seconds)

    def rounds(self) -> Iterator[Round]:
        """Measure round by round. Raises `RuntimeError` if a load got no answer at all."""
        batches = like_length_batches(self.encoder, self.plan.requests, self.batch_pairs)
        encoded = [encode(self.encoder, request) for request in self.plan.requests]
        singles = [shared_out(self.encoder, pairs, self.streams) for pairs in encoded]
        for number in range(self.plan.rounds):
            yield self._round(number, batches, singles)

    def _round(self, number: int, batches: list[Batch], singles: list[list[Batch]]) -> Round:
        seconds = self.plan.seconds
        rates: dict[str, float] = {}
        loads: dict[str, Outcome] = {}
        forward: list[float] = []

        def bare() -> None:
            rates["bare"] = bare_rate(self.forward, batches, seconds, self.slots)

        def busy() -> None:
            loads["busy"] = self._answered(self.load(self.plan.clients, seconds))

        def one_forward() -> None:
            with ThreadPoolExecutor(self.streams) as pool:
                at_once = partial(forward_at_once, self.forward, pool)
                forward.extend(forward_times(at_once, singles, seconds))

        def idle() -> None:
            loads["idle"] = self._answered(self.load(1, seconds))

        def reference() -> None:
            if self.reference is not None:
                rates["reference"] = self.reference(self.plan.requests, seconds)

        # What is compared with each other stands side by side.
        steps = [reference, bare, busy, idle, one_forward]
        for step in reversed(steps) if number % 2 else steps:
            step()
        sizes = [len(request.passages) for request in self.plan.requests]
        pairs = sum(sizes[index] for index in loads["busy"].completed)
        return Round(
            bare=rates["bare"],
            http=pairs / loads["busy"].seconds,
            forward=tuple(forward),
            idle=tuple(loads["idle"].latencies),
            busy=tuple(loads["busy"].latencies),
            failed=loads["busy"].failed + loads["idle"].failed,
            reference=rates.get("reference"),
        )

    def _answered(self, load: Load) -> Outcome:
        outcome = self.send(load)
        if not outcome.latencies:
            raise RuntimeError(
                f"{load.clients} clients got no answer with status 200 in {load.seconds:g} s: "
                f"the answers were {outcome.statuses or 'none'}"
            )
        return outcome


def shared_out(encoder: PairEncoder, pairs: Sequence[EncodedPair], streams: int) -> list[Batch]:
    """A request's pairs as the batches that `streams` idle streams would make of them."""
    share = -(-len(pairs) // streams)
    starts = range(0, len(pairs), share)
    return [encoder.collate(pairs[start : start + share]) for start in starts]


def forward_at_once(forward: Forward, pool: ThreadPoolExecutor, batches: Sequence[Batch]) -> None:
    """One forward pass of all the batches side by side; it returns when the last is there."""
    list(pool.map(forward, batches))


def forward_times(
    forward: Callable[[Work], object], batches: Sequence[Work], seconds: float
) -> list[float]:
    """Run the batches in turn for `seconds`, each time at least once; the seconds of each pass."""
    times: list[float] = []
    end = perf_counter() + seconds
    for batch in cycle(batches):
        start = perf_counter()
        forward(batch)
        done = perf_counter()
        times.append(done - start)
        if done >= end:
            break
    return times


def bare_rate(forward: Forward, batches: Sequence[Batch], seconds: float, slots: int) -> float:
    """Pairs per second of `slots` threads that do nothing but run the batches."""

    def loop(_: int) -> int:
        passes = len(forward_times(forward, batches, seconds))
        return sum(batch.shape[0] for batch in islice(cycle(batches), passes))

    start = perf_counter()
    with ThreadPoolExecutor(slots) as pool:
        pairs = sum(pool.map(loop, range(slots)))
    return pairs / (perf_counter() - start)


def like_length_batches(
    encoder: PairEncoder, requests: Sequence[Request], batch_pairs: int
) -> list[Batch]:
    """All pairs of the requests in batches of `batch_pairs`, sorted by length.

    That is the least padding a scheduler could reach, so for pairs of mixed lengths the bare loop
    has it a little easier than any server. A last batch that is not full is left out.
    """
    pairs = sorted((pair for request in requests for pair in encode(encoder, request)), key=len)
    starts = range(0, max(1, len(pairs) - batch_pairs + 1), batch_pairs)
    return [encoder.collate(pairs[start : start + batch_pairs]) for start in starts]
