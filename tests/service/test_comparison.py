from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from service.comparison import Comparison, Recent, compare, kendall_tau


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


def test_the_example_of_the_module() -> None:
    found = compare(np.array([0.9, 0.5, 0.1]), np.array([0.8, 0.2, 0.3]))
    assert found.top1_agreed
    assert found.kendall_tau == pytest.approx(1 / 3)
    assert found.score_difference == pytest.approx(0.2)


def test_another_first_passage() -> None:
    found = compare(np.array([0.9, 0.5]), np.array([0.4, 0.5]))
    assert not found.top1_agreed
    assert found.kendall_tau == -1


def test_where_the_teacher_has_two_first_either_will_do() -> None:
    assert compare(np.array([0.1, 0.9, 0.2]), np.array([0.7, 0.7, 0.1])).top1_agreed


def test_equal_scores_are_no_ranking() -> None:
    assert compare(np.array([0.5, 0.5]), np.array([0.4, 0.5])).kendall_tau is None


@pytest.mark.parametrize("sizes", [(1, 1), (2, 3)])
def test_what_cannot_be_compared(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="two of one length"):
        compare(np.zeros(sizes[0]), np.zeros(sizes[1]))


def test_the_window_forgets_and_the_total_does_not() -> None:
    recent = Recent(size=2)
    for agreed, tau, difference in ((True, 1.0, 0.0), (True, None, 0.1), (False, 0.5, 0.3)):
        recent.add(Comparison(agreed, tau, difference))
    assert recent.top1_agreement == 0.5
    assert recent.kendall_tau == 0.5
    assert recent.score_difference == pytest.approx(0.2)
    assert recent.total == 3


def test_before_the_first_there_is_nothing_to_tell() -> None:
    recent = Recent()
    assert (recent.top1_agreement, recent.kendall_tau, recent.score_difference) == (None,) * 3
    assert recent.total == 0
