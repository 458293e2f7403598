"""Answerability: the probability that any passage of a list answers, from the scores' shape.

A reranker always puts some passage first. Whether it answers shows in how sure the model is of it,
how far the second is below, and among how many it was found: the largest of many scores is large by
chance. So it is a logistic regression on three numbers (after arXiv 2402.12997, which regresses on
sorted scores), fitted when a bundle is exported, on lists with and without an answer:

    logit P = intercept + best * z1 + second * z2 + count * ln(n)

where z1 and z2 are the log-odds of the two best scores, z2 at least `FLOOR`, and n is how many
passages there are. A list of one passage is answered as likely as its score says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retort.models.arrays import FloatArray
from retort.models.scores import head_scores, log_odds

FLOOR = -4.0


@dataclass(frozen=True, slots=True)
class Answerability:
    """The weights of the regression, all finite."""

    intercept: float
    best: float
    second: float
    count: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.weights).all():
            raise ValueError(f"weights {self.weights} are not finite numbers")

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """In the order of `features`."""
        return self.intercept, self.best, self.second, self.count

    def probability(self, scores: FloatArray) -> float:
        """The probability for a list's scores (passages,).

        Of one passage it is its score; of passages of which nothing was read it is 0.
        """
        if len(scores) == 1 or not scores.any():
            return float(scores[0])
        return float(head_scores(features(scores) @ np.array(self.weights)))


def features(scores: FloatArray) -> FloatArray:
    """1, z1, z2 and ln(n) of a list's scores (passages,), of which there are at least two."""
    best, second = log_odds(np.sort(scores)[:-3:-1])
    return np.array([1.0, best, max(FLOOR, second), np.log(len(scores))])
