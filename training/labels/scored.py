"""Scored blocks: what a teacher says of them, computed in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from retort.training.labels.blocks import Block
from retort.training.teachers.scoring.checkpoint import CrossEncoder
from retort.training.teachers.scoring.scorer import Scorer, Scores

GPU_THREADS = 3  # blocks under way at once, where a GPU computes


@dataclass(frozen=True, slots=True)
class Scored:
    """A block's logits (pairs,) by `engine`, and its vectors (pairs, width) where it asks."""

    block: Block
    logits: Scores
    vectors: NDArray[np.float32] | None
    engine: str


# How a teacher's blocks are scored: in which order, and where, is its own matter.
Run = Callable[[Scorer, Sequence[Block]], Iterator[Scored]]


def score_here(teacher: Scorer, blocks: Sequence[Block]) -> Iterator[Scored]:
    """Score blocks in order. Where a GPU computes, the next ones are tokenized meanwhile."""
    if not (teacher.threads_may_share and torch.cuda.is_available()):
        yield from (score_block(teacher, block) for block in blocks)
        return
    with ThreadPoolExecutor(GPU_THREADS) as pool:
        ahead: deque[Future[Scored]] = deque()
        for block in blocks:
            ahead.append(pool.submit(score_block, teacher, block))
            if len(ahead) > GPU_THREADS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def score_block(teacher: Scorer, block: Block) -> Scored:
    """Score one block. Raises `TypeError` for hidden states of a teacher that has none."""
    if not block.hidden:
        return Scored(block, teacher.logits(block.pairs), None, teacher.engine)
    if not isinstance(teacher, CrossEncoder):
        raise TypeError(f"{teacher.name} is no cross-encoder of ours: it has no hidden states")
    logits, vectors = teacher.represent(block.pairs)
    return Scored(block, logits, vectors, teacher.engine)
