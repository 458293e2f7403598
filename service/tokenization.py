"""Tokenization: a request's texts to pairs, the query once, its passages in batches.

A request of thousands of passages is encoded in chunks: its first pairs are scored while its last
are still text, and the short request behind it does not wait for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.encoding import EncodedPair, EncodedText, PairEncoder, Truncation

CHUNK_PASSAGES = 128
# English text has about four characters a token; only the queue's bound relies on it.
CHARS_PER_TOKEN = 4


def estimate_tokens(query: str, passages: Sequence[str], truncation: Truncation) -> int:
    """About how many tokens a request will have, before it is tokenized."""
    own = min(truncation.max_query_tokens, len(query) // CHARS_PER_TOKEN + 1) + 3
    room = truncation.max_length - own
    return sum(own + min(room, len(text) // CHARS_PER_TOKEN + 1) for text in passages)


def encode_chunk(
    encoder: PairEncoder, query: EncodedText, passages: Sequence[str], start: int
) -> list[EncodedPair]:
    """Encode the chunk of passages that begins at `start`."""
    chunk = passages[start : start + CHUNK_PASSAGES]
    return [encoder.join(query, passage) for passage in encoder.encode_passages(chunk)]
