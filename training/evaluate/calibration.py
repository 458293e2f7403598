"""Calibration: making a score of 0.8 mean right in 80% of cases.

Each head's logit z becomes `gain * z + shift`, fitted on labelled validation pairs by logistic
regression (Platt, 1999). The gain stays above zero, so the order that one head gives never flips.
Heads that are each calibrated still average to an underconfident probability (where they disagree,
the mean lies near one half), so one more gain and shift, common to all, is fitted to the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

from retort.models.scores import combine

Floats = NDArray[np.float64]

# In units of a head's own deviation: what a head that says nothing about the label keeps.
MIN_GAIN = 1e-2


class CalibrationError(ValueError):
    """There is nothing to calibrate on."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """One gain and shift per head: `logit' = gain * logit + shift`."""

    gain: tuple[float, ...]
    shift: tuple[float, ...]

    def apply(self, logits: ArrayLike) -> Floats:
        """Logits (pairs, heads) to calibrated logits of that shape."""
        mapped: Floats = np.asarray(logits, dtype=np.float64) * self.gain + self.shift
        return mapped

    def probability(self, logits: ArrayLike) -> Floats:
        """Logits (pairs, heads) to scores (pairs,), TMKD equation 6."""
        return combine(self.apply(logits)).score


def fit_calibration(logits: ArrayLike, labels: ArrayLike) -> Calibration:
    """Fit gains and shifts on logits (pairs, heads) and labels (pairs,), 0 or 1.

    Raises `CalibrationError` unless both labels occur.
    """
    values = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.float64)
    if values.ndim != 2 or truth.shape != values.shape[:1]:
        raise CalibrationError(
            f"logits have shape {values.shape} and labels {truth.shape}: "
            "expected (pairs, heads) and (pairs,)"
        )
    positives = int((truth > 0.5).sum())
    if not 0 < positives < len(truth):
        raise CalibrationError(f"{positives} of {len(truth)} labels are 1: both kinds are needed")
    targets = _targets(truth > 0.5)
    gain, shift = (
        np.asarray(column)
        for column in zip(*(_fit_head(head, targets) for head in values.T), strict=True)
    )
    common_gain, common_shift = _fit_mean(values * gain + shift, targets)
    gain, shift = gain * common_gain, shift * common_gain + common_shift
    return Calibration(tuple(map(float, gain)), tuple(map(float, shift)))


def _targets(positive: NDArray[np.bool_]) -> Floats:
    """Platt's smoothed targets: without them the gain of a head that never errs has no bound."""
    high = (positive.sum() + 1.0) / (positive.sum() + 2.0)
    low = 1.0 / ((~positive).sum() + 2.0)
    targets: Floats = np.where(positive, high, low)
    return targets


def _fit_head(logits: Floats, targets: Floats) -> tuple[float, float]:
    mean, deviation = float(logits.mean()), float(logits.std()) or 1.0
    scaled = (logits - mean) / deviation

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = parameters[0] * scaled + parameters[1]
        error = expit(z) - targets
        value = float((np.logaddexp(0.0, z) - targets * z).mean())
        return value, np.asarray([(error * scaled).mean(), error.mean()])

    gain, shift = _minimise(loss, np.asarray([1.0, 0.0]))
    return gain / deviation, shift - gain * mean / deviation


def _fit_mean(logits: Floats, targets: Floats) -> tuple[float, float]:
    def loss(parameters: Floats) -> tuple[float, Floats]:
        heads = expit(parameters[0] * logits + parameters[1])
        mean = np.clip(heads.mean(axis=1), 1e-9, 1 - 1e-9)
        value = -float((targets * np.log(mean) + (1 - targets) * np.log1p(-mean)).mean())
        slope = ((mean - targets) / (mean * (1 - mean)))[:, None] * heads * (1 - heads)
        slope = slope / logits.shape[1]
        return value, np.asarray([(slope * logits).sum(axis=1).mean(), slope.sum(axis=1).mean()])

    return _minimise(loss, np.asarray([1.0, 0.0]))


def _minimise(loss: object, start: Floats) -> tuple[float, float]:
    result = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(MIN_GAIN, None), (None, None)]
    )
    return float(result.x[0]), float(result.x[1])
