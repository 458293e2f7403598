"""Claims: what is outside the noise is said to be, and what is inside it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retort.training.evaluate.bootstrap import Estimate
from retort.training.study.claims import Claim, Verdict, judge
from retort.training.study.figures import StudyFigures, measure_study
from retort.training.study.results import read_results
from tests.training.study.made import Made


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> StudyFigures:
    """A study of which it is known who is better."""
    return measure_study(read_results(Made(tmp_path_factory.mktemp("made")).write()), 400)


def verdicts(figures: StudyFigures) -> dict[tuple[str, str], Verdict]:
    """The verdicts by the rows that they are of."""
    assert figures.top is not None
    return {(v.claim.row, v.claim.other): v for v in judge(figures, figures.top)}


def test_known_differences_are_judged_right(figures: StudyFigures) -> None:
    found = verdicts(figures)
    assert found["tmkd", "1avg-o-1"].word == "outside the noise"
    assert found["1avg-o-1", "1-o-1"].word == "inside the noise"
    assert found["tmkd", "none"].among.excludes_zero


def test_a_method_stands_for_its_rows_and_unlike_students_are_not_compared(
    figures: StudyFigures,
) -> None:
    found = verdicts(figures)
    assert ("skd-uniform", "1-o-1") in found  # the claim names the method skd
    assert not any("tmkd-1-layer" in pair for pair in found)
    assert ("tmkd", "m-o-m") not in found  # no such row in this study


def test_a_smaller_student_does_not_stand_for_its_method(tmp_path: Path) -> None:
    made = Made(tmp_path, queries=30, seeds=(1,))
    made.rows = [row for row in made.rows if row["name"] in ("none", "1-o-1", "tmkd-1-layer")]
    found = verdicts(measure_study(read_results(made.write()), 100))
    assert set(found) == {("1-o-1", "none")}


def test_among_many_claims_the_interval_is_wider(figures: StudyFigures) -> None:
    for verdict in verdicts(figures).values():
        assert verdict.among.low < verdict.difference.low
        assert verdict.among.high > verdict.difference.high
        assert verdict.among.value == verdict.difference.value


def verdict(difference: Estimate, among: Estimate, seeds: tuple[int, int] = (3, 3)) -> Verdict:
    """A verdict on TMKD."""
    claim = Claim("TMKD", "tmkd", "mkd", "stage 1 helps")
    return Verdict(claim, difference, among, seeds)


def test_sentences() -> None:
    above = verdict(Estimate(0.02, 0.01, 0.03), Estimate(0.02, 0.005, 0.05))
    size = "by +0.0200 [+0.0100, +0.0300]"
    assert above.sentence() == f"`tmkd` above `mkd` {size}: outside the noise"
    assert above.sentence(str.upper).startswith("`TMKD` above `MKD`")
    alone = replace(above, among=Estimate(0.02, -0.01, 0.05))
    assert alone.sentence().endswith("outside the noise on its own, inside it among all claims")
    below = replace(above, difference=Estimate(-0.02, -0.03, -0.01), seeds=(1, 3))
    assert below.sentence() == (
        f"`tmkd` below `mkd` {size}: outside the noise (one seed: without the noise of seeds)"
    )
    assert below.word == "the other way round, outside the noise"
    level = replace(above, difference=Estimate(0.02, -0.01, 0.05))
    assert level.sentence().endswith(": inside the noise")


def test_a_study_of_one_row_claims_nothing(tmp_path: Path) -> None:
    made = Made(tmp_path, queries=30, seeds=(1,))
    made.rows = made.rows[:1]
    assert verdicts(measure_study(read_results(made.write()), 100)) == {}
