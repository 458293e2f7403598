"""The search against servers that are formulas: the p99 grows as the rate nears a capacity."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from retort.loadtest.tune.search import LEAST_REQUESTS, RESOLUTION, Halving, Probe, Search, nearest

TARGET_MS = 100.0
IDLE_MS = 20.0
Noise = Callable[[], float]


def probe(rate: float, p99_ms: float | None, seconds: float = 1.0) -> Probe:
    """A probe with that p99."""
    return Probe(rate, seconds, 100, 10 * rate, p99_ms, p99_ms, failed=0)


def limit(capacity: float) -> float:
    """The rate at which a server of that capacity just meets the target."""
    return capacity * (1 - IDLE_MS / TARGET_MS)


def halving(
    capacities: dict[str, float], guess: float, noise: Noise = lambda: 1.0, probes: int = 12
) -> tuple[Halving[str], list[tuple[str, float, float]]]:
    """A contest of servers named by letters, "reference" among them, and who was asked what."""
    asked: list[tuple[str, float, float]] = []

    def ask(key: str, rate: float, seconds: float, turn: int) -> Probe:
        asked.append((key, rate, seconds))
        share = rate / capacities[key]
        p99_ms = None if share >= 1 else noise() * IDLE_MS / (1 - share)
        return probe(rate, p99_ms, seconds)

    names = [key for key in capacities if key != "reference"]
    return Halving(names, "reference", guess, TARGET_MS, probes, 2.0, ask), asked


def test_what_was_not_answered_meets_no_target() -> None:
    assert probe(1.0, 100.0).meets(TARGET_MS)
    assert not probe(1.0, 100.1).meets(TARGET_MS)
    assert not probe(1.0, None).meets(1e9)


@pytest.mark.parametrize("guess", [1.0, 60.0, 1000.0])
def test_a_search_ends_at_the_limit_wherever_it_begins(guess: float) -> None:
    contest, _ = halving({"reference": 100.0}, guess, probes=40)
    (rung,) = contest.run()
    search = rung.searches["reference"]
    assert search.met is not None
    assert search.missed is not None
    assert search.met.rate <= limit(100.0) < search.missed.rate
    assert search.missed.rate / search.met.rate < RESOLUTION
    assert search.next_rate() is None


def test_a_search_brackets_before_it_parts() -> None:
    search = Search(guess=10.0, target_ms=TARGET_MS)
    assert search.next_rate() == 10.0
    search.learn(probe(10.0, 50.0))
    assert search.next_rate() == 12.5
    search.learn(probe(12.5, 500.0))
    assert search.next_rate() == pytest.approx((10.0 * 12.5) ** 0.5)
    assert search.rate == 10.0


def test_the_worse_half_leaves_and_the_reference_stays() -> None:
    capacities = {"a": 60.0, "b": 100.0, "c": 90.0, "d": 50.0, "reference": 30.0}
    contest, asked = halving(capacities, guess=40.0)
    rungs = contest.run()
    assert [set(rung.searches) for rung in rungs] == [
        {"a", "b", "c", "d", "reference"}, {"b", "c", "reference"}, {"b", "reference"},
    ]  # fmt: skip
    assert [rung.seconds for rung in rungs] == [2.0, 4.0, 8.0]
    best = rungs[-1].searches
    assert best["b"].rate / best["reference"].rate == pytest.approx(100 / 30, rel=0.05)
    assert len(contest.probed) == len(asked)


def test_servers_take_turns_every_other_turn_backwards() -> None:
    contest, asked = halving({"a": 1e9, "b": 1e9, "reference": 1e9}, guess=1.0, probes=2)
    contest.run()
    assert [key for key, _, _ in asked[:6]] == ["a", "b", "reference", "reference", "b", "a"]


def test_of_noisy_servers_the_clearly_better_one_wins() -> None:
    chance = random.Random(1)
    capacities = {"a": 70.0, "b": 100.0, "c": 60.0, "reference": 50.0}
    contest, _ = halving(capacities, 50.0, lambda: chance.uniform(0.8, 1.4), probes=6)
    assert set(contest.run()[-1].searches) == {"b", "reference"}


def test_one_disturbance_is_not_a_miss() -> None:
    disturbed = iter([10.0])
    contest, asked = halving({"reference": 100.0}, 50.0, lambda: next(disturbed, 1.0), probes=1)
    # 50 of 100: 40 ms, and ten times that at first. It is asked once more and meets the target.
    (rung,) = contest.run()
    assert len(asked) == 1, "ten times is hopeless"
    assert rung.searches["reference"].met is None
    disturbed = iter([5.0])
    contest, asked = halving({"reference": 100.0}, 50.0, lambda: next(disturbed, 1.0), probes=1)
    (rung,) = contest.run()
    assert len(asked) == 2
    assert rung.searches["reference"].rate == 50.0


def test_if_no_server_meets_the_target_it_is_over_and_the_nearest_is_known() -> None:
    contest, _ = halving({"a": 100.0, "b": 100.0, "reference": 100.0}, 90.0, lambda: 9.0, probes=3)
    (rung,) = contest.run()
    assert all(search.met is None for search in rung.searches.values())
    near = nearest(contest.probed)
    assert near is not None
    assert near.p99_ms == min(p.p99_ms for p in contest.probed if p.p99_ms is not None)
    assert nearest([probe(1.0, None)]) is None


def test_at_a_low_rate_a_probe_takes_longer() -> None:
    contest, asked = halving({"reference": 3.0}, guess=2.0, probes=1)
    contest.run()
    assert asked[0][2] == LEAST_REQUESTS / 2.0
    contest, asked = halving({"reference": 3.0}, guess=0.01, probes=1)
    contest.run()
    assert asked == []
