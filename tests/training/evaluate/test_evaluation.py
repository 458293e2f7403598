"""Evaluation: known systems get known figures, and what is missing is named."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from retort.training.data.evaluation_set import EvaluationSet, EvaluationSetError
from retort.training.data.pairs import Pair
from retort.training.evaluate.evaluation import (
    EvaluationReport,
    Roles,
    agreements,
    evaluate,
    point_values,
    same_top,
)
from retort.training.evaluate.measures import MeasureError

ROLES = Roles(student="student", teacher="teachers", undistilled="plain")


def ranking() -> EvaluationSet:
    pairs = tuple(
        Pair(f"query {q}", f"passage {p}", float(p == q % 8), f"q{q}")
        for q in range(120)
        for p in range(8)
    )
    return EvaluationSet("far", pairs)


def classification() -> EvaluationSet:
    pairs = tuple(Pair(f"query {q}", "passage", float(q % 3 == 0)) for q in range(300))
    return EvaluationSet("near", pairs, "classification")


def noisy(items: EvaluationSet, noise: float, seed: int) -> NDArray[np.float64]:
    """The truth under noise, between 0 and 1: less noise is a better system."""
    draw = np.random.default_rng(seed).normal(size=len(items.pairs))
    return 1 / (1 + np.exp(-(items.labels * 2.0 - 1 + noise * draw)))


def scores(items: EvaluationSet) -> dict[str, NDArray[np.float64]]:
    return {
        "student": noisy(items, 0.7, 1),
        "teachers": noisy(items, 0.5, 2),
        "plain": noisy(items, 2.5, 3),
    }


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    sets = [ranking(), classification()]
    systems = {
        name: {item.name: scores(item)[name] for item in sets}
        for name in ("student", "teachers", "plain")
    }
    return evaluate(sets, systems, ROLES, probabilities={"student"}, resamples=200)


def test_a_perfect_and_a_hopeless_system() -> None:
    items = ranking()
    labels = items.labels.astype(float)
    result = evaluate(
        [items],
        {"student": {"far": labels}, "plain": {"far": -labels}},
        Roles(undistilled="plain"),
        resamples=100,
    ).sets[0]
    best = result.systems["student"].measures
    assert {name: estimate.value for name, estimate in best.items()} == pytest.approx(
        {"AP": 1, "RR": 1, "nDCG@10": 1, "R@1": 1, "R@10": 1}
    )
    assert result.systems["plain"].measures["RR"].value == pytest.approx(1 / 8)
    gain = result.comparisons["RR"].gain
    assert gain is not None
    assert gain.value == pytest.approx(7 / 8)
    assert result.comparisons["RR"].retained is None


def test_the_student_stands_between_the_two_others(report: EvaluationReport) -> None:
    for item in report.sets:
        compared = item.comparisons[item.headline]
        assert compared.retained is not None
        assert compared.gain is not None
        assert compared.gap_closed is not None
        assert 0.7 < compared.retained.value < 1
        assert compared.gain.low > 0
        assert 0.3 < compared.gap_closed.value < 1


def test_only_probabilities_are_called_calibrated_or_accurate(report: EvaluationReport) -> None:
    near = report.sets[1]
    assert near.systems["student"].calibration_error is not None
    assert "accuracy" in near.systems["student"].measures
    assert near.systems["teachers"].calibration_error is None
    assert "accuracy" not in near.systems["teachers"].measures
    assert near.comparisons["accuracy"].retained is None


def test_counts(report: EvaluationReport) -> None:
    far, near = report.sets
    assert (far.pairs, far.queries, far.skipped) == (960, 120, 0)
    assert (near.pairs, near.queries, near.skipped) == (300, 300, 0)


def test_the_report_comes_back_from_json(report: EvaluationReport) -> None:
    assert EvaluationReport.model_validate_json(report.to_json()) == report


def test_the_same_seed_gives_the_same_intervals(report: EvaluationReport) -> None:
    items = ranking()
    systems = {name: {"far": array} for name, array in scores(items).items()}
    again = evaluate([items], systems, ROLES, probabilities={"student"}, resamples=200)
    assert again.sets[0] == report.sets[0]


def test_a_system_without_scores_is_named() -> None:
    items = ranking()
    with pytest.raises(EvaluationSetError, match="far: no scores of plain, teachers"):
        evaluate([items], {"student": {"far": items.labels}}, ROLES)


def test_accuracy_of_a_student_that_gives_no_probabilities_is_refused() -> None:
    items = EvaluationSet("near", classification().pairs, "classification", headline="accuracy")
    given = {"student": {"near": scores(items)["student"]}}
    with pytest.raises(MeasureError, match="near is measured by accuracy, for which student has"):
        evaluate([items], given, Roles(), resamples=200)
    found = evaluate([items], given, Roles(), probabilities={"student"}, resamples=200)
    assert found.sets[0].headline == "accuracy"


def test_a_report_without_its_student_is_refused(report: EvaluationReport) -> None:
    values = report.model_dump()
    values["roles"]["student"] = "nobody"
    with pytest.raises(ValueError, match="far: no scores of nobody"):
        EvaluationReport.model_validate(values)


def test_point_values_are_those_of_the_report(report: EvaluationReport) -> None:
    items = ranking()
    values = point_values(items, scores(items)["student"])
    measures = report.sets[0].systems["student"].measures
    assert values == pytest.approx({name: e.value for name, e in measures.items()})
    assert set(point_values(classification(), np.arange(300))) == {"AUC"}


IDS = ["a", "a", "b", "b", "c"]


def test_a_query_agrees_when_the_best_passage_is_the_same() -> None:
    assert same_top(IDS, [1, 2, 3, 4, 9], [5, 6, 4, 3, 9]).tolist() == [1.0, 0.0]


def test_of_the_students_equal_scores_the_first_counts() -> None:
    assert same_top(IDS, [2, 2, 3, 3, 9], [5, 6, 4, 3, 9]).tolist() == [0.0, 1.0]


def test_queries_of_all_rankings_weigh_the_same() -> None:
    def ranking(name: str, queries: int) -> EvaluationSet:
        pairs = tuple(Pair(f"q{q}", f"p{p}", float(p == 0)) for q in range(queries) for p in (0, 1))
        return EvaluationSet(name, pairs)

    sets = [ranking("small", 10), ranking("large", 30)]
    pairs = tuple(Pair(f"q{q}", "p", float(q % 2)) for q in range(8))
    sets.append(EvaluationSet("pairs", pairs, "classification"))
    right = {"small": np.tile([1.0, 0.0], 10), "large": np.tile([1.0, 0.0], 30)}
    wrong_on_small = {**right, "small": -right["small"]}
    partial = {"small": right["small"]}
    scores = {"student": right, "same": right, "other": wrong_on_small, "partial": partial}
    by_set, pooled = agreements(sets, scores, "student", resamples=200, seed=0)
    assert set(by_set) == {"small", "large"}
    assert by_set["small"]["other"].value == 0.0
    assert by_set["large"]["other"].value == 1.0
    assert set(pooled) == {"same", "other"}  # the third has not scored every ranking
    assert pooled["same"].top1 == 1.0
    assert pooled["other"].top1 == pytest.approx(0.75)
    assert pooled["other"].queries == 40
    low, high = pooled["other"].low, pooled["other"].high
    assert low is not None
    assert high is not None
    assert low < 0.75 < high
