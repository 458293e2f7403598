"""Demand: what is asked, as token counts of real pairs, and how many pairs a request has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from retort.loadtest.extract import EXTRACT, read_ranking_requests
from retort.loadtest.texts import Request, encode, read_requests
from retort.models.encoding import PairEncoder

# More neighbours of one query than any data set has: a request of a file is taken as it stands.
ALL_OF_A_QUERY = 10_000


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests to draw from, each the token counts of its pairs in the order of its passages.

    With `most`, a drawn request has only its first pairs: from 1 to `most` of them, every factor
    as likely (as many requests have 2 to 4 as have 8 to 16).
    """

    requests: tuple[tuple[int, ...], ...]
    most: int | None = None

    def __post_init__(self) -> None:
        if not any(self.requests) or not all(self.requests):
            raise ValueError("a demand needs at least one request, and each at least one pair")

    def draw(self, chance: Random) -> tuple[int, ...]:
        """Draw a request, with replacement."""
        lengths = chance.choice(self.requests)
        if self.most is None:
            return lengths
        return lengths[: int((self.most + 1) ** chance.random())]

    def of_pairs(self, count: int) -> Demand:
        """The same pairs in requests of exactly `count`, repeated where a request has fewer."""
        return Demand(tuple(_repeated(lengths, count) for lengths in self.requests))

    def between(self, low: float, high: float, count: int) -> Demand:
        """The pairs of that part of the order by length, dealt out to requests of `count`.

        Example: `between(0.0, 0.25, 10)` has the shortest quarter of the pairs.
        """
        pairs = sorted(length for request in self.requests for length in request)
        first = min(int(low * len(pairs)), len(pairs) - 1)
        pairs = pairs[first : max(first + 1, int(high * len(pairs)))]
        hands = max(1, len(pairs) // count)
        return Demand(tuple(_repeated(pairs[hand::hands], count) for hand in range(hands)))


def read_demand(encoder: PairEncoder, pairs: Path | None, passages: int) -> Demand:
    """Read the demand of a file of `query<TAB>passage` lines, one request for each query.

    Without a file it is the extract that ships: each question with the up to `passages` passages
    that share most words with it, of which a request has the first few. Raises `ValueError` with
    the line at fault.
    """
    if pairs is not None:
        return Demand(_encoded(encoder, read_requests(pairs, passages=ALL_OF_A_QUERY)))
    requests = read_ranking_requests(EXTRACT, passages=passages)
    return Demand(_encoded(encoder, requests), most=passages)


def _encoded(encoder: PairEncoder, requests: Sequence[Request]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(len(pair) for pair in encode(encoder, request)) for request in requests)


def _repeated(lengths: Sequence[int], count: int) -> tuple[int, ...]:
    return tuple(lengths[index % len(lengths)] for index in range(count))
