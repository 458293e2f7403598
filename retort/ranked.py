"""Passages, given and ranked: what `retort.load(...)` and `retort.Client` share.

Importing this module imports neither numpy nor a backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retort.models.reading.spans import Flag, Highlight, Span

# A text, or a mapping with `text` and, to be echoed, `id`.
Passage = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RankedPassage:
    """A passage's place in the list that was given, its score, spread, and its id if it has one.

    `score` is the probability that the passage answers the query; `spread` is the standard
    deviation over the model's heads: the larger, the less sure it is. Of a passage that is longer
    than the model reads, `window` is the best of `windows` parts, in characters. `flags` say what
    is wrong with it (`empty`, `unfamiliar`, `truncated`). `highlight` is the sentence that answers
    best, if it was asked for.
    """

    index: int
    score: float
    spread: float
    id: Any = None
    window: Span | None = None
    windows: int = 1
    flags: tuple[Flag, ...] = ()
    highlight: Highlight | None = None


def check_top_n(top_n: int | None) -> None:
    """Raise `ValueError` for a `top_n` below 1."""
    if top_n is not None and top_n < 1:
        raise ValueError(f"top_n is {top_n}: ask for at least one passage, or leave it out")


def text_of(index: int, passage: Passage) -> str:
    """The text of the passage at `index`. Raises `ValueError` if it has none."""
    text = passage.get("text") if isinstance(passage, Mapping) else passage
    if not isinstance(text, str):
        raise ValueError(f'passage {index}: expected a string or {{"id", "text"}}, not {passage!r}')
    return text


def id_of(passage: Passage) -> Any:
    """The passage's id; None if it has none."""
    return None if isinstance(passage, str) else passage.get("id")
