"""The simulator: nothing lost, nothing made up, nothing idle that has work, and known answers."""

from __future__ import annotations

from random import Random

import pytest

from retort.loadtest.simulation.arrivals import poisson
from retort.loadtest.simulation.policies import (
    CONTENDERS,
    FIXED_PAIRS,
    OURS,
    Contender,
    arrival_order,
    fixed_count,
    shortest_first,
)
from retort.loadtest.simulation.simulator import Arrival, Machine, Run, simulate
from retort.service.engine.scheduler import Pick, Policy
from tests.loadtest.simulation.random_runs import random_arrivals, random_machine, random_policy

WORK_CONSERVING = [contender for contender in CONTENDERS if not contender.wait_seconds]


def random_run(seed: int, contender: Contender) -> tuple[list[Arrival], Policy, Run]:
    policy = random_policy(seed)
    arrivals = random_arrivals(seed, rate=1.0)
    return arrivals, policy, simulate(arrivals, contender, policy, random_machine(seed, policy))


def idle_with_work(run: Run) -> list[float]:
    """The times at which the backend began to rest although a request waited."""
    ends = [0.0, *(batch.finish for batch in run.batches)]
    starts = [batch.start for batch in run.batches]
    return [
        end
        for end, start in zip(ends, starts, strict=False)
        if end < start
        and any(answer.arrival.at < start and answer.finish > end for answer in run.answers)
    ]


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
@pytest.mark.parametrize("seed", range(10))
def test_every_pair_is_inferred_once(seed: int, contender: Contender) -> None:
    arrivals, _, run = random_run(seed, contender)
    assert sorted(answer.arrival.at for answer in run.answers) == [each.at for each in arrivals]
    assert sum(batch.pairs for batch in run.batches) == sum(len(each.lengths) for each in arrivals)
    assert sum(b.tokens for b in run.batches) == sum(sum(each.lengths) for each in arrivals)
    assert run.refused == ()


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
@pytest.mark.parametrize("seed", range(10))
def test_time_runs_forward(seed: int, contender: Contender) -> None:
    _, _, run = random_run(seed, contender)
    assert all(
        first.finish <= second.start
        for first, second in zip(run.batches, run.batches[1:], strict=False)
    )
    assert all(a.arrival.at <= a.start < a.finish for a in run.answers)
    ends = {batch.finish for batch in run.batches}
    assert all(answer.finish in ends for answer in run.answers)


@pytest.mark.parametrize("contender", WORK_CONSERVING, ids=lambda contender: contender.name)
@pytest.mark.parametrize("seed", range(10))
def test_nothing_waits_while_the_backend_is_idle(seed: int, contender: Contender) -> None:
    _, _, run = random_run(seed, contender)
    assert idle_with_work(run) == []


def test_a_timer_lets_the_backend_idle_and_no_longer_than_it_says() -> None:
    arrivals = [Arrival(1.0, (16, 16)), Arrival(1.001, (16,) * FIXED_PAIRS)]
    timer = Contender("timer", fixed_count, 0.005)
    run = simulate(arrivals[:1], timer, Policy((16,), 1024), Machine(0, 1e-6))
    assert idle_with_work(run) == [0.0]
    assert run.answers[0].start == pytest.approx(1.005)
    # The second request fills the batch, so the first goes at once.
    run = simulate(arrivals, timer, Policy((16,), 1024), Machine(0, 1e-6))
    assert run.answers[0].start == pytest.approx(1.001)


@pytest.mark.parametrize("contender", WORK_CONSERVING, ids=lambda contender: contender.name)
@pytest.mark.parametrize("seed", range(10))
def test_the_token_budget_is_kept(seed: int, contender: Contender) -> None:
    _, policy, run = random_run(seed, contender)
    assert all(batch.pairs * batch.length <= policy.batch_tokens for batch in run.batches)
    assert all(batch.tokens <= batch.pairs * batch.length for batch in run.batches)


def test_one_pair_at_a_time_waits_as_the_formula_says() -> None:
    """Poisson arrivals, a fixed service time s, one server: the mean wait is s·ρ / 2(1 - ρ)."""
    load = 0.5
    times = poisson(load, Random(7))
    arrivals = [Arrival(at, (16,)) for at, _ in zip(times, range(20_000), strict=False)]
    alone = Contender("one by one", arrival_order)
    run = simulate(arrivals, alone, Policy((16,), batch_tokens=16), Machine(0, 1 / 16))
    waits = [answer.start - answer.arrival.at for answer in run.answers]
    assert sum(waits) / len(waits) == pytest.approx(load / (2 * (1 - load)), rel=0.07)


