"""Texts and a tokenizer for tests: a vocabulary of a few dozen words and every character."""

from __future__ import annotations

import re
import string

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from retort.models.golden import MIN_GOLDEN_PAIRS

WORDS = tuple(
    re.findall(
        r"\w+",
        "how tall is the eiffel tower who wrote hamlet where paris in france metres a of and play "
        "was by capital city river does what when old",
    )
)
QUERIES = (
    "how tall is the eiffel tower",
    "who wrote hamlet",
    "where is paris",
    "what is the capital of france",
)
PASSAGES = (
    "The tower is 330 metres tall.",
    "Paris is in France.",
    "Hamlet is a play by Shakespeare.",
    "The river was old and the city by the river was old.",
)


def make_tokenizer() -> Tokenizer:
    """A WordPiece tokenizer that knows `WORDS` and every printable character."""
    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *characters]
    pieces += [f"##{character}" for character in characters]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def golden_texts() -> list[tuple[str, str]]:
    """As many different pairs as a bundle needs, of many lengths."""
    texts = [(query, passage) for query in QUERIES for passage in PASSAGES]
    for count in range(MIN_GOLDEN_PAIRS - len(texts)):
        words = " ".join(WORDS[(count + step) % len(WORDS)] for step in range(1 + count))
        texts.append((QUERIES[count % len(QUERIES)], words))
    return texts
