"""Resampling a study: in every resample both the queries and the seeds are drawn anew.

A figure of a method has two sources of noise: which queries happened to be asked, and which seed
happened to train the student. The queries' draws are common to all systems (a paired bootstrap),
the seeds' draws are each row's own: equal seeds of two rows have little more in common than their
number. Of n seeds n - 1 are drawn, with replacement: the mean over n draws would have only
(n - 1) / n of the variance that the mean over n seeds has, a third too little of three (Rao and
Wu, JASA 1988). Of one seed alone nothing is known of the noise of seeds.

Simulated with 60 queries and three seeds a row, two rows that are equally good are inside the noise
of each other in 93% of cases where seeds make most of the noise and in 99% where queries do;
intervals over queries alone say so in 44% and 88%.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.evaluate.bootstrap import Replicates, resample_auc, resample_means
from retort.training.evaluate.measures import correct, query_values

Floats = NDArray[np.float64]

# A set that asks fewer questions than this asks one question of many texts: its pairs are drawn.
MIN_QUERIES = 20


def resample_set(
    items: EvaluationSet,
    systems: Mapping[str, Floats],
    probabilities: Collection[str],
    resamples: int,
    seed: int,
) -> dict[str, Replicates]:
    """Resamples of every measure of one set, the headline first.

    `systems` are scores (pairs,) by name; an accuracy (threshold 0.5) is measured of those in
    `probabilities`. The draws depend on the set's name, so that two sets are drawn independently.
    """
    draw = _seed(seed, f"queries of {items.name}")
    if items.kind == "classification":
        units = query_numbers(items)
        found = {"AUC": resample_auc(items.labels, systems, resamples, draw, units=units)}
        decided = {
            name: correct(items.labels, scores)
            for name, scores in systems.items()
            if name in probabilities
        }
        if decided:
            found["accuracy"] = resample_means(decided, resamples, draw, units=units)
    else:
        measures = [measure for measure in items.measures if not measure.startswith("R@")]
        values = {
            name: query_values(items, scores, measures).values for name, scores in systems.items()
        }
        found = {
            measure: resample_means(
                {name: by_measure[measure] for name, by_measure in values.items()}, resamples, draw
            )
            for measure in measures
        }
    return dict(sorted(found.items(), key=lambda item: item[0] != items.headline))


def query_numbers(items: EvaluationSet) -> NDArray[np.int64] | None:
    """Each pair's query as a number, (pairs,); None where there are too few queries to draw."""
    names, numbers = np.unique(items.query_ids, return_inverse=True)
    return numbers.astype(np.int64) if len(names) >= MIN_QUERIES else None


def over_seeds(
    runs: Replicates, rows: Mapping[str, Sequence[str]], keys: Mapping[str, str], seed: int
) -> Replicates:
    """Rows as means over their runs, the runs drawn anew in every resample.

    `rows` names the runs of each row. `keys` says whose students they are: rows of one key are
    drawn together, as the same students on another set must be.
    """
    columns, points = [], []
    for row, names in rows.items():
        places = [runs.names.index(name) for name in names]
        weights = seed_weights(len(places), len(runs.samples), _seed(seed, f"seeds of {keys[row]}"))
        columns.append((runs.samples[:, places] * weights).sum(axis=1))
        points.append(runs.point[places].mean())
    return Replicates(tuple(rows), np.asarray(points), np.stack(columns, axis=1), runs.confidence)


def seed_weights(seeds: int, resamples: int, seed: int) -> Floats:
    """How much each of `seeds` runs weighs in each resample, (resamples, seeds); rows add to 1."""
    draws = max(seeds - 1, 1)
    counts = np.random.default_rng(seed).multinomial(draws, np.full(seeds, 1 / seeds), resamples)
    weights: Floats = counts / draws
    return weights


def mean_of(parts: Sequence[Replicates]) -> Replicates:
    """The mean over several sets, of those systems that were measured on all of them."""
    names = tuple(name for name in parts[0].names if all(name in part.names for part in parts))
    rows = min(len(part.samples) for part in parts)
    places = [[part.names.index(name) for name in names] for part in parts]
    pairs = list(zip(parts, places, strict=True))
    return Replicates(
        names,
        np.mean([part.point[place] for part, place in pairs], axis=0),
        np.mean([part.samples[:rows, place] for part, place in pairs], axis=0),
        parts[0].confidence,
    )


def _seed(seed: int, words: str) -> int:
    return crc32(f"{seed}: {words}".encode())
