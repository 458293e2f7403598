"""Parity: the gate that an exported graph has to pass.

On held-out pairs the graph must rank as the PyTorch student does. Four figures, each with a bound:

    top1_agreement         share of queries with the same best passage              at least
    kendall_tau            mean over queries of Kendall's tau-b                     at least
    max_score_difference   largest difference of a score, in probability            at most
    ndcg_change            mean nDCG@10 of the graph minus the student's            at most, ±
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau

from models.manifest import Parity, ParityBounds
from training.data.pairs import Pair
from training.inference import probabilities
from training.measures import query_values
from training.rankings import EvaluationSet

Floats = NDArray[np.float64]

# What int8 weights cost a sound 6-layer ranker: top-1 0.98, tau 0.987, scores 0.044, on 50 queries.
# A change of nDCG is a few swaps over the number of queries: judge by some hundreds of them.
DEFAULT_BOUNDS = ParityBounds(
    top1_agreement=0.95, kendall_tau=0.97, max_score_difference=0.05, ndcg_change=0.005
)
# Fewer queries than this say little about how a graph ranks.
MIN_QUERIES = 20
# Scores nearer than this are a tie: either passage may stand first.
TIE = 1e-6


class ParityError(ValueError):
    """The graph does not rank as the PyTorch student does; `parity` has the figures."""

    def __init__(self, message: str, parity: Parity | None = None) -> None:
        super().__init__(message)
        self.parity = parity


def measure_parity(
    pairs: Sequence[Pair],
    reference: ArrayLike,
    exported: ArrayLike,
    bounds: ParityBounds = DEFAULT_BOUNDS,
) -> Parity:
    """Compare logits (pairs, heads) of the student, `reference`, with those of the graph.

    Raises `ParityError` if shapes differ, a value is not finite, or fewer than `MIN_QUERIES`
    queries have two passages.
    """
    expected, found = np.asarray(reference), np.asarray(exported)
    if expected.shape != found.shape or len(expected) != len(pairs):
        raise ParityError(
            f"logits have shapes {expected.shape} and {found.shape} for {len(pairs)} pairs: "
            "the graph has another number of heads or dropped pairs"
        )
    if not np.isfinite(found).all():
        raise ParityError(f"{int((~np.isfinite(found)).sum())} logits of the graph are not finite")
    ours, theirs = probabilities(expected), probabilities(found)
    items = EvaluationSet("held-out pairs", tuple(pairs))
    groups = [group for group in _groups(items.query_ids) if len(group) > 1]
    if len(groups) < MIN_QUERIES:
        raise ParityError(
            f"{len(groups)} held-out queries have two passages or more: give {MIN_QUERIES} at least"
        )
    before = query_values(items, ours, ["nDCG@10"]).values["nDCG@10"]
    after = query_values(items, theirs, ["nDCG@10"]).values["nDCG@10"]
    return Parity(
        pairs=len(pairs),
        queries=len(groups),
        top1_agreement=float(np.mean([_same_top(ours[g], theirs[g]) for g in groups])),
        kendall_tau=float(np.mean([_tau(ours[g], theirs[g]) for g in groups])),
        max_score_difference=float(np.abs(ours - theirs).max()),
        ndcg_change=float(after.mean() - before.mean()),
        bounds=bounds,
    )


def check_parity(parity: Parity) -> None:
    """Raise `ParityError`, naming every bound that was missed."""
    missed = parity.failures()
    if missed:
        raise ParityError(
            f"the graph does not rank as the PyTorch student does on {parity.pairs} pairs of "
            f"{parity.queries} queries: {'; '.join(missed)}. Store it as fp16 or fp32, or find "
            "what broke the export",
            parity,
        )


def _groups(query_ids: Sequence[str]) -> list[NDArray[np.int64]]:
    groups: dict[str, list[int]] = {}
    for index, query in enumerate(query_ids):
        groups.setdefault(query, []).append(index)
    return [np.asarray(group) for group in groups.values()]


def _same_top(ours: Floats, theirs: Floats) -> bool:
    return bool(ours[int(np.argmax(theirs))] >= ours.max() - TIE)


def _tau(ours: Floats, theirs: Floats) -> float:
    result: Any = kendalltau(_without_noise(ours), _without_noise(theirs))
    if np.isnan(result.statistic):
        # One of the two gives every passage the same score: they agree if both do.
        return float(np.ptp(ours) <= TIE and np.ptp(theirs) <= TIE)
    return float(result.statistic)


def _without_noise(scores: Floats) -> Floats:
    rounded: Floats = np.round(scores / TIE)
    return rounded
