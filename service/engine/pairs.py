"""Pairs: several pairs of token ids, laid end to end, and batches made of them.

A pair is never an object of its own here. At 60,000 pairs per second a microsecond per pair is 6%
of a core, so what is done for each pair is done by numpy for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retort.models.arrays import IntArray
from retort.models.encoding import Batch, EncodedPair


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs one after the other.

    `ids` are their tokens (tokens,), uint16 or uint32, special tokens included; `lengths` and
    `boundaries` are (pairs,): tokens of each, and of its query's segment.
    """

    ids: NDArray[np.uint16] | NDArray[np.uint32]
    lengths: IntArray
    boundaries: IntArray

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """Their tokens without padding."""
        return len(self.ids)

    @classmethod
    def of(cls, encoded: Sequence[EncodedPair]) -> Pairs:
        """Pairs that were encoded one by one."""
        ids = np.concatenate([pair.ids for pair in encoded])
        return cls(
            ids.astype(np.uint32),
            np.array([len(pair) for pair in encoded], np.int64),
            np.array([pair.boundary for pair in encoded], np.int64),
        )

    @classmethod
    def join(cls, parts: Sequence[Pairs]) -> Pairs:
        """The pairs of all `parts`, in order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.boundaries for part in parts]),
        )

    def take(self, rows: IntArray) -> Pairs:
        """The pairs at `rows` (taken,), in that order.

        >>> pairs = Pairs(np.array([1, 2, 3], np.uint16), np.array([1, 2]), np.array([1, 1]))
        >>> pairs.take(np.array([1])).ids.tolist()
        [2, 3]
        """
        if len(rows) == len(self) and _in_order(rows):
            return self
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        # Where each token lies: its pair's start, and how far it is from the pair's first token.
        at = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
        return Pairs(self.ids[at], lengths, self.boundaries[rows])

    def batch(self, length: int, pad_id: int) -> Batch:
        """All of them padded to `length` tokens: arrays (pairs, length)."""
        columns = np.arange(length)
        mask = columns < self.lengths[:, None]
        input_ids = np.full(mask.shape, pad_id, dtype=np.int64)
        input_ids[mask] = self.ids
        segments = mask & (columns >= self.boundaries[:, None])
        return Batch(input_ids, mask.astype(np.int64), segments.astype(np.int64))


def _in_order(rows: IntArray) -> bool:
    """Whether `rows` count up from 0."""
    return rows[0] == 0 and bool((rows[1:] > rows[:-1]).all())
