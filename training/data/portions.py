"""Portions: parts of a split that this project cuts itself, the same for everyone, always.

Pairs that share a text, directly or through others, stay together, so no query and no passage of
one part stands in another. Where a part begins and ends follows from the texts alone: a hash of
the group's alphabetically first text gives it a place from 0 to 1.

Example: `cut(pairs, 0.9, 1.0)` is about one pair in ten, and shares no text with
`cut(pairs, 0.0, 0.9)`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from retort.training.data.pairs import Pair, normalise, texts_of


def cut(pairs: Iterable[Pair], low: float, high: float) -> list[Pair]:
    """The pairs whose group has its place at `low` or above and below `high`, in their order."""
    rows = list(pairs)
    return [
        pair
        for pair, first in zip(rows, first_texts(rows), strict=True)
        if low <= place(first) < high
    ]


def place(text: str) -> float:
    """A number from 0 (included) to 1 (excluded), drawn from the text as `normalise` leaves it."""
    digest = hashlib.blake2b(normalise(text).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "little") / 2**48


def first_texts(pairs: Sequence[Pair]) -> list[str]:
    """For each pair the alphabetically first text of all the pairs that it is tied to."""
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            parent[text] = parent[parent[text]]
            text = parent[text]
        return text

    for pair in pairs:
        first, *others = (root(text) for text in texts_of(pair))
        for other in others:
            # The lesser text becomes the root, so a root is always the first of its group.
            parent[max(first, other)] = min(first, other)
    return [root(texts_of(pair)[0]) for pair in pairs]
