from __future__ import annotations

import math

import numpy as np
import pytest

from retort.models.arrays import FloatArray
from retort.models.cascade import FLOOR, REACH, Strategy, allowance, choose, merge

SEEDS = range(60)


def made(seed: int) -> tuple[FloatArray, FloatArray]:
    """Scores and spreads of some passages, with ties among the scores."""
    random = np.random.default_rng(seed)
    size = int(random.integers(2, 14))
    return np.round(random.random(size), int(random.integers(1, 4))), random.random(size) / 10


def cuts_of(scores: FloatArray, top_n: int | None) -> list[float]:
    ranked = sorted(scores.tolist(), reverse=True)
    ranks = [1] if top_n is None or top_n >= len(ranked) else [1, top_n]
    return [(ranked[rank - 1] + ranked[rank]) / 2 for rank in ranks]


def by_hand(
    scores: FloatArray, spreads: FloatArray, top_n: int | None, strategy: Strategy
) -> list[int]:
    """What `choose` should give without a limit, one passage after another."""
    distances = [min(abs(score - cut) for cut in cuts_of(scores, top_n)) for score in scores]
    if strategy == "margin":
        return sorted(range(len(scores)), key=lambda index: distances[index])
    doubts = [
        distance / (spread + FLOOR) for distance, spread in zip(distances, spreads, strict=True)
    ]
    in_reach = [index for index in range(len(scores)) if doubts[index] <= REACH]
    return sorted(in_reach, key=lambda index: doubts[index])


@pytest.mark.parametrize("strategy", ["spread", "margin"])
@pytest.mark.parametrize("top_n", [None, 1, 3, 50])
def test_the_choice_is_that_made_by_hand(strategy: Strategy, top_n: int | None) -> None:
    for seed in SEEDS:
        scores, spreads = made(seed)
        expected = by_hand(scores, spreads, top_n, strategy)
        for limit in (1, 2, len(scores)):
            found = choose(scores, spreads, limit, top_n=top_n, strategy=strategy)
            assert found.tolist() == expected[:limit]


@pytest.mark.parametrize("top_n", [None, 3])
def test_what_is_left_out_could_not_have_crossed_a_cut(top_n: int | None) -> None:
    """Whatever the teacher says within reach: who is first, and who is in, stays as it is."""
    left_out = 0
    for seed in SEEDS:
        scores, spreads = made(seed)
        sent = set(choose(scores, spreads, len(scores), top_n=top_n).tolist())
        for index in set(range(len(scores))) - sent:
            left_out += 1
            doubt = REACH * (spreads[index] + FLOOR)
            for cut in cuts_of(scores, top_n):
                low, high = scores[index] - doubt, scores[index] + doubt
                assert (low > cut) == (high > cut) == (scores[index] > cut)
    assert left_out > 100


def test_the_order_of_the_passages_does_not_matter() -> None:
    scores, spreads = np.linspace(0, 1, 12) ** 2, np.linspace(0.1, 0, 12)
    order = np.random.default_rng(1).permutation(12)
    sent = choose(scores, spreads, 4)
    shuffled = choose(scores[order], spreads[order], 4)
    assert order[shuffled].tolist() == sent.tolist()


def test_without_a_bound_on_the_reach_as_many_go_as_by_margin() -> None:
    for seed in SEEDS:
        scores, spreads = made(seed)
        for strategy in ("spread", "margin", "random"):
            sent = choose(scores, spreads, 5, strategy=strategy, reach=math.inf)
            assert len(sent) == len(set(sent.tolist())) == min(5, len(scores))


def test_random_depends_on_its_seed_alone() -> None:
    scores, spreads = np.linspace(0, 1, 50), np.zeros(50)
    one = choose(scores, spreads, 50, strategy="random", seed=1).tolist()
    assert one == choose(scores[::-1], spreads, 50, strategy="random", seed=1).tolist()
    assert one != choose(scores, spreads, 50, strategy="random", seed=2).tolist()
    assert sorted(one) == list(range(50))


def test_sure_heads_and_a_clear_answer_send_nothing() -> None:
    assert choose(np.array([0.95, 0.1, 0.05]), np.array([0.01, 0.01, 0.01]), 3).size == 0


@pytest.mark.parametrize(("size", "limit"), [(0, 3), (1, 3), (3, 0)])
def test_nothing_to_choose(size: int, limit: int) -> None:
    assert choose(np.zeros(size), np.ones(size), limit).size == 0


def test_the_example_of_the_module() -> None:
    scores, spreads = np.array([0.9, 0.6, 0.5, 0.1]), np.array([0.01, 0.1, 0.1, 0.01])
    assert choose(scores, spreads, 4).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("passages", "share", "most"), [(10, 0.25, 2), (3, 0.25, 0), (100, 0.29, 29), (7, 1, 7)]
)
def test_no_more_than_the_share(passages: int, share: float, most: int) -> None:
    assert allowance(passages, share) == most


def test_two_opinions_are_averaged_where_there_are_two() -> None:
    student = np.array([0.2, 0.4, 0.6])
    assert merge(student, np.array([0.8, 0.0]), [2, 0]) == pytest.approx([0.1, 0.4, 0.7])
    assert student.tolist() == [0.2, 0.4, 0.6]
