"""Batches of training: which rows meet in which step, and their tokens.

A unit is a set of rows that must stay together: one row for a pointwise loss, all candidates of a
query for a listwise one. Units of similar length meet, so that there is little padding; which of
them meet, and in what order, is drawn anew in each epoch from the seed and the epoch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retort.models.encoding import PairEncoder
from retort.models.rankings import rows_by_query
from retort.training.data.pairs import Pair
from retort.training.nn.inference import encode_pairs
from retort.training.nn.losses import POSITIVE

Rows = NDArray[np.int64]

WINDOW = 50  # batches sorted by length together


class TokenBatch(NamedTuple):
    """Tensors of shape (batch, sequence), int64, and the rows of the table they came from."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    rows: Tensor

    def to(self, device: torch.device) -> TokenBatch:
        """The same batch on another device."""
        return TokenBatch(*(tensor.to(device, non_blocking=True) for tensor in self))

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """What an encoder reads, in its order."""
        return self[:3]


class TokenTable:
    """Encoded pairs by row number."""

    def __init__(self, encoder: PairEncoder, pairs: Sequence[Pair]) -> None:
        self.encoder = encoder
        self._pairs = encode_pairs(encoder, pairs)
        self.lengths: NDArray[np.int64] = np.array([len(pair) for pair in self._pairs], np.int64)

    def __len__(self) -> int:
        return len(self._pairs)

    def gather(self, rows: NDArray[np.int64]) -> TokenBatch:
        """The given rows as one padded batch, in the order given."""
        batch = self.encoder.collate([self._pairs[row] for row in rows])
        return TokenBatch(
            torch.from_numpy(batch.input_ids),
            torch.from_numpy(batch.attention_mask),
            torch.from_numpy(batch.token_type_ids),
            torch.from_numpy(rows),
        )


def epoch_batches(
    units: Sequence[Rows],
    lengths: Rows,
    batch_pairs: int,
    seed: int,
    epoch: int,
    divisions: Rows | None = None,
) -> list[Rows]:
    """All units once, in batches of about `batch_pairs` rows, never splitting a unit.

    Units of different `divisions` (rows,) never meet; their batches come mixed.
    """
    rng = np.random.default_rng([seed, epoch])
    batches: list[Rows] = []
    for part in _divided(units, divisions):
        batches += _batches(part, lengths, batch_pairs, rng)
    rng.shuffle(batches)
    return batches


def _divided(units: Sequence[Rows], divisions: Rows | None) -> list[Sequence[Rows]]:
    if divisions is None:
        return [units]
    parts: dict[int, list[Rows]] = {}
    for unit in units:
        parts.setdefault(int(divisions[unit[0]]), []).append(unit)
    return [parts[number] for number in sorted(parts)]


def _batches(
    units: Sequence[Rows], lengths: Rows, batch_pairs: int, rng: np.random.Generator
) -> list[Rows]:
    order = rng.permutation(len(units))
    longest = np.array([lengths[unit].max() for unit in units])
    mean = max(1.0, sum(len(unit) for unit in units) / len(units))
    span = max(1, int(WINDOW * batch_pairs / mean))
    batches: list[Rows] = []
    for start in range(0, len(order), span):
        window = order[start : start + span]
        window = window[np.argsort(longest[window], kind="stable")]
        current: list[Rows] = []
        count = 0
        for number in window:
            if current and count + len(units[number]) > batch_pairs:
                batches.append(np.concatenate(current))
                current, count = [], 0
            current.append(units[number])
            count += len(units[number])
        batches.append(np.concatenate(current))
    return batches


def single_units(count: int) -> list[Rows]:
    """One unit per row."""
    return list(np.arange(count, dtype=np.int64).reshape(-1, 1))


def query_units(pairs: Sequence[Pair], *, mixed: bool) -> list[Rows]:
    """Rows by query; with `mixed` only queries that have both a right and a wrong passage."""
    units = []
    for rows in rows_by_query([pair.query_key for pair in pairs]):
        right = {(pairs[row].label or 0.0) > POSITIVE for row in rows}
        if not mixed or len(right) == 2:
            units.append(rows)
    return units


def dealt(units: Sequence[Rows], right: NDArray[np.bool_], most: int | None) -> list[Rows]:
    """Units of at most `most` rows; a longer one is dealt into several, as cards are.

    Its right rows, of `right` (rows,), are dealt first, so that each part has its share of them.
    """
    parts: list[Rows] = []
    for unit in units:
        hands = 1 if most is None else -(-len(unit) // most)
        order = unit[np.argsort(~right[unit], kind="stable")] if hands > 1 else unit
        parts += [order[hand::hands] for hand in range(hands)]
    return parts


def group_numbers(pairs: Sequence[Pair]) -> Tensor:
    """A number for each pair's query, (pairs,)."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(pair.query_key, len(numbers)) for pair in pairs])
