"""Blocks: a teacher's pairs, cut in a fixed order; each is scored in one call and kept together.

Whoever cuts the same pairs for the same teacher gets the same blocks, on whatever machine and
whatever is scored already. So processes that know nothing of each other can divide them: shard 2 of
3 is the second third of the blocks. No pair is in two blocks.

A block that has just been scored is one part of the store, named by its keys (`store.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retort.training.data.pairs import Pair
from retort.training.labels.store import Keys, pair_keys


@dataclass(frozen=True, slots=True)
class Block:
    """Distinct pairs and their keys; `hidden` asks for their `[CLS]` vectors too."""

    pairs: Sequence[Pair]
    keys: Keys
    hidden: bool = False

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, rows: NDArray[np.int64]) -> Block:
        """The pairs at `rows` of it."""
        return Block([self.pairs[row] for row in rows], self.keys[rows], self.hidden)


def cut(pairs: Sequence[Pair], matched: Collection[Pair], size: int) -> list[Block]:
    """The blocks of at most `size` distinct pairs, in the order of `pairs`.

    Those that are among `matched` come first, and their vectors are asked for.
    """
    keys = pair_keys(pairs)
    first = np.sort(np.unique(keys, return_index=True)[1])
    hidden = np.isin(keys[first], pair_keys(list(matched)))
    blocks: list[Block] = []
    for rows, vectors in ((first[hidden], True), (first[~hidden], False)):
        for start in range(0, len(rows), size):
            own = rows[start : start + size]
            block = Block([pairs[row] for row in own], keys[own], vectors)
            blocks.append(block)
    return blocks
