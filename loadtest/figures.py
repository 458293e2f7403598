"""Figures: what repeated measurements come to, a middle value with the spread over rounds.

A machine drifts while it is measured. Two things measured in turn, round by round, drift together,
so their ratio is taken within each round, and only then is the middle one of the ratios chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np


@dataclass(frozen=True, slots=True)
class Spread:
    """The median over rounds, with the lowest and the highest."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def over(cls, values: Sequence[float]) -> Spread:
        """Sum up one value a round. Raises `ValueError` if there is none."""
        if not values:
            raise ValueError("no round was measured: a spread needs at least one")
        return cls(median(values), min(values), max(values), len(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The spread of `above[i] / below[i]`, both measured in round i.

    >>> ratios([10.0, 30.0], [10.0, 10.0])
    Spread(median=2.0, low=1.0, high=3.0, rounds=2)
    """
    return Spread.over([a / b for a, b in zip(above, below, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` percent of the values do not exceed.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 50)
    2.0
    """
    if not values or not 0 < share <= 100:
        raise ValueError(
            f"percentile {share} of {len(values)} values: need 0 < share <= 100 and a value"
        )
    ordered = sorted(values)
    rank = -(-share * len(ordered) // 100)
    return ordered[int(rank) - 1]


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies in milliseconds over all rounds together."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Sum up latencies given in seconds."""
        p50, p95, p99 = (percentile(seconds, share) * 1e3 for share in (50, 95, 99))
        return cls(p50, p95, p99, len(seconds))


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio over all rounds, with the 95% interval that drawing the rounds anew gives it."""

    value: float
    low: float
    high: float
    rounds: int


def ratio_of_means(
    above: Sequence[float], below: Sequence[float], *, draws: int = 10_000, seed: int = 0
) -> Interval:
    """`mean(above) / mean(below)`, both measured in turn, round by round, and its interval.

    A percentile bootstrap: rounds are drawn with replacement, both figures of a round together,
    because they share what the machine did meanwhile. Of few rounds the interval is too narrow,
    and of one it has no width. Raises `ValueError` if there is no round or one side has more.

    >>> ratio_of_means([20.0, 20.0], [10.0, 10.0])
    Interval(value=2.0, low=2.0, high=2.0, rounds=2)
    """
    if not above or len(above) != len(below):
        raise ValueError(f"{len(above)} rounds over {len(below)}: need as many, and at least one")
    tops, bottoms = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(tops), (draws, len(tops)))
    found = tops[drawn].mean(axis=1) / bottoms[drawn].mean(axis=1)
    low, high = np.percentile(found, (2.5, 97.5))
    return Interval(float(tops.mean() / bottoms.mean()), float(low), float(high), len(tops))
