"""Figures: what a bundle's card says of an evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.evaluate.evaluation import Roles, evaluate
from retort.training.export.figures import FiguresError, agreement_of, quality_figures


def test_quality_figures_are_those_of_the_report() -> None:
    pairs = tuple(Pair(f"q{q}", f"p{p}", float(p == 0)) for q in range(40) for p in range(4))
    items = EvaluationSet("wikiqa", pairs, headline="AP")
    draw = np.random.default_rng(0)
    scores = {
        name: {"wikiqa": 1 / (1 + np.exp(-items.labels - draw.normal(size=160)))}
        for name in ("student", "teachers")
    }
    report = evaluate(
        [items], scores, Roles(teacher="teachers"), probabilities={"student"}, resamples=100
    )
    figures = quality_figures(report)
    figure = figures["wikiqa AP"]
    expected = report.sets[0].systems["student"].measures["AP"]
    assert (figure.value, figure.low, figure.high) == (expected.value, expected.low, expected.high)
    assert figure.n == 40
    assert "of the teacher's" in figure.note
    assert figures["wikiqa calibration error"].n == 160
    of_teacher = quality_figures(report, "teachers")["wikiqa AP"]
    assert of_teacher.value == report.sets[0].systems["teachers"].measures["AP"].value
    assert of_teacher.note == "n counts queries"
    with pytest.raises(FiguresError, match="no figures of nobody on wikiqa"):
        quality_figures(report, "nobody")


def test_agreement_is_the_students_alone() -> None:
    pairs = tuple(Pair(f"q{q}", f"p{p}", float(p == 0)) for q in range(40) for p in range(4))
    items = EvaluationSet("wikiqa", pairs)
    scores = {name: {"wikiqa": items.labels} for name in ("student", "teachers", "other")}
    report = evaluate([items], scores, Roles(teacher="teachers"), resamples=100)
    found = agreement_of(report)
    assert found is not None
    assert (found.teacher, found.top1, found.queries) == ("teachers", 1.0, 40)
    other = agreement_of(report, teacher="other")
    assert other is not None
    assert other.teacher == "other"
    assert agreement_of(report, "teachers") is None
    alone = report.model_copy(update={"agreement": {}})
    assert agreement_of(alone) is None
