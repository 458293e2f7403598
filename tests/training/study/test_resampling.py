"""Resampling over queries and seeds: intervals that must cover, and what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.evaluate.bootstrap import resample_auc, resample_means
from retort.training.study.resampling import (
    mean_of,
    over_seeds,
    query_numbers,
    resample_set,
    seed_weights,
)


def test_the_mean_over_seeds_varies_as_it_should() -> None:
    values = np.asarray([0.1, 0.4, 0.7])
    drawn = seed_weights(3, 40_000, 1) @ values
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.005)
    # The unbiased variance of a mean of three, and not two thirds of it.
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.03)


def test_one_seed_has_no_noise_of_its_own() -> None:
    assert seed_weights(1, 50, 0).tolist() == [[1.0]] * 50


def test_rows_of_one_key_are_drawn_together_and_others_are_not() -> None:
    runs = resample_means({f"r{n}": np.full(5, n / 10) for n in range(3)}, 200)
    names = ["r0", "r1", "r2"]
    keys = {"a": "joint/a", "b": "joint/a", "c": "qa/c"}
    rows = over_seeds(runs, {"a": names, "b": names, "c": names}, keys, seed=0)
    assert (rows.samples[:, 0] == rows.samples[:, 1]).all()
    assert abs(np.corrcoef(rows.samples[:, 0], rows.samples[:, 2])[0, 1]) < 0.3
    assert rows.point == pytest.approx([0.1, 0.1, 0.1])


def test_the_interval_covers_a_difference_that_is_nothing() -> None:
    # Two methods that are equally good; each seed shifts its student, each query is hard or easy.
    draw = np.random.default_rng(8)
    covered = by_queries = 0
    for trial in range(150):
        hard = draw.normal(size=60)
        runs = {
            f"{row}{seed}": hard + draw.normal(scale=0.1) + draw.normal(scale=0.3, size=60)
            for row in "ab"
            for seed in range(3)
        }
        replicates = resample_means(runs, 300, seed=trial)
        members = {row: [f"{row}{seed}" for seed in range(3)] for row in "ab"}
        rows = over_seeds(replicates, members, {"a": "a", "b": "b"}, seed=trial)
        covered += not rows.difference("a", "b").excludes_zero
        fixed = resample_means({r: np.mean([runs[n] for n in members[r]], 0) for r in "ab"}, 300)
        by_queries += not fixed.difference("a", "b").excludes_zero
    assert covered / 150 > 0.88
    # Without the seeds the same interval is far too sure of itself.
    assert by_queries / 150 < 0.6


def test_a_mean_over_sets_keeps_what_all_of_them_have() -> None:
    one = resample_means({"a": [0.0, 1.0], "b": [1.0, 1.0]}, 100, seed=1)
    two = resample_means({"b": [0.0, 0.0], "a": [1.0, 1.0], "c": [1.0, 1.0]}, 90, seed=2)
    mean = mean_of([one, two])
    assert mean.names == ("a", "b")
    assert mean.point == pytest.approx([0.75, 0.5])
    assert mean.samples.shape == (90, 2)
    assert mean.samples[:, 0] == pytest.approx((one.samples[:90, 0] + two.samples[:, 1]) / 2)


def classification(queries: int, copies: int) -> EvaluationSet:
    """Each query stands `copies` times, always with the same label."""
    pairs = tuple(
        Pair(f"q{q}", f"passage {q} {copy}", float(q % 2), f"q{q}")
        for q in range(queries)
        for copy in range(copies)
    )
    return EvaluationSet(f"set-{queries}", pairs, "classification")


def test_pairs_of_one_query_are_drawn_together() -> None:
    # Ten copies of a pair tell no more than one: the interval must not shrink.
    scores = np.random.default_rng(3).normal(size=40) + np.arange(40) % 2
    single = resample_set(classification(40, 1), {"a": scores}, ["a"], 1000, 0)
    copied = resample_set(classification(40, 10), {"a": scores.repeat(10)}, ["a"], 1000, 0)
    for measure in ("AUC", "accuracy"):
        one, ten = single[measure].of("a"), copied[measure].of("a")
        assert one.value == pytest.approx(ten.value)
        assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.15)


def test_clusters_equal_a_loop_over_scikit_learn() -> None:
    draw = np.random.default_rng(4)
    units = np.repeat(np.arange(12), [1, 2, 3] * 4)
    labels, scores = draw.integers(0, 2, 24), draw.integers(0, 5, 24).astype(float)
    found = resample_auc(labels, {"a": scores}, 30, seed=6, units=units)
    means = resample_means({"a": scores}, 30, seed=6, units=units)
    drawn = np.random.default_rng(6).integers(0, 12, size=(30, 12))
    rows = [np.concatenate([np.flatnonzero(units == unit) for unit in each]) for each in drawn]
    assert found.samples[:, 0] == pytest.approx([roc_auc_score(labels[r], scores[r]) for r in rows])
    assert means.samples[:, 0] == pytest.approx([scores[r].mean() for r in rows])


def test_one_question_for_all_texts_is_drawn_by_pair() -> None:
    pairs = tuple(Pair("is this positive?", f"text {n}", float(n % 2)) for n in range(50))
    assert query_numbers(EvaluationSet("reviews", pairs, "classification")) is None
    assert query_numbers(classification(20, 2)) is not None


def test_the_headline_comes_first_and_recall_is_left_out() -> None:
    pairs = tuple(Pair(f"q{q}", f"p{p}", float(p == 0), f"q{q}") for q in range(25) for p in (0, 1))
    items = EvaluationSet("ranked", pairs, headline="RR")
    found = resample_set(items, {"a": np.tile([1.0, 0.0], 25)}, [], 100, 0)
    assert list(found) == ["RR", "AP", "nDCG@10"]
