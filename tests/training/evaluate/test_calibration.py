"""Calibration: known maps are found again, rankings never flip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit

from retort.training.evaluate.calibration import (
    Calibration,
    CalibrationError,
    calibrate,
    expected_calibration_error,
    fit_calibration,
)
from retort.training.nn.student import Student


def test_calibration_error_worked_by_hand() -> None:
    # Two bins: scores 0.2, 0.4 with labels 0, 1 and 0.9 with label 1.
    error = expected_calibration_error([0, 1, 1], [0.2, 0.4, 0.9], bins=2)
    assert error == pytest.approx(2 / 3 * abs(0.3 - 0.5) + 1 / 3 * abs(0.9 - 1.0))


def test_a_score_of_one_belongs_to_the_last_bin() -> None:
    assert expected_calibration_error([1, 0], [1.0, 0.0]) == 0.0


def test_scores_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(CalibrationError, match="give probabilities"):
        expected_calibration_error([0, 1], [-1.0, 2.0])


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


def test_calibrate_goes_on_top_of_what_the_student_has(tiny_student: Student) -> None:
    ids = torch.tensor([[2, 10, 3, 11, 12, 3]])
    inputs = (ids, torch.ones_like(ids), torch.tensor([[0, 0, 0, 1, 1, 1]]))
    fitted = Calibration((2.0, 0.5, 3.0), (0.1, -0.2, 0.3))
    with torch.no_grad():
        before = tiny_student(*inputs).numpy()
        calibrate(tiny_student, fitted)
        after = tiny_student(*inputs).numpy()
    assert after == pytest.approx(fitted.apply(before), rel=1e-5)


def test_gains_for_another_number_of_heads_are_refused(tiny_student: Student) -> None:
    with pytest.raises(CalibrationError, match="2 gains for 3 heads"):
        calibrate(tiny_student, Calibration((1.0, 1.0), (0.0, 0.0)))
