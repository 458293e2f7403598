"""Agreement: on how many queries the student puts first what another system puts first.

It is the figure that a server goes on measuring live (`retort_shadow_top1_agreement`), so the
level at export is written into the bundle's manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retort.models.manifest import Agreement
from retort.models.rankings import rows_by_query, top1_agrees
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.evaluate.bootstrap import Estimate, resample_means

Floats = NDArray[np.float64]


def same_top(query_ids: Sequence[str], student: ArrayLike, other: ArrayLike) -> Floats:
    """1.0 for each query whose first passage by `student` is a best one by `other`; (queries,).

    `student` and `other` have shape (pairs,), as `query_ids`. Queries with one passage are left
    out.

    Example: `same_top(["a", "a", "b", "b"], [1, 2, 3, 4], [1, 2, 4, 3])` is `[1.0, 0.0]`.
    """
    ours, theirs = np.asarray(student), np.asarray(other)
    groups = rows_by_query(query_ids, at_least=2)
    return np.asarray([float(top1_agrees(ours[rows], theirs[rows])) for rows in groups])


def agreements(
    sets: Sequence[EvaluationSet],
    scores: Mapping[str, Mapping[str, ArrayLike]],
    student: str,
    *,
    resamples: int,
    seed: int,
    confidence: float,
) -> tuple[dict[str, dict[str, Estimate]], dict[str, Agreement]]:
    """The student's top-1 agreement with each other system: set by set, and over all of them.

    Only rankings count, and only systems that have scored all of them. The second value pools the
    queries of all sets, each weighing the same.
    """
    rankings = [items for items in sets if items.kind == "ranking"]
    others = [
        name
        for name, by_set in scores.items()
        if name != student and all(items.name in by_set for items in rankings)
    ]
    if not rankings or not others:
        return {}, {}
    agreed = {
        items.name: {
            name: same_top(items.query_ids, scores[student][items.name], scores[name][items.name])
            for name in others
        }
        for items in rankings
    }
    agreed = {name: columns for name, columns in agreed.items() if columns[others[0]].size}
    if not agreed:
        return {}, {}
    by_set = {}
    for name, columns in agreed.items():
        samples = resample_means(columns, resamples, seed, confidence)
        by_set[name] = {other: samples.of(other) for other in others}
    pooled = {
        other: np.concatenate([columns[other] for columns in agreed.values()]) for other in others
    }
    samples = resample_means(pooled, resamples, seed, confidence)
    over_all = {
        other: Agreement(
            teacher=other,
            top1=samples.of(other).value,
            low=samples.of(other).low,
            high=samples.of(other).high,
            queries=pooled[other].size,
        )
        for other in others
    }
    return by_set, over_all
