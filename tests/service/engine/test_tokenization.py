from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from retort.service.engine.pairs import Pairs
from retort.service.engine.tokenization import (
    MAX_KEPT_CHARACTERS,
    Tokenization,
    estimate_tokens,
)
from tests.fake_bundle import TRUNCATION, make_encoder
from tests.tiny_texts import PASSAGES, QUERIES


def test_an_estimate_is_never_more_than_the_longest_pairs() -> None:
    assert estimate_tokens(["q"], ["p" * 10**6] * 3, TRUNCATION) == 3 * TRUNCATION.max_length
    assert estimate_tokens(["q" * 10**6], ["p"], TRUNCATION) <= TRUNCATION.max_length
    assert estimate_tokens(["q"], [""], TRUNCATION) >= 1
    assert estimate_tokens(["q", "q"], ["p", "p"], TRUNCATION) == estimate_tokens(
        ["q"], ["p", "p"], TRUNCATION
    )


class Lookups:
    """Counts what the cache tells."""

    hits = misses = 0

    def __call__(self, hits: int, misses: int) -> None:
        self.hits += hits
        self.misses += misses


def ids(tokenization: Tokenization, passages: list[str]) -> list[bytes]:
    return [tokens.ids for tokens in tokenization.passages(passages)]


def test_a_chunk_holds_the_pairs_of_the_encoder() -> None:
    encoder = make_encoder()
    tokenization = Tokenization(encoder)
    passages = [*PASSAGES, "", "old " * 100]
    for query in (QUERIES[0], "paris " * 100):
        chunk = tokenization.chunk(tokenization.queries([query]), tokenization.passages(passages))
        found, right = chunk.pairs(), Pairs.of(encoder.encode(query, passages))
        assert found.ids.tolist() == right.ids.tolist()
        assert found.lengths.tolist() == right.lengths.tolist()
        assert found.boundaries.tolist() == right.boundaries.tolist()
        assert found.truncated == right.truncated
        assert (len(chunk), chunk.tokens) == (len(passages), right.tokens)


def test_each_passage_may_have_its_own_query() -> None:
    encoder = make_encoder()
    tokenization = Tokenization(encoder)
    chunk = tokenization.chunk(
        tokenization.queries(QUERIES), tokenization.passages(PASSAGES)
    ).pairs()
    right = [encoder.encode(q, [p])[0] for q, p in zip(QUERIES, PASSAGES, strict=True)]
    assert chunk.ids.tolist() == Pairs.of(right).ids.tolist()


def test_kept_tokens_are_those_of_a_fresh_encoding() -> None:
    encoder, lookups = make_encoder(), Lookups()
    tokens, fresh = Tokenization(encoder, 10, lookups), Tokenization(encoder)
    passages = [*PASSAGES, PASSAGES[0], ""]
    assert tokens.new_characters(passages) > 0
    assert ids(tokens, passages) == ids(fresh, passages)
    assert tokens.new_characters(passages) == 0
    assert (lookups.hits, lookups.misses, len(tokens)) == (1, 5, 5)
    assert ids(tokens, passages[::-1]) == ids(fresh, passages[::-1])
    assert (lookups.hits, lookups.misses) == (7, 5)
    assert len(fresh) == 0


def test_what_was_asked_for_longest_ago_is_forgotten_first() -> None:
    lookups = Lookups()
    tokens = Tokenization(make_encoder(), 2, lookups)
    for text in ("paris", "tower", "paris", "city"):
        tokens.passages([text])
    assert (lookups.hits, lookups.misses, len(tokens)) == (1, 3, 2)
    tokens.passages(["paris", "city"])
    assert lookups.hits == 3
    tokens.passages(["tower"])
    assert lookups.misses == 4


def test_more_passages_at_once_than_are_kept() -> None:
    encoder = make_encoder()
    tokens = Tokenization(encoder, 3)
    passages = [f"paris {n}" for n in range(20)]
    assert ids(tokens, passages) == ids(Tokenization(encoder), passages)
    assert len(tokens) == 3


def test_long_texts_are_not_kept() -> None:
    tokens = Tokenization(make_encoder(), 10)
    long = "a" * (MAX_KEPT_CHARACTERS + 1)
    assert tokens.passages([long])[0].truncated
    assert len(tokens) == 0


def test_threads_share_it() -> None:
    encoder, lookups = make_encoder(), Lookups()
    tokens = Tokenization(encoder, 5, lookups)
    rounds = [[f"paris {(n * k) % 11}" for k in range(9)] for n in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda passages: ids(tokens, passages), rounds))
    assert found == [ids(Tokenization(encoder), passages) for passages in rounds]
    assert len(tokens) == 5
