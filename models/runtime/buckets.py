"""Buckets: the few shapes (batch, sequence) that a GPU is given; a batch is padded up to one.

A shape that comes back finds its buffers, and its CUDA graph, where it left them. Up to some
hundred rows a GPU is faster than it can be told what to do, so padding costs it next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retort.models.encoding import Batch
from retort.models.manifest import Range, ShapeProfile

COLUMN_STEP = 16
# Up to so many rows, a bucket's rows are a multiple of the step beside it.
ROW_STEPS = ((2, 1), (8, 2), (16, 4), (32, 8), (256, 16))
LAST_ROW_STEP = 32


def padded_rows(rows: int) -> int:
    """The rows of the bucket for a batch of `rows`.

    Example: 1, 2, 3 and 10 rows are padded to 1, 2, 4 and 12; 100 to 112.
    """
    step = next((step for limit, step in ROW_STEPS if rows <= limit), LAST_ROW_STEP)
    return -(-rows // step) * step


def padded_columns(columns: int, longest: int) -> int:
    """The columns of the bucket; no more than `longest`, which is all the positions there are."""
    return min(-(-columns // COLUMN_STEP) * COLUMN_STEP, max(longest, columns))


def row_buckets(limit: int) -> tuple[int, ...]:
    """The rows of every bucket up to `limit`, ascending."""
    return tuple(rows for rows in range(1, limit + 1) if padded_rows(rows) == rows)


def cut(batch: Batch, start: int, stop: int) -> Batch:
    """The rows of `batch` from `start` to `stop`."""
    arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
    return Batch(*(array[start:stop] for array in arrays))


def pad(batch: Batch, rows: int, columns: int) -> Batch:
    """`batch` in the upper left of arrays (rows, columns); a row that is added has one token.

    A row without any would leave attention nothing to divide by.
    """
    padded = Batch(*np.zeros((3, rows, columns), dtype=np.int64))
    height, width = batch.shape
    padded.input_ids[:height, :width] = batch.input_ids
    padded.attention_mask[:height, :width] = batch.attention_mask
    padded.token_type_ids[:height, :width] = batch.token_type_ids
    padded.attention_mask[height:, 0] = 1
    return padded


def one_profile(profiles: Sequence[ShapeProfile]) -> ShapeProfile | None:
    """One profile for all that `profiles` allow, at its best where the largest is.

    ONNX Runtime builds an engine with several profiles and then only ever uses the first.
    """
    if not profiles:
        return None
    largest = max(profiles, key=lambda profile: profile.batch.max * profile.sequence.max)

    def widest(ranges: Sequence[Range], opt: int) -> Range:
        return Range(min=min(r.min for r in ranges), opt=opt, max=max(r.max for r in ranges))

    return ShapeProfile(
        batch=widest([p.batch for p in profiles], largest.batch.opt),
        sequence=widest([p.sequence for p in profiles], largest.sequence.opt),
    )
