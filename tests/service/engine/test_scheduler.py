from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence

import pytest

from retort.service.engine.scheduler import (
    Pick,
    Policy,
    Waiting,
    cheapest_runs,
    length_steps,
    next_batch,
    run_cost,
)

LENGTHS = (16, 32, 48, 64)


def totals_of(waiting: Sequence[Waiting]) -> dict[int, int]:
    totals = {n: sum(request.counts.get(n, 0) for request in waiting) for n in LENGTHS}
    return {length: count for length, count in totals.items() if count}


def cost_of(runs: Sequence[Sequence[int]], totals: Mapping[int, int], policy: Policy) -> int:
    return sum(run_cost(sum(totals[n] for n in run), max(run), policy) for run in runs)


def every_parting(lengths: Sequence[int]) -> Iterator[list[Sequence[int]]]:
    """All ways to cut a list into runs.

    Example: (3, 2) gives [(3, 2)] and [(3,), (2,)].
    """
    if not lengths:
        yield []
    for stop in range(1, len(lengths) + 1):
        for rest in every_parting(lengths[stop:]):
            yield [lengths[:stop], *rest]


def random_requests(seed: int) -> tuple[list[Waiting], Policy]:
    choice = random.Random(seed)
    policy = Policy(
        LENGTHS,
        batch_tokens=choice.choice([64, 100, 192, 400]),
        overhead_tokens=choice.choice([0, 8, 64, 1000]),
    )
    requests = [
        Waiting(
            key,
            # All within the policy's patience, so that each may ride with each.
            due=choice.choice([0.0, 0.2, 0.4]),
            counts={
                length: choice.randint(1, 3)
                for length in choice.sample(LENGTHS, choice.randint(1, 3))
            },
        )
        for key in range(choice.randint(1, 3))
    ]
    return requests, policy


def take(waiting: list[Waiting], picks: Sequence[Pick]) -> list[Waiting]:
    left = {request.key: dict(request.counts) for request in waiting}
    for pick in picks:
        assert 0 < pick.count <= left[pick.key][pick.length]
        left[pick.key][pick.length] -= pick.count
    return [
        Waiting(request.key, request.due, {n: c for n, c in left[request.key].items() if c})
        for request in waiting
        if any(left[request.key].values())
    ]


def test_runs_against_brute_force() -> None:
    for seed in range(300):
        requests, policy = random_requests(seed)
        totals = totals_of(requests)
        found = cheapest_runs(totals, policy)
        lengths = sorted(totals, reverse=True)
        assert [length for run in found for length in run] == lengths
        assert cost_of(found, totals, policy) == min(
            cost_of(runs, totals, policy) for runs in every_parting(lengths)
        )


def test_a_batch_has_the_leader_and_keeps_the_budget() -> None:
    for seed in range(300):
        requests, policy = random_requests(seed)
        picks = next_batch(requests, policy)
        pairs = sum(pick.count for pick in picks)
        assert pairs * max(pick.length for pick in picks) <= policy.batch_tokens
        leader = min(requests, key=lambda request: (request.due, request.key))
        assert picks[0].key == leader.key
        assert max(leader.counts) in {pick.length for pick in picks if pick.key == leader.key}


