"""Tokenization: a request's texts to pairs as the wire has them; a front end's work.

The query is encoded once per request, its passages in batches. The same passages come back from
request to request, so the tokens of the most recent ones are kept. Texts are kept as the bytes of
their token ids, and pairs are laid out by joining bytes: no array is made for each pair.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from retort.models.encoding import EncodedText, PairEncoder, Truncation
from retort.service.engine.wire import Chunk

# A request of thousands of passages is encoded in chunks: its first pairs are scored while its last
# are still text.
CHUNK_PASSAGES = 128
# English text has about four characters per token; only admission relies on it.
CHARS_PER_TOKEN = 4
# A longer passage is encoded each time: what is kept must be bounded in bytes too.
MAX_KEPT_CHARACTERS = 4_096
LARGEST_UINT16 = 65_535

# Called with the number of passages that were kept (hits) and of those that were not (misses).
Lookups = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of one text, without special tokens, in the wire's bytes."""

    ids: bytes
    count: int
    truncated: bool


class Tokenization:
    """Encodes queries and passages, and keeps the passages' tokens that were used most recently.

    Thread-safe; encoding happens outside the lock, so two threads may encode the same passage
    at once. With 0 `entries` nothing is kept, and `lookups` is never called.
    """

    def __init__(
        self, encoder: PairEncoder, entries: int = 0, lookups: Lookups = lambda _hits, _misses: None
    ) -> None:
        self.truncation = encoder.truncation
        self._encoder = encoder
        self._entries = entries
        self._lookups = lookups
        self._kept: OrderedDict[str, Tokens] = OrderedDict()
        self._lock = Lock()
        self._wide = encoder.vocabulary > LARGEST_UINT16 + 1
        self._typecode = "I" if self._wide else "H"
        self._width = 4 if self._wide else 2
        cls, sep = encoder.special_ids
        self._cls, self._sep = self._bytes([cls]), self._bytes([sep])

    def __len__(self) -> int:
        return len(self._kept)

    def query(self, text: str) -> Tokens:
        """The tokens of a query."""
        return self.queries([text])[0]

    def queries(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of several queries, in order."""
        return self._tokens(self._encoder.encode_queries(texts))

    def new_characters(self, passages: Sequence[str]) -> int:
        """How much of `passages` is not kept, in characters: how long encoding will take."""
        kept = self._kept
        return sum(len(text) for text in passages if text not in kept)

    def passages(self, passages: Sequence[str]) -> list[Tokens]:
        """The passages' tokens, in order."""
        if not self._entries:
            return self._encode(passages)
        found = self._find(passages)
        new = list(dict.fromkeys(text for text in passages if text not in found))
        if new:
            found.update(zip(new, self._encode(new), strict=True))
            self._keep({text: found[text] for text in new if len(text) <= MAX_KEPT_CHARACTERS})
        self._lookups(len(passages) - len(new), len(new))
        return [found[text] for text in passages]

    def chunk(self, queries: Sequence[Tokens], passages: Sequence[Tokens]) -> Chunk:
        """Pairs of each passage with its query, or with the one query for all."""
        cls, sep, width, most = self._cls, self._sep, self._width, self.truncation.max_length
        lengths, boundaries = array("H"), array("H")
        parts: list[bytes] = []
        truncated = 0
        shared = len(queries) == 1
        query = queries[0]
        for row, passage in enumerate(passages):
            if not shared:
                query = queries[row]
            room = most - 3 - query.count
            kept = min(passage.count, room)
            lengths.append(query.count + kept + 3)
            boundaries.append(query.count + 2)
            truncated += query.truncated or passage.truncated or passage.count > room
            ids = passage.ids if kept == passage.count else passage.ids[: kept * width]
            parts += (cls, query.ids, sep, ids, sep)
        return Chunk(
            lengths.tobytes(), boundaries.tobytes(), b"".join(parts), truncated, self._wide
        )

    def _bytes(self, ids: Sequence[int]) -> bytes:
        return array(self._typecode, ids).tobytes()

    def _encode(self, passages: Sequence[str]) -> list[Tokens]:
        return self._tokens(self._encoder.encode_passages(passages))

    def _tokens(self, texts: Sequence[EncodedText]) -> list[Tokens]:
        return [
            Tokens(self._bytes(text.ids.tolist()), len(text.ids), text.truncated) for text in texts
        ]

    def _find(self, passages: Sequence[str]) -> dict[str, Tokens]:
        found = {}
        with self._lock:
            for text in passages:
                tokens = self._kept.get(text)
                if tokens is not None:
                    self._kept.move_to_end(text)
                    found[text] = tokens
        return found

    def _keep(self, tokens: dict[str, Tokens]) -> None:
        with self._lock:
            self._kept.update(tokens)
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)


def estimate_tokens(queries: Sequence[str], passages: Sequence[str], truncation: Truncation) -> int:
    """Estimate the tokens of a request's pairs before they are tokenized.

    One query is for all passages; otherwise there is one per passage.
    """
    most = truncation.max_length
    own = [min(truncation.max_query_tokens, len(q) // CHARS_PER_TOKEN + 1) + 3 for q in queries]
    if len(own) == 1:
        own *= len(passages)
    return sum(
        head + min(most - head, len(text) // CHARS_PER_TOKEN + 1)
        for head, text in zip(own, passages, strict=True)
    )
