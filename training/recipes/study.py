"""The plan of a study: a recipe of kind `study`, and the distillations that it is made of.

A study is a grid: rows (a method with its options and stages) times datasets times seeds. Each cell
is a `DistillRecipe`, so that any of them can be repeated alone with `retort distill`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retort.training.recipes.recipe import DistillRecipe, Stage, StudentPlan, TeacherRef

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # a name is a folder
# Names of folders of a study, next to those of its datasets and rows.
TEACHERS = "teachers"  # in a dataset: what its teachers say
JOINT = "joint"  # runs that serve several datasets
LOGS = "logs"
ENSEMBLE = "ensemble"  # among the teachers, the mean of their probabilities
UNTAUGHT = "none"  # the method of a student that learns from labels alone
PLACE = "{teacher}"  # in the name of the rows that figures come from


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Published(_Part):
    """A paper's own figure, to print next to ours; `note` names its data and teachers."""

    set: str = Field(description="The evaluation set.")
    value: float = Field(description="The figure.")
    note: str = Field("", description="On what data, with which teachers.")


class Dataset(_Part):
    """Teachers, tables and evaluation sets that belong together.

    `best` is the teacher of the one-teacher rows, chosen by validation. `ensemble` names the
    teachers whose mean students are compared with (default: all): weak teachers that are there for
    one method alone would lower that standard. `measure` and `choose` are folders of evaluation
    sets. `task` is the student that a row of several tasks leaves for this dataset. `student`
    changes fields of the study's student.
    """

    name: str = Field(pattern=NAME, description="Its name: a folder.")
    teachers: list[TeacherRef] = Field([], description="The teachers, as for a student.")
    best: str | None = Field(
        None, description="The teacher of rows with one teacher; choose it on validation data."
    )
    ensemble: list[str] | None = Field(
        None, description="The teachers whose mean students are compared with; none for all."
    )
    measure: Path | list[Path] = Field(
        description="Folder, or folders, of the evaluation sets that are reported."
    )
    choose: Path | list[Path] = Field(
        description="Of those that calibrate and choose; the first set calibrates."
    )
    stages: dict[str, Stage] = Field(
        min_length=1, description="Stages by name, each as for a student."
    )
    task: str | None = Field(
        None, description="The student that a row of several tasks leaves for this data set."
    )
    student: dict[str, Any] = Field(
        {}, description="Fields of the study's student that differ here."
    )

    @property
    def measure_folders(self) -> list[Path]:
        """Folders of the sets that are reported."""
        return self.measure if isinstance(self.measure, list) else [self.measure]

    @property
    def choose_folders(self) -> list[Path]:
        """Folders of the sets that calibrate and choose; the first set calibrates."""
        return self.choose if isinstance(self.choose, list) else [self.choose]

    @property
    def together(self) -> list[TeacherRef]:
        """The teachers of the ensemble."""
        return self.chosen("all" if self.ensemble is None else self.ensemble)

    def chosen(self, wanted: str | list[str]) -> list[TeacherRef]:
        """The teachers a row asks for. Raises `ValueError` for one that is not there."""
        if wanted == "all":
            return list(self.teachers)
        if wanted == "best":
            if self.best is None:
                raise ValueError(f"{self.name}: a row asks for the best teacher: name it in best:")
            wanted = [self.best]
        by_name = {teacher.name: teacher for teacher in self.teachers}
        unknown = [name for name in wanted if name not in by_name]
        if unknown:
            raise ValueError(
                f"{self.name}: no teacher {', '.join(unknown)}: there are "
                f"{', '.join(by_name) or 'none'}"
            )
        return [by_name[name] for name in wanted]


