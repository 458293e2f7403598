"""Evaluation: every system on every set, with intervals, and how much distillation kept.

report = evaluate(
    sets, {"student": {"wikiqa": scores, …}, "ensemble": …, "undistilled": …},
    Roles(student="student", teacher="ensemble", undistilled="undistilled"),
)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from retort.failures import reading
from retort.models.manifest import Agreement
from retort.models.rankings import rows_by_query, top1_agrees
from retort.training.data.evaluation_set import EvaluationSet, EvaluationSetError, Kind
from retort.training.evaluate.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    Replicates,
    resample_auc,
    resample_means,
)
from retort.training.evaluate.measures import (
    MeasureError,
    auc,
    check_scores,
    correct,
    expected_calibration_error,
    judged_queries,
    query_values,
)

Floats = NDArray[np.float64]
Scores = Mapping[str, Mapping[str, ArrayLike]]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Roles(_Value):
    """Which system is which. Comparisons are made with those that are given."""

    student: str = "student"
    teacher: str | None = None
    undistilled: str | None = None

    @property
    def others(self) -> tuple[str, ...]:
        """The systems that the student is compared with."""
        return tuple(name for name in (self.teacher, self.undistilled) if name is not None)


class Comparison(_Value):
    """The student compared with its teacher and with the student that was not distilled.

    `retained` is student over teacher, `gain` student minus undistilled, `gap_closed` the share of
    the way from undistilled to teacher. None where there is no such system, or no gap to share.
    """

    retained: Estimate | None = None
    gain: Estimate | None = None
    gap_closed: Estimate | None = None


class SystemResult(_Value):
    """One system on one set. `calibration_error` only where its scores are probabilities."""

    measures: dict[str, Estimate]
    calibration_error: float | None = None


class Grades(_Value):
    """Of a set with graded labels: the `largest` grade, and that from which a passage is relevant.

    `queries` are those that nDCG is over: they have a passage of some grade above 0.
    """

    largest: float
    relevant: float
    queries: int


class SetResult(_Value):
    """All systems on one set; `queries` are those measured, `skipped` had nothing relevant.

    `agreement` is the share of a ranking's queries on which the student puts first what the system
    of that name puts first. `grades` is None where labels are 0 and 1.
    """

    name: str
    kind: Kind
    headline: str
    pairs: int
    queries: int
    skipped: int
    systems: dict[str, SystemResult]
    comparisons: dict[str, Comparison]
    agreement: dict[str, Estimate] = {}
    grades: Grades | None = None


class EvaluationReport(_Value):
    """What was measured, as it stands in the JSON and as `report.py` writes it out.

    `agreement` is the student's top-1 agreement with each other system over all rankings.
    """

    created: str
    roles: Roles
    resamples: int
    seed: int
    confidence: float
    sets: tuple[SetResult, ...]
    agreement: dict[str, Agreement] = {}

    @model_validator(mode="after")
    def _has_student(self) -> Self:
        for item in self.sets:
            missing = {self.roles.student, *self.roles.others} - set(item.systems)
            if missing:
                raise ValueError(f"{item.name}: no scores of {', '.join(sorted(missing))}")
        return self

    def to_json(self) -> str:
        """The report as JSON, read back by `EvaluationReport.model_validate_json`."""
        return self.model_dump_json(indent=2) + "\n"


def read_report(path: Path) -> EvaluationReport:
    """The figures that `retort evaluate --out` wrote. Raises `OSError` or `ValueError`."""
    with reading(path, "figures of `retort evaluate`"):
        return EvaluationReport.model_validate_json(path.read_text(encoding="utf-8"))


def evaluate(
    sets: Sequence[EvaluationSet],
    scores: Scores,
    roles: Roles,
    *,
    probabilities: Collection[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> EvaluationReport:
    """Measure every system on every set.

    `scores[system][set]` has shape (pairs,), in the set's order. Systems in `probabilities` give
    probabilities: they alone get an accuracy (threshold 0.5) and a calibration error. Raises
    `EvaluationSetError` if a set has no scores of a system, `MeasureError` if they do not fit it.
    """
    results = []
    for items in sets:
        given = {
            name: by_set[items.name] for name, by_set in scores.items() if items.name in by_set
        }
        missing = sorted({roles.student, *roles.others} - set(given))
        if missing:
            raise EvaluationSetError(
                f"{items.name}: no scores of {', '.join(missing)}: score the set with it first"
            )
        if items.headline == "accuracy" and roles.student not in probabilities:
            raise MeasureError(
                f"{items.name} is measured by accuracy, for which {roles.student} has to give "
                "probabilities: name a student's or a teacher's checkpoint folder, without a kind"
            )
        results.append(_evaluate_set(items, given, roles, probabilities, resamples, seed))
    by_set, over_all = agreements(sets, scores, roles.student, resamples=resamples, seed=seed)
    return EvaluationReport(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        roles=roles,
        resamples=resamples,
        seed=seed,
        confidence=CONFIDENCE,
        sets=tuple(
            result.model_copy(update={"agreement": by_set.get(result.name, {})})
            for result in results
        ),
        agreement=over_all,
    )


def _evaluate_set(
    items: EvaluationSet,
    scores: Mapping[str, ArrayLike],
    roles: Roles,
    probabilities: Collection[str],
    resamples: int,
    seed: int,
) -> SetResult:
    checked = {
        name: check_scores(values, len(items.pairs), f"{items.name}, {name}")
        for name, values in scores.items()
    }
    queries = len(set(items.query_ids))
    measured = queries if items.kind == "classification" else judged_queries(items)
    replicates = resample_set(items, checked, probabilities, resamples, seed)
    errors = {
        name: expected_calibration_error(items.labels, checked[name])
        for name in checked
        if name in probabilities
    }
    grades = None
    if items.graded:
        grades = Grades(
            largest=items.largest,
            relevant=items.relevant * items.largest,
            queries=judged_queries(items, graded=True),
        )
    return SetResult(
        name=items.name,
        grades=grades,
        kind=items.kind,
        headline=items.headline,
        pairs=len(items.pairs),
        queries=measured,
        skipped=queries - measured,
        systems={
            name: SystemResult(
                measures={m: r.of(name) for m, r in replicates.items() if name in r.names},
                calibration_error=errors.get(name),
            )
            for name in checked
        },
        comparisons={
            measure: compare(samples, roles)
            for measure, samples in replicates.items()
            if roles.student in samples.names
        },
    )


def resample_set(
    items: EvaluationSet,
    systems: Mapping[str, Floats],
    probabilities: Collection[str],
    resamples: int,
    seed: int,
    *,
    measures: Sequence[str] = (),
    units: NDArray[np.int64] | None = None,
) -> dict[str, Replicates]:
    """Resamples of every measure of one set.

    `systems` are scores (pairs,) by name; accuracy (threshold 0.5) is measured for those in
    `probabilities`. `measures` are those of a ranking (default: the set's). Pairs of a
    classification that `units` (pairs,) gives one number are drawn together.
    """
    if items.kind == "ranking":
        names = tuple(measures) or items.measures
        values = {
            name: query_values(items, column, names).values for name, column in systems.items()
        }
        return {
            measure: resample_means(
                {name: by_measure[measure] for name, by_measure in values.items()}, resamples, seed
            )
            for measure in names
        }
    found = {"AUC": resample_auc(items.labels, systems, resamples, seed, units)}
    decided = {
        name: correct(items.labels, scores)
        for name, scores in systems.items()
        if name in probabilities
    }
    if decided:
        found["accuracy"] = resample_means(decided, resamples, seed, units)
    return found


def compare(samples: Replicates, roles: Roles) -> Comparison:
    """The student of `roles` compared with the others, as far as `samples` has them."""
    teacher = roles.teacher if roles.teacher in samples.names else None
    undistilled = roles.undistilled if roles.undistilled in samples.names else None
    return Comparison(
        retained=samples.ratio(roles.student, teacher) if teacher else None,
        gain=samples.difference(roles.student, undistilled) if undistilled else None,
        gap_closed=(
            samples.gap_closed(roles.student, undistilled, teacher)
            if teacher and undistilled
            else None
        ),
    )


def point_values(items: EvaluationSet, scores: ArrayLike) -> dict[str, float]:
    """One system's measures on one set without intervals: what a training run logs as it goes."""
    if items.kind == "classification":
        return {"AUC": auc(items.labels, check_scores(scores, len(items.pairs), items.name))}
    values = query_values(items, scores).values
    return {measure: float(np.mean(column)) for measure, column in values.items()}


def same_top(query_ids: Sequence[str], student: ArrayLike, other: ArrayLike) -> Floats:
    """1.0 for each query whose first passage by `student` is a best one by `other`; (queries,).

    `student` and `other` have shape (pairs,), as `query_ids`. Queries with one passage are left
    out.

    Example: `same_top(["a", "a", "b", "b"], [1, 2, 3, 4], [1, 2, 4, 3])` is `[1.0, 0.0]`.
    """
    ours, theirs = np.asarray(student), np.asarray(other)
    groups = rows_by_query(query_ids, at_least=2)
    return np.asarray([float(top1_agrees(ours[rows], theirs[rows])) for rows in groups])


def agreements(
    sets: Sequence[EvaluationSet],
    scores: Mapping[str, Mapping[str, ArrayLike]],
    student: str,
    *,
    resamples: int,
    seed: int,
) -> tuple[dict[str, dict[str, Estimate]], dict[str, Agreement]]:
    """The student's top-1 agreement with each other system: set by set, and over all of them.

    A server goes on measuring it live (`retort_shadow_top1_agreement`), so the level at export is
    written into the bundle's manifest. Only rankings count, and only systems that have scored all
    of them. The second value pools the queries of all sets, each weighing the same.
    """
    rankings = [items for items in sets if items.kind == "ranking"]
    others = [
        name
        for name, by_set in scores.items()
        if name != student and all(items.name in by_set for items in rankings)
    ]
    agreed = {
        items.name: {
            name: same_top(items.query_ids, scores[student][items.name], scores[name][items.name])
            for name in others
        }
        for items in rankings
    }
    agreed = {name: found for name, found in agreed.items() if found and found[others[0]].size}
    if not agreed:
        return {}, {}

    def estimates(columns: Mapping[str, Floats]) -> dict[str, Estimate]:
        samples = resample_means(columns, resamples, seed)
        return {other: samples.of(other) for other in others}

    pooled = {
        other: np.concatenate([found[other] for found in agreed.values()]) for other in others
    }
    over_all = {
        other: Agreement(
            teacher=other,
            top1=found.value,
            low=found.low,
            high=found.high,
            queries=pooled[other].size,
        )
        for other, found in estimates(pooled).items()
    }
    return {name: estimates(found) for name, found in agreed.items()}, over_all
