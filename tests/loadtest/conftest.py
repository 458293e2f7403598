"""Fixtures of the load tests: a tokenizer that keeps whole words."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from retort.loadtest.traffic import WORDS
from retort.models.encoding import PairEncoder, Truncation


@pytest.fixture
def encoder() -> PairEncoder:
    """Pairs of up to 64 tokens, of which the query has up to 16; one word is one token."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PairEncoder(tokenizer, Truncation(64, 16))
