"""A study's figures, against what its scores say and what it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.evaluate.evaluation import point_values
from retort.training.study.figures import (
    StudyFigures,
    measure_study,
    query_numbers,
    resample_queries,
)
from retort.training.study.report import lead, to_markdown
from retort.training.study.results import THE_BEST, THE_ENSEMBLE, read_results
from tests.training.study.made import ROWS, Made

RESAMPLES = 300


def measured(made: Made) -> StudyFigures:
    """The figures of a study that is made now."""
    return measure_study(read_results(made.write()), RESAMPLES)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> StudyFigures:
    """Six rows of three seeds on one dataset of two sets."""
    return measured(Made(tmp_path_factory.mktemp("made")))


def test_values_are_means_over_seeds_of_what_the_scores_say(figures: StudyFigures) -> None:
    assert figures.top is not None
    dataset = figures.study.datasets[0]
    by_set = []
    for items, part in zip(dataset.sets, figures.top.parts, strict=True):
        values = [
            point_values(items, run.scores[items.name])[items.headline]
            for run in dataset.runs["tmkd"]
        ]
        assert part.value("tmkd").value == pytest.approx(np.mean(values))
        assert list(part.seeds["tmkd"].values()) == pytest.approx(values)
        by_set.append(np.mean(values))
    assert figures.top.value("tmkd").value == pytest.approx(np.mean(by_set))
    assert figures.top.measure == "mean of AUC, MAP"
    assert [part.measure for part in figures.top.parts] == ["AUC", "MAP"]


def test_comparisons_are_those_of_the_values(figures: StudyFigures) -> None:
    top = figures.top
    assert top is not None
    row, plain, teacher = (top.value(n).value for n in ("tmkd", "none", THE_ENSEMBLE))
    found = top.compared("tmkd")
    assert found.retained is not None
    assert found.gap_closed is not None
    assert found.retained.value == pytest.approx(row / teacher)
    assert found.gap_closed.value == pytest.approx((row - plain) / (teacher - plain))
    assert found.retained.low < found.retained.value < found.retained.high
    assert top.difference("tmkd", "1-o-1").excludes_zero
    assert not top.difference("1avg-o-1", "1-o-1").excludes_zero
    assert top.value(THE_BEST) == top.value("teachers/ce-6")


def test_a_row_is_held_against_the_undistilled_student_of_its_own_shape(tmp_path: Path) -> None:
    small = {"student": {"layers": [1]}}
    plain = {"name": "none-1-layer", "method": "none", "stages": ["labelled"], **small}
    rows = (*ROWS, plain)
    made = Made(tmp_path, rows=rows, queries=30, seeds=(1,))
    made.skills = {**made.skills, "none-1-layer": 0.3}
    found = measured(made)
    assert found.plan.baselines["tmkd"] == "none"
    assert found.plan.baselines["tmkd-1-layer"] == "none-1-layer"
    assert "none-1-layer" not in found.plan.baselines
    assert found.top is not None
    gain = found.top.compared("tmkd-1-layer").gain
    assert gain is not None
    value = {row: found.top.value(row).value for row in found.top.rows}
    assert gain.value == pytest.approx(value["tmkd-1-layer"] - value["none-1-layer"])


def test_without_such_a_student_no_gap_is_told(figures: StudyFigures) -> None:
    assert figures.top is not None
    found = figures.top.compared("tmkd-1-layer")
    assert found.gain is None
    assert found.gap_closed is None


def test_several_datasets_weigh_the_same(tmp_path: Path) -> None:
    found = measured(Made(tmp_path, datasets=("rte", "snli"), queries=30, seeds=(1, 2)))
    assert found.top is not None
    assert found.top.level == "study"
    assert [part.name for part in found.top.parts] == ["rte", "snli"]
    means = [part.value("tmkd").value for part in found.top.parts]
    assert found.top.value("tmkd").value == pytest.approx(np.mean(means))
    assert set(found.top.seeds["tmkd"]) == {1, 2}


def test_seeds_widen_the_interval(tmp_path: Path) -> None:
    def width(noise: float) -> float:
        made = Made(tmp_path / str(noise), rows=ROWS[:2], seed_noise=noise, seeds=(1, 2, 3, 4))
        top = measured(made).top
        assert top is not None
        found = top.difference("1-o-1", "none")
        return found.high - found.low

    assert width(0.3) > 1.5 * width(0.0)


def test_an_unfinished_study_says_what_is_missing(tmp_path: Path) -> None:
    left_out = [("tmkd", 3), ("skd-uniform", 1), ("skd-uniform", 2), ("skd-uniform", 3)]
    found = measured(Made(tmp_path, left_out=left_out, teachers=False, speeds=False, queries=30))
    assert (found.study.done, found.study.wanted) == (14, 18)
    assert found.study.missing == (
        "`tmkd` on qa: seed 3",
        "`skd-uniform` on qa: seeds 1, 2, 3",
        "teachers' scores on qa: ce-6, ce-4, the ensemble",
    )
    assert found.top is not None
    assert not found.top.has("skd-uniform")
    assert found.top.compared("tmkd").retained is None
    assert set(found.top.seeds["tmkd"]) == {1, 2}
    assert "fewer than 3 seeds" in to_markdown([found])
    assert found.study.pairs_per_second == {}


def test_a_study_without_any_run_has_nothing_to_tell(tmp_path: Path) -> None:
    left_out = [(str(row["name"]), seed) for row in ROWS for seed in (1, 2, 3)]
    found = measured(Made(tmp_path, left_out=left_out, queries=30))
    assert found.top is None
    assert "* No run of this study has finished yet." in to_markdown([found])


def test_validation_names_the_row_that_comes_first(tmp_path: Path) -> None:
    # 1-o-1 looks best where one may look; that it is not so where it counts has to be told.
    made = Made(tmp_path, choose_skill={"1-o-1": 3.0})
    found = measured(made)
    assert found.top is not None
    assert lead(found, found.top) == "1-o-1"
    text = to_markdown([found])
    assert "* `1-o-1`, chosen by validation among 6 rows, keeps " in text
    assert "* `tmkd` has the highest figure, +0." in text


def test_figures_that_do_not_fit_their_scores_are_doubted(tmp_path: Path) -> None:
    made = Made(tmp_path, queries=30, rows=ROWS[:2])
    folder = made.write()
    path = folder / "qa" / "none" / "seed-2" / "run.json"
    record = json.loads(path.read_text())
    record["figures"]["qa-ranked"]["AP"] += 0.05
    path.write_text(json.dumps(record))
    found = measure_study(read_results(folder), RESAMPLES)
    assert len(found.doubts) == 1
    assert found.doubts[0].startswith("`none`, seed 2: its record says 0.")


def test_sizes_come_from_runs_and_speeds(figures: StudyFigures) -> None:
    study = figures.study
    assert (study.parameters["tmkd"], study.pairs_per_second["tmkd-1-layer"]) == (17_300_000, 1500)
    assert study.pairs_per_second[THE_ENSEMBLE] == 154
    assert study.pairs_per_second[THE_BEST] == 250
    assert study.speeds.tokens == 128


def classification(queries: int, copies: int) -> EvaluationSet:
    """Each query stands `copies` times, always with the same label."""
    pairs = tuple(
        Pair(f"q{q}", f"passage {q} {copy}", float(q % 2), f"q{q}")
        for q in range(queries)
        for copy in range(copies)
    )
    return EvaluationSet(f"set-{queries}", pairs, "classification")


def test_pairs_of_one_query_are_drawn_together() -> None:
    # Ten copies of a pair tell no more than one: the interval must not shrink.
    scores = np.random.default_rng(3).normal(size=40) + np.arange(40) % 2
    single = resample_queries(classification(40, 1), {"a": scores}, ["a"], 1000, 0)
    copied = resample_queries(classification(40, 10), {"a": scores.repeat(10)}, ["a"], 1000, 0)
    for measure in ("AUC", "accuracy"):
        one, ten = single[measure].of("a"), copied[measure].of("a")
        assert one.value == pytest.approx(ten.value)
        assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.15)


def test_one_question_for_all_texts_is_drawn_by_pair() -> None:
    pairs = tuple(Pair("is this positive?", f"text {n}", float(n % 2)) for n in range(50))
    assert query_numbers(EvaluationSet("reviews", pairs, "classification")) is None
    assert query_numbers(classification(20, 2)) is not None


def test_recall_is_left_out() -> None:
    pairs = tuple(Pair(f"q{q}", f"p{p}", float(p == 0), f"q{q}") for q in range(25) for p in (0, 1))
    items = EvaluationSet("ranked", pairs, headline="RR")
    found = resample_queries(items, {"a": np.tile([1.0, 0.0], 25)}, [], 100, 0)
    assert set(found) == {"RR", "AP", "nDCG@10"}
