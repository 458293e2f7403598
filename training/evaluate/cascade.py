"""The cascade's curve: how good a ranking is against the share of passages sent to the teacher.

Each pair of a held-out ranking is scored once by the student and once by the teacher. What a
server in cascade mode would have answered then follows by its own rules (`models/cascade.py`),
for any share and any way of choosing:

    spread    the passages nearest to the cut, relative to the spread of the student's heads
    margin    the passages nearest to the cut
    random    any passages; measured over several draws
    served    as the server chooses: by spread, and nothing further than its reach
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from retort.models.cascade import REACH, Strategy, allowance, choose, merge
from retort.models.rankings import rows_by_query
from retort.models.scores import Scores
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.evaluate.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    resample_means,
)
from retort.training.evaluate.measures import query_values

Floats = NDArray[np.float64]
Way = Literal["spread", "margin", "random", "served"]

WAYS: tuple[Way, ...] = ("spread", "margin", "random", "served")
SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
MEASURES = ("AP", "nDCG@10")
DRAWS = 4  # of the random choice, averaged query by query


class CascadeError(ValueError):
    """The curve cannot be measured on what was given."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Point(_Value):
    """One way at one share: `share` is the setting, `sent` what of all passages was sent."""

    share: float
    sent: float
    measures: dict[str, Estimate]


class SetCurve(_Value):
    """One set. `against` is the way `served` minus another, at the share that the report names.

    `reached` is the smallest share of passages with which `served` lies within the teacher's
    interval, by measure; None where no share does.
    """

    name: str
    headline: str
    pairs: int
    queries: int
    student: dict[str, Estimate]
    teacher: dict[str, Estimate]
    ways: dict[Way, tuple[Point, ...]]
    against: dict[str, dict[str, Estimate]]
    reached: dict[str, float | None]


class CascadeReport(_Value):
    """What was measured; `share` is the setting that the page speaks of."""

    created: str
    student: str
    teacher: str
    share: float
    top_n: int | None
    reach: float
    resamples: int
    seed: int
    confidence: float
    sets: tuple[SetCurve, ...]

    def to_json(self) -> str:
        """The report as JSON, read back by `CascadeReport.model_validate_json`."""
        return self.model_dump_json() + "\n"


@dataclass(frozen=True, slots=True)
class Opinions:
    """Both models on one set; arrays (pairs,) in the set's order."""

    items: EvaluationSet
    score: Floats
    spread: Floats
    teacher: Floats


def opinions(items: EvaluationSet, student: Scores, teacher: Scores) -> Opinions:
    """The two models' scores of `items`. Raises `CascadeError` for scores of another set."""
    for name, scores in (("student", student), ("teacher", teacher)):
        if len(scores.score) != len(items.pairs):
            raise CascadeError(
                f"{items.name}: {len(scores.score)} scores of the {name} for {len(items.pairs)} "
                "pairs: the set has changed since; score it again"
            )
    return Opinions(items, student.score, student.spread, teacher.score)


def cascaded(
    both: Opinions, share: float, way: Way, *, top_n: int | None = None, seed: int = 0
) -> tuple[Floats, int]:
    """What a server would answer: scores (pairs,), and how many passages it sent."""
    strategy: Strategy = "spread" if way == "served" else way
    reach = REACH if way == "served" else np.inf
    groups = rows_by_query(both.items.query_ids)
    merged = both.score.copy()
    sent = 0
    for number, rows in enumerate(groups):
        scores = both.score[rows]
        asked = choose(
            scores,
            both.spread[rows],
            allowance(len(rows), share),
            top_n=top_n,
            strategy=strategy,
            reach=reach,
            seed=seed * len(groups) + number,
        )
        merged[rows] = merge(scores, both.teacher[rows][asked], asked)
        sent += len(asked)
    return merged, sent


def measure_cascade(
    sets: Sequence[Opinions],
    student: str,
    teacher: str,
    *,
    share: float = 0.25,
    top_n: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> CascadeReport:
    """Measure the curve of each set; `student` and `teacher` name the two in the report."""
    if not sets:
        raise CascadeError("no rankings to measure: give a folder of sets that has some")
    curves = [_curve(both, share, top_n, resamples, seed) for both in sets]
    return CascadeReport(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        student=student,
        teacher=teacher,
        share=share,
        top_n=top_n,
        reach=REACH,
        resamples=resamples,
        seed=seed,
        confidence=CONFIDENCE,
        sets=tuple(curves),
    )


def _curve(both: Opinions, share: float, top_n: int | None, resamples: int, seed: int) -> SetCurve:
    items = both.items
    shares = sorted({*SHARES, share})
    columns = {"student": _values(items, both.score), "teacher": _values(items, both.teacher)}
    sent: dict[str, float] = {}
    for way in WAYS:
        for value in shares:
            key = f"{way} {value}"
            columns[key], sent[key] = _point(both, value, way, top_n, seed)
    samples = {
        measure: resample_means(
            {key: values[measure] for key, values in columns.items()}, resamples, seed
        )
        for measure in MEASURES
    }

    def estimates(key: str) -> dict[str, Estimate]:
        return {measure: samples[measure].of(key) for measure in MEASURES}

    ways = {
        way: tuple(
            Point(
                share=value,
                sent=sent[f"{way} {value}"],
                measures=estimates(f"{way} {value}"),
            )
            for value in shares
        )
        for way in WAYS
    }
    others = {"student": "student", "teacher": "teacher"}
    others |= {way: f"{way} {share}" for way in WAYS if way != "served"}
    teacher = estimates("teacher")
    return SetCurve(
        name=items.name,
        headline=items.headline if items.headline in MEASURES else MEASURES[0],
        pairs=len(items.pairs),
        queries=len(next(iter(columns["student"].values()))),
        student=estimates("student"),
        teacher=teacher,
        ways=ways,
        against={
            name: {m: samples[m].difference(f"served {share}", key) for m in MEASURES}
            for name, key in others.items()
        },
        reached={
            m: next((p.sent for p in ways["served"] if p.measures[m].value >= teacher[m].low), None)
            for m in MEASURES
        },
    )


def _point(
    both: Opinions, share: float, way: Way, top_n: int | None, seed: int
) -> tuple[dict[str, Floats], float]:
    """Values by measure (queries,), over the draws if there are several, and the share sent."""
    draws = DRAWS if way == "random" else 1
    values: list[dict[str, Floats]] = []
    sent = 0
    for draw in range(draws):
        merged, count = cascaded(both, share, way, top_n=top_n, seed=seed * DRAWS + draw)
        values.append(_values(both.items, merged))
        sent += count
    means = {m: np.mean([value[m] for value in values], axis=0) for m in MEASURES}
    return means, sent / draws / len(both.items.pairs)


def _values(items: EvaluationSet, scores: Floats) -> dict[str, Floats]:
    return query_values(items, scores, MEASURES).values
