"""Spans: parts of a passage and what is told of them, as values that import nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

# empty: it has no letter and no digit. unfamiliar: see `Words`. truncated: not all of it was read.
Flag = Literal["empty", "unfamiliar", "truncated"]


class Span(NamedTuple):
    """Part of a text: character offsets, in Unicode code points, `end` exclusive."""

    start: int
    end: int

    def shared(self, other: Span) -> int:
        """How many characters both have; 0 or less if they do not overlap."""
        return min(self.end, other.end) - max(self.start, other.start)


@dataclass(frozen=True, slots=True)
class Highlight:
    """Where the sentence is in its passage, and its score: in characters, `end` exclusive."""

    start: int
    end: int
    score: float
