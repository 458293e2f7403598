"""Given scores: a teacher whose scores are on file, for pairs that somebody else has scored.

A teacher too large for this machine, or one that cannot be given away, can still be learned from.
It knows the pairs of its file and no others; a stage's other pairs teach its soft head nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retort.training.data.catalog import CATALOG, data_root
from retort.training.data.readers.rows import DataError
from retort.training.data.readers.scored import PAIRS_FILE, given_scores
from retort.training.recipes.parts.teacher import TeacherRef


@dataclass(frozen=True)
class GivenScores:
    """One column of a file of scored pairs; `keys` are sorted, `scores` go with them."""

    name: str
    identity: str
    keys: NDArray[np.uint64] = field(repr=False)
    scores: NDArray[np.float32] = field(repr=False)

    def lookup(self, keys: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Scores of the pairs with these content keys, (pairs,), NaN for one not on file."""
        found = np.full(len(keys), np.nan, dtype=np.float32)
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        hit = self.keys[places] == keys
        found[hit] = self.scores[places[hit]]
        return found


def load_given(reference: TeacherRef) -> GivenScores:
    """The scores that a recipe's teacher of kind `given` names: a file, or a set of the catalog.

    Raises `DataError`.
    """
    assert reference.column is not None  # the recipe is refused without one
    path = _place(reference.path)
    keys, scores = given_scores(path, reference.column)
    if not len(keys):
        raise DataError(f"{path}, column {reference.column}: no scores")
    keys, first = np.unique(keys, return_index=True)
    scores = scores[first]
    digest = hashlib.blake2b(digest_size=8)
    digest.update(keys.tobytes())
    digest.update(scores.tobytes())
    return GivenScores(reference.name, digest.hexdigest(), keys, scores)


def _place(path: str) -> Path:
    if path in CATALOG:
        return data_root() / CATALOG[path].folder / PAIRS_FILE
    return Path(path)
