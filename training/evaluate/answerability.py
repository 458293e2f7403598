"""Answerability: lists with and without an answer, and the regression that tells them apart.

Labelled lists mostly have an answer, so half of them, drawn by chance, lose their right passages.
Each is also cut to a size of its own, drawn log-uniformly from 2 to the list's length: the weight
of the size is only found where sizes differ. Lists of which many have no answer to begin with stay
as they are. Questions with one passage, those of a classification, stay too, but give no weights:
their score says it all.

What the four weights mean is said in `models/answerability.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit

from retort.models.answerability import Answerability, features
from retort.models.arrays import FloatArray, IntArray
from retort.models.rankings import rows_by_query
from retort.training.data.pairs import RIGHT

# Fewer lists of several passages, of either kind, do not give the weights of size and second best.
MIN_LISTS = 100
# Lists of which such a share has no answer say themselves how often there is none.
NATURAL_SHARE = 0.1
# So small that it decides only what the lists leave open.
PENALTY = 1e-4


class AnswerabilityError(ValueError):
    """There are too few lists to tell those with an answer from those without."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A list as rows (passages,) of labelled pairs, and whether an answer is among them.

    `answered` is between 0 and 1 where a teacher said so of a single pair.
    """

    rows: IntArray
    answered: float

    def scored(self, scores: FloatArray) -> AnswerList:
        """The same with scores of all pairs (pairs,)."""
        return AnswerList(scores[self.rows], self.answered)


@dataclass(frozen=True, slots=True)
class AnswerList:
    """The scores (passages,) of a list, and whether an answer is in it, as in `Drawn`."""

    scores: FloatArray
    answered: float


def draw_lists(query_ids: Sequence[str], labels: ArrayLike, seed: int = 0) -> list[Drawn]:
    """One list per question, of labelled pairs (pairs,)."""
    truth = np.asarray(labels, dtype=np.float64)
    draw = np.random.default_rng(seed)
    groups = rows_by_query(query_ids)
    without = [truth[rows].max() < RIGHT for rows in groups if len(rows) > 1]
    natural = bool(without) and float(np.mean(without)) >= NATURAL_SHARE
    lists = []
    for rows in groups:
        if len(rows) == 1 or natural:
            best = float(truth[rows].max())
            lists.append(Drawn(rows, best if len(rows) == 1 else float(best >= RIGHT)))
            continue
        size = round(float(np.exp(draw.uniform(np.log(2), np.log(len(rows))))))
        right, wrong = rows[truth[rows] >= RIGHT], rows[truth[rows] < RIGHT]
        answered = bool(len(right)) and (not len(wrong) or draw.uniform() < 0.5)
        if answered:
            first = draw.choice(right, 1)
            rest = draw.permutation(np.setdiff1d(rows, first))[: size - 1]
            chosen = np.concatenate([first, rest])
        else:
            chosen = draw.permutation(wrong)[:size]
        lists.append(Drawn(chosen, float(answered)))
    return lists


def make_lists(
    query_ids: Sequence[str], labels: ArrayLike, scores: ArrayLike, seed: int = 0
) -> list[AnswerList]:
    """The lists that `draw_lists` draws, with the scores (pairs,) of their passages."""
    values = np.asarray(scores, dtype=np.float64)
    return [drawn.scored(values) for drawn in draw_lists(query_ids, labels, seed)]


def fit_answerability(parts: Sequence[Sequence[AnswerList]]) -> Answerability:
    """Fit the weights on lists in several parts, each of which counts as much as another.

    Lists of one passage are left out. Raises `AnswerabilityError` for fewer than `MIN_LISTS` lists
    of several passages with an answer, or as many without.
    """
    kept = [[one for one in part if len(one.scores) > 1] for part in parts]
    kept = [part for part in kept if part]
    several = [one.answered for part in kept for one in part]
    right = sum(answered >= 0.5 for answered in several)
    if min(right, len(several) - right) < MIN_LISTS:
        raise AnswerabilityError(
            f"{right} lists of several passages have an answer and {len(several) - right} have "
            f"none, {MIN_LISTS} of each are needed: give more questions with right and wrong "
            "passages"
        )
    columns = np.array([features(one.scores) for part in kept for one in part])
    targets = np.array([one.answered for part in kept for one in part])
    shares = np.concatenate([np.full(len(p), 1 / len(p) / len(kept)) for p in kept])

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        z = columns @ weights
        value = float(shares @ (np.logaddexp(0.0, z) - targets * z))
        slope = columns.T @ (shares * (expit(z) - targets))
        penalised = np.array([0.0, 1.0, 1.0, 1.0]) * weights * PENALTY
        return value + float(penalised @ weights) / 2, slope + penalised

    found = minimize(loss, np.zeros(4), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    intercept, best, second, count = map(float, found.x)
    return Answerability(intercept, best, second, count)


def probabilities(known: Answerability, lists: Sequence[AnswerList]) -> FloatArray:
    """The probability of each list that it has an answer, (lists,)."""
    return np.array([known.probability(one.scores) for one in lists])
