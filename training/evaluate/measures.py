"""Measures: how good the scores of one system are on one evaluation set.

Rank measures come from `ir_measures` (trec_eval's code). nDCG takes labels as gains, linear as
trec_eval's: grade 2 is worth twice grade 1. AP, RR, R, AUC and accuracy ask whether a passage is
relevant, from a label of `EvaluationSet.relevant` on. trec_eval breaks ties by document id, so
the ids here are hashes of the passage: a system that gives every passage the same score is ranked
at random, the same way each time, and gains nothing from the order in which the pairs are listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np
from numpy.typing import ArrayLike, NDArray

from retort.training.data.evaluation_set import EvaluationSet

Floats = NDArray[np.float64]


TITLES = {"AP": "MAP", "RR": "MRR"}  # the means over queries have names of their own
BINS = 15  # of the calibration error
MASS_BINS = 10  # where pairs are few: as many in each bin
# trec_eval's gains are whole numbers. Labels that are no grades of a scale of at most this many
# steps are rounded to so many parts of 1.
MOST_STEPS, PARTS = 100, 10_000


class MeasureError(ValueError):
    """Scores do not fit the set they are measured on."""


@dataclass(frozen=True, slots=True)
class QueryValues:
    """One value per query and measure. `values[measure]` has shape (queries,), as `query_ids`.

    Where labels are grades, nDCG is over queries of its own, `graded_ids`: they have a passage
    labelled above 0, though none may be relevant.
    """

    query_ids: tuple[str, ...]
    graded_ids: tuple[str, ...]
    values: dict[str, Floats]


def check_scores(scores: ArrayLike, pairs: int, name: str = "scores") -> Floats:
    """`scores` as float64 of shape (pairs,).

    Raises `MeasureError` for another length, or for a score that is not finite.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.shape != (pairs,):
        raise MeasureError(f"{name}: shape {array.shape}, expected ({pairs},), one score per pair")
    broken = np.flatnonzero(~np.isfinite(array))
    if broken.size:
        raise MeasureError(
            f"{name}: {broken.size} scores are not finite, the first is {array[broken[0]]} "
            f"at pair {broken[0]}"
        )
    return array


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: how often a relevant pair scores above another, ties half."""
    truth = np.asarray(labels)
    if truth.min() == truth.max():
        raise MeasureError(f"every label is {truth.min()}: AUC needs both kinds")
    curve = RocCurve(truth > 0, np.asarray(scores, dtype=np.float64))
    return float(curve.area(np.ones((1, truth.size)))[0])


class RocCurve:
    """One system's ROC curve on pairs `positive` (pairs,), sorted once to be weighted many times.

    scikit-learn's area is the same, but takes 1.7 s to import, which every job of a study would
    pay, and would sort the scores again for every resample.
    """

    def __init__(self, positive: NDArray[np.bool_], scores: Floats) -> None:
        self.order = np.argsort(scores, kind="stable")
        ordered = scores[self.order]
        self.positive = positive[self.order].astype(float)
        # Where each run of tied scores starts.
        self.starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))

    def area(self, weights: Floats) -> Floats:
        """Weights (resamples, pairs) to areas (resamples,)."""
        ordered = weights[:, self.order]
        above = np.add.reduceat(ordered * self.positive, self.starts, axis=1)
        total = np.add.reduceat(ordered, self.starts, axis=1)
        below = total - above
        # A positive beats every negative of a lower score, and half of those it is tied with.
        beaten = np.cumsum(below, axis=1) - below / 2.0
        wins = (above * beaten).sum(axis=1)
        areas: Floats = wins / (above.sum(axis=1) * below.sum(axis=1))
        return areas


def correct(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> Floats:
    """1.0 where `score > threshold` says what the label says, else 0.0; (pairs,)."""
    decided = np.asarray(scores, dtype=np.float64) > threshold
    return np.asarray(decided == (np.asarray(labels) > 0), dtype=np.float64)


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS
) -> float:
    """Mean distance between score and share of relevant pairs, over bins of equal width.

    `labels` and `probabilities` have shape (pairs,). Guo et al., ICML 2017, equation 3. Raises
    `MeasureError` for a score outside of 0 to 1.
    """
    truth = np.asarray(labels, dtype=np.float64)
    scores = np.asarray(probabilities, dtype=np.float64)
    if scores.min() < 0 or scores.max() > 1:
        raise MeasureError(
            f"scores lie between {scores.min():.3g} and {scores.max():.3g}: give probabilities"
        )
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    distance = np.bincount(place, weights=scores - truth, minlength=bins)
    return float(np.abs(distance).sum() / len(scores))


@dataclass(frozen=True, slots=True)
class Bin:
    """The pairs of one bin: their mean score, the share of relevant ones, how many there are."""

    score: float
    relevant: float
    pairs: int


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = MASS_BINS) -> list[Bin]:
    """The reliability curve over bins of equal mass, as many pairs in each as in another.

    `labels` and `probabilities` have shape (pairs,).
    """
    truth = np.asarray(labels, dtype=np.float64)
    scores = np.asarray(probabilities, dtype=np.float64)
    parts = np.array_split(np.argsort(scores, kind="stable"), bins)
    return [
        Bin(float(scores[rows].mean()), float(truth[rows].mean()), len(rows))
        for rows in parts
        if len(rows)
    ]


def equal_mass_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = MASS_BINS) -> float:
    """Mean distance between score and share of relevant pairs, over bins of equal mass."""
    found = reliability(labels, probabilities, bins)
    total = sum(one.pairs for one in found)
    return sum(one.pairs * abs(one.score - one.relevant) for one in found) / total


def noise_floor(
    probabilities: ArrayLike, bins: int = MASS_BINS, draws: int = 200, seed: int = 0
) -> float:
    """The `equal_mass_error` that these probabilities (pairs,) would show if they were all right.

    The mean over `draws` of labels drawn by the probabilities: few pairs per bin look uncalibrated
    by chance.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    draw = np.random.default_rng(seed)
    labels = draw.uniform(size=(draws, len(scores))) < scores
    return float(np.mean([equal_mass_error(row, scores, bins) for row in labels]))


