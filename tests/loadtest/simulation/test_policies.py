"""The policies: what each would put into the next batch, on cases one can check by hand."""

from __future__ import annotations

import pytest

from retort.loadtest.simulation.policies import (
    FIXED_PAIRS,
    FIXED_WAIT_SECONDS,
    Held,
    arrival_order,
    fixed_count,
    shortest_first,
    tokens_by_due_time,
)
from retort.service.engine.scheduler import Pick, Policy, next_batch

POLICY = Policy((16, 32, 64), batch_tokens=128, overhead_tokens=0)


def held(*requests: tuple[int, ...]) -> list[Held]:
    return [
        Held(key, arrival=float(key), due=float(-key), lengths=lengths)
        for key, lengths in enumerate(requests)
    ]


def test_ours_is_the_servers() -> None:
    waiting = held((64, 16, 32), (32, 32))
    expected = next_batch([each.waiting for each in waiting], POLICY)
    assert tokens_by_due_time(waiting, POLICY, 0.0) == expected
    assert expected[0].key == 1  # due first, though it came second


def test_arrival_order_pads_whatever_comes_next() -> None:
    waiting = held((16, 64), (16, 16))
    # A third pair would make three of 64.
    assert arrival_order(waiting, POLICY, 0.0) == [Pick(0, 16, 1), Pick(0, 64, 1)]
    waiting[0].take(Pick(0, 16, 1))
    assert arrival_order(waiting, POLICY, 0.0) == [Pick(0, 64, 1), Pick(1, 16, 1)]
    waiting[0].take(Pick(0, 64, 1))
    assert arrival_order(waiting[1:], POLICY, 0.0) == [Pick(1, 16, 1), Pick(1, 16, 1)]


def test_a_fixed_count_waits_for_company_or_its_timer() -> None:
    waiting = held((16,) * (FIXED_PAIRS - 1))
    assert fixed_count(waiting, POLICY, 0.0) == []
    assert len(fixed_count(waiting, POLICY, FIXED_WAIT_SECONDS)) == FIXED_PAIRS - 1
    more = held((16,) * (FIXED_PAIRS - 1), (64, 64))
    picks = fixed_count(more, POLICY, 0.0)
    assert len(picks) == FIXED_PAIRS
    assert picks[-1] == Pick(1, 64, 1)


def test_shortest_first_goes_by_length_alone() -> None:
    waiting = held((64, 32), (16, 16, 32))
    # Two of 16 and two of 32 fill 128 tokens.
    assert shortest_first(waiting, POLICY, 0.0) == [Pick(1, 16, 2), Pick(0, 32, 1), Pick(1, 32, 1)]


def test_only_pairs_that_wait_can_be_taken() -> None:
    (request,) = held((16, 16, 32))
    request.take(Pick(0, 16, 1))
    assert request.left == 2
    assert request.waiting.counts == {16: 1, 32: 1}
    request.take(Pick(0, 16, 1))
    assert request.waiting.counts == {32: 1}
    with pytest.raises(ValueError, match="has 0 pairs of that length"):
        request.take(Pick(0, 16, 1))
