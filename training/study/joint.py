"""The joint row: one distillation for several datasets, on the pairs of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retort.training.data.pairs import Pair
from retort.training.data.selection import select
from retort.training.data.table import PairTable, write_table
from retort.training.recipes.recipe import DistillRecipe, Stage
from retort.training.recipes.study import Cell, StudyRecipe


def assemble(study: StudyRecipe, cell: Cell) -> DistillRecipe:
    """The recipe of a joint cell; writes a table a stage, of the pairs of all datasets.

    What a stage's `sources`, `limit` and `skip` choose is chosen in each dataset before the tables
    are put together. Optimiser, length and weights are those of the first dataset.
    """
    recipe, row = study.compose(cell), study.row(cell.row)
    stages = []
    for number, stage in enumerate(recipe.stages):
        pairs: list[Pair] = []
        sources: list[str] = []
        for name in cell.datasets:
            chosen = select(study.stages(row, study.dataset(name))[number])
            pairs += chosen.pairs
            sources += chosen.sources
        path = study.folder(cell) / "tables" / f"{row.stages[number]}.parquet"
        write_table(path, PairTable(tuple(pairs), tuple(sources), {"datasets": cell.datasets}))
        stages.append(_whole(stage, path))
    return recipe.model_copy(update={"stages": stages})


def _whole(stage: Stage, table: Path) -> Stage:
    everything: dict[str, Any] = {"table": table, "sources": None, "limit": None, "skip": None}
    return stage.model_copy(update=everything)
