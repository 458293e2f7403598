"""The cascade's curve: its ends are the two models, and it follows the server's own rules."""

from __future__ import annotations

import numpy as np
import pytest

from retort.models.cascade import allowance, choose, merge
from retort.models.scores import Scores, combine
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.evaluate.cascade import (
    WAYS,
    CascadeError,
    CascadeReport,
    Opinions,
    cascaded,
    measure_cascade,
    opinions,
)

QUERIES, PASSAGES = 60, 8


@pytest.fixture(scope="module")
def both() -> Opinions:
    """A teacher that knows, and a student whose heads disagree where it errs."""
    draw = np.random.default_rng(5)
    pairs = tuple(
        Pair(f"q{q}", f"p{p}", float(p == q % PASSAGES))
        for q in range(QUERIES)
        for p in range(PASSAGES)
    )
    items = EvaluationSet("far", pairs, headline="AP")
    truth = items.labels * 4.0 - 2.0
    doubt = draw.uniform(0, 4, len(pairs))
    heads = truth[:, None] * 0.5 + doubt[:, None] * draw.normal(size=(len(pairs), 3))
    return opinions(items, combine(heads), combine(truth[:, None] * 2))


def test_the_ends_of_the_curve(both: Opinions) -> None:
    nothing, sent = cascaded(both, 0.0, "spread")
    assert (nothing == both.score).all()
    assert sent == 0
    everything, sent = cascaded(both, 1.0, "margin")
    assert everything == pytest.approx((both.score + both.teacher) / 2)
    assert sent == QUERIES * PASSAGES


def test_a_request_is_answered_as_the_server_answers_it(both: Opinions) -> None:
    merged, _ = cascaded(both, 0.5, "served", top_n=3)
    rows = slice(PASSAGES * 7, PASSAGES * 8)
    asked = choose(both.score[rows], both.spread[rows], allowance(PASSAGES, 0.5), top_n=3)
    expected = merge(both.score[rows], both.teacher[rows][asked], asked)
    assert len(asked) > 0
    assert (merged[rows] == expected).all()


def test_random_draws_differ_from_query_to_query(both: Opinions) -> None:
    merged, _ = cascaded(both, 0.25, "random")
    asked = (merged != both.score).reshape(QUERIES, PASSAGES)
    assert asked.sum(axis=1).tolist() == [2] * QUERIES
    assert len({tuple(row) for row in asked.tolist()}) > 5


def test_the_report_has_the_curve_and_says_when_it_reached_the_teacher(both: Opinions) -> None:
    report = measure_cascade([both], "s 1", "t 1", share=0.25, resamples=100)
    assert CascadeReport.model_validate_json(report.to_json()) == report
    curve = report.sets[0]
    assert curve.teacher["AP"].value == 1.0
    assert curve.student["AP"].value < 0.9
    assert set(curve.ways) == set(WAYS)
    for way in WAYS:
        sent = [point.sent for point in curve.ways[way]]
        assert sent == sorted(sent)
        assert all(point.sent <= point.share for point in curve.ways[way])
    quarter = {w: next(p for p in points if p.share == 0.25) for w, points in curve.ways.items()}
    assert quarter["spread"].measures["AP"].value > curve.student["AP"].value
    gained = curve.against["student"]["AP"].value
    assert gained == pytest.approx(
        quarter["served"].measures["AP"].value - curve.student["AP"].value
    )
    # A teacher that is always right has no interval: nothing short of it is within.
    assert curve.reached["AP"] is None or curve.reached["AP"] > 0.25


def test_scores_of_another_set_are_refused(both: Opinions) -> None:
    few: Scores = combine(np.zeros((3, 1)))
    with pytest.raises(CascadeError, match="far: 3 scores of the student for 480 pairs"):
        opinions(both.items, few, few)
    with pytest.raises(CascadeError, match="no rankings to measure"):
        measure_cascade([], "s", "t")
