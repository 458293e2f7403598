"""Measures against examples worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
from sklearn.metrics import ndcg_score

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.evaluate.measures import (
    MeasureError,
    auc,
    correct,
    equal_mass_error,
    expected_calibration_error,
    judged_queries,
    noise_floor,
    query_values,
    reliability,
    whole_gains,
)


def ranking(labels: list[int], **options: object) -> EvaluationSet:
    pairs = tuple(Pair("q", f"passage {i}", float(label), "q") for i, label in enumerate(labels))
    return EvaluationSet("set", pairs, **options)  # type: ignore[arg-type]


def test_rank_measures_worked_by_hand() -> None:
    # Ranked: relevant, not, relevant, not.
    items = ranking([0, 1, 0, 1], cutoffs=(1, 3))
    values = query_values(items, [0.5, 0.9, 0.1, 0.3]).values
    assert values["AP"][0] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert values["RR"][0] == 1.0
    ideal = 1 / math.log2(2) + 1 / math.log2(3)
    assert values["nDCG@10"][0] == pytest.approx((1 + 1 / math.log2(4)) / ideal)
    assert values["R@1"][0] == 0.5
    assert values["R@3"][0] == 1.0


def test_reciprocal_rank_of_the_third() -> None:
    assert query_values(ranking([0, 0, 1]), [3, 2, 1]).values["RR"][0] == pytest.approx(1 / 3)


def test_queries_stay_apart_and_in_order() -> None:
    pairs = (
        Pair("b", "x", 1.0, "2"),
        Pair("a", "x", 0.0, "1"),
        Pair("b", "y", 0.0, "2"),
        Pair("a", "y", 1.0, "1"),
    )
    values = query_values(EvaluationSet("set", pairs), [1, 9, 0, 8])
    assert values.query_ids == ("2", "1")
    assert values.values["RR"].tolist() == [1.0, 0.5]


def test_a_query_without_relevant_passages_is_left_out() -> None:
    pairs = (Pair("a", "x", 0.0, "1"), Pair("b", "x", 1.0, "2"), Pair("b", "y", 0.0, "2"))
    assert query_values(EvaluationSet("set", pairs), [1, 1, 2]).query_ids == ("2",)


def test_what_the_first_stage_missed_counts_as_never_found() -> None:
    items = ranking([1, 0], missed={"q": 1})
    values = query_values(items, [2, 1]).values
    assert values["R@10"][0] == 0.5
    assert values["AP"][0] == 0.5


def test_a_query_whose_relevant_passages_were_all_missed_scores_nothing() -> None:
    pairs = (Pair("a", "x", 0.0, "1"), Pair("b", "x", 1.0, "2"))
    values = query_values(EvaluationSet("set", pairs, missed={"1": 1}), [1, 1])
    assert dict(zip(values.query_ids, values.values["AP"], strict=True)) == {"1": 0.0, "2": 1.0}


def test_ties_follow_neither_the_listing_nor_the_label() -> None:
    # A constant scorer finds one relevant passage of ten at rank 5.5 on average, whichever end
    # of the list it stands at.
    draw = np.random.default_rng(0)
    for place in (0, 9):
        pairs = [
            Pair(f"q{q}", f"text {draw.integers(1 << 60)}", float(i == place), f"q{q}")
            for q in range(300)
            for i in range(10)
        ]
        items = EvaluationSet("set", tuple(pairs))
        reciprocal = query_values(items, np.zeros(len(pairs))).values["RR"]
        expected = np.mean([1 / rank for rank in range(1, 11)])
        assert reciprocal.mean() == pytest.approx(expected, abs=0.06)
        assert np.array_equal(reciprocal, query_values(items, np.zeros(len(pairs))).values["RR"])


def test_of_two_copies_of_a_passage_the_irrelevant_one_ranks_first() -> None:
    for labels in ((1.0, 0.0), (0.0, 1.0)):
        pairs = tuple(Pair("q", "same", label, "q") for label in labels)
        values = query_values(EvaluationSet("set", pairs), [0.5, 0.5]).values
        assert values["RR"][0] == 0.5


def test_scores_nearer_than_float32_can_tell_are_no_tie() -> None:
    scores = [1.0, 1.0 + 1e-12]
    for labels in ([1, 0], [0, 1]):
        value = query_values(ranking(labels), scores).values["RR"][0]
        assert value == (1.0 if labels == [0, 1] else 0.5)


def test_auc_counts_ties_half() -> None:
    assert auc([0, 1, 0, 1], [0.1, 0.1, 0.2, 0.3]) == pytest.approx((0.5 + 0 + 1 + 1) / 4)


def test_auc_of_one_kind_of_label_is_refused() -> None:
    with pytest.raises(MeasureError, match="needs both kinds"):
        auc([1, 1], [0.1, 0.2])


def test_correct_at_the_threshold() -> None:
    assert correct([1, 1, 0, 0], [0.6, 0.5, 0.5, 0.9]).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("scores", "message"),
    [([1.0], r"shape \(1,\), expected \(2,\)"), ([1.0, math.nan], "not finite.*pair 1")],
)
def test_scores_that_do_not_fit_are_refused(scores: list[float], message: str) -> None:
    with pytest.raises(MeasureError, match=message):
        query_values(ranking([1, 0]), scores)


def test_calibration_error_worked_by_hand() -> None:
    # Two bins: scores 0.2, 0.4 with labels 0, 1 and 0.9 with label 1.
    error = expected_calibration_error([0, 1, 1], [0.2, 0.4, 0.9], bins=2)
    assert error == pytest.approx(2 / 3 * abs(0.3 - 0.5) + 1 / 3 * abs(0.9 - 1.0))


def test_a_score_of_one_belongs_to_the_last_bin() -> None:
    assert expected_calibration_error([1, 0], [1.0, 0.0]) == 0.0


def test_scores_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(MeasureError, match="give probabilities"):
        expected_calibration_error([0, 1], [-1.0, 2.0])


def test_bins_of_equal_mass_worked_by_hand() -> None:
    labels, scores = [0, 1, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.8, 0.9]
    low, high = reliability(labels, scores, bins=2)
    assert (low.pairs, high.pairs) == (3, 3)
    assert [low.score, low.relevant] == pytest.approx([0.2, 1 / 3])
    assert [high.score, high.relevant] == pytest.approx([2.3 / 3, 1.0])
    expected = (1 / 3 - 0.2 + 1 - 2.3 / 3) / 2
    assert equal_mass_error(labels, scores, bins=2) == pytest.approx(expected)


def test_few_pairs_look_uncalibrated_by_chance_and_the_floor_says_by_how_much() -> None:
    draw = np.random.default_rng(0)
    few, many = draw.uniform(size=100), draw.uniform(size=5_000)
    assert noise_floor(many) < 0.03 < noise_floor(few)
    errors = [equal_mass_error(draw.uniform(size=100) < few, few) for _ in range(100)]
    assert np.mean(errors) == pytest.approx(noise_floor(few), abs=0.01)


def graded(queries: int = 40, passages: int = 14, largest: int = 3) -> EvaluationSet:
    """Queries whose passages have grades from 0 to `largest`; a third of them have none above 1."""
    draw = np.random.default_rng(1)
    pairs = []
    for query in range(queries):
        top = largest if query % 3 else 1
        grades = np.concatenate(([min(query % 3, 1)], draw.integers(0, top + 1, passages - 1)))
        pairs += [
            Pair(f"q{query}", f"p{number}", grade / largest) for number, grade in enumerate(grades)
        ]
    return EvaluationSet("graded", tuple(pairs), largest=float(largest))


def test_graded_measures_are_those_of_trec_eval_and_of_scikit_learn() -> None:
    items = graded()
    scores = np.random.default_rng(2).normal(size=len(items.pairs))
    found = query_values(items, scores)
    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for pair, score in zip(items.pairs, scores, strict=True):
        qrels.setdefault(pair.query, {})[pair.passage] = round((pair.label or 0.0) * 3)
        run.setdefault(pair.query, {})[pair.passage] = float(score)

    def trec(measure: str, level: int) -> dict[str, float]:
        judge = pytrec_eval.RelevanceEvaluator(qrels, {measure}, relevance_level=level)
        name = measure.replace(".", "_")
        return {query: values[name] for query, values in judge.evaluate(run).items()}

    gains = trec("ndcg_cut.10", 1)
    assert found.values["nDCG@10"] == pytest.approx([gains[q] for q in found.graded_ids], abs=1e-9)
    precision = trec("map", 2)  # relevant from half of 3 on
    assert found.values["AP"] == pytest.approx([precision[q] for q in found.query_ids], abs=1e-9)
    assert len(found.query_ids) < len(found.graded_ids)
    assert set(found.graded_ids) == {q for q, own in qrels.items() if any(own.values())}
    for query, value in zip(found.graded_ids, found.values["nDCG@10"], strict=True):
        truth, given = [[*qrels[query].values()]], [[*run[query].values()]]
        assert value == pytest.approx(ndcg_score(truth, given, k=10), abs=1e-9)
    assert judged_queries(items) == len(found.query_ids)
    assert judged_queries(items, graded=True) == len(found.graded_ids)


def test_a_passage_is_relevant_from_the_label_that_the_set_says() -> None:
    pairs = tuple(Pair("q", f"p{grade}", grade / 3) for grade in range(4))
    for relevant, expected in ((1 / 3, [0, 1, 1, 1]), (2 / 3, [0, 0, 1, 1]), (1.0, [0, 0, 0, 1])):
        items = EvaluationSet("set", pairs, relevant=relevant)
        assert items.labels.tolist() == expected
        best_last = query_values(items, [4.0, 3.0, 2.0, 1.0]).values
        assert best_last["RR"][0] == 1 / (5 - sum(expected))
        assert best_last["nDCG@10"][0] == pytest.approx(0.6139, abs=1e-4)


def test_gains_are_whole_and_in_proportion() -> None:
    assert whole_gains(np.array([0.0, 1 / 3, 1.0])).tolist() == [0, 1, 3]
    assert whole_gains(np.array([0.0, 1.0])).tolist() == [0, 1]
    # As Parquet keeps them, in single precision.
    assert whole_gains(np.array([0.2, 0.6], dtype=np.float32).astype(float)).tolist() == [1, 3]
    assert whole_gains(np.array([0.12345, 0.98765])).tolist() == [1234, 9876]
