"""What is tried: settings along the axes, and rates against servers that are formulas.

The p99 of such a server grows as the rate nears its capacity.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from retort.loadtest.experiments.tune_search import (
    DEFAULTS,
    LEAST_REQUESTS,
    RESOLUTION,
    SETTINGS,
    Candidate,
    Halving,
    Rung,
    Search,
    axes,
    parallelism,
)
from retort.loadtest.rounds import OpenLoad
from retort.models.runtime.base import BackendInfo
from retort.service.settings import Settings

CPU = Candidate(BackendInfo("openvino", "cpu", "int8"))
GPU = Candidate(BackendInfo("onnxruntime", "cuda", "fp32"))
FULL = Candidate(
    BackendInfo("openvino", "cpu", "bf16"), threads=0, streams=2, slots=3, batch_tokens=4096,
    length_step=8,
)  # fmt: skip
A, B, C, D = (Candidate(streams=number) for number in (1, 2, 3, 4))
TARGET_MS = 100.0
IDLE_MS = 20.0
Noise = Callable[[], float]


def probe(rate: float, p99_ms: float | None) -> OpenLoad:
    """A probe with that p99."""
    return OpenLoad(rate, 10 * rate, p99_ms, p99_ms, p99_ms, 0.0, 100, 1.0)


def limit(capacity: float) -> float:
    """The rate at which a server of that capacity just meets the target."""
    return capacity * (1 - IDLE_MS / TARGET_MS)


def halving(
    capacities: dict[Candidate, float], guess: float, noise: Noise = lambda: 1.0, probes: int = 12
) -> tuple[Halving, list[tuple[Candidate, float, float]]]:
    """A contest of servers of these capacities, the defaults among them, and what was probed."""
    asked: list[tuple[Candidate, float, float]] = []

    def ask(key: Candidate, rate: float, seconds: float, turn: int) -> OpenLoad:
        asked.append((key, rate, seconds))
        share = rate / capacities[key]
        p99_ms = None if share >= 1 else noise() * IDLE_MS / (1 - share)
        return probe(rate, p99_ms)

    return Halving(list(capacities), guess, TARGET_MS, probes, 2.0, ask), asked


@pytest.mark.parametrize("guess", [1.0, 60.0, 1000.0])
def test_a_search_ends_at_the_limit_wherever_it_begins(guess: float) -> None:
    contest, _ = halving({DEFAULTS: 100.0}, guess, probes=40)
    (rung,) = contest.run()
    search = rung.searches[DEFAULTS]
    assert search.met is not None
    assert search.missed is not None
    assert search.met.offered <= limit(100.0) < search.missed.offered
    assert search.missed.offered / search.met.offered < RESOLUTION
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
    capacities = {A: 60.0, B: 100.0, C: 90.0, D: 50.0, DEFAULTS: 30.0}
    contest, asked = halving(capacities, guess=40.0)
    rungs = contest.run()
    assert [set(rung.searches) for rung in rungs] == [
        {A, B, C, D, DEFAULTS}, {B, C, DEFAULTS}, {B, DEFAULTS},
    ]  # fmt: skip
    assert [rung.seconds for rung in rungs] == [2.0, 4.0, 8.0]
    best = rungs[-1].searches
    assert best[B].rate / best[DEFAULTS].rate == pytest.approx(100 / 30, rel=0.05)
    assert len(contest.probed) == len(asked)


def test_servers_take_turns_every_other_turn_backwards() -> None:
    contest, asked = halving({A: 1e9, B: 1e9, DEFAULTS: 1e9}, guess=1.0, probes=2)
    contest.run()
    assert [key for key, _, _ in asked[:6]] == [A, B, DEFAULTS, DEFAULTS, B, A]


def test_among_noisy_servers_the_clearly_better_one_wins() -> None:
    chance = random.Random(1)
    capacities = {A: 70.0, B: 100.0, C: 60.0, DEFAULTS: 50.0}
    contest, _ = halving(capacities, 50.0, lambda: chance.uniform(0.8, 1.4), probes=6)
    assert set(contest.run()[-1].searches) == {B, DEFAULTS}


def test_one_disturbance_is_not_a_miss() -> None:
    disturbed = iter([10.0])
    contest, asked = halving({DEFAULTS: 100.0}, 50.0, lambda: next(disturbed, 1.0), probes=1)
    # 50 of 100: 40 ms, and ten times that at first. It is asked once more and meets the target.
    (rung,) = contest.run()
    assert len(asked) == 1, "ten times is hopeless"
    assert rung.searches[DEFAULTS].met is None
    disturbed = iter([5.0])
    contest, asked = halving({DEFAULTS: 100.0}, 50.0, lambda: next(disturbed, 1.0), probes=1)
    (rung,) = contest.run()
    assert len(asked) == 2
    assert rung.searches[DEFAULTS].rate == 50.0


def test_if_no_server_meets_the_target_the_search_ends_and_the_nearest_is_known() -> None:
    contest, _ = halving({A: 100.0, B: 100.0, DEFAULTS: 100.0}, 90.0, lambda: 9.0, probes=3)
    (rung,) = contest.run()
    assert all(search.met is None for search in rung.searches.values())
    near = contest.nearest()
    assert near is not None
    assert near.p99_ms == min(p.p99_ms for p in contest.probed if p.p99_ms is not None)
    assert halving({}, 1.0)[0].nearest() is None


def test_at_a_low_rate_a_probe_takes_longer() -> None:
    contest, asked = halving({DEFAULTS: 3.0}, guess=2.0, probes=1)
    contest.run()
    assert asked[0][2] == LEAST_REQUESTS / 2.0
    contest, asked = halving({DEFAULTS: 3.0}, guess=0.01, probes=1)
    contest.run()
    assert asked == []


def test_settings_are_those_that_are_set() -> None:
    assert DEFAULTS.settings == {}
    assert Candidate(streams=2).settings == {"streams": 2}
    assert tuple(FULL.settings) == SETTINGS


def test_the_server_takes_them() -> None:
    settings = Settings(**FULL.settings)
    assert {name: getattr(settings, name) for name in SETTINGS} == FULL.settings


def test_the_name_says_what_is_set() -> None:
    assert str(DEFAULTS) == "the defaults"
    name = "openvino/cpu/bf16, all threads, 2 streams, 3 slots, batches of 4,096 tokens, steps of 8"
    assert str(FULL) == name
    assert str(Candidate(threads=1, streams=1)) == "1 thread, 1 stream"


def test_two_cores_have_one_stream_or_two() -> None:
    assert parallelism(1) == [(0, 1)]
    assert parallelism(2) == [(0, 1), (0, 2)]


def test_more_cores_may_leave_some_to_others() -> None:
    found = parallelism(16)
    assert {threads for threads, _ in found} == {0, 15, 8}
    assert [streams for threads, streams in found if threads == 0] == [1, 2, 4, 8, 16]
    assert max(streams for threads, streams in found if threads == 8) == 8


def test_each_axis_varies_its_own_settings_and_keeps_the_rest() -> None:
    streams, budgets, steps = axes(cores=2, longest=128)
    leader = streams.variants(CPU)[1]
    assert (leader.backend, leader.streams) == (CPU.backend, 2)
    wider = budgets.variants(leader)
    assert [candidate.batch_tokens for candidate in wider] == [512, 1024, 2048, 4096]
    assert {candidate.streams for candidate in wider} == {2}
    assert [candidate.length_step for candidate in steps.variants(wider[0])] == [4, 8, 16]


def test_on_a_gpu_slots_and_larger_batches_are_tried() -> None:
    streams, budgets, _ = axes(cores=16, longest=128)
    assert [candidate.slots for candidate in streams.variants(GPU)] == [1, 2, 3]
    assert min(c.batch_tokens or 0 for c in budgets.variants(GPU)) > 4096


def test_no_budget_is_too_small_for_a_pair_and_no_step_larger_than_one() -> None:
    _, budgets, _ = axes(cores=2, longest=2048)
    assert [candidate.batch_tokens for candidate in budgets.variants(CPU)] == [2048, 4096]
    _, _, steps = axes(cores=2, longest=8)
    assert [candidate.length_step for candidate in steps.variants(CPU)] == [4, 8]
    _, budgets, _ = axes(cores=2, longest=10_000)
    assert [candidate.batch_tokens for candidate in budgets.variants(CPU)] == [10_000]


def test_of_equals_the_defaults_come_first() -> None:
    def rung(tuned: float, defaults: float) -> Rung:
        searches = {A: Search(1.0, 100.0), DEFAULTS: Search(1.0, 100.0)}
        searches[A].learn(probe(tuned, 50.0))
        searches[DEFAULTS].learn(probe(defaults, 50.0))
        return Rung(2.0, searches)

    assert rung(20.0, 20.0).best == DEFAULTS
    assert rung(20.1, 20.0).best == A
