"""The arithmetic of a pair: how many multiply-adds a bundle's graph takes, from its manifest alone.

Counted are the matrix products, which are nearly all of it; norms, activations and look-ups are
not. The dense layers between are taken to be four times as wide as the encoder, as BERT's are.
"""

from __future__ import annotations

from retort.models.manifest import Architecture

INTERMEDIATE = 4  # times the width


def arithmetic(size: Architecture, heads: int, batch: int, sequence: int) -> int:
    """Multiply-adds for one batch of shape (batch, sequence), padding counted as the rest.

    `heads` is how many scores a pair gets. Of an ensemble it is an estimate: the widest encoder
    stands for all.
    """
    full, last = _layer(size.width, sequence), _trimmed_layer(size, sequence)
    trimmed = size.encoders if size.trimmed else 0
    pair = (size.layers - trimmed) * full + trimmed * last + heads * size.width
    return batch * pair


def _layer(width: int, sequence: int) -> int:
    """One pair in a layer that is computed for every token."""
    attention = 2 * sequence * width  # scores, and their mix of the values
    return sequence * (_projections(width) + attention)


def _projections(width: int) -> int:
    """One token through query, key, value and output and the two dense layers."""
    return (4 + 2 * INTERMEDIATE) * width * width


def _trimmed_layer(size: Architecture, sequence: int) -> int:
    """One pair in a layer computed for `[CLS]` alone, which needs neither keys nor values.

    Each attention head has a query as wide as the encoder, to compare with the states themselves.
    """
    attention = 2 * sequence * size.width * size.attention_heads
    return _projections(size.width) + attention
