"""How much fits into one batch, and how wide a batch is padded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Width = TypeVar("Width", int, NDArray[np.int64])

# A GPU is busy with a hundred thousand tokens at once. A CPU's caches hold far fewer.
GPU_TOKENS = 131_072
CPU_PAIRS = 64
# A shape that was not met before is slow: a program is made for it, and kept. A thousand of them
# took 10 GB of memory, on a CPU.
GPU_MULTIPLE, CPU_MULTIPLE = 32, 8


@dataclass(frozen=True, slots=True)
class BatchSize:
    """How much a batch may hold: `pairs`, or where `tokens` is given as many, padding included.

    Padding is counted as on a GPU, so that the batches are the same on every machine.
    """

    pairs: int
    tokens: int | None = None

    def fit(self, pairs: NDArray[np.int64], longest: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether so many pairs, the longest of so many tokens, are not too much; all (cases,)."""
        if self.tokens is None:
            return pairs <= self.pairs
        return pairs * _rounded(longest, GPU_MULTIPLE) <= self.tokens

    def pairs_of(self, longest: int) -> int:
        """How many pairs of at most `longest` tokens fit; at least one."""
        return self.pairs if self.tokens is None else max(1, self.tokens // longest)


def scoring_size() -> BatchSize:
    """What a batch holds where nothing is learned, on this machine."""
    return BatchSize(CPU_PAIRS, GPU_TOKENS if torch.cuda.is_available() else None)


def padded(longest: int) -> int:
    """How many tokens a batch is wide whose longest pair has `longest`, on this machine."""
    return _rounded(longest, GPU_MULTIPLE if torch.cuda.is_available() else CPU_MULTIPLE)


def _rounded(longest: Width, multiple: int) -> Width:
    """`longest`, up to the next multiple."""
    return -(-longest // multiple) * multiple
