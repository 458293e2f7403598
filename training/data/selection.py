"""The selection: which pairs of a table a recipe learns from, with the source of each."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, read_table
from retort.training.recipes.recipe import Stage


@dataclass(frozen=True, slots=True)
class Selection:
    """Pairs, and where each comes from."""

    pairs: list[Pair]
    sources: list[str]

    def __len__(self) -> int:
        return len(self.pairs)

    def labelled(self) -> Selection:
        """Those that have a label."""
        return self.take([row for row, pair in enumerate(self.pairs) if pair.label is not None])

    def take(self, rows: Sequence[int]) -> Selection:
        """Those at `rows`, in that order."""
        return Selection([self.pairs[row] for row in rows], [self.sources[row] for row in rows])


def of_sources(table: PairTable, sources: Collection[str] | None) -> Selection:
    """The pairs of a table that come from `sources`; all where that is None."""
    whole = Selection(list(table.pairs), list(table.sources))
    if sources is None:
        return whole
    return whole.take([row for row, source in enumerate(table.sources) if source in sources])


def select(stage: Stage) -> Selection:
    """The pairs of a stage: of the named sources, those with labels where labels count.

    The samples of `limit` and `skip` depend on their size alone. Raises `ValueError` for no pairs.
    """
    chosen = of_sources(read_table(stage.table), stage.sources)
    if stage.alpha < 1.0:
        chosen = chosen.labelled()
    if stage.skip is not None:
        left_out = set(_sample(len(chosen), stage.skip))
        chosen = chosen.take([row for row in range(len(chosen)) if row not in left_out])
    if stage.limit is not None:
        chosen = chosen.take(_sample(len(chosen), stage.limit))
    return _some(chosen, stage.table, f"no pairs of {stage.sources} are left for this stage")


def labelled_of(table: PairTable, path: Path, sources: Collection[str] | None) -> Selection:
    """The labelled pairs of `sources`; `path` is the table's. Raises `ValueError` for none."""
    chosen = of_sources(table, sources).labelled()
    return _some(chosen, path, f"no labelled pairs of {sources}: nothing to learn")


def labelled_pairs(stages: Sequence[Stage]) -> Selection:
    """The labelled pairs of all stages, those whose loss does not read labels among them."""
    found = Selection([], [])
    for stage in stages:
        labelled = select(stage).labelled()
        found.pairs.extend(labelled.pairs)
        found.sources.extend(labelled.sources)
    return found


def _some(chosen: Selection, path: Path, problem: str) -> Selection:
    if not chosen.pairs:
        raise ValueError(f"{path}: {problem}")
    return chosen


def _sample(count: int, size: int) -> list[int]:
    """Rows drawn from `count`, in order: a table stands in the order of its sources."""
    return sorted(random.Random(size).sample(range(count), min(size, count)))
