from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as tokenizer_models

from retort.models.bundle import find_bundle, read_bundle
from retort.models.encoding import EncodedPair, PairEncoder, Truncation, UnreadableText
from tests.fake_bundle import make_encoder
from tests.tiny_texts import PASSAGES, QUERIES, WORDS

SPACES = ("  ", "\u00a0", "\u2003", "\u3000", "\n", "\t", "\u2028", " \u202f ")


@cache
def make_english() -> PairEncoder:
    return read_bundle(find_bundle("retort-small"), ["tokenizer.json"]).encoder()


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


@pytest.fixture
def english() -> PairEncoder:
    return make_english()


def ids(encoder: PairEncoder, text: str) -> list[int]:
    (encoded,) = encoder.encode_passages([text])
    found: list[int] = encoded.ids.tolist()
    return found


@pytest.mark.parametrize("token", ["[SEP]", "[CLS]", "[PAD]", "[UNK]", "[MASK]"])
def test_control_tokens_in_a_text_are_plain_text(english: PairEncoder, token: str) -> None:
    (pair,) = english.encode(f"what is {token}", [f"{token} bananas {token}"])
    (cls,), (sep,) = english.layout.before, english.layout.after
    assert pair.ids.tolist().count(cls) == 1
    assert pair.ids.tolist().count(sep) == 2
    assert ids(english, f"a {token} b") == ids(english, f"a [ {token[1:-1]} ] b")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_equivalent_texts_have_the_same_tokens(text: str) -> None:
    encoder = make_english()
    assert ids(encoder, unicodedata.normalize("NFC", text)) == ids(
        encoder, unicodedata.normalize("NFD", text)
    )


@given(st.lists(st.sampled_from(WORDS), min_size=1), st.sampled_from(SPACES))
def test_white_space_of_any_kind_and_amount_is_the_same(words: list[str], space: str) -> None:
    encoder = make_english()
    assert ids(encoder, space.join(words)) == ids(encoder, " ".join(words))


def test_a_tokenizer_that_tells_forms_and_spaces_apart_is_made_not_to() -> None:
    letters = {text: n for n, text in enumerate(("[PAD]", "[CLS]", "[SEP]", "a", "é", "e", "́"))}
    tokenizer = Tokenizer(tokenizer_models.WordLevel({**letters, "[UNK]": 9}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    encoder = PairEncoder(tokenizer)
    assert ids(encoder, "e\u0301 a") == ids(encoder, "\u00e9\u00a0a") == [4, 3]


def test_half_a_character_is_named(english: PairEncoder) -> None:
    for encode in (english.encode_passages, english.encode_queries):
        with pytest.raises(UnreadableText) as caught:
            encode(["ok", "cut \ud83d"])
        assert caught.value.index == 1


def test_white_space_costs_nothing(english: PairEncoder) -> None:
    answer = "The tower is 330 metres tall."
    for blank in (" " * 4_000, "\n" * 300_000, "\u3000 " * 20_000):
        text = blank + answer
        encoded, layout = english.lay_out(text)
        assert encoded.ids.tolist() == ids(english, answer)
        assert encoded.whole
        assert layout.span((0, len(encoded.ids))) == (len(blank), len(text))


def test_pieces_of_a_long_text_have_the_tokens_of_the_whole(english: PairEncoder) -> None:
    text = "The tower, 330 metres tall, stands in Paris. It was built in 1889. " * 900
    encoded, layout = english.lay_out(text)
    (whole,) = english._tokenizer.encode_batch([text], add_special_tokens=False)
    assert encoded.ids.tolist() == whole.ids
    assert list(zip(layout.starts.tolist(), layout.ends.tolist(), strict=True)) == whole.offsets
    ends = [whole.ids[end - 1] for end in layout.sentence_ends]
    assert set(ends) == set(ids(english, "."))
    assert 1_790 <= len(ends) <= 1_800
    assert encoded.ids.tolist() == ids(english, text)


def test_an_enormous_text_is_read_here_and_there(english: PairEncoder) -> None:
    text = " ".join(str(n) for n in range(200_000))
    encoded, layout = english.lay_out(text)
    assert not encoded.whole
    assert len(encoded.ids) < 300_000
    assert layout.starts[0] == 0
    assert layout.ends[-1] == len(text)


QUESTION = "how tall is the eiffel tower?"
PREAMBLE = "I went to Paris last year with some friends and we saw many things there. " * 4


@pytest.mark.parametrize(
    ("query", "kept", "cut"),
    [
        (PREAMBLE + QUESTION, QUESTION, "head"),
        (QUESTION + " " + PREAMBLE, QUESTION, "tail"),
        (PREAMBLE + QUESTION + " " + PREAMBLE, QUESTION, "both"),
        (PREAMBLE + "how tall is the eiffel tower", "how tall is the eiffel tower", "head"),
        (PREAMBLE + "Is it old? " + QUESTION, "Is it old? " + QUESTION, "head"),
        ("What is it? " + PREAMBLE + QUESTION, "What is it? " + QUESTION, "middle"),
        (" " * 5_000 + QUESTION, QUESTION, None),
        (" " * 50_000 + QUESTION, QUESTION, None),
        (" " * 500_000 + QUESTION + " " * 500_000, QUESTION, None),
        (PREAMBLE * 200 + QUESTION, QUESTION, "head"),
        (PREAMBLE * 2_000 + QUESTION, QUESTION, "head"),
    ],
)
def test_a_long_query_keeps_its_question(
    english: PairEncoder, query: str, kept: str, cut: str | None
) -> None:
    encoded = english.encode_query(query)
    assert encoded.ids.tolist() == ids(english, kept)
    assert encoded.cut == cut


NUMBERS = "What is the next number in the sequence " + ", ".join(map(str, range(1_000, 1_030)))


@pytest.mark.parametrize("end", [" ... ?", " ?", " ... ? ?!", '. "?"'])
def test_a_mark_that_stands_alone_is_no_question(english: PairEncoder, end: str) -> None:
    encoded = english.encode_query(NUMBERS + end)
    assert len(encoded.ids) == english.truncation.max_query_tokens
    assert encoded.ids[:5].tolist() == ids(english, "What is the next number")


def test_of_a_long_query_words_between_signs_are_read(english: PairEncoder) -> None:
    encoded = english.encode_query("!" * 100 + " how tall is it " + "?" * 100)
    assert encoded.ids[:4].tolist() == ids(english, "how tall is it")
    assert (encoded.words.tokens, encoded.cut) == (4, "both")


def test_a_long_query_that_asks_nothing_keeps_both_ends(english: PairEncoder) -> None:
    words = [f"word{n}" for n in range(60)]
    encoded = english.encode_query(" ".join(words))
    every = ids(english, " ".join(words))
    limit = english.truncation.max_query_tokens
    assert encoded.ids.tolist() == every[: limit // 2] + every[-(limit // 2) :]
    assert encoded.cut == "middle"


def test_a_query_that_fits_is_not_touched(english: PairEncoder) -> None:
    query = "I was in Paris. How tall is it? It looked tall."
    encoded = english.encode_query(query)
    assert (encoded.ids.tolist(), encoded.cut) == (ids(english, query), None)
