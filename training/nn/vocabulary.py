"""Vocabularies that do not know a text: how many of its tokens stand for nothing known.

A student whose vocabulary lacks the script of its texts reads one `[UNK]` after another and can
learn nothing of them, whatever its teachers say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from retort.failures import reading
from retort.models.bundle import TOKENIZER_FILE, find_bundle, read_bundle
from retort.training.data.pairs import Pair, spread_sample
from retort.training.nn.backbone import BackboneError, is_bundle, locate_backbone, tokenizer_file
from retort.training.recipes.kinds import is_checkpoint

UNKNOWN_BOUND = 0.05  # a larger share of unknown tokens is warned of; of English texts it is below
SAMPLE = 1_000  # pairs that are looked at, spread evenly


@dataclass(frozen=True, slots=True)
class Unknown:
    """How many of the tokens of so many texts are unknown."""

    texts: int
    tokens: int
    unknown: int

    @property
    def share(self) -> float:
        """Of all tokens, from 0 to 1."""
        return self.unknown / self.tokens if self.tokens else 0.0

    @property
    def too_many(self) -> bool:
        """Whether the share is above `UNKNOWN_BOUND`."""
        return self.share > UNKNOWN_BOUND

    def __str__(self) -> str:
        return (
            f"{self.share:.1%} of {self.tokens} tokens of {self.texts} texts are unknown "
            f"(bound {UNKNOWN_BOUND:.0%})"
        )


def unknown_tokens(tokenizer: Path, texts: Sequence[str]) -> Unknown:
    """What the vocabulary of a `tokenizer.json` knows of these texts, each read whole.

    A tokenizer that falls back to bytes knows every text. Raises `ValueError` for a file that is
    no tokenizer.
    """
    with reading(tokenizer, "a tokenizer"):
        loaded = Tokenizer.from_file(str(tokenizer))
    loaded.no_truncation()
    loaded.no_padding()
    known = json.loads(loaded.to_str())["model"]
    token = known.get("unk_token")
    if known.get("unk_id") is not None:  # Unigram's vocabulary is a list
        token = known["vocab"][known["unk_id"]][0]
    number = None if token is None else loaded.token_to_id(token)
    encoded = loaded.encode_batch(list(texts), add_special_tokens=False)
    return Unknown(
        len(texts),
        sum(len(text.ids) for text in encoded),
        sum(text.ids.count(number) for text in encoded) if number is not None else 0,
    )


def unknown_in_pairs(tokenizer: Path, pairs: Sequence[Pair]) -> Unknown:
    """`unknown_tokens` of the distinct texts of at most `SAMPLE` of these pairs."""
    chosen = spread_sample(pairs, SAMPLE)
    return unknown_tokens(
        tokenizer, list(dict.fromkeys(t for pair in chosen for t in (pair.query, pair.passage)))
    )


def unknown_warning(name: str, found: Unknown) -> str:
    """What to say of a model to which texts are so much unknown; "" where they are not."""
    if not found.too_many:
        return ""
    return (
        f"warning: the vocabulary of {name} does not know these texts: {found}. Texts that read "
        "alike to it get the same score; take a model of their language"
    )


def place_warning(place: str, pairs: Sequence[Pair]) -> str:
    """As `unknown_warning`, of the model at a place; "" also where no `tokenizer.json` is there."""
    try:
        tokenizer = tokenizer_of(place)
    except BackboneError:  # its tokenizer is of another form, which tells no such thing
        return ""
    return unknown_warning(place, unknown_in_pairs(tokenizer, pairs))


def tokenizer_of(place: str) -> Path:
    """The `tokenizer.json` of a checkpoint, bundle, package, folder or model of the hub.

    Raises `BackboneError` or `BundleError` where there is none.
    """
    if is_checkpoint(place):
        return Path(place) / TOKENIZER_FILE
    if is_bundle(place):
        return read_bundle(find_bundle(place)).tokenizer_path
    return tokenizer_file(locate_backbone(place))
