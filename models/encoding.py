"""Pair encoding: the one rule by which a query and a passage become token ids.

Training and serving both use it, so that a student never gets an input in production
of a shape that it was not trained on. The rule is part of the bundle (see `manifest.py`):

    [CLS] query [SEP] passage [SEP]        token types 0 … 0 1 … 1

A pair longer than `max_length` loses the end of its passage. A query is cut only past
`max_query_tokens`, so that a long query can never push the passage out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from retort.models.arrays import IntArray

# Only this many characters per token can matter: no English word piece of the vocabulary is
# longer, and a megabyte of text must not be tokenized to keep 200 tokens of it.
CHARS_PER_TOKEN = 32


@dataclass(frozen=True, slots=True)
class Truncation:
    """How long a pair may be, in tokens, special tokens included."""

    max_length: int = 192
    max_query_tokens: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.max_query_tokens <= self.max_length - 4:
            raise ValueError(
                f"max_query_tokens is {self.max_query_tokens} and max_length {self.max_length}: "
                "leave the passage at least one token beyond the three special tokens"
            )


@dataclass(frozen=True, slots=True)
class EncodedText:
    """Token ids of one text, without special tokens; `truncated` says that some were cut."""

    ids: IntArray
    truncated: bool


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One pair ready for a batch: `ids` (sequence,), `boundary` the length of segment 0."""

    ids: IntArray
    boundary: int
    truncated: bool

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """Arrays of shape (batch, sequence), int64: what every backend takes."""

    input_ids: IntArray
    attention_mask: IntArray
    token_type_ids: IntArray

    @property
    def shape(self) -> tuple[int, int]:
        """(batch, sequence)."""
        return self.input_ids.shape[0], self.input_ids.shape[1]

    @property
    def arrays(self) -> tuple[IntArray, IntArray, IntArray]:
        """In the order in which a graph names its inputs."""
        return self.input_ids, self.attention_mask, self.token_type_ids


class PairEncoder:
    """Encodes pairs with a fast tokenizer; safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, truncation: Truncation | None = None) -> None:
        self.truncation = truncation or Truncation()
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._cls = self._special("[CLS]", "<s>")
        self._sep = self._special("[SEP]", "</s>")
        self.pad_id = self._special("[PAD]", "<pad>")

    @property
    def vocabulary(self) -> int:
        """One more than the largest token id."""
        return 1 + max(self._tokenizer.get_vocab().values())

    @property
    def special_ids(self) -> tuple[int, int]:
        """The ids of `[CLS]` and `[SEP]`."""
        return self._cls, self._sep

    @classmethod
    def from_file(cls, path: Path, truncation: Truncation | None = None) -> PairEncoder:
        """Read `tokenizer.json` at `path`."""
        return cls(Tokenizer.from_file(str(path)), truncation)

    def _special(self, *names: str) -> int:
        for name in names:
            token: int | None = self._tokenizer.token_to_id(name)
            if token is not None:
                return token
        raise ValueError(f"the tokenizer has none of {', '.join(names)}: a pair needs that token")

    def _encode(self, texts: Sequence[str], limit: int) -> list[EncodedText]:
        budget = limit * CHARS_PER_TOKEN
        cut = [text[:budget] for text in texts]
        encodings = self._tokenizer.encode_batch_fast(cut, add_special_tokens=False)
        return [
            EncodedText(
                np.asarray(encoding.ids[:limit], dtype=np.int64),
                len(encoding.ids) > limit or len(text) > budget,
            )
            for encoding, text in zip(encodings, texts, strict=True)
        ]

    def encode_query(self, query: str) -> EncodedText:
        """Encode a query once; it serves every passage of a request."""
        return self.encode_queries([query])[0]

    def encode_queries(self, queries: Sequence[str]) -> list[EncodedText]:
        """Encode several queries as one batch."""
        return self._encode(queries, self.truncation.max_query_tokens)

    def encode_passages(self, passages: Sequence[str]) -> list[EncodedText]:
        """Encode passages as one batch, each cut to what could at most fit with a query."""
        return self._encode(passages, self.truncation.max_length - 3)

    def join(self, query: EncodedText, passage: EncodedText) -> EncodedPair:
        """Lay query and passage out as one pair, the passage cut to the room that is left."""
        room = self.truncation.max_length - 3 - len(query.ids)
        kept = passage.ids[:room]
        ids = np.empty(len(query.ids) + len(kept) + 3, dtype=np.int64)
        boundary = len(query.ids) + 2
        ids[0] = self._cls
        ids[1 : boundary - 1] = query.ids
        ids[boundary - 1] = self._sep
        ids[boundary:-1] = kept
        ids[-1] = self._sep
        truncated = query.truncated or passage.truncated or len(passage.ids) > room
        return EncodedPair(ids, boundary, truncated)

    def encode(self, query: str, passages: Sequence[str]) -> list[EncodedPair]:
        """Encode one query against many passages."""
        head = self.encode_query(query)
        return [self.join(head, passage) for passage in self.encode_passages(passages)]

    def collate(self, pairs: Sequence[EncodedPair], length: int | None = None) -> Batch:
        """Pad pairs to `length` tokens (default: the longest of them)."""
        lengths = np.array([len(pair) for pair in pairs])
        columns = np.arange(length or lengths.max())
        # One copy per batch, not three per pair: at thousands of pairs per second that shows.
        mask = columns < lengths[:, None]
        boundaries = np.array([pair.boundary for pair in pairs])
        input_ids = np.full(mask.shape, self.pad_id, dtype=np.int64)
        input_ids[mask] = np.concatenate([pair.ids for pair in pairs])
        segments = mask & (columns >= boundaries[:, None])
        return Batch(input_ids, mask.astype(np.int64), segments.astype(np.int64))
