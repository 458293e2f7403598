from __future__ import annotations

import numpy as np
import pytest

from retort.models.encoding import Batch
from retort.models.manifest import Range, ShapeProfile
from retort.models.runtime.buckets import (
    cut,
    one_profile,
    pad,
    padded_columns,
    padded_rows,
    row_buckets,
)


def test_rows_are_padded_little_and_to_few_sizes() -> None:
    padded = [padded_rows(rows) for rows in range(1, 1025)]
    assert padded == sorted(padded)
    assert all(few <= many for few, many in enumerate(padded, 1))
    assert all(padded_rows(rows) == rows for rows in padded)
    # From sixteen rows on less than half is padding, from a hundred on less than a seventh.
    assert all(many < 1.5 * few for few, many in enumerate(padded, 1) if few >= 16)
    assert all(many < 1.15 * few for few, many in enumerate(padded, 1) if few >= 100)
    assert len(set(padded)) < 60
    assert [padded_rows(rows) for rows in (1, 2, 3, 10, 100)] == [1, 2, 4, 12, 112]


def test_every_bucket_is_named_once() -> None:
    assert row_buckets(300) == tuple(sorted({padded_rows(rows) for rows in range(1, 289)}))
    assert row_buckets(1) == (1,)


def test_columns_never_pass_the_longest() -> None:
    assert [padded_columns(columns, 100) for columns in (1, 16, 17, 96, 97, 100)] == [
        16,
        16,
        32,
        96,
        100,
        100,
    ]


def test_padding_adds_rows_of_one_token_and_keeps_the_rest() -> None:
    ones = np.ones((2, 3), dtype=np.int64)
    batch = pad(Batch(5 * ones, ones, ones), 4, 8)
    assert batch.shape == (4, 8)
    assert batch.input_ids.sum() == 30
    assert batch.attention_mask.tolist() == [[1, 1, 1] + [0] * 5] * 2 + [[1] + [0] * 7] * 2
    assert batch.token_type_ids.sum() == 6


def test_a_part_of_a_batch() -> None:
    ids = np.arange(12).reshape(4, 3)
    part = cut(Batch(ids, ids + 1, ids + 2), 1, 3)
    assert part.input_ids.tolist() == [[3, 4, 5], [6, 7, 8]]
    assert part.token_type_ids.tolist() == [[5, 6, 7], [8, 9, 10]]


def profile(batch: tuple[int, int, int], sequence: tuple[int, int, int]) -> ShapeProfile:
    ranges = (Range(min=low, opt=usual, max=high) for low, usual, high in (batch, sequence))
    return ShapeProfile(batch=next(ranges), sequence=next(ranges))


def test_profiles_become_one() -> None:
    small, large = profile((1, 10, 16), (8, 64, 128)), profile((16, 64, 256), (8, 128, 128))
    assert one_profile([small, large]) == profile((1, 64, 256), (8, 128, 128))
    assert one_profile([]) is None


@pytest.mark.parametrize("rows", [1, 7, 33])
def test_what_is_padded_is_as_wide_as_asked(rows: int) -> None:
    ids = np.ones((rows, 5), dtype=np.int64)
    assert pad(Batch(ids, ids, ids), padded_rows(rows), 16).shape == (padded_rows(rows), 16)
