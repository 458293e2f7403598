"""The report of a fit: every ranker on the measured queries, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from retort.markdown import interval, percent, signed, table
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.evaluate.bootstrap import RESAMPLES, Estimate, Replicates
from retort.training.evaluate.evaluation import resample_set
from retort.training.evaluate.measures import TITLES, judged_queries
from retort.training.fit.choice import Choice
from retort.training.fit.plan import DISTILLED, LABELS_ALONE, TOGETHER, FitPlan
from retort.training.fit.verdict import Verdict, judge
from retort.training.study.estimate import in_words

REPORT_FILE, PAGE_FILE = "report.json", "report.md"


class Row(BaseModel):
    """One ranker on the measured queries.

    `measures` are its figures by measure, `difference` is the new bundle minus this one by the
    headline, and `kept` the new bundle's share of a teacher's figure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    measures: dict[str, Estimate]
    difference: Estimate | None = None
    kept: Estimate | None = None


class FitReport(BaseModel):
    """What was measured and found. `counts` are pairs and queries of each part by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    created: str
    plan: FitPlan
    headline: str
    choice: Choice
    counts: dict[str, tuple[int, int]]
    queries: int
    rows: tuple[Row, ...]
    verdict: Verdict | None
    remarks: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def served(self) -> str | None:
        """The bundle to serve: the new one where it is better than the old one or there is none."""
        if self.verdict is None or self.verdict.finding == "better":
            return str(self.plan.out)
        return self.verdict.old

    def to_json(self) -> str:
        """The report as JSON, read back by `FitReport.model_validate_json`."""
        return self.model_dump_json(indent=1) + "\n"


def make_report(
    plan: FitPlan,
    choice: Choice,
    items: EvaluationSet,
    scores: Mapping[str, ArrayLike],
    counts: Mapping[str, tuple[int, int]],
    seconds: Mapping[str, float],
) -> FitReport:
    """Compare all rankers of `scores` (pairs,) by name on `items`; the plan says who is who."""
    new = plan.name
    measures = ("nDCG@10", "AP") if items.kind == "ranking" else ("AUC",)
    samples = resample_set(
        items,
        {name: np.asarray(values, np.float64) for name, values in scores.items()},
        (),
        RESAMPLES,
        plan.seed,
        measures=measures if items.kind == "ranking" else (),
    )
    main = samples[measures[0]]
    teachers = [teacher.name for teacher in plan.teachers]
    rows = [
        Row(
            name=name,
            measures={measure: samples[measure].of(name) for measure in measures},
            difference=None if name == new else main.difference(new, name),
            kept=main.ratio(new, name) if name in (*teachers, TOGETHER) else None,
        )
        for name in scores
    ]
    verdict = None
    if plan.served is not None:
        verdict = judge(
            items, scores, new, plan.served, measure=measures[0], resamples=RESAMPLES,
            seed=plan.seed,
        )  # fmt: skip
    return FitReport(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        plan=plan,
        headline=measures[0],
        choice=choice,
        counts=dict(counts),
        queries=judged_queries(items) if items.kind == "ranking" else len(set(items.query_ids)),
        rows=tuple(rows),
        verdict=verdict,
        remarks=_remarks(plan, choice, main),
        seconds=dict(seconds),
    )


def _remarks(plan: FitPlan, choice: Choice, headline: Replicates) -> tuple[str, ...]:
    """What qualifies the figures, most important first."""
    remarks = []
    if len(choice.figures) > 1:
        remarks.append(choice.text[0].upper() + choice.text[1:] + ".")
    remarks.append(
        f"One student was trained, with seed {plan.seed}. The intervals are over queries alone: "
        "another seed may end a little higher or lower."
    )
    teachers = [teacher.name for teacher in plan.teachers]
    if teachers and plan.served is not None:
        best = max(teachers, key=lambda name: headline.of(name).value)
        ahead = headline.difference(best, plan.served)
        if ahead.low <= 0:
            how = "worse" if ahead.high < 0 else "not shown to be better"
            remarks.append(
                f"Of the teachers, {best} is the best here, and is itself {how} than {plan.served} "
                f"({signed(ahead, bounds=True)}): there is little to learn from it. A stronger "
                "teacher is what would help most."
            )
    if {DISTILLED, LABELS_ALONE} <= plan.students.keys():
        helped = headline.difference(DISTILLED, LABELS_ALONE)
        if helped.low <= 0:
            how = "do harm here" if helped.high < 0 else "are not shown to help"
            remarks.append(
                f"Teachers {how}: {DISTILLED} compared with {LABELS_ALONE} is "
                f"{signed(helped, bounds=True)}."
            )
    return tuple(remarks)


def render(report: FitReport) -> str:
    """The report as Markdown that reads well in a terminal too."""
    plan = report.plan
    measures = list(report.rows[0].measures)
    rows = [
        [
            row.name,
            *(interval(row.measures[measure]) for measure in measures),
            signed(row.difference, bounds=True),
            percent(row.kept, bounds=True),
        ]
        for row in sorted(report.rows, key=lambda row: -row.measures[measures[0]].value)
    ]
    head = ["ranker", *(TITLES.get(m, m) for m in measures), f"{plan.name} minus it", "share kept"]
    parts = ", ".join(
        f"{part} {pairs:,} pairs of {queries:,} queries"
        for part, (pairs, queries) in report.counts.items()
    )
    times = ", ".join(f"{name} {in_words(seconds)}" for name, seconds in report.seconds.items())
    verdict = report.verdict
    lines = [
        f"# {plan.name}, fitted to {plan.source}",
        "",
        verdict.text if verdict else "There is no bundle to compare with, so there is no verdict.",
        "",
        *table(head, rows, right=range(1, len(head))),
        "",
        f"Measured on {report.queries:,} queries that the new students did not learn from, with "
        f"95% intervals of a paired bootstrap over queries. Data: {parts}.",
        "",
        *(f"* {remark}" for remark in report.remarks),
        "",
        f"Time: {times}; together {in_words(sum(report.seconds.values()))}.",
        "",
        f"Serve: `retort serve --bundle {report.served}`. The recipes are in {plan.work}.",
    ]
    return "\n".join(lines) + "\n"


def write_report(folder: Path, report: FitReport) -> str:
    """Write the report as JSON and as Markdown; the latter is returned."""
    text = render(report)
    (folder / REPORT_FILE).write_text(report.to_json(), encoding="utf-8")
    (folder / PAGE_FILE).write_text(text, encoding="utf-8")
    return text
