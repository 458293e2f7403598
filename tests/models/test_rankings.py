"""Comparing rankings: the same answer for every caller, ties included."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from scipy.stats import kendalltau

from retort.models import rankings
from retort.models.rankings import Comparison, compare, kendall_tau, rows_by_query, top1_agrees


def test_the_examples_of_the_module_hold() -> None:
    assert doctest.testmod(rankings).failed == 0


def test_the_worked_example() -> None:
    found = compare([0.9, 0.5, 0.1], [0.8, 0.2, 0.3])
    assert found.top1_agrees
    assert found.kendall_tau == pytest.approx(1 / 3)
    assert found.mean_difference == pytest.approx(0.2)
    assert found.max_difference == pytest.approx(0.3)


@pytest.mark.parametrize("seed", range(30))
def test_tau_is_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    size = int(random.integers(2, 40))
    digits = int(random.integers(0, 4))
    one, other = np.round(random.random((2, size)), digits)
    expected = kendalltau(one, other).statistic
    found = kendall_tau(one, other)
    if np.isnan(expected):
        assert found is None
    else:
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # Noise below the tie ranks nothing: as scipy has it after rounding to 1e-6.
        ([0.3, 0.3000001, 0.1, 0.2], [0.9, 0.2, 0.1, 0.5], 3 / np.sqrt(30)),
        ([0.3, 0.300002, 0.1, 0.2], [0.9, 0.2, 0.1, 0.5], 1 / 3),
        ([0.1, 0.2, 0.3], [0.9, 0.5, 0.1], -1.0),
        ([0.1, 0.2, 0.3], [0.5, 0.5, 0.5], None),
        ([0.5, 0.5000004], [0.4, 0.5], None),
    ],
)
def test_tau_with_ties(one: list[float], other: list[float], expected: float | None) -> None:
    found = kendall_tau(one, other)
    assert found == (None if expected is None else pytest.approx(expected))
    assert kendall_tau(other, one) == found


@pytest.mark.parametrize(
    ("scores", "reference", "expected"),
    [
        # Either of the reference's two best will do …
        ([0.1, 0.9, 0.2], [0.7, 0.7, 0.1], True),
        ([0.1, 0.9, 0.2], [0.7, 0.6999995, 0.1], True),
        ([0.1, 0.9, 0.2], [0.7, 0.699998, 0.1], False),
        # … and of two equal scores the first is what a client sees.
        ([0.5, 0.5, 0.2], [0.1, 0.9, 0.3], False),
        ([0.5, 0.5, 0.2], [0.9, 0.1, 0.3], True),
    ],
)
def test_who_agrees_on_the_first_passage(
    scores: list[float], reference: list[float], expected: bool
) -> None:
    assert top1_agrees(scores, reference) is expected


@pytest.mark.parametrize(
    ("scores", "reference", "expected"),
    [([0.5, 0.5], [0.4, 0.4], 1.0), ([0.5, 0.5], [0.4, 0.6], 0.0), ([0.1, 0.2], [0.4, 0.6], 1.0)],
)
def test_without_a_tau_constant_scores_agree_with_constant_ones_alone(
    scores: list[float], reference: list[float], expected: float
) -> None:
    assert compare(scores, reference).order_agreement == expected


@pytest.mark.parametrize("sizes", [(1, 1), (2, 3)])
def test_what_cannot_be_compared(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="two"):
        compare(np.zeros(sizes[0]), np.zeros(sizes[1]))


def test_rows_by_query_keep_the_order_of_appearance() -> None:
    ids = ["b", "a", "b", "c", "a"]
    assert [rows.tolist() for rows in rows_by_query(ids)] == [[0, 2], [1, 4], [3]]
    assert [rows.tolist() for rows in rows_by_query(ids, at_least=2)] == [[0, 2], [1, 4]]
    assert Comparison(True, None, 0.0, 0.0, True).order_agreement == 1.0
