"""The records of a study: what its jobs write, each file with one schema for writer and readers.

    plan.json                            the study's recipe, as ordered (`recipes/study.py`)
    speeds.json                          `SpeedsRecord`
    DATASET/teachers/run.json            `TeachersRecord`
    DATASET/ROW/seed-N/run.json          `RunRecord`
    DATASET/ROW/seed-N/scores.npz        scores (pairs,) and logits (pairs, heads) by set

Nothing here needs PyTorch.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from retort.training.recipes.study import ENSEMBLE, TEACHERS, StudyRecipe

SCHEMA = 1
RUN_FILE = "run.json"
SCORES_FILE = "scores.npz"
BASIS_FILE = "basis.json"
PLAN_FILE = "plan.json"
SPEEDS_FILE = "speeds.json"
SPEEDS = "speeds"  # the name of the job that measures them
LOCK_FILE = ".labels.lock"  # in the score store: one process labels at a time

Figures = dict[str, dict[str, float]]  # by set and measure
Curve = tuple[tuple[float, float], ...]
Part = Literal["figures", "choose"]


class StudyFileError(ValueError):
    """A file of a study's folder is missing or damaged, or of another version."""


class _Record(BaseModel):
    # A later version may add fields.
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: int = Field(SCHEMA, alias="schema")


class RunRecord(_Record):
    """A run on one dataset. `curves` are (step, loss) by stage, `seconds` those of its parts.

    `figures` are on the sets that are reported, `choose` on those that choose and calibrate.
    `spread_error` is, by set, (mean spread, share of wrong pairs, pairs) of ten parts of the pairs.
    """

    study: str = ""
    row: str
    seed: int
    method: str = ""
    resumed: bool = False
    pairs_trained: int | None = None
    parameters: int | None = None
    layers: int | None = None
    recipe: dict[str, Any] = {}
    code: str = ""
    tables: dict[str, str] = {}
    teachers: dict[str, str] = {}
    curves: tuple[Curve, ...] = Field((), alias="curve")
    basis: dict[str, Any] = {}
    dataset: str = ""
    finished: str = ""
    seconds: dict[str, float] = {}
    headline: dict[str, str] = {}
    figures: Figures = {}
    choose: Figures = {}
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
        """One head has no spread."""
        return {name: deciles or () for name, deciles in (value or {}).items()}

    def headlines(self, part: Part = "figures") -> dict[str, float]:
        """The headline measure of each set."""
        return _headlines(self.figures if part == "figures" else self.choose, self.headline)


class TeachersRecord(_Record):
    """A dataset's teachers on its sets: figures by teacher, `ensemble` among them, and set.

    The scores rest on `teachers` (identity by name), `ensemble` (its members) and `sizes` (pairs by
    set).
    """

    study: str = ""
    dataset: str = ""
    row: str = TEACHERS
    finished: str = ""
    seconds: dict[str, float] = {}
    code: str = ""
    teachers: dict[str, str] = {}
    ensemble: list[str] = []
    sizes: dict[str, int] = {}
    headline: dict[str, str] = {}
    figures: dict[str, Figures] = {}
    choose: dict[str, Figures] = {}

    def headlines(self, teacher: str, part: Part = "figures") -> dict[str, float]:
        """The headline measure of each set; empty for a teacher that was not measured."""
        figures = self.figures if part == "figures" else self.choose
        return _headlines(figures.get(teacher, {}), self.headline)


def _headlines(figures: Figures, headline: Mapping[str, str]) -> dict[str, float]:
    return {name: found[headline[name]] for name, found in figures.items()}


