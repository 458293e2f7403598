"""Passages: what of them the model gets, and how the scores of their pairs become theirs.

Most passages fit, and are one pair with the query. One that does not fit is several, by
`windows.py`. One in which there is nothing that the model knows is none, and its score is 0: asked
about nothing, a model answers with a number that means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.models.arrays import FloatArray
from retort.models.reading.spans import Flag, Span
from retort.models.reading.vocabulary import Words
from retort.models.reading.windows import Range, Reading, kept, plan


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a text's tokens and sentences are.

    `starts` and `ends` (tokens,) are the tokens' character offsets in the text; `sentence_ends` are
    the positions of tokens before which a sentence has ended.
    """

    starts: NDArray[np.integer[Any]]
    ends: NDArray[np.integer[Any]]
    sentence_ends: tuple[int, ...]

    def span(self, window: Range) -> Span:
        """The part of the text that the tokens of `window` come from."""
        first, last = window
        return Span(int(self.starts[first]), int(self.ends[last - 1]))


@dataclass(frozen=True, slots=True)
class ReadPassage:
    """A passage that is not simply one pair.

    `windows` are token ranges, one for each of its pairs; `spans` are where they are in the text,
    none for a passage that fits.
    """

    windows: tuple[Range, ...]
    spans: tuple[Span, ...] = ()
    flags: tuple[Flag, ...] = ()


# With a query of which the model knows nothing.
NOT_READ = ReadPassage(())


@dataclass(frozen=True, slots=True)
class Note:
    """What there is to tell of a passage: flags, and the best of its `windows` if it has any."""

    window: Span | None = None
    windows: int = 1
    flags: tuple[Flag, ...] = ()


def read_passage(
    count: int,
    words: Words,
    whole: bool,
    room: int,
    reading: Reading,
    layout: Callable[[], Layout],
) -> ReadPassage | None:
    """How a passage of `count` tokens is read with a query that leaves `room`; None: as one pair.

    `whole` says that the tokens are all of it. `layout` is asked only if it is needed.
    """
    if not words.known:
        return ReadPassage((), flags=("unfamiliar" if words.tokens else "empty",))
    fits = count <= room
    if fits and whole and not words.unfamiliar and reading.max_tokens is None:
        return None
    first, last = kept(count, reading)
    there = None if fits else layout()
    ends: Sequence[int] = () if there is None else there.sentence_ends
    planned = plan(first, last, ends, room, reading)
    all_read = whole and planned.whole and last - first == count
    flags: list[Flag] = ["unfamiliar"] if words.unfamiliar else []
    if not all_read:
        flags.append("truncated")
    spans = () if there is None else tuple(there.span(window) for window in planned.windows)
    return ReadPassage(planned.windows, spans, tuple(flags))


def passage_score(scores: FloatArray, reading: Reading) -> tuple[float, int]:
    """A passage's score from those of its windows (windows,), and which window is the best."""
    best = int(scores.argmax())
    if reading.score == "mean_top_k":
        top = np.sort(scores)[-reading.top_k :]
        return float(top.mean()), best
    return float(scores[best]), best


def gather(
    passages: Sequence[ReadPassage | None],
    score: FloatArray,
    spread: FloatArray,
    missing: Sequence[int],
    reading: Reading,
) -> tuple[FloatArray, FloatArray, set[int], Mapping[int, Note]]:
    """From pairs to passages: `score` and `spread` (passages,), and what there is to tell.

    `score` and `spread` (pairs,) are the pairs', in order, of which those in `missing` have none.
    The third value holds the indices of passages without a score: a passage needs all of its pairs.
    """
    if not any(passages):
        return score, spread, set(missing), {}
    scores, spreads = np.zeros((2, len(passages)))
    lost: set[int] = set()
    notes: dict[int, Note] = {}
    row = 0
    without = set(missing)
    for index, passage in enumerate(passages):
        count = 1 if passage is None else len(passage.windows)
        if not without.isdisjoint(range(row, row + count)):
            lost.add(index)
        best = 0
        if count:
            own = score[row : row + count]
            scores[index], best = passage_score(own, reading)
            spreads[index] = spread[row + best]
        if passage is not None and (passage.spans or passage.flags):
            window = passage.spans[best] if passage.spans else None
            notes[index] = Note(window, count, passage.flags)
        row += count
    return scores, spreads, lost, notes
