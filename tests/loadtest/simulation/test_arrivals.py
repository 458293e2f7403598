"""Arrivals: the rate that was asked for, and bursts where there should be some."""

from __future__ import annotations

from itertools import islice, pairwise
from random import Random
from statistics import mean, variance

import pytest

from retort.loadtest.simulation.arrivals import KINDS, TIMES, ArrivalKind

COUNT = 20_000


def times(kind: ArrivalKind, rate: float, seed: int = 0) -> list[float]:
    return list(islice(TIMES[kind](rate, Random(seed)), COUNT))


def dispersion(found: list[float]) -> float:
    """Variance over mean of the arrivals in a second; 1 if they know nothing of each other."""
    counts = [0] * (int(found[-1]) + 1)
    for at in found:
        counts[int(at)] += 1
    return variance(counts[:-1]) / mean(counts[:-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [5.0, 50.0])
def test_the_rate_is_the_one_asked_for(kind: ArrivalKind, rate: float) -> None:
    found = times(kind, rate)
    assert all(first < second for first, second in pairwise(found))
    assert COUNT / found[-1] == pytest.approx(rate, rel=0.1)


def test_only_bursty_arrivals_come_in_bursts() -> None:
    assert dispersion(times("poisson", 20.0)) == pytest.approx(1.0, abs=0.1)
    assert dispersion(times("bursty", 20.0)) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_times(kind: ArrivalKind) -> None:
    assert times(kind, 5.0, seed=1) == times(kind, 5.0, seed=1)
    assert times(kind, 5.0, seed=1) != times(kind, 5.0, seed=2)
