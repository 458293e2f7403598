"""A study on disk: its plan, the runs that are finished, its teachers' scores, what is missing.

    study = read_study(Path("runs/study/qa"))
    study.datasets[0].runs[0].scores["wikiqa-test"]      # (pairs,) probabilities

It reads what a study leaves in its folder and nothing else, so it works while runs are still to
come: what is not there is listed in `missing`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from retort.training.data.evaluation_set import INDEX_FILE, EvaluationSet, read_sets
from retort.training.evaluate.measures import MeasureError, check_scores
from retort.training.recipes.study import ENSEMBLE, TEACHERS
from retort.training.study.files import PLAN_FILE, RUN_FILE, SCHEMA, SCORES_FILE

Floats = NDArray[np.float64]
ScoresBySet = Mapping[str, Floats]


class StudyFileError(ValueError):
    """A file of a study's folder is missing or is not what it should be."""


class _Read(BaseModel):
    """What the report needs of a file; whatever else stands there is the writer's affair."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Published(_Read):
    """A figure that a row's paper prints, on its own data."""

    set: str
    value: float
    note: str = ""


class RowPlan(_Read):
    """One row of the table: a method with its options."""

    name: str
    method: str
    label: str = ""
    paper: str = ""
    joint: bool = False
    stages: tuple[str, ...] = ()
    student: dict[str, Any] | None = None
    seeds: tuple[int, ...] | None = None
    datasets: tuple[str, ...] | None = None
    published: tuple[Published, ...] = ()

    @property
    def title(self) -> str:
        """What the tables call it."""
        return self.label or self.name


class TeacherPlan(_Read):
    """A teacher, by its name in the dataset."""

    name: str


class DatasetPlan(_Read):
    """Where a dataset's rows are measured, and which teachers they learn from."""

    name: str
    measure: tuple[Path, ...]
    choose: tuple[Path, ...] = ()
    teachers: tuple[TeacherPlan, ...] = ()
    best: str | None = None

    @field_validator("measure", "choose", mode="before")
    @classmethod
    def _folders(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Path) else value or ()


class Plan(_Read):
    """The study as it was ordered."""

    name: str
    seeds: tuple[int, ...]
    baseline: str | None = None
    datasets: tuple[DatasetPlan, ...]
    rows: tuple[RowPlan, ...]

    def rows_of(self, dataset: str) -> list[RowPlan]:
        """The rows that are wanted for a dataset."""
        return [row for row in self.rows if row.datasets is None or dataset in row.datasets]

    @property
    def baselines(self) -> dict[str, str]:
        """For each row the row without a teacher that has the same student, where there is one."""
        without = next((row for row in self.rows if row.name == self.baseline), None)
        if without is None:
            return {}
        same = [row for row in self.rows if row.method == without.method and row is not without]
        found = {}
        for row in self.rows:
            like = [r for r in (without, *same) if (r.student or {}) == (row.student or {})]
            if like and row not in like:
                found[row.name] = like[0].name
        return found

    def seeds_of(self, row: RowPlan) -> tuple[int, ...]:
        """The seeds that are wanted of a row."""
        return self.seeds if row.seeds is None else row.seeds


Curve = tuple[tuple[float, float], ...]


class RunRecord(_Read):
    """One `run.json`. `curves` are (step, loss), one a stage."""

    schema_: int = Field(alias="schema")
    row: str
    seed: int
    method: str = ""
    finished: str = ""
    code: str = ""
    seconds: dict[str, float] = {}
    pairs_trained: int | None = None
    parameters: int | None = None
    layers: int | None = None
    curves: tuple[Curve, ...] = Field(default=(), alias="curve")
    figures: dict[str, dict[str, float]] = {}
    choose: dict[str, dict[str, float]] = {}
    calibration_error: dict[str, float] = {}
    spread_error: dict[str, tuple[tuple[float, float, float], ...]] = {}

    @field_validator("curves", mode="before")
    @classmethod
    def _by_stage(cls, value: Any) -> Any:
        """Stages by name, stages in order, or the points of the only stage."""
        if isinstance(value, Mapping):
            return tuple(value.values())
        if value and value[0] and not isinstance(value[0][0], Sequence):
            return (value,)
        return value or ()

    @field_validator("spread_error", mode="before")
    @classmethod
    def _of_heads(cls, value: Any) -> Any:
        """Without the sets on which there is no spread: a student of one head has none."""
        return {name: deciles for name, deciles in (value or {}).items() if deciles}


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run. `scores[set]` are probabilities (pairs,)."""

    folder: Path
    record: RunRecord
    scores: ScoresBySet


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of the study: its sets, its finished runs by row, its teachers' scores by name."""

    plan: DatasetPlan
    sets: tuple[EvaluationSet, ...]
    headlines: Mapping[str, str]  # of the sets to choose by
    runs: Mapping[str, tuple[Run, ...]]
    teachers: Mapping[str, ScoresBySet]


