"""A study's figures: every row with its interval, compared with its teachers and any other row.

figures = measure_study(read_results(Path("runs/study/qa")))
figures.top.compared("tmkd").retained       # Estimate(value=0.981, low=0.975, high=0.988)
figures.top.difference("tmkd", "1avg-o-1")  # paired over queries
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.evaluate.bootstrap import (
    RESAMPLES,
    Estimate,
    Replicates,
    mean_of,
    over_seeds,
    seed_of,
)
from retort.training.evaluate.evaluation import Comparison, Roles, compare, resample_set
from retort.training.evaluate.measures import TITLES, expected_calibration_error
from retort.training.recipes.study import ENSEMBLE, StudyRecipe
from retort.training.study.best import misnamed
from retort.training.study.results import (
    A_TEACHER,
    THE_BEST,
    THE_ENSEMBLE,
    DatasetResults,
    Run,
    ScoresBySet,
    StudyResults,
)

Floats = NDArray[np.float64]
Log = Callable[[str], None]

# A set with fewer queries than this has one question for many texts: its pairs are drawn.
MIN_QUERIES = 20
# A figure that differs by more from the one in its run's record is not of the same set.
TOLERANCE = 2e-3


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared: a set by one measure, or the mean over the sets or datasets in `parts`.

    `seeds[row]` are the row's values by seed, `baselines[row]` the undistilled row of the same
    student. `others` are a set's further measures.
    """

    name: str
    level: Literal["set", "dataset", "study"]
    measure: str
    samples: Replicates
    seeds: Mapping[str, Mapping[int, float]]
    baselines: Mapping[str, str]
    parts: tuple[Scope, ...] = ()
    others: Mapping[str, Replicates] = field(default_factory=dict)
    size: str = ""
    dataset: str = ""

    @property
    def rows(self) -> tuple[str, ...]:
        """The students."""
        return tuple(name for name in self.samples.names if not name.startswith(A_TEACHER))

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teachers and their ensemble."""
        names = (name for name in self.samples.names if name.startswith(A_TEACHER))
        return tuple(name for name in names if name != THE_BEST)

    def has(self, name: str) -> bool:
        """Whether a row or teacher was measured here."""
        return name in self.samples.names

    def value(self, name: str) -> Estimate:
        """A row or a teacher."""
        return self.samples.of(name)

    def compared(self, row: str, teacher: str = THE_ENSEMBLE) -> Comparison:
        """A row compared with a teacher and with its baseline, as far as they are there."""
        baseline = self.baselines.get(row)
        return compare(self.samples, Roles(student=row, teacher=teacher, undistilled=baseline))

    def difference(self, row: str, other: str) -> Estimate:
        """Row minus other, on the same draws of queries."""
        return self.samples.difference(row, other)

    def ranked(self) -> list[str]:
        """The rows, best first."""
        return sorted(self.rows, key=lambda row: -self.value(row).value)

    def walk(self) -> Iterator[Scope]:
        """This scope and all within it."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True, slots=True)
class StudyFigures:
    """What was found. `top` is the widest mean there is; None before the first run has finished.

    `chosen[row]` is the mean headline measure on the sets that choose, for rows that every dataset
    has. `doubts` are figures that do not fit the scores they should come from, `misnamed` what is
    wrong with the names of best teachers.
    """

    study: StudyResults
    top: Scope | None
    chosen: Mapping[str, float]
    calibration_error: Mapping[str, float]
    doubts: tuple[str, ...]
    resamples: int
    seed: int
    misnamed: tuple[str, ...] = ()

    @property
    def plan(self) -> StudyRecipe:
        """The study as it was ordered."""
        return self.study.plan

    def title(self, name: str) -> str:
        """The name of a row or a teacher in tables."""
        if name == THE_ENSEMBLE:
            return "teachers' ensemble"
        if name == THE_BEST:
            return "teacher named best" if self.misnamed else "best teacher"
        if name.startswith(A_TEACHER):
            return f"teacher {name.removeprefix(A_TEACHER)}"
        return next((row.title for row in self.plan.rows if row.name == name), name)


def measure_study(
    study: StudyResults, resamples: int = RESAMPLES, seed: int = 0, log: Log = lambda text: None
) -> StudyFigures:
    """Measure everything that is there."""
    scopes: list[Scope] = []
    doubts: list[str] = []
    for dataset in study.datasets:
        scope = _dataset_scope(study.plan, dataset, resamples, seed, log)
        if scope is not None:
            scopes.append(scope)
            doubts += _doubts(dataset, scope)
    top = scopes[0] if len(scopes) == 1 else None
    if len(scopes) > 1:
        top = _mean_scope(f"all of {study.plan.name}", "study", scopes)
    return StudyFigures(
        study,
        top,
        _chosen(study),
        _calibration_errors(study),
        tuple(doubts),
        resamples,
        seed,
        tuple(text for dataset in study.datasets if (text := misnamed(study.plan, dataset.plan))),
    )


def _dataset_scope(
    plan: StudyRecipe, dataset: DatasetResults, resamples: int, seed: int, log: Log
) -> Scope | None:
    rows = {row: runs for row, runs in dataset.runs.items() if runs}
    if not rows or not dataset.sets:
        return None
    keys = {
        row.name: f"joint/{row.name}" if row.joint else f"{dataset.plan.name}/{row.name}"
        for row in plan.rows
    }
    scopes = []
    for items in dataset.sets:
        log(f"{plan.name}: {items.name}")
        scopes.append(_set_scope(plan, dataset, items, rows, keys, resamples, seed))
    return scopes[0] if len(scopes) == 1 else _mean_scope(dataset.plan.name, "dataset", scopes)