class Row(_Part):
    """One line of the table: a method, with everything that differs from the study's common plan.

    `stages` are names of the datasets' stages; `stage` changes fields of all of them, as in
    `{alpha: 0.5, optimiser: {epochs: 2}}`. A `joint` row is one distillation for all its datasets.

    `figures` fills `options.figures` with figures of this study, measured on the sets that choose:
    `teachers` takes each teacher's own; a row's name with `{teacher}` in it, as in
    `1-o-1-{teacher}`, takes those of the students of each teacher alone, with the same seed.
    """

    name: str = Field(pattern=NAME, description="Its name: a folder.")
    label: str = Field("", description="What reports call it; its name if empty.")
    method: str = Field(description="One of `retort methods`.")
    paper: str = Field("", description="Whose method it is.")
    stages: list[str] = Field(min_length=1, description="Names of the data sets' stages.")
    stage: dict[str, Any] = Field(
        {},
        description="Fields of all its stages that differ, as "
        "`{alpha: 0.5, optimiser: {epochs: 2}}`.",
    )
    options: dict[str, Any] = Field({}, description="The method's own settings.")
    teachers: Literal["best", "all"] | list[str] = Field(
        "all", description="Which of the data sets' teachers."
    )
    datasets: list[str] | None = Field(None, description="The data sets it runs on; none for all.")
    student: dict[str, Any] = Field({}, description="Fields of the student that differ.")
    seeds: list[int] | None = Field(None, description="Its own seeds; none for the study's.")
    joint: bool = Field(False, description="One distillation for all its data sets.")
    figures: str | None = Field(
        None,
        description="Fill `options.figures` from the study: `teachers`, or a row's name with "
        "`{teacher}` in it.",
    )
    published: list[Published] = Field([], description="The paper's figures, printed next to ours.")

    @property
    def title(self) -> str:
        """The row's name in tables."""
        return self.label or self.name

    @property
    def school(self) -> str:
        """Whose method it is: the paper, or the method where no paper is named."""
        return self.paper or self.method


@dataclass(frozen=True, slots=True)
class Cell:
    """One distillation: a row, a seed, and the dataset that it serves (several if it is joint)."""

    row: str
    seed: int
    datasets: tuple[str, ...]
    joint: bool = False

    @property
    def name(self) -> str:
        """As in `qa/tmkd/seed-1`: the folder within the study."""
        return f"{JOINT if self.joint else self.datasets[0]}/{self.row}/seed-{self.seed}"


