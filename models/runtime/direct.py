"""Direct scoring: pairs through a backend without a queue, for checks and for the command line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retort.models.encoding import EncodedPair, PairEncoder
from retort.models.runtime.base import Backend, LogitArray

BATCH_PAIRS = 16


def infer_pairs(backend: Backend, encoder: PairEncoder, pairs: Sequence[EncodedPair]) -> LogitArray:
    """Logits (pairs, heads) in the order of `pairs`; pairs of like length share a batch."""
    order = sorted(range(len(pairs)), key=lambda index: len(pairs[index]))
    parts = []
    for start in range(0, len(order), BATCH_PAIRS):
        rows = order[start : start + BATCH_PAIRS]
        parts.append(backend.infer(encoder.collate([pairs[row] for row in rows])))
    logits = np.concatenate(parts)
    logits[order] = logits.copy()
    return logits
