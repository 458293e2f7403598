"""Batches of training: which rows meet in which step, from a seed and an epoch alone.

A unit is a set of rows that must stay together: one row for a pointwise loss, all candidates of a
query for a listwise one. Units of like length meet, so that little is padded; which of them meet,
and in what order, is drawn anew each epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

WINDOW = 50  # batches sorted by length together


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
    """One unit a row."""
    return list(np.arange(count, dtype=np.int64).reshape(-1, 1))
