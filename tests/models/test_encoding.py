from __future__ import annotations

import numpy as np
import pytest

from retort.models.encoding import EncodedPair, PairEncoder, Truncation
from tests.fake_bundle import make_encoder
from tests.tiny_texts import PASSAGES, QUERIES, WORDS


@pytest.fixture(scope="module")
def encoder() -> PairEncoder:
    return make_encoder(Truncation(max_length=24, max_query_tokens=8))


def test_collate_pads_every_row_as_it_would_alone(encoder: PairEncoder) -> None:
    pairs = [pair for query in QUERIES for pair in encoder.encode(query, PASSAGES)]
    batch = encoder.collate(pairs, length=30)
    assert batch.shape == (len(pairs), 30)
    for row, pair in enumerate(pairs):
        rest = 30 - len(pair)
        second = len(pair) - pair.boundary
        assert batch.input_ids[row].tolist() == pair.ids.tolist() + [encoder.pad_id] * rest
        assert batch.attention_mask[row].tolist() == [1] * len(pair) + [0] * rest
        segments = [0] * pair.boundary + [1] * second + [0] * rest
        assert batch.token_type_ids[row].tolist() == segments
    assert {batch.input_ids.dtype, batch.attention_mask.dtype} == {np.dtype(np.int64)}


def test_collate_pads_to_the_longest_unless_a_length_is_given(encoder: PairEncoder) -> None:
    pairs = [EncodedPair(np.arange(n), 2, False) for n in (4, 7, 5)]
    assert encoder.collate(pairs).shape == (3, 7)


def test_a_long_passage_is_cut_and_the_query_is_not(encoder: PairEncoder) -> None:
    (pair,) = encoder.encode("who wrote hamlet", [" ".join(WORDS * 50)])
    assert len(pair) == 24
    assert pair.truncated
    assert pair.boundary == 3 + 2


def test_a_long_query_leaves_room_for_the_passage(encoder: PairEncoder) -> None:
    (pair,) = encoder.encode(" ".join(WORDS * 50), ["paris is in france"])
    assert pair.truncated
    assert pair.boundary == 8 + 2
    assert len(pair) == 8 + 3 + 4


def test_a_pair_that_fits_exactly_is_not_truncated(encoder: PairEncoder) -> None:
    (pair,) = encoder.encode("paris", [" ".join(["tower"] * 20)])
    assert len(pair) == 24
    assert not pair.truncated


def test_an_empty_passage_is_a_pair(encoder: PairEncoder) -> None:
    (pair,) = encoder.encode("paris", [""])
    assert len(pair) == 4
    assert not pair.truncated
