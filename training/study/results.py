"""The results of a study, read from its folder, while runs may still be to come.

    study = read_results(Path("runs/study/qa"))
    study.datasets[0].runs["tmkd"][0].scores["wikiqa-test"]      # (pairs,) probabilities

Results that are not there yet are listed in `missing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from retort.training.data.evaluation_set import EvaluationSet, read_sets
from retort.training.evaluate.measures import MeasureError, check_scores
from retort.training.recipes.parts.dataset import Dataset
from retort.training.recipes.study import ENSEMBLE, TEACHERS, StudyRecipe
from retort.training.study.records import (
    RUN_FILE,
    SCORES_FILE,
    SPEEDS_FILE,
    RunRecord,
    SpeedsRecord,
    StudyFileError,
    read_plan,
    read_record,
)

Floats = NDArray[np.float64]
ScoresBySet = Mapping[str, Floats]

# Names of systems that are not rows: no row can have them, because a row is a folder.
A_TEACHER = TEACHERS + "/"
THE_ENSEMBLE = A_TEACHER + ENSEMBLE
# The teacher that validation chose: in a mean over datasets, each dataset's own.
THE_BEST = A_TEACHER + "the best"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run. `scores[set]` are probabilities (pairs,)."""

    record: RunRecord
    scores: ScoresBySet


@dataclass(frozen=True, slots=True)
class DatasetResults:
    """A dataset's sets, its finished runs by row, and its teachers' scores by name."""

    plan: Dataset
    sets: tuple[EvaluationSet, ...]
    runs: Mapping[str, tuple[Run, ...]]
    teachers: Mapping[str, ScoresBySet]


@dataclass(frozen=True, slots=True)
class StudyResults:
    """A study's folder, read. `missing` names what is not there yet."""

    plan: StudyRecipe
    datasets: tuple[DatasetResults, ...]
    speeds: SpeedsRecord
    done: int
    wanted: int
    missing: tuple[str, ...]

    def runs(self, row: str) -> list[Run]:
        """The row's finished runs, over datasets and seeds."""
        return [run for dataset in self.datasets for run in dataset.runs.get(row, ())]

    @property
    def parameters(self) -> dict[str, int]:
        """By row and teacher, as far as they are known."""
        found = {}
        for row in self.plan.rows:
            known = [run.record.parameters for run in self.runs(row.name)]
            if known and known[0] is not None:
                found[row.name] = known[0]
        for name, speed in self.speeds.teachers.items():
            if speed.parameters is not None:
                found[A_TEACHER + name] = int(speed.parameters)
        return found

    @property
    def pairs_per_second(self) -> dict[str, float]:
        """By row and teacher, as far as they were measured."""
        rates = {name: speed.pairs_per_second for name, speed in self.speeds.rows.items()}
        for name, speed in self.speeds.teachers.items():
            rates[A_TEACHER + name] = speed.pairs_per_second
        if self.speeds.ensembles:
            rates[THE_ENSEMBLE] = sum(self.speeds.ensembles.values()) / len(self.speeds.ensembles)
        best = {dataset.plan.best for dataset in self.datasets}
        if len(best) == 1 and (only := f"{A_TEACHER}{next(iter(best))}") in rates:
            rates[THE_BEST] = rates[only]
        return rates


def read_results(folder: Path) -> StudyResults:
    """Read a study's folder.

    Raises `StudyFileError` where there is no plan, or a file is damaged or does not fit;
    `EvaluationSetError` where a set cannot be read.
    """
    plan = read_plan(folder)
    datasets, missing, done, wanted = [], [], 0, 0
    for item in plan.datasets:
        sets = tuple(found for path in item.measure_folders for found in read_sets(path))
        runs: dict[str, tuple[Run, ...]] = {}
        for row in plan.rows:
            if item not in plan.datasets_of(row):
                continue
            seeds = plan.seeds_of(row)
            read = [_read_run(folder / item.name / row.name / f"seed-{s}", sets) for s in seeds]
            runs[row.name] = tuple(run for run in read if run is not None)
            done, wanted = done + len(runs[row.name]), wanted + len(seeds)
            lost = [str(seed) for seed, run in zip(seeds, read, strict=True) if run is None]
            if lost:
                word = "seed" if len(lost) == 1 else "seeds"
                missing.append(f"`{row.name}` on {item.name}: {word} {', '.join(lost)}")
        teachers = _read_teachers(folder / item.name / TEACHERS / SCORES_FILE, sets)
        lost = [t.name for t in item.teachers if t.name not in teachers]
        if item.teachers and ENSEMBLE not in teachers:
            lost.append(f"the {ENSEMBLE}")
        if lost:
            missing.append(f"teachers' scores on {item.name}: {', '.join(lost)}")
        datasets.append(DatasetResults(item, sets, runs, teachers))
    path = folder / SPEEDS_FILE
    speeds = read_record(SpeedsRecord, path, "delete it") if path.is_file() else SpeedsRecord()
    return StudyResults(plan, tuple(datasets), speeds, done, wanted, tuple(missing))


def _read_run(folder: Path, sets: Sequence[EvaluationSet]) -> Run | None:
    """The run, or None while it has not finished."""
    path = folder / SCORES_FILE
    if not (folder / RUN_FILE).is_file() or not path.is_file():
        return None
    record = read_record(RunRecord, folder / RUN_FILE, "delete it and run the study again")
    arrays = _arrays(path)
    for items in sets:
        if items.name not in arrays:
            raise StudyFileError(
                f"{path}: no scores of {items.name}, there are those of "
                f"{', '.join(arrays) or 'no set'}: delete the run and run the study again"
            )
    return Run(record, {items.name: _fitting(arrays[items.name], items, path) for items in sets})


def _read_teachers(path: Path, sets: Sequence[EvaluationSet]) -> dict[str, dict[str, Floats]]:
    """Scores by set of those teachers that have scored all sets."""
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
            f"{path}: {error}; has the set been rewritten since? Delete this file's folder and run "
            "the study again"
        ) from None


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # Opened here: with a file that is cut short, numpy would leave closing to chance.
        with path.open("rb") as file, np.load(file) as archive:
            return {name: archive[name] for name in archive.files if not name.endswith("/logits")}
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise StudyFileError(f"{path}: cannot be read ({error}): delete it and run again") from None
