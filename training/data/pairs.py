"""A pair: one query and one passage, perhaps with a label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# What reviews are asked, one and all. An instruction is no text that could leak.
REVIEW_QUERY = "is this review positive"
INSTRUCTIONS = frozenset({REVIEW_QUERY})


@dataclass(frozen=True, slots=True)
class Pair:
    """`label` is 1 for an answer, 0 for none, between them for a published teacher score."""

    query: str
    passage: str
    label: float | None = None
    query_id: str = ""
    passage_id: str = ""

    @property
    def query_key(self) -> str:
        """What tells its query from others: `query_id`, or the query's text where there is none."""
        return self.query_id or self.query

    @property
    def key(self) -> int:
        """64-bit content key; two pairs share one with probability n²/2⁶⁵ (3e-8 for a million)."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(self.query.encode())
        digest.update(b"\x00")
        digest.update(self.passage.encode())
        return int.from_bytes(digest.digest(), "little")


def normalise(text: str) -> str:
    """Lower case, word characters only, single spaces: how two copies of a text are recognised.

    Example: `normalise("Who's  there ?")` is `"who s there"`.
    """
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


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
