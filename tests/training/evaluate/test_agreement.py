"""Agreement: who puts the same passage first, counted by query."""

from __future__ import annotations

import numpy as np
import pytest

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.evaluate.agreement import agreements, same_top

IDS = ["a", "a", "b", "b", "c"]


def test_a_query_agrees_when_the_best_passage_is_the_same() -> None:
    assert same_top(IDS, [1, 2, 3, 4, 9], [5, 6, 4, 3, 9]).tolist() == [1.0, 0.0]


def test_a_tie_of_the_student_agrees_if_the_first_of_them_is_best() -> None:
    assert same_top(IDS, [2, 2, 3, 3, 9], [5, 6, 4, 3, 9]).tolist() == [1.0, 1.0]


def test_queries_of_all_rankings_weigh_the_same() -> None:
    def ranking(name: str, queries: int) -> EvaluationSet:
        pairs = tuple(Pair(f"q{q}", f"p{p}", float(p == 0)) for q in range(queries) for p in (0, 1))
        return EvaluationSet(name, pairs)

    sets = [ranking("small", 10), ranking("large", 30)]
    pairs = tuple(Pair(f"q{q}", "p", float(q % 2)) for q in range(8))
    sets.append(EvaluationSet("pairs", pairs, "classification"))
    right = {"small": np.tile([1.0, 0.0], 10), "large": np.tile([1.0, 0.0], 30)}
    wrong_on_small = {**right, "small": -right["small"]}
    partial = {"small": right["small"]}
    scores = {"student": right, "same": right, "other": wrong_on_small, "partial": partial}
    by_set, pooled = agreements(sets, scores, "student", resamples=200, seed=0, confidence=0.95)
    assert set(by_set) == {"small", "large"}
    assert by_set["small"]["other"].value == 0.0
    assert by_set["large"]["other"].value == 1.0
    assert set(pooled) == {"same", "other"}  # the third has not scored every ranking
    assert pooled["same"].top1 == 1.0
    assert pooled["other"].top1 == pytest.approx(0.75)
    assert pooled["other"].queries == 40
    low, high = pooled["other"].low, pooled["other"].high
    assert low is not None
    assert high is not None
    assert low < 0.75 < high