def test_a_batch_costs_its_overhead_and_its_padding() -> None:
    machine = Machine(overhead_tokens=100, seconds_per_token=0.001)
    arrivals = [Arrival(0.0, (16, 5, 30))]
    run = simulate(arrivals, Contender("o", arrival_order), Policy((16, 32), 96), machine)
    (batch,) = run.batches
    assert (batch.pairs, batch.length, batch.tokens) == (3, 32, 51)
    assert run.answers[0].seconds == pytest.approx((100 + 96) * 0.001)
    assert machine.least_seconds((16, 5, 30), Policy((16, 32), 100)) == pytest.approx(0.064 * 2)


def test_past_the_queues_limit_requests_are_refused() -> None:
    machine = Machine(0, 0.001, queue_tokens=100)
    # The first is larger than the queue and still gets in; while it runs, its tokens count.
    arrivals = [Arrival(0.0, (16,) * 10), Arrival(0.001, (16,)), Arrival(10.0, (16,))]
    run = simulate(arrivals, OURS, Policy((16,), 1024), machine)
    assert run.refused == (arrivals[1],)
    assert [answer.arrival for answer in run.answers] == [arrivals[0], arrivals[2]]


def test_a_request_comes_again_while_others_come() -> None:
    large = Arrival(0.0, (16,) * 4, again=True)
    arrivals = [large, Arrival(1.0, (16,))]
    run = simulate(arrivals, OURS, Policy((16,), 64), Machine(0, 0.4 / 64))
    # It is answered at 0.4 and 0.8; the third time it runs into the other's arrival.
    finishes = [answer.finish for answer in run.answers if answer.arrival.again]
    assert finishes == pytest.approx([0.4, 0.8, 1.2])
    assert [answer.arrival.at for answer in run.answers] == pytest.approx([0.0, 0.4, 0.8, 1.0])


def longest_wait(contender: Contender, load: float) -> tuple[float, float]:
    """How long one long pair waits in a flood of short ones, and what waited when it came.

    Each short request takes a second; both answers are in seconds.
    """
    policy = Policy((16, 64), batch_tokens=256, overhead_tokens=0)
    times = poisson(load, Random(3))
    short = [Arrival(at, (16,) * 16) for at, _ in zip(times, range(200), strict=False)]
    long = Arrival(50.0, (64,))
    arrivals = sorted([*short, long], key=lambda arrival: arrival.at)
    run = simulate(arrivals, contender, policy, Machine(0, 1 / 256, queue_tokens=10**9))
    wait = next(answer.seconds for answer in run.answers if answer.arrival == long)
    before = [a for a in run.answers if a.arrival.at <= 50.0 + policy.patience_seconds]
    return wait, sum(1.0 for answer in before if answer.finish > 50.0)


@pytest.mark.parametrize("load", [0.7, 1.5])
def test_a_long_pair_waits_for_what_came_before_it_alone(load: float) -> None:
    wait, backlog = longest_wait(OURS, load)
    assert wait <= backlog + 1


def test_a_long_pair_starves_where_the_shortest_go_first() -> None:
    starving, _ = longest_wait(Contender("shortest first", shortest_first), 1.5)
    ours, _ = longest_wait(OURS, 1.5)
    assert starving > 3 * ours


def picks_nothing(*_: object) -> list[Pick]:
    return []


def picks_too_much(*_: object) -> list[Pick]:
    return [Pick(0, 16, 2)]


def test_a_policy_that_errs_is_stopped() -> None:
    arrivals, policy, machine = [Arrival(1.0, (16,))], Policy((16,), 64), Machine(0, 1.0)
    with pytest.raises(ValueError, match="lazy picks nothing at 1 s"):
        simulate(arrivals, Contender("lazy", picks_nothing), policy, machine)
    with pytest.raises(ValueError, match=r"count=2\) of a request that has 1 pairs"):
        simulate(arrivals, Contender("greedy", picks_too_much), policy, machine)
