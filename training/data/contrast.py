"""Contrast: whether pairs differ in what a loss compares; without it nothing is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retort.training.data.pairs import Pair, group_by_query


class NothingToLearnError(ValueError):
    """Pairs teach a loss nothing: it would be constant, or pull every score one way."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """What there is to compare: pairs, queries by the labels of their passages, label values."""

    pairs: int
    labels: tuple[float, ...]
    mixed: int
    right_alone: int
    wrong_alone: int
    several: int  # queries of two passages or more

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Contrast:
        """Count; a pair without a label counts as wrong, and its label as none."""
        groups = group_by_query(pairs).values()
        kinds = [{pair.right for pair in group} for group in groups]
        return cls(
            len(pairs),
            tuple(sorted({pair.label for pair in pairs if pair.label is not None})),
            mixed=kinds.count({True, False}),
            right_alone=kinds.count({True}),
            wrong_alone=kinds.count({False}),
            several=sum(len(group) > 1 for group in groups),
        )

    @property
    def queries(self) -> int:
        """All queries."""
        return self.mixed + self.right_alone + self.wrong_alone

    def need_two_labels(self, place: object) -> None:
        """For a loss of one pair at a time. Raises `NothingToLearnError`."""
        if len(self.labels) < 2:
            label = ", ".join(f"{label:g}" for label in self.labels) or "none"
            raise NothingToLearnError(
                f"{place}: {self.pairs} pairs of {self.queries} queries all have one label "
                f"({label}): there is nothing to tell apart; add pairs with another label, for "
                "instance with `positives` in a corpus recipe, which finds wrong passages"
            )

    def need_mixed_queries(self, place: object, loss: str) -> None:
        """For a loss that sets right passages against wrong ones. Raises `NothingToLearnError`."""
        if not self.mixed:
            raise NothingToLearnError(
                f"{place}: {loss} compares right and wrong passages of one query, and none of the "
                f"{self.queries} queries ({self.pairs} pairs) has both: {self.right_alone} have "
                f"right ones alone, {self.wrong_alone} wrong ones alone; add wrong passages, for "
                "instance with `positives` in a corpus recipe, or use a loss of single pairs"
            )

    def need_lists(self, place: object, loss: str) -> None:
        """For a loss between any passages of a query. Raises `NothingToLearnError`."""
        if not self.several:
            raise NothingToLearnError(
                f"{place}: {loss} compares passages of one query, and each of the {self.queries} "
                f"queries ({self.pairs} pairs) has one passage: add candidates, for instance with "
                "`questions` in a corpus recipe, or use a method of single pairs"
            )

    def need_right(self, place: object, loss: str) -> None:
        """For a loss on right passages. Raises `NothingToLearnError`."""
        if not self.mixed + self.right_alone:
            raise NothingToLearnError(
                f"{place}: {loss} learns from right passages, and none of the {self.pairs} pairs "
                f"({self.queries} queries) is labelled right; add some"
            )
