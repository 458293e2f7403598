"""The job: a piece of a study that a worker does whole, and the report it gives of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from retort.training.recipes.study import PLACE, TEACHERS, Cell, StudyRecipe

Kind = Literal["speeds", "teachers", "run"]
Status = Literal["done", "kept", "failed"]


@dataclass(frozen=True, slots=True)
class Job:
    """`cell` is None but for a run. `after` names earlier jobs that have to have ended."""

    kind: Kind
    name: str
    study: str  # the recipe, as JSON
    log: str
    dataset: str = ""
    cell: Cell | None = None
    redo: bool = False
    after: tuple[str, ...] = ()

    @property
    def alone(self) -> bool:
        """Speeds are measured on a machine that does nothing else for this study."""
        return self.kind == "speeds"

    def to_line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Job:
        """The inverse of `to_line`."""
        values = json.loads(line)
        cell = values.pop("cell")
        if cell is not None:
            cell = Cell(cell["row"], cell["seed"], tuple(cell["datasets"]), cell["joint"])
        values["after"] = tuple(values["after"])
        return cls(**values, cell=cell)


@dataclass(frozen=True, slots=True)
class Report:
    """How a job ended."""

    name: str
    status: Status
    seconds: float
    error: str = ""

    def to_line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Report:
        """The inverse of `to_line`."""
        return cls(**json.loads(line))


def plan_jobs(study: StudyRecipe, *, speeds: bool = True, redo: bool = False) -> list[Job]:
    """All of a study in order: speeds, the teachers' own scores, then the cells."""
    text = study.model_dump_json(exclude_unset=True)
    jobs = []
    if speeds:
        jobs.append(Job("speeds", "speeds", text, _log(study.out / "speeds")))
    for dataset in study.datasets:
        if dataset.teachers:
            folder = study.out / dataset.name / TEACHERS
            jobs.append(
                Job("teachers", f"{dataset.name}/{TEACHERS}", text, _log(folder), dataset.name)
            )
    for cell in study.cells():
        log = _log(study.folder(cell))
        jobs.append(
            Job("run", cell.name, text, log, cell=cell, redo=redo, after=needs(study, cell))
        )
    return jobs


def needs(study: StudyRecipe, cell: Cell) -> tuple[str, ...]:
    """The jobs that a cell's figures come from."""
    row = study.row(cell.row)
    if row.figures is None:
        return ()
    dataset = study.dataset(cell.datasets[0])
    if row.figures == TEACHERS:
        return (f"{dataset.name}/{TEACHERS}",)
    rows = (row.figures.replace(PLACE, t.name) for t in dataset.chosen(row.teachers))
    return tuple(Cell(name, cell.seed, (dataset.name,)).name for name in rows)


def _log(folder: Path) -> str:
    """Beside the folder of the job, which a run that is made anew empties."""
    return str(folder.with_name(folder.name + ".log"))
