"""Pairs: queries with a passage each, as questions that share a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

from retort.client.answers import Answer
from retort.client.questions import Question, ScoreOptions, check_options, question


@dataclass(frozen=True, slots=True)
class Pairs:
    """The questions that pairs make, and for each the positions of its passages in the pairs."""

    questions: tuple[Question, ...]
    positions: tuple[tuple[int, ...], ...]

    def scores(self, answers: Sequence[Answer]) -> list[float]:
        """The pairs' scores, in their order. Raises `ServerError` if one has none."""
        scores = {
            own[result.index]: result.score
            for own, answer in zip(self.positions, answers, strict=True)
            for result in answer.ranked()
        }
        return [scores[position] for position in range(len(scores))]


def by_query(pairs: Sequence[tuple[str, str]], **options: Unpack[ScoreOptions]) -> Pairs:
    """Pairs by their query, in the order of first appearance. Raises as `question`."""
    check_options(options, ScoreOptions.__optional_keys__)
    positions: dict[str, list[int]] = {}
    for position, (query, _) in enumerate(pairs):
        positions.setdefault(query, []).append(position)
    return Pairs(
        tuple(
            question(query, [pairs[position][1] for position in own], None, options)
            for query, own in positions.items()
        ),
        tuple(map(tuple, positions.values())),
    )
