from __future__ import annotations

import numpy as np
import pytest

from retort.models.bundle import find_bundle, read_bundle
from retort.models.encoding import EncodedText, PairEncoder


@pytest.fixture(scope="module")
def english() -> PairEncoder:
    return read_bundle(find_bundle("retort-small"), ["tokenizer.json"]).encoder()


def encoded(encoder: PairEncoder, text: str) -> EncodedText:
    return encoder.encode_passages([text])[0]


@pytest.mark.parametrize(
    "text",
    [
        "How tall is the Eiffel tower? 330 metres.",
        "α-tocopherol and β-carotene are vitamins of plants.",
        "Order 66-B7, 2019-04-01, 12:30.",
        "ok",
    ],
)
def test_english_is_familiar(english: PairEncoder, text: str) -> None:
    assert not encoded(english, text).words.unfamiliar


@pytest.mark.parametrize(
    "text",
    [
        "Как высока Эйфелева башня в Париже",
        "埃菲尔铁塔有多高",
        "エッフェル塔の高さ",
        "ความสูงของหอไอเฟล",
        "πόσο ψηλός είναι ο πύργος",
        "😀😀",
        "x" * 300,
    ],
)
def test_other_scripts_and_junk_have_nothing_known(english: PairEncoder, text: str) -> None:
    words = encoded(english, text).words
    assert words.tokens
    assert words.known == 0
    assert words.unfamiliar


@pytest.mark.parametrize(
    "text", ["asdkjh qwlkeh zxcmnb qpwoei", "Wie hoch ist der Eiffelturm in Paris eigentlich"]
)
def test_what_is_spelled_is_unfamiliar_but_known(english: PairEncoder, text: str) -> None:
    words = encoded(english, text).words
    assert words.known
    assert words.unfamiliar


@pytest.mark.parametrize("text", ["", "  ", "\x00\x00", "\u200b", "... !?", "[](){}"])
def test_nothing_but_marks_is_no_word(english: PairEncoder, text: str) -> None:
    assert encoded(english, text).words.tokens == 0


def test_each_text_is_counted_by_itself(english: PairEncoder) -> None:
    texts = ["one two", "", "埃菲尔", "three"]
    together = english.encode_passages(texts)
    alone = [encoded(english, text) for text in texts]
    assert [text.words for text in together] == [text.words for text in alone]
    assert english.vocabulary.words([np.zeros(0, np.int64)])[0].tokens == 0


def test_very_many_tokens_are_counted_right(english: PairEncoder) -> None:
    inner = english._tokenizer.token_to_id("##ing")
    texts = [np.full(1_500_000, inner), np.full(1_500_000, inner), np.full(3, inner)]
    counts = english.vocabulary.words(texts)
    assert [(words.tokens, words.inner) for words in counts] == [(len(t), len(t)) for t in texts]