def passage_ids(items: EvaluationSet) -> list[str]:
    """Ids by which trec_eval breaks ties: hashes, which are unrelated to relevance.

    Of ties the higher id ranks first. A pair that is listed twice, under two labels, gets the lower
    id for the copy with the higher label.
    """
    copies: dict[tuple[str, int], int] = defaultdict(int)
    ids = [""] * len(items.pairs)
    order = np.argsort(items.gains, kind="stable")[::-1]
    queries = items.query_ids
    for index in order:
        key = items.pairs[index].key
        copy = copies[queries[index], key]
        copies[queries[index], key] += 1
        ids[index] = f"{key:016x}-{copy:06d}"
    return ids


def whole_gains(labels: Floats) -> NDArray[np.int64]:
    """Labels (pairs,) from 0 to 1 as whole numbers in the same proportions, for trec_eval.

    Exact for grades that were divided by their largest, and otherwise to `PARTS`.

    Example: `whole_gains([0, 1 / 3, 1])` is `[0, 1, 3]`.
    """
    distinct = np.unique(labels)
    for steps in range(1, MOST_STEPS + 1):
        if np.abs(distinct * steps - np.rint(distinct * steps)).max() < steps * 1e-6:
            return np.rint(labels * steps).astype(np.int64)
    return np.rint(labels * PARTS).astype(np.int64)


def judged_queries(items: EvaluationSet, *, graded: bool = False) -> int:
    """How many queries have a relevant passage, found by the first stage or missed by it.

    With `graded`, how many have a passage with any label above 0: those that nDCG is over.
    """
    worth = whole_gains(items.gains) if graded else items.labels
    queries = set(items.query_ids)
    relevant = {query for query, label in zip(items.query_ids, worth, strict=True) if label}
    return len(relevant | {query for query, count in items.missed.items() if count} & queries)


def query_values(
    items: EvaluationSet, scores: ArrayLike, measures: Sequence[str] = ()
) -> QueryValues:
    """Rank measures of `scores` (pairs,) query by query, in order of first appearance.

    `measures` are names as `ir_measures` reads them (default: the set's). A query without any
    relevant passage has no ranking to get right and is left out, from nDCG one whose labels are all
    0; a relevant passage that the first stage missed counts as never found.
    """
    checked = check_scores(scores, len(items.pairs), items.name)
    names = tuple(measures) or items.measures
    ids = passage_ids(items)
    run: dict[str, dict[str, float]] = {}
    for query, passage, score in zip(items.query_ids, ids, ranks(checked), strict=True):
        run.setdefault(query, {})[passage] = float(score)
    plain = [name for name in names if not (items.graded and name.startswith("nDCG"))]
    graded = [name for name in names if name not in plain]
    query_ids, values = _by_query(items, ids, items.labels, run, plain)
    graded_ids = query_ids
    if graded:
        gains = whole_gains(items.gains)
        graded_ids, found = _by_query(items, ids, gains, run, graded)
        values |= found
    return QueryValues(query_ids, graded_ids, {name: values[name] for name in names})


def _by_query(
    items: EvaluationSet,
    ids: Sequence[str],
    worth: NDArray[np.int64],
    run: Mapping[str, dict[str, float]],
    names: Sequence[str],
) -> tuple[tuple[str, ...], dict[str, Floats]]:
    """The queries that have a passage worth something, and the measures' values of them."""
    judged: dict[str, dict[str, int]] = {}
    for query, passage, value in zip(items.query_ids, ids, worth, strict=True):
        judged.setdefault(query, {})[passage] = int(value)
    for query, count in items.missed.items():
        if query in judged:
            judged[query].update({f"missed-{number}": 1 for number in range(count)})
    kept = tuple(query for query, labels in judged.items() if any(labels.values()))
    if not names:
        return kept, {}
    if not kept:
        raise MeasureError(
            f"{items.name}: no query has a passage labelled {items.relevant:g} or more: check its "
            "labels"
        )
    parsed = {ir_measures.parse_measure(name): name for name in names}
    positions = {query: index for index, query in enumerate(kept)}
    values = {name: np.zeros(len(kept)) for name in names}
    for metric in ir_measures.iter_calc(list(parsed), judged, run):
        if metric.query_id in positions:
            values[parsed[metric.measure]][positions[metric.query_id]] = metric.value
    return kept, values


def ranks(scores: Floats) -> Floats:
    """`scores` replaced by their place among the distinct ones, ties still tied.

    trec_eval keeps scores in float32, where two float64 scores that differ may become one.
    """
    distinct, places = np.unique(scores, return_inverse=True)
    if distinct.size >= 1 << 24:
        raise MeasureError(f"{distinct.size} distinct scores: split the set, float32 holds 2^24")
    return places.astype(np.float64)
