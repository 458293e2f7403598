"""Calibration: known maps are found again, rankings never flip."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from retort.training.evaluate.calibration import CalibrationError, fit_calibration
from retort.training.evaluate.measures import expected_calibration_error


def test_a_known_map_is_found_again() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 1)) * 5 + 3
    labels = generator.uniform(size=20_000) < expit(0.4 * logits[:, 0] - 1.0)
    fitted = fit_calibration(logits, labels)
    assert fitted.gain[0] == pytest.approx(0.4, abs=0.03)
    assert fitted.shift[0] == pytest.approx(-1.0, abs=0.1)


def test_the_mean_over_heads_is_calibrated_too() -> None:
    # Four heads that err partly together, partly each for itself: where they disagree, their
    # mean lies near one half though they know better.
    generator = np.random.default_rng(1)
    truth = generator.uniform(size=8000) < 0.4
    noise = generator.normal(size=(8000, 1)) + generator.normal(size=(8000, 4))
    logits = (np.where(truth, 1.0, -1.0)[:, None] + noise) * [4.0, 0.3, 1.0, 2.0] + [1.0, -2, 0, 3]
    fitted = fit_calibration(logits[:4000], truth[:4000])
    alone = [fit_calibration(head[:4000, None], truth[:4000]) for head in logits.T]
    each = np.mean(
        [f.probability(h[:, None]) for f, h in zip(alone, logits.T, strict=True)], axis=0
    )
    error = expected_calibration_error(truth[4000:], fitted.probability(logits[4000:]))
    assert error < 0.5 * expected_calibration_error(truth[4000:], each[4000:])
    assert error < 0.04


def test_a_head_that_is_wrong_never_flips() -> None:
    generator = np.random.default_rng(2)
    truth = generator.uniform(size=500) < 0.5
    logits = np.where(truth, -1.0, 1.0)[:, None] + generator.normal(size=(500, 1))
    assert fit_calibration(logits, truth).gain[0] > 0


def test_a_head_without_deviation_or_error_stays_finite() -> None:
    labels = np.asarray([0, 0, 1, 1])
    fitted = fit_calibration(np.stack([np.zeros(4), labels * 20.0 - 10], axis=1), labels)
    assert np.isfinite([*fitted.gain, *fitted.shift]).all()
    assert min(fitted.gain) > 0


def test_one_kind_of_label_is_refused() -> None:
    with pytest.raises(CalibrationError, match="2 of 2 labels are 1"):
        fit_calibration(np.zeros((2, 1)), [1, 1])
