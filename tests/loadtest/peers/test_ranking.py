"""The ranking check: what counts as the same ranking."""

from __future__ import annotations

import pytest

from retort.loadtest.peers.ranking import Agreement, compare, kendall_tau
from retort.loadtest.texts import Request

REQUESTS = [Request("one", ("a", "b", "c")), Request("two", ("a", "b", "c"))]
EXPECTED = [[0.9, 0.5, 0.1], [0.1, 0.5, 0.9]]


def test_the_same_scores_agree() -> None:
    answers = iter(EXPECTED)
    found = compare(REQUESTS, lambda request: next(answers), EXPECTED)
    assert found == Agreement(2, 1.0, 1.0, 0.0)
    assert found.right


def test_a_swap_counts_by_the_share_of_pairs_it_turns() -> None:
    answers = iter([[0.9, 0.5, 0.1], [0.1, 0.9, 0.5]])
    found = compare(REQUESTS, lambda request: next(answers), EXPECTED)
    assert found.top1 == 0.5
    assert found.tau == pytest.approx((1 + 1 / 3) / 2)
    assert found.largest_difference == pytest.approx(0.4)
    assert not found.right


def test_either_of_two_equals_may_stand_first() -> None:
    found = compare(REQUESTS[:1], lambda request: [0.4, 0.5, 0.1], [[0.5, 0.5, 0.1]])
    assert (found.top1, found.tau) == (1.0, 1.0)


def test_equal_scores_of_a_peer_are_no_order() -> None:
    assert kendall_tau([0.1, 0.2, 0.3], [0.5, 0.5, 0.5]) == 0
    assert kendall_tau([0.2, 0.2], [0.1, 0.9]) == 1
    assert kendall_tau([0.1, 0.2, 0.3], [0.9, 0.5, 0.1]) == -1


@pytest.mark.parametrize(("top1", "tau"), [(0.94, 1.0), (1.0, 0.96)])
def test_either_bound_can_be_missed(top1: float, tau: float) -> None:
    assert not Agreement(60, top1, tau, 0.0).right
