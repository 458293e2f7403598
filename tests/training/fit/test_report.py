"""The report says what was found, and no more than that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.fit.choice import Choice
from retort.training.fit.plan import DISTILLED, LABELS_ALONE
from retort.training.fit.report import FitReport, make_report, render
from retort.training.recipes.parts.teacher import TeacherRef
from tests.training.fit.plans import make_plan

Floats = NDArray[np.float64]

ITEMS = EvaluationSet(
    "mine-measure",
    tuple(Pair(f"q{q}", f"p{q} {p}", float(p == 2)) for q in range(60) for p in range(5)),
)
CHOICE = Choice(
    student=DISTILLED, measure="nDCG@10", queries=20, figures={DISTILLED: 0.8, LABELS_ALONE: 0.7}
)


def noise(seed: int) -> Floats:
    return np.random.default_rng(seed).normal(size=len(ITEMS.pairs))


def made(tmp_path: Path, **scores: Floats) -> FitReport:
    """A report of `mine`, taught by `ce`, with these scores of each ranker."""
    plan = make_plan(tmp_path, teachers=(TeacherRef(name="ce", path="ce"),))
    every = {
        "mine": noise(1), "retort-small": noise(2), DISTILLED: noise(1), LABELS_ALONE: noise(3),
        "ce": noise(4), **scores,
    }  # fmt: skip
    return make_report(plan, CHOICE, ITEMS, every, {"train": (900, 90)}, {"try": 3.0, "label": 9.0})


def test_noise_is_no_reason_to_serve_another_bundle(tmp_path: Path) -> None:
    report = made(tmp_path, **{LABELS_ALONE: noise(1)})
    assert report.verdict is not None
    assert report.verdict.finding == "not shown to be better"
    assert report.served == "retort-small"
    page = render(report)
    assert "retort serve --bundle retort-small" in page
    assert "there is little to learn from it" in page
    assert "Teachers are not shown to help" in page


def test_a_teacher_that_is_worse_and_does_harm_is_called_that(tmp_path: Path) -> None:
    right = ITEMS.labels.astype(float)
    others = {"retort-small": right, LABELS_ALONE: right}
    page = render(made(tmp_path, ce=-right, mine=noise(1), distilled=noise(1), **others))
    assert "ce is the best here, and is itself worse than retort-small" in page
    assert "Teachers do harm here" in page


def test_a_gain_is_served_and_the_share_of_the_teacher_has_an_interval(tmp_path: Path) -> None:
    right = ITEMS.labels.astype(float)
    rather = right + 0.4 * noise(5)
    report = made(tmp_path, mine=rather, distilled=rather, ce=right)
    assert report.verdict is not None
    assert report.verdict.finding == "better"
    assert report.served == str(tmp_path / "mine")
    rows = {row.name: row for row in report.rows}
    kept, teacher = rows["ce"].kept, rows["ce"].measures["nDCG@10"]
    assert kept is not None
    assert teacher.value == 1.0
    assert kept.value == rows["mine"].measures["nDCG@10"].value
    assert 0 < kept.low < kept.value < kept.high <= 1
    assert rows["mine"].difference is None
    page = render(report)
    assert "little to learn" not in page
    assert "not shown to help" not in page
    assert page.index("| ce |") < page.index("| mine |") < page.index("| retort-small |")
    assert FitReport.model_validate_json(report.to_json()) == report
