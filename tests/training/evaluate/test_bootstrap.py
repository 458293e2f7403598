"""The bootstrap against a slow reference, and intervals that must and must not cover."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from retort.training.evaluate import bootstrap
from retort.training.evaluate.bootstrap import BootstrapError, resample_auc, resample_means

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
