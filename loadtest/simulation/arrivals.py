"""Arrivals: when requests come, as gaps drawn by chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Literal, get_args

Times = Callable[[float, Random], Iterator[float]]
ArrivalKind = Literal["poisson", "bursty"]
KINDS: tuple[ArrivalKind, ...] = get_args(ArrivalKind)

# A burst brings three times the mean rate for half a second, and takes a fifth of the time.
BURST_FACTOR = 3.0
BURST_SECONDS = 0.5
BURST_SHARE = 0.2


def poisson(rate: float, chance: Random) -> Iterator[float]:
    """Times in seconds of arrivals that know nothing of each other, `rate` a second."""
    now = 0.0
    while True:
        now += chance.expovariate(rate)
        yield now


def bursty(rate: float, chance: Random) -> Iterator[float]:
    """Poisson arrivals whose rate changes between two states; `rate` a second over a long time.

    How long a state lasts is exponential too, so the next change never depends on the last.
    """
    calm_rate = rate * (1 - BURST_SHARE * BURST_FACTOR) / (1 - BURST_SHARE)
    calm_seconds = BURST_SECONDS * (1 - BURST_SHARE) / BURST_SHARE
    burst = False
    now, change = 0.0, chance.expovariate(1 / calm_seconds)
    while True:
        arrival = now + chance.expovariate(rate * BURST_FACTOR if burst else calm_rate)
        if arrival <= change:
            now = arrival
            yield now
            continue
        # An exponential gap has no memory: from the change on it is drawn anew.
        burst = not burst
        now = change
        change += chance.expovariate(1 / (BURST_SECONDS if burst else calm_seconds))


TIMES: dict[ArrivalKind, Times] = {"poisson": poisson, "bursty": bursty}
