"""Mixed requests: real questions with few or many passages, and as many variations as wanted.

A file that has many passages to a question, as the public sets have, is taken as it is. One that
has few, as the extract that ships, is filled up to counts from 1 to 60 that are as often below 8
as above. The variations have the lengths and the words of real passages, and none comes twice:
what a server keeps of texts it has seen does not help it with them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from retort.loadtest.extract import read_ranking_requests
from retort.loadtest.texts import Request, pair_count, read_requests

MOST_PASSAGES = 60
# From this many passages to a question on, a file's own counts are those of a search.
A_SEARCH = 5
# Requests between which a step alternates: enough for every length to meet every other.
ENOUGH = 2000


def mixed_requests(path: Path, *, seed: int = 0) -> list[Request]:
    """Requests of real texts in a random order, with real or drawn counts of passages.

    Raises `ValueError` if the file is not of the format.
    """
    chance = random.Random(seed)
    own = read_requests(path, passages=MOST_PASSAGES)
    if pair_count(own) >= A_SEARCH * len(own):
        chance.shuffle(own)
        return own[:ENOUGH]
    passages = {text for request in own for text in request.passages}
    most = min(MOST_PASSAGES, len(passages))
    full = read_ranking_requests(path, passages=most)
    chance.shuffle(full)
    return [Request(r.query, r.passages[: drawn_count(chance, most)]) for r in full]


def drawn_count(chance: random.Random, most: int) -> int:
    """A count from 1 to `most`: every doubling is as likely as the next."""
    return min(most, int(math.exp(chance.uniform(0.0, math.log(most + 1)))))


def varied_requests(
    real: Sequence[Request], *, requests: int, passages: int | None = None, seed: int = 0
) -> Iterator[Request]:
    """Requests of passages made of real ones, of `passages` each or of drawn counts."""
    chance = random.Random(seed)
    texts = [text.split() for request in real for text in request.passages]
    for _ in range(requests):
        count = passages or drawn_count(chance, MOST_PASSAGES)
        yield Request(
            chance.choice(real).query, tuple(_variation(chance, texts) for _ in range(count))
        )


def _variation(chance: random.Random, texts: Sequence[Sequence[str]]) -> str:
    words = [*chance.choice(texts), *chance.choice(texts)]
    # Two numbers make it a text of its own, wherever it was cut.
    length = max(1, len(chance.choice(texts)) - 1)
    start = chance.randrange(max(1, len(words) - length))
    return " ".join([*words[start : start + length], f"{chance.randrange(10**6)}"])
