"""Ranks: from the scores of blocks to the places of rows in their queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from retort.bulk.output import Ranked
from retort.bulk.parts import Part
from retort.models.arrays import FloatArray
from retort.models.rankings import best_first

Ranks = NDArray[np.int32]


def ranked(parts: Iterable[Part], top_n: int | None = None) -> Iterator[Ranked]:
    """The results of each part in turn; of a query, only its `top_n` best are kept.

    A query's rows may go on in the next parts: they wait until it has ended, so memory is bounded
    by the longest query. A pair without a score has no rank and is not kept.
    """
    waiting: list[tuple[Part, Ranks]] = []
    run: list[tuple[FloatArray, Ranks]] = []
    last: list[int] | None = None
    for part in parts:
        ranks = np.zeros(len(part.score), dtype=np.int32)
        facts = part.facts
        ends = np.concatenate(([0], np.cumsum(facts.pairs)))
        bounds = [*ends[facts.starts].tolist(), len(part.score)]
        for key, (start, stop) in zip(facts.keys.tolist(), pairwise(bounds), strict=True):
            if key != last:
                _close(run)
                run = []
                yield from (_kept(*held, top_n) for held in waiting)
                waiting = []
            run.append((part.score[start:stop], ranks[start:stop]))
            last = key
        waiting.append((part, ranks))
    _close(run)
    yield from (_kept(*held, top_n) for held in waiting)


def _close(run: list[tuple[FloatArray, Ranks]]) -> None:
    """Rank the rows of a query that has ended."""
    if not run:
        return
    scores = np.concatenate([scores for scores, _ in run])
    places = np.empty(len(scores), dtype=np.int32)
    places[best_first(scores)] = np.arange(1, len(scores) + 1, dtype=np.int32)
    places[np.isnan(scores)] = 0
    start = 0
    for _, ranks in run:
        ranks[:] = places[start : start + len(ranks)]
        start += len(ranks)


def _kept(part: Part, ranks: Ranks, top_n: int | None) -> Ranked:
    kept = ~np.isnan(part.score)
    if top_n is not None:
        kept &= ranks <= top_n
    return Ranked(part.facts.pairs, part.score, part.spread, ranks, kept)
