"""Comparing two rankings of the same passages: a student's with its teacher's, a graph's with the
original's, another server's with ours. Every figure of that kind in the project comes from here.

Scores that differ by no more than `TIE` are equal: float noise is no opinion.

Example: student 0.9, 0.5, 0.1 and teacher 0.8, 0.2, 0.3 rank the same passage first; of the three
pairs of passages one is in a different order, so tau is (2 - 1) / 3; the scores differ by 0.2 on
average and by 0.3 at most.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from retort.models.arrays import FloatArray, IntArray

TIE = 1e-6


def best_first(
    scores: FloatArray,
    top_n: int | None = None,
    min_score: float = 0.0,
    without: Collection[int] = (),
) -> list[int]:
    """Indices of scores (passages,), best first, ties by index, less those in `without`.

    At most `top_n`, and of those the ones whose score is `min_score` or more.

    >>> best_first(np.array([0.1, 0.9, 0.5]), top_n=2)
    [1, 2]
    """
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    if without:
        order = [index for index in order if index not in without]
    order = order[:top_n]
    if min_score > 0:
        order = [index for index in order if scores[index] >= min_score]
    return order


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a ranking of one query's passages differs from its reference.

    `kendall_tau` is None where either gives every passage the same score: that is no ranking.
    """

    top1_agrees: bool
    kendall_tau: float | None
    mean_difference: float
    max_difference: float
    both_constant: bool

    @property
    def order_agreement(self) -> float:
        """Tau; without one, 1.0 if neither ranks the passages and 0.0 if only one of them does."""
        return float(self.both_constant) if self.kendall_tau is None else self.kendall_tau


def compare(scores: ArrayLike, reference: ArrayLike) -> Comparison:
    """Compare scores (passages,) with those of the reference for the same passages.

    Raises `ValueError` unless both have one length of at least two.
    """
    ours, theirs = _floats(scores), _floats(reference)
    if ours.shape != theirs.shape or ours.ndim != 1 or len(ours) < 2:
        raise ValueError(
            f"scores have shapes {ours.shape} and {theirs.shape}: "
            "expected one length, of at least two passages"
        )
    difference = np.abs(ours - theirs)
    return Comparison(
        top1_agrees=top1_agrees(ours, theirs),
        kendall_tau=kendall_tau(ours, theirs),
        mean_difference=float(difference.mean()),
        max_difference=float(difference.max()),
        both_constant=bool(np.ptp(ours) <= TIE and np.ptp(theirs) <= TIE),
    )


def top1_agrees(scores: ArrayLike, reference: ArrayLike) -> bool:
    """Whether the passage that `scores` rank first is one of the best by `reference`.

    The first of equal scores is the one that a server returns first. The question is asked in this
    direction everywhere: where the reference has two best passages, either will do.

    >>> top1_agrees([0.1, 0.9, 0.2], reference=[0.7, 0.7, 0.1])
    True
    >>> top1_agrees([0.5, 0.5, 0.2], reference=[0.1, 0.9, 0.3])
    False
    """
    ours, theirs = _floats(scores), _floats(reference)
    return bool(theirs[int(ours.argmax())] >= theirs.max() - TIE)


def kendall_tau(one: ArrayLike, other: ArrayLike) -> float | None:
    """Kendall's tau-b (Kendall, 1945) of two score arrays (passages,); None if either is constant.

    Of the six pairs of passages below the first array ties one; of the other five, four are in the
    same order in both: (4 - 1) / sqrt(5 * 6).

    >>> round(kendall_tau([0.3, 0.3000001, 0.1, 0.2], [0.9, 0.2, 0.1, 0.5]), 3)
    0.548
    """
    first, second = _floats(one), _floats(other)
    rows, columns = np.triu_indices(len(first), 1)
    orders = _order(first[rows] - first[columns]), _order(second[rows] - second[columns])
    untied = np.sqrt(np.count_nonzero(orders[0]) * float(np.count_nonzero(orders[1])))
    return float(orders[0] @ orders[1] / untied) if untied else None


def rows_by_query(query_ids: Sequence[str], at_least: int = 1) -> list[IntArray]:
    """The row numbers of each query, in the order of first appearance.

    Queries with fewer than `at_least` rows are left out.

    >>> [rows.tolist() for rows in rows_by_query(["a", "b", "a"])]
    [[0, 2], [1]]
    """
    rows: dict[str, list[int]] = {}
    for row, query in enumerate(query_ids):
        rows.setdefault(query, []).append(row)
    return [np.asarray(found, dtype=np.int64) for found in rows.values() if len(found) >= at_least]


def _floats(values: ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def _order(differences: FloatArray) -> FloatArray:
    signs: FloatArray = np.where(np.abs(differences) > TIE, np.sign(differences), 0.0)
    return signs
