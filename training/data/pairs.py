"""A pair: one query and one passage, perhaps with a label; and how pairs are put apart.

`cut` parts a data set so that no two parts share text: pairs that share a query or a passage,
directly or through others, are a group, and a group stays together. Where a part begins and ends
follows from the texts alone: a hash of the group's alphabetically first text gives it a place from
0 to 1.

Example: `cut(pairs, 0.9, 1.0)` is about one pair in ten, and shares no text with
`cut(pairs, 0.0, 0.9)`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# The query of every review. An instruction is no text that could leak.
REVIEW_QUERY = "is this review positive"
INSTRUCTIONS = frozenset({REVIEW_QUERY})
# A passage is right where its label is at least this: of grades, half of the largest.
RIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Pair:
    """`label` is 1 for an answer, 0 for none; between them a grade or a published score."""

    query: str
    passage: str
    label: float | None = None
    query_id: str = ""
    passage_id: str = ""

    @property
    def right(self) -> bool:
        """Whether its label counts as an answer; without a label it does not."""
        return (self.label or 0.0) >= RIGHT

    @property
    def query_key(self) -> str:
        """What tells its query from others: `query_id`, or the query's text where there is none."""
        return self.query_id or self.query

    @property
    def key(self) -> int:
        """64-bit content key; two pairs share one with probability n²/2⁶⁵ (3e-8 for a million)."""
        return content_key(self.query, self.passage)


def content_key(query: str, passage: str) -> int:
    """The key of a pair of these texts (`Pair.key`)."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(query.encode())
    digest.update(b"\x00")
    digest.update(passage.encode())
    return int.from_bytes(digest.digest(), "little")


def normalise(text: str) -> str:
    """Lower case, word characters only, single spaces: how two copies of a text are recognised.

    Marks that combine with a letter, such as the vowels of Thai and Hindi, are part of the word.

    Example: `normalise("Who's  there ?")` is `"who s there"`.
    """
    lower = unicodedata.normalize("NFC", text.lower())
    return " ".join("".join(c if c.isalnum() or _is_mark(c) else " " for c in lower).split())


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def texts_of(pair: Pair) -> list[str]:
    """The pair's texts, normalised: query and passage, or the passage alone under an instruction.

    Example: `texts_of(Pair("is this review positive", "Fine!"))` is `["fine"]`.
    """
    texts = [normalise(pair.query), normalise(pair.passage)]
    return texts[1:] if texts[0] in INSTRUCTIONS else texts


def group_by_query(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """Pairs by `query_id` (by the query's text where there is none), in order of appearance."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.query_key, []).append(pair)
    return groups


def first_of_each_query(pairs: Sequence[Pair], depth: int | None) -> list[Pair]:
    """The first `depth` pairs of each query, in order of appearance; all where it is None."""
    return [pair for group in group_by_query(pairs).values() for pair in group[:depth]]


def answered(pairs: Sequence[Pair]) -> list[Pair]:
    """Leave out the queries without a right answer, as the literature reports MAP and MRR."""
    right = {pair.query_key for pair in pairs if pair.right}
    return [pair for pair in pairs if pair.query_key in right]


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


def spread_sample(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """At most `most` pairs, taken at equal distances."""
    return list(pairs[:: max(1, len(pairs) // most)][:most])
