"""Tokenization: a request's texts to pairs, the query once, its passages in batches.

A request of thousands of passages is encoded in chunks: its first pairs are scored while its last
are still text, and the short request behind it does not wait for all of them. The same passages
come back from request to request, so the tokens of the most recent ones are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

from retort.models.encoding import EncodedText, PairEncoder, Truncation

CHUNK_PASSAGES = 128
# English text has about four characters per token; only the queue's bound relies on it.
CHARS_PER_TOKEN = 4
# A longer passage is encoded each time: what is kept must be bounded in bytes too.
MAX_KEPT_CHARACTERS = 4_096

# Called with the number of passages that were kept (hits) and of those that were not (misses).
Lookups = Callable[[int, int], None]


class PassageTokens:
    """Encodes passages, and keeps the tokens of the `entries` that were used most recently.

    Thread-safe; encoding happens outside the lock, so two threads may encode the same passage
    at once. With 0 entries nothing is kept, and `lookups` is never called.
    """

    def __init__(
        self, encoder: PairEncoder, entries: int = 0, lookups: Lookups = lambda _hits, _misses: None
    ) -> None:
        self._encoder = encoder
        self._entries = entries
        self._lookups = lookups
        self._kept: OrderedDict[str, EncodedText] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def encode(self, passages: Sequence[str]) -> list[EncodedText]:
        """The passages' tokens, in order."""
        if not self._entries:
            return self._encoder.encode_passages(passages)
        found = self._find(passages)
        new = list(dict.fromkeys(text for text in passages if text not in found))
        if new:
            found.update(zip(new, self._encoder.encode_passages(new), strict=True))
            self._keep({text: found[text] for text in new if len(text) <= MAX_KEPT_CHARACTERS})
        self._lookups(len(passages) - len(new), len(new))
        return [found[text] for text in passages]

    def _find(self, passages: Sequence[str]) -> dict[str, EncodedText]:
        found = {}
        with self._lock:
            for text in passages:
                encoded = self._kept.get(text)
                if encoded is not None:
                    self._kept.move_to_end(text)
                    found[text] = encoded
        return found

    def _keep(self, encoded: dict[str, EncodedText]) -> None:
        with self._lock:
            self._kept.update(encoded)
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)


def estimate_tokens(query: str, passages: Sequence[str], truncation: Truncation) -> int:
    """Estimate the tokens of a request before it is tokenized."""
    own = min(truncation.max_query_tokens, len(query) // CHARS_PER_TOKEN + 1) + 3
    room = truncation.max_length - own
    return sum(own + min(room, len(text) // CHARS_PER_TOKEN + 1) for text in passages)
