"""The filled recipe: a cell's distillation with the figures that the study itself has found.

SKD draws teachers by how good they are, or by how good their students are; both are measured in the
study, on the sets that choose and never on those that are reported.
"""

from __future__ import annotations

from statistics import fmean

from retort.training.recipes.recipe import DistillRecipe
from retort.training.recipes.study import PLACE, TEACHERS, Cell, StudyRecipe
from retort.training.study.files import RUN_FILE, read_json
from retort.training.study.findings import headlines


class MissingFiguresError(ValueError):
    """A row needs figures that the study has not found yet."""


def with_figures(study: StudyRecipe, cell: Cell) -> DistillRecipe:
    """The recipe of a cell that is not joint. Raises `MissingFiguresError`."""
    recipe, row = study.compose(cell), study.row(cell.row)
    if row.figures is None:
        return recipe
    names = [teacher.name for teacher in recipe.teachers]
    if row.figures == TEACHERS:
        figures = _of_teachers(study, cell, names)
    else:
        sources = {name: row.figures.replace(PLACE, name) for name in names}
        figures = {name: _of_row(study, cell, source) for name, source in sources.items()}
    options = {**recipe.options, "figures": figures}
    return DistillRecipe.model_validate({**recipe.model_dump(), "options": options})


def _of_teachers(study: StudyRecipe, cell: Cell, names: list[str]) -> dict[str, float]:
    dataset = cell.datasets[0]
    path = study.out / dataset / TEACHERS / RUN_FILE
    record = read_json(path)
    if record is None or set(names) - set(record["choose"]):
        raise MissingFiguresError(f"{path}: no figures of {', '.join(names)} yet; run again")
    return {
        name: fmean(
            measures[record["headline"][item]] for item, measures in record["choose"][name].items()
        )
        for name in names
    }


def _of_row(study: StudyRecipe, cell: Cell, row: str) -> float:
    (folder,) = study.results(Cell(row, cell.seed, cell.datasets))
    record = read_json(folder / RUN_FILE)
    if record is None:
        raise MissingFiguresError(
            f"{cell.name} needs the figures of {folder}, which has none: see why, and run again"
        )
    return fmean(headlines(record, "choose").values())
