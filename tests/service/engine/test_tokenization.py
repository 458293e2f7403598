from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from retort.service.engine.tokenization import (
    MAX_KEPT_CHARACTERS,
    PassageTokens,
    estimate_tokens,
)
from tests.fake_bundle import TRUNCATION, make_encoder
from tests.tiny_texts import PASSAGES


def test_an_estimate_is_never_more_than_the_longest_pairs() -> None:
    assert estimate_tokens("q", ["p" * 10**6] * 3, TRUNCATION) == 3 * TRUNCATION.max_length
    assert estimate_tokens("q" * 10**6, ["p"], TRUNCATION) <= TRUNCATION.max_length
    assert estimate_tokens("q", [""], TRUNCATION) >= 1


class Lookups:
    """Counts what the cache tells."""

    hits = misses = 0

    def __call__(self, hits: int, misses: int) -> None:
        self.hits += hits
        self.misses += misses


def ids(tokens: PassageTokens, passages: list[str]) -> list[list[int]]:
    return [encoded.ids.tolist() for encoded in tokens.encode(passages)]


def test_kept_tokens_are_those_of_a_fresh_encoding() -> None:
    encoder, lookups = make_encoder(), Lookups()
    tokens, fresh = PassageTokens(encoder, 10, lookups), PassageTokens(encoder)
    passages = [*PASSAGES, PASSAGES[0], ""]
    assert ids(tokens, passages) == ids(fresh, passages)
    assert (lookups.hits, lookups.misses, len(tokens)) == (1, 5, 5)
    assert ids(tokens, passages[::-1]) == ids(fresh, passages[::-1])
    assert (lookups.hits, lookups.misses) == (7, 5)
    assert len(fresh) == 0


def test_what_was_asked_for_longest_ago_is_forgotten_first() -> None:
    lookups = Lookups()
    tokens = PassageTokens(make_encoder(), 2, lookups)
    for text in ("paris", "tower", "paris", "city"):
        tokens.encode([text])
    assert (lookups.hits, lookups.misses, len(tokens)) == (1, 3, 2)
    tokens.encode(["paris", "city"])
    assert lookups.hits == 3
    tokens.encode(["tower"])
    assert lookups.misses == 4


def test_more_passages_at_once_than_are_kept() -> None:
    encoder = make_encoder()
    tokens = PassageTokens(encoder, 3)
    passages = [f"paris {n}" for n in range(20)]
    assert ids(tokens, passages) == ids(PassageTokens(encoder), passages)
    assert len(tokens) == 3


def test_long_texts_are_not_kept() -> None:
    tokens = PassageTokens(make_encoder(), 10)
    long = "a" * (MAX_KEPT_CHARACTERS + 1)
    assert tokens.encode([long])[0].truncated
    assert len(tokens) == 0


def test_threads_share_it() -> None:
    encoder, lookups = make_encoder(), Lookups()
    tokens = PassageTokens(encoder, 5, lookups)
    rounds = [[f"paris {(n * k) % 11}" for k in range(9)] for n in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda passages: ids(tokens, passages), rounds))
    assert found == [ids(PassageTokens(encoder), passages) for passages in rounds]
    assert len(tokens) == 5
