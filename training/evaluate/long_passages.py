"""Long passages: what windows find of answers deep inside, and how many pairs that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retort.models.arrays import FloatArray, IntArray
from retort.models.rankings import rows_by_query
from retort.models.reading.windows import Reading
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.long_sets import DEPTHS, depth_of
from retort.training.evaluate.bootstrap import resample_means
from retort.training.evaluate.trust import Depth, LongSet
from retort.training.teachers.scoring.bundle import BundleScorer

CUT = Reading(score="first")


def measure_depths(
    scorer: BundleScorer, sets: Sequence[EvaluationSet]
) -> tuple[list[Depth], list[LongSet]]:
    """R@1 by depth of each long set, with windows and without, and what the windows cost."""
    depths: list[Depth] = []
    costs: list[LongSet] = []
    cut = replace(scorer, name=f"{scorer.name}, cut", reading=CUT)
    for items in sets:
        ways = {"windows": scorer, "cut": cut}
        scores = {way: one.score(items.pairs, progress=True) for way, one in ways.items()}
        rows = rows_by_query(items.query_ids)
        place = np.array([depth_of(items.query_ids[own[0]]) for own in rows])
        hits = {
            way: np.array([_first(values[own], items.labels[own]) for own in rows])
            for way, values in scores.items()
        }
        for depth in DEPTHS:
            here = {way: values[place == depth] for way, values in hits.items()}
            samples = resample_means(here)
            depths.append(
                Depth(
                    name=items.name,
                    depth=depth,
                    queries=int((place == depth).sum()),
                    windows=samples.of("windows"),
                    cut=samples.of("cut"),
                )
            )
        costs.append(_cost(scorer, items))
    return depths, costs


def _first(scores: FloatArray, labels: IntArray) -> float:
    """1.0 if the right one of some chunks (chunks,) is above all others; a tie is no hit."""
    return float(scores[labels == 1].max() > scores[labels == 0].max())


def _cost(scorer: BundleScorer, items: EvaluationSet) -> LongSet:
    own = rows_by_query(items.query_ids)[0]
    ranked = scorer.ranker.rank(
        items.pairs[own[0]].query, [items.pairs[row].passage for row in own]
    )
    words = [len(pair.passage.split()) for pair in items.pairs]
    return LongSet(
        name=items.name,
        chunks=len(own),
        words=float(np.mean(words)),
        pairs=sum(one.windows for one in ranked),
    )
