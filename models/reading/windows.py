"""Windows: how a passage is read that is longer than the model reads at once.

It is cut by tokens into overlapping windows of three quarters of the model's room, which end at a
sentence if one ends in a window's second half. Each window with the query is a pair; the passage's
score is that of its best window, or as `Reading` says. A passage that fits is one window, itself.

Everything here is arithmetic on token positions; no text, no tokenizer, no model.

Example: 10 tokens, room for 5, overlap 1, no sentence ends: windows (0, 4), (3, 7), (6, 10).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

# What is around an answer hides it, the more the larger the window: full ones rank worse.
WIDTH = 0.75

WindowScore = Literal["max", "mean_top_k", "first"]
Side = Literal["right", "left"]
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """How passages are read.

    `max_windows` is how many windows of a passage are scored at most: of more, so many are chosen,
    spread evenly over the passage. `overlap_tokens` is how much two neighbours share at least, up
    to half a window. `score` makes the windows' scores the passage's: the best one, the mean of the
    best `top_k`, or the first window's, which alone is read then. With `max_tokens`, only so many
    of a passage are read; `side` says on which side the rest is left out.
    """

    max_windows: int = 32
    overlap_tokens: int = 40
    score: WindowScore = "max"
    top_k: int = 3
    max_tokens: int | None = None
    side: Side = "right"

    def __post_init__(self) -> None:
        for name in ("max_windows", "top_k"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: at least 1 is needed")
        if self.overlap_tokens < 0:
            raise ValueError(f"overlap_tokens is {self.overlap_tokens}: give 0 or more")


READING = Reading()


def with_limits(
    reading: Reading,
    *,
    max_windows: int | None = None,
    overlap_tokens: int | None = None,
    max_tokens: int | None = None,
    side: Side | None = None,
) -> Reading:
    """`reading` as a request wants it, None: as it is. It cannot have more windows read."""
    if (max_windows, overlap_tokens, max_tokens, side) == (None, None, None, None):
        return reading
    return replace(
        reading,
        max_windows=min(reading.max_windows, max_windows or reading.max_windows),
        overlap_tokens=reading.overlap_tokens if overlap_tokens is None else overlap_tokens,
        max_tokens=max_tokens,
        side=side or "right",
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """Which tokens each window of a passage has; `whole` says that together they have them all."""

    windows: tuple[Range, ...]
    whole: bool


def kept(count: int, reading: Reading) -> Range:
    """The tokens that are read of a passage of `count`."""
    most = reading.max_tokens
    if most is None or most >= count:
        return 0, count
    return (0, most) if reading.side == "right" else (count - most, count)


def plan(first: int, last: int, ends: Sequence[int], room: int, reading: Reading) -> Plan:
    """The windows of tokens `first` to `last`, exclusive, of which `room` can be read at once.

    `ends` are positions at which a sentence has ended, in order.
    """
    if last - first <= room:
        return Plan(((first, last),), whole=True)
    if reading.score == "first":
        stop = first + room
        cut = (first, stop) if reading.side == "right" else (last - room, last)
        return Plan((cut,), whole=False)
    width, overlap = _sizes(room, reading)
    found: list[Range] = []
    start = end = first
    while last - start > width:
        end = _last(ends, max(end + 1, start + width // 2), start + width) or start + width
        found.append((start, end))
        start = max(start + 1, _first(ends, end - overlap, end - 1) or end - overlap)
    found.append((start, last))
    if len(found) <= reading.max_windows:
        return Plan(tuple(found), whole=True)
    # The first and the last are among them, unless only one is wanted.
    gaps = max(1, reading.max_windows - 1)
    places = (round(n * (len(found) - 1) / gaps) for n in range(reading.max_windows))
    chosen = tuple(found[place] for place in places)
    ends_met = all(last >= first for (_, last), (first, _) in pairwise(chosen))
    return Plan(chosen, whole=ends_met and chosen[-1] == found[-1])


def estimate_windows(tokens: int, room: int, reading: Reading) -> tuple[int, int]:
    """About how many windows a passage of so many tokens has, and all their tokens."""
    if reading.max_tokens is not None:
        tokens = min(tokens, reading.max_tokens)
    if tokens <= room:
        return 1, tokens
    if reading.score == "first":
        return 1, room
    width, overlap = _sizes(room, reading)
    # Windows end at sentences, so they are not quite full.
    step = max(1, round(0.9 * (width - overlap)))
    windows = min(reading.max_windows, 1 + -(-(tokens - width) // step))
    return windows, min(windows * width, tokens + (windows - 1) * overlap)


def _sizes(room: int, reading: Reading) -> tuple[int, int]:
    """Tokens of a window, and how many of them it shares with the one before."""
    width = max(1, round(WIDTH * room))
    return width, min(reading.overlap_tokens, width // 2)


def _last(ends: Sequence[int], low: int, high: int) -> int | None:
    """The last of `ends` from `low` to `high`, both included."""
    place = bisect_right(ends, high) - 1
    return ends[place] if place >= 0 and ends[place] >= low else None


def _first(ends: Sequence[int], low: int, high: int) -> int | None:
    """The first of `ends` from `low` to `high`, both included."""
    place = bisect_left(ends, low)
    return ends[place] if place < len(ends) and ends[place] <= high else None
