"""Scores: from a pair's logits, one per head, to the numbers that a client gets.

TMKD (Yang et al., WSDM 2020), equation 6: a pair's score is the mean over its heads of
`sigmoid(logit)`. The spread is the standard deviation over the heads: each imitates a different
teacher, so where they differ the student is unsure. All arithmetic is in float64, so that close
scores stay distinct. Nothing else in the project computes equation 6.

A bundle may have a calibration of the mean, one gain and one shift of its log-odds. It makes a
score the probability that it is called, and cannot change an order. A raw score is the log-odds of
the score, so it never gives another order either.

Example: logits [[0, 0]] give score 0.5, spread 0; [[4, -4]] give score 0.5, spread 0.48.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retort.models.arrays import FloatArray

# Nearer to 0 or 1 a score has no log-odds worth telling: about 36.7 either way.
EDGE = 2.0**-53


@dataclass(frozen=True, slots=True)
class Calibration:
    """`log-odds = gain * log-odds of the mean + shift`; the gain is above 0."""

    gain: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.gain < np.inf and np.isfinite(self.shift)):
            raise ValueError(
                f"gain is {self.gain} and shift {self.shift}: give a gain above 0, both finite"
            )

    def apply(self, scores: ArrayLike) -> FloatArray:
        """Calibrated scores, of the same shape and in the same order."""
        return head_scores(self.gain * log_odds(scores) + self.shift)


@dataclass(frozen=True, slots=True)
class Scores:
    """Arrays of shape (pairs,): probabilities and their spread.

    Where `finite` is False the other two are meaningless.
    """

    score: FloatArray
    spread: FloatArray
    finite: NDArray[np.bool_]


def combine(logits: ArrayLike, calibration: Calibration | None = None) -> Scores:
    """Combine logits of shape (pairs, heads): TMKD, equation 6; then calibrate the mean.

    The spread is that of the heads calibrated likewise, so that it is on the scale of the score.

    >>> combine([[0.0, 0.0], [4.0, -4.0]]).score
    array([0.5, 0.5])
    """
    wide = np.array(logits, dtype=np.float64)
    count = wide.shape[1]
    # A sum is finite only where each of its parts is.
    finite: NDArray[np.bool_] = np.isfinite(wide.sum(axis=1))
    if not finite.all():
        wide[~finite] = 0.0
    heads = head_scores(wide)
    score = heads.sum(axis=1) / count
    if calibration is not None:
        score = calibration.apply(score)
        heads = calibration.apply(heads)
        heads -= (heads.sum(axis=1) / count)[:, None]
    else:
        heads -= score[:, None]
    # Sums rather than `mean` and `std`, which take as long again for a few pairs.
    spread = np.sqrt(np.square(heads).sum(axis=1) / count)
    return Scores(score, spread, finite)


def head_scores(logits: ArrayLike) -> FloatArray:
    """`sigmoid(logit)` of each head; the shape stays.

    >>> head_scores([0.0, 1000.0])
    array([0.5, 1. ])
    """
    # tanh does not overflow, whatever the logit.
    scores: FloatArray = 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))
    return scores


def log_odds(scores: ArrayLike) -> FloatArray:
    """`ln(p / (1 - p))` of scores; those very near 0 or 1 are taken to be `EDGE` from it.

    >>> log_odds([0.5, 0.0]).round(1)
    array([  0. , -36.7])
    """
    inner = np.clip(np.asarray(scores, dtype=np.float64), EDGE, 1.0 - EDGE)
    odds: FloatArray = np.log(inner) - np.log1p(-inner)
    return odds
