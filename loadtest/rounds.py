"""Rounds: what repeated measurements add up to, a middle value with its spread.

A machine drifts while it is measured. Things that are measured in turn, round by round, drift
together, so their ratio is taken within each round and only then summed up over the rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TypeVar

import numpy as np

from retort.loadtest.load import Outcome

Item = TypeVar("Item")
Result = TypeVar("Result")
Log = Callable[[str], None]


def in_turn(items: Sequence[Item], rounds: int) -> Iterator[tuple[int, Item]]:
    """The number of the round and the item whose turn it is; every other round runs backwards.

    So a machine that slows down or speeds up does so for all items alike.

    >>> list(in_turn("AB", 2))
    [(0, 'A'), (0, 'B'), (1, 'B'), (1, 'A')]
    """
    for number in range(rounds):
        for item in reversed(items) if number % 2 else items:
            yield number, item


def take_turns(
    turns: Mapping[str, Callable[[], Result]], rounds: int, log: Log
) -> dict[str, list[Result]]:
    """Call everything once per round, in turn; the results by name, one per round."""
    results: dict[str, list[Result]] = {name: [] for name in turns}
    for number, name in in_turn(list(turns), rounds):
        log(f"round {number + 1} of {rounds}: {name}")
        results[name].append(turns[name]())
    return results


@dataclass(frozen=True, slots=True)
class Spread:
    """A value with the range around it: that of the rounds, or an interval."""

    value: float
    low: float
    high: float
    rounds: int

    @classmethod
    def over(cls, values: Sequence[float]) -> Spread:
        """The median of one value per round, with the lowest and the highest.

        Raises `ValueError` if there is none.
        """
        if not values:
            raise ValueError("no round was measured: a spread needs at least one")
        return cls(median(values), min(values), max(values), len(values))

    @classmethod
    def mean(cls, values: Sequence[float]) -> Spread:
        """The same around the mean."""
        spread = cls.over(values)
        return cls(fmean(values), spread.low, spread.high, spread.rounds)


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The spread of `above[i] / below[i]`, both measured in round i.

    >>> ratios([10.0, 30.0], [10.0, 10.0])
    Spread(value=2.0, low=1.0, high=3.0, rounds=2)
    """
    return Spread.over([a / b for a, b in zip(above, below, strict=True)])


def ratio_of_means(
    above: Sequence[float], below: Sequence[float], *, draws: int = 10_000, seed: int = 0
) -> Spread:
    """`mean(above) / mean(below)`, both measured in turn, round by round, and its 95% interval.

    A percentile bootstrap: rounds are drawn with replacement, both values of a round together,
    because they share what the machine did meanwhile. With few rounds the interval is too narrow,
    and with one it has no width. Raises `ValueError` if there is no round or one side has more.

    >>> ratio_of_means([20.0, 20.0], [10.0, 10.0])
    Spread(value=2.0, low=2.0, high=2.0, rounds=2)
    """
    if not above or len(above) != len(below):
        raise ValueError(
            f"{len(above)} rounds over {len(below)}: a ratio needs the same number on both sides, "
            "at least one"
        )
    tops, bottoms = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(tops), (draws, len(tops)))
    low, high = np.percentile(tops[drawn].mean(axis=1) / bottoms[drawn].mean(axis=1), (2.5, 97.5))
    return Spread(float(tops.mean() / bottoms.mean()), float(low), float(high), len(tops))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` percent of the values do not exceed.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 50)
    2.0
    """
    if not values or not 0 < share <= 100:
        raise ValueError(
            f"percentile {share} of {len(values)} values: need 0 < share <= 100 and a value"
        )
    rank = -(-share * len(values) // 100)
    return sorted(values)[int(rank) - 1]


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of latencies, in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Sum up latencies given in seconds. Raises `ValueError` if there is none."""
        p50, p95, p99 = (percentile(seconds, share) * 1e3 for share in (50, 95, 99))
        return cls(p50, p95, p99, len(seconds))


@dataclass(frozen=True, slots=True)
class OpenLoad:
    """What a server did under one open load of `offered` requests (or pairs) per second.

    A request without an answer is later than any other: a percentile that it reaches is None.
    """

    offered: float
    answered: float  # pairs per second
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    error_share: float
    requests: int
    late_ms: float  # the generator's own: 99% of the requests were sent at most this late

    @classmethod
    def of(cls, offered: float, outcome: Outcome) -> OpenLoad:
        """Sum up an open step. Raises `RuntimeError` if no request was due in it."""
        if not outcome.due:
            raise RuntimeError(
                f"no request was due in {outcome.seconds:g} s of open load: measure for longer"
            )
        seconds = [*outcome.latencies, *[math.inf] * outcome.failed]
        times = [percentile(seconds, share) * 1e3 for share in (50, 95, 99)]
        p50, p95, p99 = (time if math.isfinite(time) else None for time in times)
        answered, late_ms = outcome.pairs_per_second, percentile(outcome.lateness, 99) * 1e3
        return cls(offered, answered, p50, p95, p99, outcome.error_share, len(outcome.due), late_ms)

    def meets(self, p99_ms: float) -> bool:
        """Whether the p99 is within a target."""
        return self.p99_ms is not None and self.p99_ms <= p99_ms

    @property
    def cells(self) -> tuple[float | str, ...]:
        """Its figures without the offer, as `result.OPEN_COLUMNS` name them."""
        times = (self.p50_ms, self.p95_ms, self.p99_ms)
        known = ("none" if time is None else time for time in times)
        return self.answered, *known, self.error_share, self.requests
