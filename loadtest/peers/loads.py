"""The loads: the requests that every peer is sent.

fixed   10 passages of exactly 128 tokens, for comparison with other people's figures
real    real questions, as many passages as come: lengths and counts are mixed
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.loadtest.extract import EXTRACT, read_ranking_requests
from retort.loadtest.peers.names import LoadName
from retort.loadtest.texts import Request, encode, made_up_requests, pair_count, read_requests
from retort.models.encoding import PairEncoder

FIXED_PASSAGES = 10
FIXED_TOKENS = 128
FIXED_REQUESTS = 64
MOST_PASSAGES = 60


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests that are sent in turn; `words` says what they are."""

    name: LoadName
    words: str
    requests: tuple[Request, ...]

    @property
    def pairs(self) -> float:
        """Pairs of the mean request."""
        return pair_count(self.requests) / len(self.requests)


def fixed_load(encoder: PairEncoder) -> Workload:
    """The fixed load, made up; pairs are shorter where the bundle allows no 128 tokens."""
    tokens = min(FIXED_TOKENS, encoder.truncation.max_length)
    requests = made_up_requests(
        encoder, requests=FIXED_REQUESTS, passages=FIXED_PASSAGES, tokens=tokens
    )
    return Workload("fixed", f"{FIXED_PASSAGES} passages of {tokens} tokens", tuple(requests))


def real_load(encoder: PairEncoder, pairs: Path | None, seed: int = 0) -> Workload:
    """Requests of `pairs` as its neighbouring lines make them, or of the extract.

    The extract has one or two passages a question, filled up with others that share its words;
    how many a request gets is drawn log-uniformly from 1 to 60, so most are small. Raises
    `ValueError` for a file that is not of its format.
    """
    if pairs is not None:
        requests = read_requests(pairs, passages=MOST_PASSAGES)
        random.Random(seed).shuffle(requests)
        source = pairs.name
    else:
        requests = of_mixed_counts(read_ranking_requests(passages=MOST_PASSAGES), seed)
        source = EXTRACT.name
    lengths = [len(pair) for request in requests for pair in encode(encoder, request)]
    counts = [len(request.passages) for request in requests]
    words = (
        f"{len(requests)} questions of {source}, {min(counts)} to {max(counts)} passages each "
        f"(mean {sum(counts) / len(counts):.1f}), {min(lengths)} to {max(lengths)} tokens a pair "
        f"(mean {sum(lengths) / len(lengths):.0f})"
    )
    return Workload("real", words, tuple(requests))


def of_mixed_counts(requests: Sequence[Request], seed: int) -> list[Request]:
    """Each request with its first passages alone, as many as a log-uniform draw says."""
    chance = random.Random(seed)

    def cut(request: Request) -> Request:
        count = math.floor(math.exp(chance.uniform(0, math.log(len(request.passages) + 1))))
        return Request(request.query, request.passages[:count])

    return [cut(request) for request in requests]
