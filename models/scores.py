"""Scores: from a pair's logits, one per head, to the numbers that a client gets.

TMKD (Yang et al., WSDM 2020), equation 6: a pair's score is the mean over its heads of
`sigmoid(logit)`. The spread is the standard deviation over the heads: each imitates a different
teacher, so where they differ the student is unsure. All arithmetic is in float64, so that close
scores stay distinct. Nothing else in the project computes equation 6.

Example: logits [[0, 0]] give score 0.5, spread 0; [[4, -4]] give score 0.5, spread 0.48.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retort.models.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Scores:
    """Arrays of shape (pairs,): probabilities, their spread, and mean logits.

    Where `finite` is False the other three are meaningless.
    """

    score: FloatArray
    spread: FloatArray
    raw: FloatArray
    finite: NDArray[np.bool_]


def combine(logits: ArrayLike) -> Scores:
    """Combine logits of shape (pairs, heads): TMKD, equation 6.

    >>> combine([[0.0, 0.0], [4.0, -4.0]]).score
    array([0.5, 0.5])
    """
    wide = np.array(logits, dtype=np.float64)
    count = wide.shape[1]
    raw = wide.sum(axis=1) / count
    # A sum is finite only where each of its parts is.
    finite: NDArray[np.bool_] = np.isfinite(raw)
    if not finite.all():
        wide[~finite] = 0.0
    heads = head_scores(wide)
    score = heads.sum(axis=1) / count
    heads -= score[:, None]
    # Sums rather than `mean` and `std`, which take as long again for a few pairs.
    spread = np.sqrt(np.square(heads).sum(axis=1) / count)
    return Scores(score, spread, raw, finite)


def head_scores(logits: ArrayLike) -> FloatArray:
    """`sigmoid(logit)` of each head; the shape stays.

    >>> head_scores([0.0, 1000.0])
    array([0.5, 1. ])
    """
    # tanh does not overflow, whatever the logit.
    scores: FloatArray = 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))
    return scores
