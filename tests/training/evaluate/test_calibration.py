"""Calibration: known maps are found again, rankings never flip."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from retort.models.scores import Calibration, combine, log_odds
from retort.training.evaluate.calibration import (
    CalibrationError,
    fit,
    fit_map,
    map_heads,
    out_of_fold,
)
from retort.training.evaluate.measures import expected_calibration_error


def test_a_known_map_is_found_again() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=20_000) * 5 + 3
    labels = generator.uniform(size=20_000) < expit(0.4 * logits - 1.0)
    fitted = fit_map(logits, labels)
    assert fitted.gain == pytest.approx(0.4, abs=0.03)
    assert fitted.shift == pytest.approx(-1.0, abs=0.1)


def test_a_teachers_probabilities_are_targets_as_they_are() -> None:
    # As labels, cut at one half, they would ask for a much larger gain.
    logits = np.linspace(-3, 3, 500)
    fitted = fit_map(logits, expit(0.5 * logits + 0.2))
    assert fitted.gain == pytest.approx(0.5, abs=0.01)
    assert fitted.shift == pytest.approx(0.2, abs=0.01)


def test_a_weight_counts_as_so_many_pairs() -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(size=400)
    labels = (generator.uniform(size=400) < expit(logits)).astype(float)
    weights = np.where(np.arange(400) < 100, 3.0, 1.0)
    copied = np.repeat(np.arange(400), weights.astype(int))
    one, other = fit_map(logits, labels, weights), fit_map(logits[copied], labels[copied])
    assert one.gain == pytest.approx(other.gain, rel=0.02)
    assert one.shift == pytest.approx(other.shift, abs=0.02)


def disagreeing() -> tuple[np.ndarray, np.ndarray]:
    """Labels (8000,), and four heads that err partly together, partly each for itself."""
    generator = np.random.default_rng(1)
    truth = generator.uniform(size=8000) < 0.4
    noise = generator.normal(size=(8000, 1)) + generator.normal(size=(8000, 4))
    logits = (np.where(truth, 1.0, -1.0)[:, None] + noise) * [4.0, 0.3, 1.0, 2.0] + [1.0, -2, 0, 3]
    return truth, logits


@pytest.mark.parametrize("per_head", [False, True])
def test_the_mean_over_heads_is_a_probability(per_head: bool) -> None:
    truth, logits = disagreeing()
    fitted = fit(logits[:4000], truth[:4000], per_head=per_head)
    before = expected_calibration_error(truth[4000:], combine(logits[4000:]).score)
    after = expected_calibration_error(truth[4000:], fitted.probability(logits[4000:]))
    assert before > 0.1
    assert after < 0.04


def test_the_map_of_the_mean_changes_no_order() -> None:
    truth, logits = disagreeing()
    fitted = fit(logits, truth, per_head=False)
    assert fitted.heads == ()
    order = np.argsort(combine(logits).score, kind="stable")
    assert (np.diff(fitted.probability(logits)[order]) >= 0).all()


def test_heads_that_are_calibrated_apart_are_still_too_near_one_half() -> None:
    truth, logits = disagreeing()
    fitted = fit(logits, truth, per_head=True)
    # Each head by itself is right; where they disagree, their mean says less than they know.
    assert fitted.mean.gain > 1.2
    for head, own in zip(logits.T, fitted.heads, strict=True):
        alone = expit(own.gain * head + own.shift)
        assert expected_calibration_error(truth, alone) < 0.03


def test_scores_out_of_fold_come_from_maps_that_never_saw_the_question() -> None:
    generator = np.random.default_rng(5)
    logits = generator.normal(size=(60, 40))
    labels = generator.uniform(size=60) < 0.3
    groups = [f"q{row // 2}" for row in range(60)]
    seen = fit(logits, labels, per_head=True).probability(logits)
    unseen = out_of_fold(logits, labels, groups)
    # Labels drawn by chance are learned by forty gains, and not found again elsewhere.
    assert expected_calibration_error(labels, seen) < expected_calibration_error(labels, unseen)
    changed = labels.copy()
    changed[:2] = ~changed[:2]
    assert out_of_fold(logits, changed, groups)[:2] == pytest.approx(unseen[:2], abs=1e-12)


def test_a_score_that_is_wrong_never_flips() -> None:
    generator = np.random.default_rng(2)
    truth = generator.uniform(size=500) < 0.5
    logits = np.where(truth, -1.0, 1.0) + generator.normal(size=500)
    assert fit_map(logits, truth).gain > 0


def test_a_head_without_deviation_or_error_stays_finite() -> None:
    labels = np.asarray([0, 0, 1, 1])
    fitted = fit(np.stack([np.zeros(4), labels * 20.0 - 10], axis=1), labels, per_head=True)
    maps = [*fitted.heads, fitted.mean]
    assert np.isfinite([[one.gain, one.shift] for one in maps]).all()
    assert min(one.gain for one in maps) > 0


def test_one_map_gives_log_odds_back() -> None:
    fitted = fit_map(log_odds([0.2, 0.4, 0.6, 0.8]), [0, 1, 0, 1])
    mapped = map_heads(np.asarray([[0.5], [2.0]]), [fitted])
    assert mapped[:, 0] == pytest.approx([0.5 * fitted.gain + fitted.shift,
                                          2.0 * fitted.gain + fitted.shift])  # fmt: skip


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(CalibrationError, match="2 of 2 labels are 1"):
        fit(np.zeros((2, 1)), [1, 1], per_head=False)
    with pytest.raises(CalibrationError, match="1 maps for 2 heads"):
        map_heads(np.zeros((3, 2)), [Calibration()])
    with pytest.raises(CalibrationError, match="expected one of each per pair"):
        fit_map(np.zeros(3), [0, 1])
