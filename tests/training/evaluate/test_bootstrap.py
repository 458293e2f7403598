"""The bootstrap against a slow reference, and intervals that must and must not cover."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from retort.training.evaluate import bootstrap
from retort.training.evaluate.bootstrap import (
    BootstrapError,
    mean_of,
    over_seeds,
    resample_auc,
    resample_means,
    seed_weights,
)

Floats = NDArray[np.float64]


def draws(size: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """The same draws, one resample after another."""
    return np.random.default_rng(seed).integers(0, size, size=(resamples, size))


def test_means_equal_a_loop_over_resamples() -> None:
    values = np.random.default_rng(1).normal(size=(2, 13))
    samples = resample_means({"a": values[0], "b": values[1]}, resamples=50, seed=4)
    loop = np.asarray([values[:, drawn].mean(axis=1) for drawn in draws(13, 50, 4)])
    assert samples.samples == pytest.approx(loop)
    assert samples.point == pytest.approx(values.mean(axis=1))


def test_auc_equals_a_loop_over_scikit_learn() -> None:
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 2, 40)
    # Few distinct scores: ties must count half.
    scores = {name: generator.integers(0, 6, 40).astype(float) for name in ("a", "b")}
    samples = resample_auc(labels, scores, resamples=40, seed=5)
    loop = [
        [roc_auc_score(labels[drawn], column[drawn]) for column in scores.values()]
        for drawn in draws(40, 40, 5)
    ]
    assert samples.samples == pytest.approx(np.asarray(loop))
    assert samples.point == pytest.approx([roc_auc_score(labels, s) for s in scores.values()])


def test_blocks_draw_what_one_block_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"a": np.random.default_rng(1).normal(size=20)}
    whole = resample_means(values, resamples=64, seed=3)
    monkeypatch.setattr(bootstrap, "BLOCK", 100)
    assert resample_means(values, resamples=64, seed=3).samples == pytest.approx(whole.samples)


def test_the_interval_has_the_normal_width() -> None:
    values = np.random.default_rng(3).normal(size=400)
    estimate = resample_means({"a": values}, resamples=4000).of("a")
    half = 1.96 * values.std() / np.sqrt(400)
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.1)
    assert estimate.low < estimate.value < estimate.high


def test_systems_are_resampled_together() -> None:
    # b is a plus a constant: alone both are uncertain, their difference is not.
    values = np.random.default_rng(4).normal(size=50)
    samples = resample_means({"a": values, "b": values + 0.1}, resamples=200)
    difference = samples.difference("b", "a")
    assert (difference.low, difference.high) == pytest.approx((0.1, 0.1))
    assert difference.excludes_zero
    assert samples.of("a").high - samples.of("a").low > 0.3


def test_ratio_and_gap_closed() -> None:
    base = np.random.default_rng(5).uniform(0.3, 0.5, size=200)
    samples = resample_means({"plain": base, "student": base + 0.15, "teacher": base + 0.2}, 300)
    closed = samples.gap_closed("student", "plain", "teacher")
    retained = samples.ratio("student", "teacher")
    assert closed is not None
    assert retained is not None
    assert (closed.low, closed.value, closed.high) == pytest.approx((0.75, 0.75, 0.75))
    assert retained.value == pytest.approx((base.mean() + 0.15) / (base.mean() + 0.2))
    assert retained.low < retained.value < retained.high


def test_a_gap_that_may_be_nothing_has_no_share() -> None:
    generator = np.random.default_rng(6)
    samples = resample_means({name: generator.normal(size=30) for name in "abc"}, 200)
    assert samples.gap_closed("a", "b", "c") is None


def test_a_ratio_over_nothing_is_none() -> None:
    assert resample_means({"a": [1.0, 1.0], "b": [0.0, 1.0]}, 50).ratio("a", "b") is None


def test_a_resample_of_one_label_alone_is_dropped() -> None:
    samples = resample_auc([0, 1, 1], {"a": [0.0, 1.0, 2.0]}, resamples=100)
    assert len(samples.samples) < 100
    assert np.isfinite(samples.samples).all()


def test_values_of_unlike_length_are_refused() -> None:
    with pytest.raises(BootstrapError, match="the same"):
        resample_means({"a": [1.0], "b": [1.0, 2.0]})


def test_an_unknown_system_is_named() -> None:
    with pytest.raises(BootstrapError, match="no system 'c': there are a"):
        resample_means({"a": [1.0, 2.0]}, 10).of("c")


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
