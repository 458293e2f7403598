from __future__ import annotations

from service.tokenization import CHUNK_PASSAGES, encode_chunk, estimate_tokens
from tests.fake_bundle import TRUNCATION, make_encoder
from tests.tiny_texts import PASSAGES, QUERIES


def test_chunks_are_the_whole() -> None:
    encoder = make_encoder()
    passages = [f"{PASSAGES[n % 4]} {n}" for n in range(CHUNK_PASSAGES + 5)]
    query = encoder.encode_query(QUERIES[0])
    pairs = encode_chunk(encoder, query, passages, 0)
    assert len(pairs) == CHUNK_PASSAGES
    pairs += encode_chunk(encoder, query, passages, CHUNK_PASSAGES)
    whole = encoder.encode(QUERIES[0], passages)
    assert [pair.ids.tolist() for pair in pairs] == [pair.ids.tolist() for pair in whole]


def test_an_estimate_is_never_more_than_the_longest_pairs() -> None:
    assert estimate_tokens("q", ["p" * 10**6] * 3, TRUNCATION) == 3 * TRUNCATION.max_length
    assert estimate_tokens("q" * 10**6, ["p"], TRUNCATION) <= TRUNCATION.max_length
    assert estimate_tokens("q", [""], TRUNCATION) >= 1
