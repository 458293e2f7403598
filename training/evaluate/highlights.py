"""Highlights: how often the best sentence of a passage is the one that people marked.

The highlight of the product is held against the best sentence of the best window alone, and against
those that BM25 and a bi-encoder find best. A sentence is right if more than half of it was marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from retort.models.reading.sentences import sentences
from retort.models.reading.spans import Span
from retort.ranked import RankedPassage
from retort.training.data.marked import MarkedPassage
from retort.training.data.mining.bm25 import bm25_scores
from retort.training.data.pairs import Pair
from retort.training.evaluate.bootstrap import resample_means
from retort.training.evaluate.trust import Sentences
from retort.training.teachers.scoring.bundle import BundleScorer
from retort.training.teachers.scoring.scorer import Scorer

Floats = NDArray[np.float64]

TIMED = 100  # passages


def measure_highlights(
    scorer: BundleScorer, other: Scorer, name: str, marked: Sequence[MarkedPassage]
) -> Sentences:
    """Hit rates of the bundle's highlights, of its best windows, of BM25 and of `other`."""
    spans = [sentences(one.passage) for one in marked]
    right = [
        np.array([is_right(span, one.right) for span in own])
        for one, own in zip(marked, spans, strict=True)
    ]
    texts = [[one.passage[a:b] for a, b in own] for one, own in zip(marked, spans, strict=True)]
    ends = np.cumsum([len(own) for own in texts])
    everything = [text for own in texts for text in own]
    rows = [list(range(end - len(own), end)) for own, end in zip(texts, ends, strict=True)]
    queries = [one.query for one in marked]
    pairs = [Pair(one.query, text) for one, own in zip(marked, texts, strict=True) for text in own]

    def apart(one: Scorer) -> list[NDArray[np.floating]]:
        return np.split(np.asarray(one.score(pairs, progress=True)), ends[:-1])

    ranked = [scorer.ranker.rank(o.query, [o.passage], highlight=True)[0] for o in marked]
    within = [
        np.where([one.window is None or span.shared(one.window) > 0 for span in own], scores, -1.0)
        for one, own, scores in zip(ranked, spans, apart(scorer), strict=True)
    ]
    found = {
        "highlight": [_hit(one, own.right) for one, own in zip(ranked, marked, strict=True)],
        "of the best window alone": _best(within, right),
        "BM25": _best(bm25_scores(everything, queries, rows), right),
        other.name: _best(apart(other), right),
    }
    samples = resample_means(found)
    return Sentences(
        name=name,
        queries=len(marked),
        sentences=float(np.mean([len(own) for own in texts])),
        slower=_slower(scorer, marked),
        chance=float(np.mean([own.mean() for own in right])),
        systems={system: samples.of(system) for system in found},
    )


def _slower(scorer: BundleScorer, marked: Sequence[MarkedPassage]) -> float:
    """How many times as long it takes to rank a passage with a highlight."""

    def seconds(highlight: bool) -> float:
        start = perf_counter()
        for one in marked[:TIMED]:
            scorer.ranker.rank(one.query, [one.passage], highlight=highlight)
        return perf_counter() - start

    seconds(True)  # whatever is set up at first
    # The fastest of three: what else goes on only adds to them.
    with_it, without = (min(seconds(way) for _ in range(3)) for way in (True, False))
    return with_it / without


def is_right(span: Span, right: Sequence[Span]) -> bool:
    """Whether more than half of a sentence is in one of those that are right."""
    return 2 * max(map(span.shared, right)) > span.end - span.start


def _hit(ranked: RankedPassage, right: Sequence[Span]) -> float:
    best = ranked.highlight
    return 0.0 if best is None else float(is_right(Span(best.start, best.end), right))


def _best(
    scores: Sequence[NDArray[np.floating]], right: Sequence[NDArray[np.bool_]]
) -> list[float]:
    return [float(own[one.argmax()]) for one, own in zip(scores, right, strict=True)]
