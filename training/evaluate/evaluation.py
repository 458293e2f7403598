"""Evaluation: every system on every set, with intervals, and what distillation kept.

report = evaluate(
    sets, {"student": {"wikiqa": scores, …}, "ensemble": …, "undistilled": …},
    Roles(student="student", teacher="ensemble", undistilled="undistilled"),
)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, model_validator

from retort.models.manifest import Agreement
from retort.training.data.evaluation_set import EvaluationSet, EvaluationSetError, Kind
from retort.training.evaluate.agreement import agreements
from retort.training.evaluate.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    Replicates,
    resample_auc,
    resample_means,
)
from retort.training.evaluate.calibration import expected_calibration_error
from retort.training.evaluate.measures import MeasureError, auc, check_scores, correct, query_values

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
    """The student beside its teacher and beside the student that was not distilled.

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


class SetResult(_Value):
    """All systems on one set; `queries` are those measured, `skipped` had nothing relevant.

    `agreement` is the share of a ranking's queries on which the student puts first what the system
    of that name puts first.
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


def evaluate(
    sets: Sequence[EvaluationSet],
    scores: Scores,
    roles: Roles,
    *,
    probabilities: Collection[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
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
        results.append(
            _evaluate_set(items, given, roles, probabilities, resamples, seed, confidence)
        )
    by_set, over_all = agreements(
        sets, scores, roles.student, resamples=resamples, seed=seed, confidence=confidence
    )
    return EvaluationReport(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        roles=roles,
        resamples=resamples,
        seed=seed,
        confidence=confidence,
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
    confidence: float,
) -> SetResult:
    checked = {
        name: check_scores(values, len(items.pairs), f"{items.name}, {name}")
        for name, values in scores.items()
    }
    labels = items.labels
    queries = len(set(items.query_ids))
    replicates: dict[str, Replicates] = {}
    if items.kind == "classification":
        measured = queries
        replicates["AUC"] = resample_auc(labels, checked, resamples, seed, confidence)
        decisions = {
            name: correct(labels, values)
            for name, values in checked.items()
            if name in probabilities
        }
        if decisions:
            replicates["accuracy"] = resample_means(decisions, resamples, seed, confidence)
    else:
        values = {name: query_values(items, column) for name, column in checked.items()}
        measured = len(next(iter(values.values())).query_ids)
        for measure in items.measures:
            columns = {name: value.values[measure] for name, value in values.items()}
            replicates[measure] = resample_means(columns, resamples, seed, confidence)
    errors = {
        name: expected_calibration_error(labels, checked[name])
        for name in checked
        if name in probabilities
    }
    return SetResult(
        name=items.name,
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


def compare(samples: Replicates, roles: Roles) -> Comparison:
    """The student of `roles` beside the others, as far as `samples` has them."""
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
