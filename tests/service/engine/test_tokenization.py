from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from retort.models.reading.passages import ReadPassage
from retort.models.reading.windows import Reading
from retort.service.engine.pairs import Pairs
from retort.service.engine.tokenization import (
    MAX_KEPT_CHARACTERS,
    Tokenization,
    estimate_tokens,
)
from retort.service.engine.wire import Chunk
from tests.fake_bundle import TRUNCATION, make_encoder
from tests.tiny_texts import PASSAGES, QUERIES

READING = Reading()


def estimate(queries: list[str], passages: list[str], reading: Reading = READING) -> int:
    return estimate_tokens(queries, passages, TRUNCATION, 3, reading)


def test_an_estimate_counts_every_window_and_never_more_than_the_longest_pairs() -> None:
    most = TRUNCATION.max_length
    assert estimate(["q"], ["p" * 10**6] * 3, Reading(score="first")) == 3 * most
    every = estimate(["q"], ["p" * 10**6] * 3)
    assert 0.7 * 3 * most * READING.max_windows < every < 3 * most * READING.max_windows
    assert estimate(["q" * 10**6], ["p"]) <= most
    assert estimate(["q"], [""]) >= 1
    assert estimate(["q", "q"], ["p", "p"]) == estimate(["q"], ["p", "p"])


class Lookups:
    """Counts what the cache tells."""

    hits = misses = 0

    def __call__(self, hits: int, misses: int) -> None:
        self.hits += hits
        self.misses += misses


def ids(tokenization: Tokenization, passages: list[str]) -> list[bytes]:
    return [tokens.ids for tokens in tokenization.passages(passages)]


def pairs_of(
    tokenization: Tokenization,
    queries: Sequence[str],
    passages: Sequence[str],
    reading: Reading = READING,
) -> tuple[Chunk, list[ReadPassage | None]]:
    heads, tokens = tokenization.queries(queries), tokenization.passages(passages)
    read = tokenization.read(heads, passages, tokens, reading)
    return tokenization.chunk(heads, tokens, read), read


def test_a_chunk_holds_the_pairs_of_the_encoder() -> None:
    encoder = make_encoder()
    tokenization = Tokenization(encoder)
    for query in (QUERIES[0], "paris " * 100):
        chunk, read = pairs_of(tokenization, [query], PASSAGES)
        found, right = chunk.pairs(), Pairs.of(encoder.encode(query, PASSAGES))
        assert not any(read)
        assert found.ids.tolist() == right.ids.tolist()
        assert found.lengths.tolist() == right.lengths.tolist()
        assert found.boundaries.tolist() == right.boundaries.tolist()
        assert (len(chunk), chunk.tokens) == (len(PASSAGES), right.tokens)


@pytest.mark.parametrize("repeats", [60, 400])
def test_windows_are_slices_of_the_same_tokens(repeats: int) -> None:
    encoder = make_encoder()
    query, passages = QUERIES[0], [PASSAGES[0], "old paris tower. " * repeats, ""]
    chunk, read = pairs_of(Tokenization(encoder), [query], passages)
    head, (text, _) = encoder.encode_query(query), encoder.lay_out(passages[1])
    windows = read[1].windows if read[1] else ()
    assert len(windows) > 3
    right = [encoder.join(head, encoder.encode_passages([passages[0]])[0])]
    right += [encoder.join_window(head, text, window) for window in windows]
    assert chunk.pairs().ids.tolist() == Pairs.of(right).ids.tolist()
    assert len(chunk) == len(right)


def test_each_passage_may_have_its_own_query() -> None:
    encoder = make_encoder()
    chunk, _ = pairs_of(Tokenization(encoder), QUERIES, PASSAGES)
    right = [encoder.encode(q, [p])[0] for q, p in zip(QUERIES, PASSAGES, strict=True)]
    assert chunk.pairs().ids.tolist() == Pairs.of(right).ids.tolist()


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
    tokens.passages(["a" * (MAX_KEPT_CHARACTERS + 1)])
    assert len(tokens) == 0


def test_threads_share_it() -> None:
    encoder, lookups = make_encoder(), Lookups()
    tokens = Tokenization(encoder, 5, lookups)
    rounds = [[f"paris {(n * k) % 11}" for k in range(9)] for n in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda passages: ids(tokens, passages), rounds))
    assert found == [ids(Tokenization(encoder), passages) for passages in rounds]
    assert len(tokens) == 5
