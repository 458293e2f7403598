"""Batches of training: which rows meet in which step, and their tokens.

A unit is a set of rows that must stay together: one row for a pointwise loss, all candidates of a
query for a listwise one. Units of similar length meet, so that there is little padding; which of
them meet, and in what order, is drawn anew in each epoch from the seed and the epoch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retort.models.encoding import PairEncoder
from retort.models.rankings import rows_by_query
from retort.training.data.pairs import Pair
from retort.training.nn.batch_size import BatchSize, padded

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
    """Encoded pairs by row number: the tokens of every text once, on the device that trains.

    A batch is laid out there, so that a step waits for nothing but a list of rows.
    """

    def __init__(self, encoder: PairEncoder, pairs: Sequence[Pair]) -> None:
        self.encoder = encoder
        layout = encoder.layout
        queries, of_query = _numbered([pair.query for pair in pairs])
        passages, of_passage = _numbered([pair.passage for pair in pairs])
        special = [np.array(ids) for ids in (layout.before, layout.between, layout.after)]
        texts = [*encoder.encode_queries(queries), *encoder.encode_passages(passages)]
        parts = [*special, *(text.ids for text in texts)]
        sizes = np.array([len(part) for part in parts], np.int64)
        starts = np.cumsum(sizes) - sizes
        query, passage = of_query + len(special), of_passage + len(special) + len(queries)
        asked = sizes[query]
        read = np.minimum(sizes[passage], encoder.longest - asked)
        self.lengths: Rows = layout.special_tokens + asked + read
        # A pair is five runs of tokens: where each ends in the pair, and how far from there its
        # tokens lie in `_ids`.
        lengths = [np.broadcast_to(n, len(pairs)) for n in sizes[:3]]
        ends = np.cumsum([lengths[0], asked, lengths[1], read, lengths[2]], axis=0)
        begins = np.stack([np.zeros_like(asked), *ends[:-1]])
        first, between, last = starts[:3]
        sources = [np.broadcast_to(first, len(pairs)), starts[query],
                   np.broadcast_to(between, len(pairs)), starts[passage],
                   np.broadcast_to(last, len(pairs))]  # fmt: skip
        self._ids = torch.from_numpy(np.concatenate(parts).astype(np.int32))
        self._ends = torch.from_numpy(ends.T.copy())
        self._shifts = torch.from_numpy((np.stack(sources) - begins).T.copy())
        self._boundaries = torch.from_numpy(ends[0] + asked + layout.boundary)

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device) -> None:
        """Move the tokens to `device`."""
        self._ids, self._ends = self._ids.to(device), self._ends.to(device)
        self._shifts, self._boundaries = self._shifts.to(device), self._boundaries.to(device)

    def gather(self, rows: Rows) -> TokenBatch:
        """The given rows as one padded batch, in the order given."""
        device = self._ids.device
        width = padded(int(self.lengths[rows].max()))
        chosen = torch.from_numpy(rows).to(device, non_blocking=True)
        columns = torch.arange(width, device=device)
        ends, shifts = self._ends[chosen], self._shifts[chosen]
        shift = shifts[:, -1:]
        for run in reversed(range(ends.shape[1] - 1)):
            shift = torch.where(columns < ends[:, run, None], shifts[:, run, None], shift)
        mask = columns < ends[:, -1:]
        places = (columns + shift).clamp_max(len(self._ids) - 1)
        ids = self._ids[places].long().masked_fill(~mask, self.encoder.pad_id)
        types = mask & (columns >= self._boundaries[chosen][:, None])
        return TokenBatch(ids, mask.long(), types.long(), chosen)


def _numbered(texts: Sequence[str]) -> tuple[list[str], Rows]:
    """The distinct texts, and which of them each text is."""
    numbers: dict[str, int] = {}
    of = [numbers.setdefault(text, len(numbers)) for text in texts]
    return list(numbers), np.array(of, np.int64)


@dataclass(frozen=True, slots=True)
class Packed:
    """Units one after another: all their `rows`; of each unit where it starts, how many rows it
    has, and how long its longest pair is, (units,) each. `tokens` is a pair's mean length.
    """

    rows: Rows
    starts: Rows
    counts: Rows
    longest: Rows
    tokens: float


def pack(units: Sequence[Rows], lengths: Rows, divisions: Rows | None = None) -> list[Packed]:
    """Units that may meet, packed together; `lengths` and `divisions` are (rows,).

    Units of different divisions never meet.
    """
    parts: dict[int, list[Rows]] = {}
    if divisions is None:
        parts[0] = list(units)
    else:
        for unit in units:
            parts.setdefault(int(divisions[unit[0]]), []).append(unit)
    packed = []
    for number in sorted(parts):
        rows = np.concatenate(parts[number])
        counts = np.array([len(unit) for unit in parts[number]])
        starts = np.cumsum(counts) - counts
        longest = np.maximum.reduceat(lengths[rows], starts)
        packed.append(Packed(rows, starts, counts, longest, float(lengths.mean())))
    return packed


def epoch_batches(
    divisions: Sequence[Packed], size: BatchSize, seed: int, epoch: int
) -> list[Rows]:
    """All units once, in batches of about `size`, never splitting a unit.

    Those of different divisions come mixed.
    """
    rng = np.random.default_rng([seed, epoch])
    batches: list[Rows] = []
    for units in divisions:
        batches += _batches(units, size, rng)
    rng.shuffle(batches)
    return batches


def _batches(units: Packed, size: BatchSize, rng: np.random.Generator) -> list[Rows]:
    order = rng.permutation(len(units.starts))
    pairs = size.pairs if size.tokens is None else size.tokens / max(1.0, units.tokens)
    span = max(1, int(WINDOW * pairs / units.counts.mean()))
    batches: list[Rows] = []
    for start in range(0, len(order), span):
        window = order[start : start + span]
        # Of growing length: the last unit of a batch has its longest pair.
        window = window[np.argsort(units.longest[window], kind="stable")]
        counts, widths = units.counts[window], units.longest[window]
        ends = np.cumsum(counts)
        within = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        rows = units.rows[np.repeat(units.starts[window], counts) + within]
        first, before = 0, 0
        while first < len(window):
            fits = size.fit(ends[first:] - before, widths[first:])
            # At least one unit, however large.
            last = first + (len(fits) if fits.all() else max(1, int(np.argmin(fits))))
            batches.append(rows[before : ends[last - 1]])
            first, before = last, int(ends[last - 1])
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
