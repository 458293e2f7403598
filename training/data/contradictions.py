"""Pairs that have several labels, within a source or in two: what becomes of them.

mean      the mean of the labels; a pair labelled 0 and 1 becomes 0.5
majority  the label that is given most often, of several the lowest
first     the label that comes first, that is of the recipe's first source
refuse    an error that names the first such pair
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from retort.training.data.pairs import Pair
from retort.training.data.readers.rows import DataError, short
from retort.training.recipes.contradictions import Contradictions

_MOST = 60


def contradictions(pairs: Sequence[Pair]) -> dict[int, list[float]]:
    """By content key the labels, in order, of each pair that has more than one of them."""
    labels: dict[int, list[float]] = {}
    for pair in pairs:
        if pair.label is not None:
            labels.setdefault(pair.key, []).append(pair.label)
    return {key: found for key, found in labels.items() if len(set(found)) > 1}


def settle(pairs: Sequence[Pair], rule: Contradictions, what: str) -> tuple[list[Pair], int]:
    """The pairs, each copy of one under one label, and how many pairs had several.

    Copies that have no label keep none. Raises `DataError`, naming `what`, where the rule is to
    refuse.
    """
    several = contradictions(pairs)
    if not several:
        return list(pairs), 0
    if rule == "refuse":
        first = next(pair for pair in pairs if pair.key in several)
        labels = ", ".join(f"{label:g}" for label in several[first.key])
        raise DataError(
            f"{what}: {len(several)} pairs have contradictory labels, the first of them "
            f"{short(first.query, _MOST)} with {short(first.passage, _MOST)}: {labels}. Mend them, "
            "or choose mean, majority or first for contradictions"
        )
    settled = {key: _label(labels, rule) for key, labels in several.items()}
    return [
        pair
        if pair.label is None or pair.key not in settled
        else replace(pair, label=settled[pair.key])
        for pair in pairs
    ], len(several)


def settle_sources(
    sources: Mapping[str, Sequence[Pair]], rule: Contradictions, what: str
) -> tuple[dict[str, list[Pair]], int]:
    """`settle` for the pairs of several sources together, source by source, in their order."""
    settled, several = settle([pair for pairs in sources.values() for pair in pairs], rule, what)
    rest = iter(settled)
    return {source: list(islice(rest, len(pairs))) for source, pairs in sources.items()}, several


def _label(labels: Sequence[float], rule: Contradictions) -> float:
    if rule == "mean":
        return sum(labels) / len(labels)
    if rule == "first":
        return labels[0]
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))
