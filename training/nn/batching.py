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
from retort.training.nn.batch_size import BatchSize, padded
from retort.training.nn.inference import encode_pairs

Rows = NDArray[np.int64]

WINDOW = 50  # batches sorted by length together


class TokenBatch(NamedTuple):
    """Tensors of shape (batch, sequence), int64, and the rows of the table they came from."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    rows: Tensor

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """What an encoder reads, in its order."""
        return self[:3]


class TokenTable:
    """Encoded pairs by row number: one array of tokens, on the device that trains.

    A batch is cut out there, so that a step waits for nothing but a list of rows.
    """

    def __init__(self, encoder: PairEncoder, pairs: Sequence[Pair]) -> None:
        self.encoder = encoder
        encoded = encode_pairs(encoder, pairs)
        self.lengths: Rows = np.array([len(pair) for pair in encoded], np.int64)
        ids = np.concatenate(
            [np.zeros(0, np.int32), *(pair.ids.astype(np.int32) for pair in encoded)]
        )
        self._ids = torch.from_numpy(ids)
        self._starts = torch.from_numpy(np.cumsum(self.lengths) - self.lengths)
        self._lengths = torch.from_numpy(self.lengths)
        self._boundaries = torch.tensor([pair.boundary for pair in encoded], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device) -> None:
        """Move the tokens to `device`."""
        self._ids, self._starts = self._ids.to(device), self._starts.to(device)
        self._lengths, self._boundaries = self._lengths.to(device), self._boundaries.to(device)

    def gather(self, rows: Rows) -> TokenBatch:
        """The given rows as one padded batch, in the order given."""
        device = self._ids.device
        width = padded(int(self.lengths[rows].max()))
        chosen = torch.from_numpy(rows).to(device, non_blocking=True)
        columns = torch.arange(width, device=device)
        mask = columns < self._lengths[chosen][:, None]
        places = (self._starts[chosen][:, None] + columns).clamp_max(len(self._ids) - 1)
        ids = self._ids[places].long().masked_fill(~mask, self.encoder.pad_id)
        types = mask & (columns >= self._boundaries[chosen][:, None])
        return TokenBatch(ids, mask.long(), types.long(), chosen)


def epoch_batches(
    units: Sequence[Rows],
    lengths: Rows,
    size: BatchSize,
    seed: int,
    epoch: int,
    divisions: Rows | None = None,
) -> list[Rows]:
    """All units once, in batches of about `size`, never splitting a unit.

    Units of different `divisions` (rows,) never meet; their batches come mixed.
    """
    rng = np.random.default_rng([seed, epoch])
    batches: list[Rows] = []
    for part in _divided(units, divisions):
        batches += _batches(part, lengths, size, rng)
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
    units: Sequence[Rows], lengths: Rows, size: BatchSize, rng: np.random.Generator
) -> list[Rows]:
    order = rng.permutation(len(units))
    longest = np.array([lengths[unit].max() for unit in units])
    rows = np.array([len(unit) for unit in units])
    pairs = size.pairs if size.tokens is None else size.tokens / max(1.0, float(lengths.mean()))
    span = max(1, int(WINDOW * pairs / rows.mean()))
    batches: list[Rows] = []
    for start in range(0, len(order), span):
        window = order[start : start + span]
        window = window[np.argsort(longest[window], kind="stable")]
        current: list[Rows] = []
        count = 0
        # Of growing length: the next unit has the longest pair.
        for number in window:
            if current and not size.holds(count + int(rows[number]), int(longest[number])):
                batches.append(np.concatenate(current))
                current, count = [], 0
            current.append(units[number])
            count += int(rows[number])
        batches.append(np.concatenate(current))
    return batches


def single_units(count: int) -> list[Rows]:
    """One unit per row."""
    return list(np.arange(count, dtype=np.int64).reshape(-1, 1))


def query_units(pairs: Sequence[Pair], *, mixed: bool) -> list[Rows]:
    """Rows by query; with `mixed` only queries that have both a right and a wrong passage."""
    units = []
    for rows in rows_by_query([pair.query_key for pair in pairs]):
        right = {pairs[row].right for row in rows}
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