def _set_scope(
    plan: StudyRecipe,
    dataset: DatasetResults,
    items: EvaluationSet,
    rows: Mapping[str, Sequence[Run]],
    keys: Mapping[str, str],
    resamples: int,
    seed: int,
) -> Scope:
    systems = {
        f"{row} {run.record.seed}": run.scores[items.name]
        for row, runs in rows.items()
        for run in runs
    }
    runs_of = {row: [f"{row} {run.record.seed}" for run in runs] for row, runs in rows.items()}
    teachers = {A_TEACHER + name: scores[items.name] for name, scores in dataset.teachers.items()}
    best = A_TEACHER + (dataset.plan.best or "")
    if best in teachers:
        teachers[THE_BEST] = teachers[best]
    systems |= teachers
    calibrated = ({*systems} - {*teachers}) | ({THE_ENSEMBLE} & {*teachers})
    whose = {**keys, **{name: name for name in teachers}}
    replicates, seeds = {}, {}
    for measure, samples in resample_queries(items, systems, calibrated, resamples, seed).items():
        members = runs_of | {name: [name] for name in teachers if name in samples.names}
        replicates[measure] = over_seeds(samples, members, whose, seed)
        if measure == items.headline:
            point = dict(zip(samples.names, samples.point.tolist(), strict=True))
            seeds = {
                row: {run.record.seed: point[f"{row} {run.record.seed}"] for run in runs}
                for row, runs in rows.items()
            }
    return Scope(
        name=items.name,
        level="set",
        measure=TITLES.get(items.headline, items.headline),
        samples=replicates.pop(items.headline),
        seeds=seeds,
        baselines=plan.baselines,
        others={TITLES.get(name, name): found for name, found in replicates.items()},
        dataset=dataset.plan.name,
        size=f"{len(items.pairs):,} pairs of {len(set(items.query_ids)):,} queries",
    )


def resample_queries(
    items: EvaluationSet,
    systems: Mapping[str, Floats],
    probabilities: Collection[str],
    resamples: int,
    seed: int,
) -> dict[str, Replicates]:
    """Resamples of every measure of one set but recall, drawn independently of any other set.

    `systems` are scores (pairs,) by name; accuracy is measured for those in `probabilities`.
    """
    return resample_set(
        items,
        systems,
        probabilities,
        resamples,
        seed_of(seed, f"queries of {items.name}"),
        measures=[measure for measure in items.measures if not measure.startswith("R@")],
        units=query_numbers(items),
    )


def query_numbers(items: EvaluationSet) -> NDArray[np.int64] | None:
    """Each pair's query as a number, (pairs,); None where there are too few queries to draw."""
    names, numbers = np.unique(items.query_ids, return_inverse=True)
    return numbers.astype(np.int64) if len(names) >= MIN_QUERIES else None


def _mean_scope(name: str, level: Literal["dataset", "study"], parts: Sequence[Scope]) -> Scope:
    samples = mean_of([part.samples for part in parts])
    seeds: dict[str, dict[int, float]] = {}
    for row in samples.names:
        by_part = [part.seeds[row] for part in parts if row in part.seeds]
        common = [s for s in (by_part[0] if by_part else ()) if all(s in each for each in by_part)]
        if common:
            seeds[row] = {s: float(np.mean([each[s] for each in by_part])) for s in common}
    measures = list(dict.fromkeys(part.measure for part in parts))
    # A mean of means is one of the same measures, so its name does not grow.
    if len(measures) > 1:
        measures = list(dict.fromkeys(m for part in parts for m in _named_in(part)))
    what = measures[0] if len(measures) == 1 else f"mean of {', '.join(measures)}"
    return Scope(name, level, what, samples, seeds, parts[0].baselines, tuple(parts))


def _named_in(scope: Scope) -> list[str]:
    return [part.measure for part in scope.walk() if part.level == "set"]


def _doubts(dataset: DatasetResults, scope: Scope) -> Iterator[str]:
    """Runs whose recorded figures are not those of their scores: the set has changed since."""
    measures = {items.name: items.headline for items in dataset.sets}
    for part in scope.walk():
        for row, values in part.seeds.items() if part.name in measures else ():
            for run in dataset.runs[row]:
                written = run.record.figures.get(part.name, {}).get(measures[part.name])
                found = values[run.record.seed]
                if written is not None and abs(written - found) > TOLERANCE:
                    yield (
                        f"`{row}`, seed {run.record.seed}: its record says {written:.4f} on "
                        f"{part.name}, its scores say {found:.4f}: has the set changed since?"
                    )


def _chosen(study: StudyResults) -> dict[str, float]:
    """Each row's mean headline measure on the sets that choose; without rows that lack one."""
    found = {}
    for row in study.plan.rows:
        means = []
        for dataset in study.datasets:
            runs = [run.record.headlines("choose") for run in dataset.runs.get(row.name, ())]
            values = [float(np.mean([*measures.values()])) for measures in runs if measures]
            if values:
                means.append(float(np.mean(values)))
        if means and len(means) == len(study.datasets):
            found[row.name] = float(np.mean(means))
    return found


def _calibration_errors(study: StudyResults) -> dict[str, float]:
    """Mean over sets and seeds of the expected calibration error, by row; the ensemble's too."""
    errors: dict[str, list[float]] = {}
    for dataset in study.datasets:
        for row, runs in dataset.runs.items():
            for run in runs:
                errors.setdefault(row, []).extend(run.record.calibration_error.values())
        ensemble: ScoresBySet = dataset.teachers.get(ENSEMBLE, {})
        for items in dataset.sets if ensemble else ():
            error = expected_calibration_error(items.labels, ensemble[items.name])
            errors.setdefault(THE_ENSEMBLE, []).append(error)
    return {name: float(np.mean(values)) for name, values in errors.items() if values}