class StudyRecipe(_Part):
    """A grid of distillations, in order of need: every row once before any row a second time."""

    kind: Literal["study"] = Field(description="What the recipe makes.")
    name: str = Field(description="The study's name.")
    out: Path = Field(description="The study's folder.")
    store: Path = Field(description="The score store.")
    seeds: list[int] = Field([1, 2, 3], min_length=1, description="Every row runs once per seed.")
    student: StudentPlan = Field(StudentPlan(), description="The shape of all students.")
    baseline: str | None = Field(None, description="The row that the others are compared with.")
    datasets: list[Dataset] = Field(min_length=1, description="The data sets.")
    rows: list[Row] = Field(min_length=1, description="The methods.")
    checkpoint_steps: int = Field(
        200, ge=1, description="Steps between checkpoints, from which a killed run resumes."
    )

    def dataset(self, name: str) -> Dataset:
        """Raises `KeyError`."""
        return {item.name: item for item in self.datasets}[name]

    def row(self, name: str) -> Row:
        """Raises `KeyError`."""
        return {item.name: item for item in self.rows}[name]

    def datasets_of(self, row: Row) -> list[Dataset]:
        """The datasets of a row, in the study's order."""
        return [d for d in self.datasets if row.datasets is None or d.name in row.datasets]

    def seeds_of(self, row: Row) -> list[int]:
        """The seeds of a row."""
        return self.seeds if row.seeds is None else row.seeds

    @property
    def baselines(self) -> dict[str, str]:
        """For each row, the row without a teacher whose student has the same shape, if any."""
        without = next((row for row in self.rows if row.name == self.baseline), None)
        if without is None:
            return {}
        same = [row for row in self.rows if row.method == without.method and row is not without]
        found = {}
        for row in self.rows:
            like = [other for other in (without, *same) if other.student == row.student]
            if like and row not in like:
                found[row.name] = like[0].name
        return found

    def cells(self) -> list[Cell]:
        """All distillations: seeds outermost, then rows as written, then datasets."""
        extra = [seed for row in self.rows for seed in row.seeds or ()]
        return [
            cell
            for seed in dict.fromkeys([*self.seeds, *extra])
            for row in self.rows
            if seed in self.seeds_of(row)
            for cell in self._cells_of(row, seed)
        ]

    def _cells_of(self, row: Row, seed: int) -> Iterator[Cell]:
        names = tuple(dataset.name for dataset in self.datasets_of(row))
        if row.joint:
            yield Cell(row.name, seed, names, joint=True)
        else:
            yield from (Cell(row.name, seed, (name,)) for name in names)

    def folder(self, cell: Cell) -> Path:
        """Where a cell is trained."""
        return self.out / cell.name

    def results(self, cell: Cell) -> list[Path]:
        """The folders of a cell's figures, one per dataset."""
        return [self.out / name / cell.row / f"seed-{cell.seed}" for name in cell.datasets]

    def log(self, name: str) -> Path:
        """The log of a cell or of another job."""
        return self.out / LOGS / f"{name}.log"

    def needs(self, cell: Cell) -> list[str]:
        """The jobs that have to end before a cell, because it uses the figures they find."""
        row = self.row(cell.row)
        if row.figures is None:
            return []
        dataset = self.dataset(cell.datasets[0])
        if row.figures == TEACHERS:
            return [f"{dataset.name}/{TEACHERS}"]
        rows = (row.figures.replace(PLACE, t.name) for t in dataset.chosen(row.teachers))
        return [Cell(name, cell.seed, (dataset.name,)).name for name in rows]

    def stages(self, row: Row, dataset: Dataset) -> list[Stage]:
        """The stages of a row. Raises `ValueError` for one that the dataset does not have."""
        unknown = [name for name in row.stages if name not in dataset.stages]
        if unknown:
            raise ValueError(
                f"row {row.name}: {dataset.name} has no stage {', '.join(unknown)}: there are "
                f"{', '.join(dataset.stages)}"
            )
        # Stages are written for rows with teachers; a student without one learns from labels alone.
        fixed = {"alpha": 0.0, "hidden": 0.0} if row.method == UNTAUGHT else {}
        return [
            Stage.model_validate(merged(_plain(dataset.stages[name]), fixed, row.stage))
            for name in row.stages
        ]

    def teachers(self, row: Row, datasets: Sequence[Dataset]) -> list[TeacherRef]:
        """The teachers of a row, those of several datasets merged. Raises `ValueError`."""
        if row.method == UNTAUGHT:
            return []
        found: dict[str, list[TeacherRef]] = {}
        for dataset in datasets:
            for teacher in dataset.chosen(row.teachers):
                found.setdefault(teacher.name, []).append(teacher)
        return [_one_teacher(row, same, len(datasets)) for same in found.values()]

    def compose(self, cell: Cell) -> DistillRecipe:
        """The distillation of a cell. Raises `ValueError`.

        A joint cell has the stages of its first dataset; the run (`study/run.py`) puts the tables
        of all datasets in their place.
        """
        row = self.row(cell.row)
        datasets = [self.dataset(name) for name in cell.datasets]
        teachers, stages = self.teachers(row, datasets), self.stages(row, datasets[0])
        values: dict[str, Any] = {
            "kind": "distill",
            "name": cell.name.replace("/", "-"),
            "method": row.method,
            "seed": cell.seed,
            "out": self.folder(cell),
            "store": self.store,
            "teachers": [_plain(teacher) for teacher in teachers],
            "student": merged(_plain(self.student), datasets[0].student, row.student),
            "stages": [_plain(stage) for stage in stages],
            "checkpoint_steps": self.checkpoint_steps,
        }
        if row.options or row.figures is not None:
            # The study measures these figures later; any value will do to check a plan.
            figures = {"figures": {teacher.name: 0.0 for teacher in teachers}}
            values["options"] = merged(row.options, figures if row.figures is not None else {})
        return DistillRecipe.model_validate(values)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        faults = list(self._faults())
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        rows = [row.name for row in self.rows]
        datasets = [dataset.name for dataset in self.datasets]
        yield from _twice("row", rows)
        yield from _twice("dataset", datasets)
        if TEACHERS in rows:
            yield f"a row is named {TEACHERS}: that is the folder of the teachers' own scores"
        for name, what in ((JOINT, "joint rows"), (LOGS, "logs")):
            if name in datasets:
                yield f"a dataset is named {name}: that is the folder of {what}"
        if self.baseline is not None and self.baseline not in rows:
            yield f"baseline {self.baseline}: there is no such row; there are {', '.join(rows)}"
        for dataset in self.datasets:
            yield from _twice(f"{dataset.name}: teacher", [t.name for t in dataset.teachers])
            yield from _fault_of(partial(dataset.chosen, dataset.ensemble or "all"))
            if dataset.best is not None:
                yield from _fault_of(partial(dataset.chosen, "best"))
        for place, row in enumerate(self.rows):
            yield from self._figure_faults(row, rows[:place])
            unknown = sorted(set(row.datasets or ()) - set(datasets))
            if unknown:
                yield f"row {row.name}: no dataset {', '.join(unknown)}"
            elif not self.datasets_of(row):
                yield f"row {row.name}: no datasets: leave datasets out for all of them"
            else:
                for cell in self._cells_of(row, self.seeds[0]):
                    for fault in _fault_of(partial(self.compose, cell)):
                        yield f"{cell.row}, {cell.datasets[0]}: {fault}"

    def _figure_faults(self, row: Row, before: Sequence[str]) -> Iterator[str]:
        if row.figures is None or row.figures == TEACHERS:
            return
        if row.joint or PLACE not in row.figures:
            yield (
                f"row {row.name}: figures {row.figures!r}: give {TEACHERS}, or a row's name with "
                f"{PLACE} in it; a joint row has none"
            )
            return
        try:
            names = [t.name for d in self.datasets_of(row) for t in d.chosen(row.teachers)]
        except ValueError:
            return  # said below
        for name in dict.fromkeys(row.figures.replace(PLACE, name) for name in names):
            if name not in before:
                yield f"row {row.name}: figures need a row {name} before it: add it"


