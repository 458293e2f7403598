"""The trace: real requests of unlike sizes, in an order that is the same for every candidate."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.loadtest.extract import EXTRACT, read_ranking_requests
from retort.loadtest.texts import Request, encode, pair_count, read_requests
from retort.models.encoding import PairEncoder

# A search gives tens of candidates; more than these are rare, and would rule every p99.
MOST_PASSAGES = 60


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests, and what one says of them."""

    requests: tuple[Request, ...]
    described: str


def read_trace(encoder: PairEncoder, *, pairs: Path | None, passages: int) -> Trace:
    """The requests of a file as they are; without one the extract, with counts of passages drawn.

    Raises `ValueError` for a file of another format, or for more passages than the extract has.
    """
    if pairs is not None:
        requests = read_requests(pairs, passages=MOST_PASSAGES)
    else:
        filled = read_ranking_requests(EXTRACT, passages=MOST_PASSAGES)
        requests = cut(filled, passages)
    return Trace(tuple(requests), describe((pairs or EXTRACT).name, encoder, requests))


def cut(requests: Sequence[Request], mean: int, seed: int = 0) -> list[Request]:
    """Keep of each request's passages a number drawn from a geometric distribution.

    Many requests are short and a few are long; `mean` is what there are on average, a little less
    where a request has no more.
    """
    chance = random.Random(seed)

    def count() -> int:
        if mean <= 1:
            return 1
        return 1 + math.floor(math.log(1 - chance.random()) / math.log(1 - 1 / mean))

    return [Request(request.query, request.passages[: count()]) for request in requests]


def describe(name: str, encoder: PairEncoder, requests: Sequence[Request]) -> str:
    """What the requests are, in one line."""
    counts = sorted(len(request.passages) for request in requests)
    lengths = [len(pair) for request in requests for pair in encode(encoder, request)]
    return (
        f"{len(requests)} questions of {name} with {counts[0]} to {counts[-1]} passages, mean "
        f"{pair_count(requests) / len(requests):.1f}, {min(lengths)} to {max(lengths)} tokens a "
        f"pair, mean {sum(lengths) / len(lengths):.0f}"
    )