@dataclass(frozen=True, slots=True)
class Study:
    """A study's folder, read. `missing` says in words what is not there yet."""

    folder: Path
    plan: Plan
    datasets: tuple[Dataset, ...]
    done: int
    wanted: int
    missing: tuple[str, ...]


Model = TypeVar("Model", bound=BaseModel)


def read_study(folder: Path) -> Study:
    """Read a study's folder.

    Raises `StudyFileError` where there is no plan, or a file cannot be read or does not fit;
    `EvaluationSetError` where a set cannot be read.
    """
    plan = parse_file(Plan, folder / PLAN_FILE, "run `retort study` with the study's recipe first")
    datasets, missing, done, wanted = [], [], 0, 0
    for item in plan.datasets:
        sets = tuple(found for path in item.measure for found in read_sets(path))
        runs: dict[str, tuple[Run, ...]] = {}
        for row in plan.rows_of(item.name):
            seeds = plan.seeds_of(row)
            read = [_read_run(folder, item.name, row.name, seed, sets) for seed in seeds]
            runs[row.name] = tuple(run for run in read if run is not None)
            done, wanted = done + len(runs[row.name]), wanted + len(seeds)
            lost = [str(seed) for seed, run in zip(seeds, read, strict=True) if run is None]
            if lost:
                word = "seed" if len(lost) == 1 else "seeds"
                missing.append(f"`{row.name}` on {item.name}: {word} {', '.join(lost)}")
        teachers = _read_teachers(folder / item.name / TEACHERS, sets)
        lost = [t.name for t in item.teachers if t.name not in teachers]
        if item.teachers and ENSEMBLE not in teachers:
            lost.append(f"the {ENSEMBLE}")
        if lost:
            missing.append(f"teachers' scores on {item.name}: {', '.join(lost)}")
        datasets.append(Dataset(item, sets, _headlines(item.choose), runs, teachers))
    return Study(folder, plan, tuple(datasets), done, wanted, tuple(missing))


def _read_run(
    folder: Path, dataset: str, row: str, seed: int, sets: Sequence[EvaluationSet]
) -> Run | None:
    """The run, or None while it has not finished."""
    place = folder / dataset / row / f"seed-{seed}"
    told, kept = place / RUN_FILE, place / SCORES_FILE
    if not told.is_file() or not kept.is_file():
        return None
    record = parse_file(RunRecord, told, "delete it and run the study again")
    if record.schema_ != SCHEMA:
        raise StudyFileError(
            f"{told}: schema {record.schema_}, this version reads {SCHEMA}: use the version of "
            "Retort that wrote it, or run the study again"
        )
    arrays = _arrays(kept)
    for items in sets:
        if items.name not in arrays:
            raise StudyFileError(
                f"{kept}: no scores of {items.name}, there are those of "
                f"{', '.join(arrays) or 'no set'}: delete the run and run the study again"
            )
    scores = {items.name: _fitting(arrays[items.name], items, kept) for items in sets}
    return Run(place, record, scores)


def _read_teachers(folder: Path, sets: Sequence[EvaluationSet]) -> dict[str, dict[str, Floats]]:
    """Each teacher's scores by set, of those teachers that have scored all sets."""
    path = folder / SCORES_FILE
    if not path.is_file():
        return {}
    by_name: dict[str, dict[str, Floats]] = {}
    known = {items.name: items for items in sets}
    for key, values in _arrays(path).items():
        name, _, place = key.rpartition("/")  # as in `ce-6/wikiqa-test`
        if place in known:
            by_name.setdefault(name, {})[place] = _fitting(values, known[place], path)
    return {name: scores for name, scores in by_name.items() if len(scores) == len(known)}


def _fitting(values: NDArray[Any], items: EvaluationSet, path: Path) -> Floats:
    try:
        return check_scores(values, len(items.pairs), items.name)
    except MeasureError as error:
        raise StudyFileError(
            f"{path}: {error}; was the set written anew since? Delete the folder it is in and run "
            "the study again"
        ) from None


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # Opened here: of a file cut short numpy would leave closing to chance.
        with path.open("rb") as file, np.load(file) as archive:
            return {name: archive[name] for name in archive.files if not name.endswith("/logits")}
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise StudyFileError(f"{path}: cannot be read ({error}): delete it and run again") from None


def _headlines(folders: Sequence[Path]) -> dict[str, str]:
    """The measure by which each set that rows are chosen by is known."""
    found: dict[str, str] = {}
    for folder in folders:
        path = folder / INDEX_FILE
        if path.is_file():
            index = json.loads(path.read_text(encoding="utf-8"))
            found |= {name: str(entry["headline"]) for name, entry in index.items()}
    return found


def parse_file(kind: type[Model], path: Path, advice: str) -> Model:
    """A JSON file as a model. Raises `StudyFileError` with the file, the place and `advice`."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyFileError(f"{path}: not there: {advice}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StudyFileError(f"{path}: {place}: {first['msg']}: {advice}") from None
