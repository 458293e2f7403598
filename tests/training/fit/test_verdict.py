"""A verdict calls a gain a gain, and noise noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.evaluate.bootstrap import Estimate
from retort.training.fit.verdict import MIN_QUERIES, Verdict, judge, queries_for

Floats = NDArray[np.float64]


def ranking(queries: int) -> EvaluationSet:
    """Queries of five passages, the third of which is right."""
    pairs = [
        Pair(f"query {q}", f"passage {q} {p}", float(p == 2), f"q{q}")
        for q in range(queries)
        for p in range(5)
    ]
    return EvaluationSet("mine", tuple(pairs))


def noise(items: EvaluationSet, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(size=len(items.pairs))


def verdict(items: EvaluationSet, new: Floats, old: Floats) -> Verdict:
    return judge(
        items, {"mine": new, "shipped": old}, "mine", "shipped", measure="nDCG@10", resamples=500,
        seed=1,
    )  # fmt: skip


def test_what_ranks_right_is_better_than_noise_and_noise_is_worse() -> None:
    items = ranking(60)
    right = items.labels.astype(float)
    found = verdict(items, right, noise(items, 1))
    assert found.finding == "better"
    assert found.difference.low > 0.2
    assert found.queries == 60
    assert "We would keep serving" not in found.text
    turned = verdict(items, noise(items, 1), right)
    assert turned.finding == "worse"
    assert turned.difference.value == pytest.approx(-found.difference.value)
    assert "We would keep serving shipped" in turned.text


def test_rankers_that_are_equally_good_are_not_told_apart() -> None:
    items = ranking(60)
    found = [verdict(items, noise(items, s), noise(items, 100 + s)).finding for s in range(12)]
    assert found.count("not shown to be better") >= 10


def test_a_few_queries_have_no_verdict_however_clear_they_look() -> None:
    few = ranking(MIN_QUERIES - 1)
    found = verdict(few, few.labels.astype(float), noise(few, 1))
    assert found.difference.low > 0
    assert found.finding == "too few queries"
    items = ranking(60)
    one = items.labels.astype(float)
    other = one.copy()
    other[:25] = -other[:25]  # five queries that get another figure
    assert verdict(items, one, other).changed == 5
    assert verdict(items, one, other).finding == "too few queries"
    same = verdict(items, one, one)
    assert (same.changed, same.enough) == (0, None)


def test_how_many_queries_would_show_a_difference() -> None:
    # With 100 queries one standard error is 0.0051 / 1.96 * 1.96: to see 0.02 takes 2.8 of them.
    found = Estimate(0.01, -0.0392, 0.0592)
    error = (found.high - found.low) / 3.92
    assert queries_for(0.02, found, 100) == int(np.ceil(100 * (2.8 * error / 0.02) ** 2))
    halved = queries_for(0.01, found, 100)
    assert halved == pytest.approx(4 * (queries_for(0.02, found, 100) or 0), rel=0.01)
    # Half the interval, a quarter of the queries, and never fewer than a verdict takes.
    short = Estimate(0.01, 0.0075, 0.0125)
    assert queries_for(0.02, short, 100) == MIN_QUERIES


def test_that_many_queries_do_show_it() -> None:
    """The formula, held against a simulation: 80% of experiments of that size find it."""
    draw = np.random.default_rng(5)
    spread, wanted = 0.2, 0.04
    pilot = 1.96 * spread / np.sqrt(100)
    needed = queries_for(wanted, Estimate(0.0, -pilot, pilot), 100)
    assert needed is not None
    values = draw.normal(wanted, spread, size=(2000, needed))
    low = values.mean(axis=1) - 1.96 * values.std(axis=1) / np.sqrt(needed)
    assert (low > 0).mean() == pytest.approx(0.8, abs=0.04)
