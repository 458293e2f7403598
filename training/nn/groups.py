"""Groups: the pairs of one query, for losses that compare a query's passages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from retort.training.data.pairs import Pair
from retort.training.nn.batching import Rows
from retort.training.nn.losses import POSITIVE


def query_units(pairs: Sequence[Pair], *, mixed: bool) -> list[Rows]:
    """Rows by query; with `mixed` only queries that have both a right and a wrong passage."""
    groups: dict[str, list[int]] = {}
    for row, pair in enumerate(pairs):
        groups.setdefault(pair.query_key, []).append(row)
    units = []
    for rows in groups.values():
        right = {(pairs[row].label or 0.0) > POSITIVE for row in rows}
        if not mixed or len(right) == 2:
            units.append(np.array(rows, dtype=np.int64))
    return units


def group_numbers(pairs: Sequence[Pair]) -> Tensor:
    """A number for each pair's query, (pairs,)."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(pair.query_key, len(numbers)) for pair in pairs])