def test_all_is_served_at_no_more_than_the_first_plans_cost() -> None:
    for seed in range(300):
        requests, policy = random_requests(seed)
        totals = totals_of(requests)
        planned = cost_of(cheapest_runs(totals, policy), totals, policy)
        waiting, spent = requests, 0
        led: dict[int, int] = {}
        while waiting:
            leader = min(waiting, key=lambda request: (request.due, request.key))
            led[leader.key] = led.get(leader.key, 0) + 1
            picks = next_batch(waiting, policy)
            pairs = sum(pick.count for pick in picks)
            spent += policy.overhead_tokens + pairs * max(pick.length for pick in picks)
            waiting = take(waiting, picks)
        assert spent <= planned
        for request in requests:
            full = sum(-(-n * c // policy.batch_tokens) for n, c in request.counts.items())
            assert led.get(request.key, 0) <= len(request.counts) + full


def test_in_a_batch_the_earlier_due_goes_first() -> None:
    for seed in range(100):
        requests, policy = random_requests(seed)
        picks = next_batch(requests, policy)
        lengths = {pick.length for pick in picks}
        taken = {(pick.key, pick.length): pick.count for pick in picks}
        ordered = sorted(requests, key=lambda request: (request.due, request.key))
        for first, second in itertools.combinations(ordered, 2):
            if any(pick.key == second.key for pick in picks):
                for length, count in first.counts.items():
                    if min(lengths) <= length <= max(lengths):
                        assert taken.get((first.key, length)) == count


def test_the_docstrings_example() -> None:
    requests = [Waiting(0, 0.0, {128: 3, 16: 1})]
    assert next_batch(requests, Policy((16, 128), 512, 100)) == [Pick(0, 128, 3)]
    both = [Pick(0, 128, 3), Pick(0, 16, 1)]
    assert next_batch(requests, Policy((16, 128), 512, 1000)) == both


def test_nothing_waits() -> None:
    assert next_batch([], Policy((16,), 16)) == []
    assert next_batch([Waiting(0, 0.0, {16: 0})], Policy((16,), 16)) == []


def test_a_request_larger_than_a_batch_is_split() -> None:
    policy = Policy((16,), batch_tokens=64)
    assert next_batch([Waiting(0, 0.0, {16: 1000})], policy) == [Pick(0, 16, 4)]


def test_short_work_passes_long_work_and_a_deadline_passes_both() -> None:
    policy = Policy((16,), patience_seconds=0.5)
    pace = 1e-4
    long = policy.due(0.0, 60.0, alone=500_000 * pace)
    short = policy.due(1.0, 61.0, alone=1_000 * pace)
    urgent = policy.due(1.1, 1.3, alone=1_000 * pace)
    assert urgent < short < long


def test_a_batch_is_not_filled_up_with_what_is_due_much_later() -> None:
    policy = Policy((16, 32), batch_tokens=128, overhead_tokens=8, patience_seconds=0.5)
    usual, soon = Waiting(0, 1.0, {16: 2}), Waiting(1, 1.5, {16: 1})
    later = Waiting(2, 1.6, {16: 100, 32: 100})
    assert next_batch([later, soon, usual], policy) == [Pick(0, 16, 2), Pick(1, 16, 1)]
    assert next_batch([later], policy) == [Pick(2, 32, 4)]


def test_what_waits_is_shared_out_among_idle_streams() -> None:
    policy = Policy((16, 32), batch_tokens=128, overhead_tokens=8)
    request = [Waiting(0, 1.0, {16: 5})]
    assert next_batch(request, policy, streams=2) == [Pick(0, 16, 3)]
    assert next_batch(request, policy, streams=8) == [Pick(0, 16, 1)]
    # More than there is room for is not held back.
    assert next_batch([Waiting(0, 1.0, {16: 100})], policy, streams=2) == [Pick(0, 16, 8)]


def test_who_has_a_deadline_leads_while_there_is_time_for_it() -> None:
    policy = Policy((16,), patience_seconds=0.5)
    # Three seconds of work within ten: it must lead from the seventh on.
    assert policy.due(0.0, 10.0, alone=3.0) == 7.0
    assert policy.due(0.0, 60.0, alone=3.0) == 12.5


def test_nothing_starves_under_a_stream_of_short_requests() -> None:
    """A simulated server at full load: short requests keep coming, the long one still ends."""
    policy = Policy((16, 64), batch_tokens=128, overhead_tokens=0)
    pace = 1.0 / 128  # a full batch takes one second
    long = Waiting(0, policy.due(0.0, 1e9, 64 * 20 * pace), {64: 20})
    waiting, now, key = [long], 0.0, 1
    while any(request.key == 0 for request in waiting):
        waiting.append(Waiting(key, policy.due(now, 1e9, 128 * pace), {16: 8}))
        waiting = take(waiting, next_batch(waiting, policy))
        key, now = key + 1, now + 1.0
        assert now < 100


def test_length_steps() -> None:
    assert length_steps(64, 16) == (16, 32, 48, 64)
    assert length_steps(60, 16) == (16, 32, 48, 60)
    assert length_steps(10, 16) == (10,)


def test_padded() -> None:
    policy = Policy((16, 32), 64)
    assert [policy.padded(length) for length in (1, 16, 17, 32)] == [16, 16, 32, 32]


@pytest.mark.parametrize("lengths", [(), (32, 16), (16, 16)])
def test_lengths_must_ascend(lengths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        Policy(lengths)


def test_a_batch_must_have_room_for_a_pair() -> None:
    with pytest.raises(ValueError, match="room for at least"):
        Policy((16, 128), batch_tokens=100)