class Speed(BaseModel):
    """How fast a row's students, or a teacher, score pairs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pairs_per_second: float
    parameters: float | None = None
    layers: float | None = None
    students: int = 1


class SpeedsRecord(_Record):
    """Pairs of `tokens` tokens per second, measured in turn in one process."""

    measured: str = ""
    tokens: int | None = None
    batch_pairs: int | None = None
    engine: str = ""
    cores: int | None = None
    rows: dict[str, Speed] = {}
    teachers: dict[str, Speed] = {}
    ensembles: dict[str, float] = {}  # by dataset


Model = TypeVar("Model", bound=BaseModel)


def read_record(kind: type[Model], path: Path, advice: str) -> Model:
    """A JSON file as a model. Raises `StudyFileError` with the file, the place and `advice`."""
    try:
        found = kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyFileError(f"{path}: not there: {advice}") from None
    except UnicodeDecodeError:
        raise StudyFileError(f"{path}: not UTF-8: {advice}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StudyFileError(f"{path}: {place}: {first['msg']}: {advice}") from None
    if isinstance(found, _Record) and found.schema_ != SCHEMA:
        raise StudyFileError(
            f"{path}: schema {found.schema_}, this version reads {SCHEMA}: use the version of "
            "Retort that wrote it, or run the study again"
        )
    return found


def find_record(kind: type[Model], path: Path) -> Model | None:
    """The record, or None where there is none that can be read: then the job is to be done."""
    try:
        return read_record(kind, path, "")
    except StudyFileError:
        return None


def read_plan(folder: Path) -> StudyRecipe:
    """The study that has its results in `folder`, wherever it was first made.

    Raises `StudyFileError`.
    """
    advice = "run `retort study` with the study's recipe first"
    return read_record(StudyRecipe, folder / PLAN_FILE, advice).model_copy(update={"out": folder})


def write_record(path: Path, value: BaseModel | Mapping[str, Any]) -> None:
    """Write JSON, then rename: a reader never sees half of it."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike]) -> None:
    """Write a compressed .npz, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name("tmp-" + path.name)
    np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # none is `allow_pickle`
    temporary.replace(path)


@dataclass(frozen=True, slots=True)
class Finding:
    """A row on a dataset: the mean headline by set over its finished seeds, and what it cost.

    `retained` is the mean over sets of the share of the teachers' ensemble, None without one.
    `seconds` are those of training one seed.
    """

    dataset: str
    row: str
    seeds: int
    values: Mapping[str, float]
    retained: float | None
    seconds: float
    parameters: int
    layers: int

    @property
    def mean(self) -> float:
        """The mean over the dataset's sets."""
        return fmean(self.values.values())


def findings(study: StudyRecipe) -> Iterator[Finding]:
    """What is finished, in the study's order: means, where the report has intervals."""
    records: dict[tuple[str, str], list[RunRecord]] = {}
    for cell in study.cells():
        for name, folder in zip(cell.datasets, study.results(cell), strict=True):
            record = find_record(RunRecord, folder / RUN_FILE)
            if record is not None and record.figures:
                records.setdefault((name, cell.row), []).append(record)
    for dataset in study.datasets:
        teachers = find_record(TeachersRecord, study.out / dataset.name / TEACHERS / RUN_FILE)
        ensemble = teachers.headlines(ENSEMBLE) if teachers is not None else {}
        for row in study.rows:
            found = records.get((dataset.name, row.name))
            if found:
                yield _finding(dataset.name, row.name, found, ensemble)


def _finding(
    dataset: str, row: str, records: Sequence[RunRecord], ensemble: Mapping[str, float]
) -> Finding:
    seeds = [record.headlines() for record in records]
    values = {name: fmean(seed[name] for seed in seeds) for name in seeds[0]}
    # A run that was interrupted knows only what its last sitting took.
    whole = [record for record in records if not record.resumed] or records
    shares = [values[name] / ensemble[name] for name in values if ensemble.get(name)]
    return Finding(
        dataset,
        row,
        len(records),
        values,
        fmean(shares) if shares else None,
        fmean(record.seconds["train"] for record in whole),
        records[0].parameters or 0,
        records[0].layers or 0,
    )


@contextmanager
def locked(path: Path, busy: str = "") -> Iterator[None]:
    """Hold a lock file; while another process does, wait, or raise `StudyFileError` with `busy`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise StudyFileError(busy) from None
        yield


def now() -> str:
    """The time, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def code_version() -> str:
    """The checkout's commit as git describes it, or the installed version."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--tags"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        pass
    try:
        return version("retort")
    except PackageNotFoundError:
        return "unknown"