def merged(base: Mapping[str, Any], *changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mappings within mappings too.

    Example: `merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})` is `{"a": {"b": 1, "c": 3}}`.
    """
    result = dict(base)
    for change in changes:
        for key, value in change.items():
            under = result.get(key)
            if isinstance(value, Mapping) and isinstance(under, Mapping):
                result[key] = merged(under, value)
            else:
                result[key] = value
    return result


def _plain(value: BaseModel) -> dict[str, Any]:
    # What was not written stays out, so that a default that knows its neighbours still applies.
    return value.model_dump(exclude_unset=True)


def _one_teacher(row: Row, same: Sequence[TeacherRef], datasets: int) -> TeacherRef:
    """A teacher of several datasets, for the pairs of all of them."""
    first = same[0]
    alike = {"sources": None}
    if any(t.model_copy(update=alike) != first.model_copy(update=alike) for t in same):
        raise ValueError(f"row {row.name}: {first.name} is another teacher in each dataset")
    if datasets > 1 and len(same) < datasets and any(t.sources is None for t in same):
        raise ValueError(
            f"row {row.name} is joint and {first.name} belongs to {len(same)} of {datasets} "
            "datasets: say which pairs it scores, as in sources: [rte/train]"
        )
    if any(t.sources is None for t in same):
        return first.model_copy(update={"sources": None})
    every = dict.fromkeys(source for t in same for source in t.sources or ())
    return first.model_copy(update={"sources": list(every)})


def _twice(what: str, names: list[str]) -> Iterator[str]:
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"{what} {name} is there twice: give each a name of its own"


def _fault_of(make: Callable[[], object]) -> Iterator[str]:
    try:
        make()
    except ValidationError as error:
        for fault in error.errors():
            place = ".".join(str(part) for part in fault["loc"])
            found = f", found {fault['input']!r}"[:200] if place else ""
            what = fault["msg"].removeprefix("Value error, ")
            yield f"{place}: {what}{found}".removeprefix(": ")
    except ValueError as error:
        yield str(error)
