"""The pages of quality and of the cascade: every figure of the JSON is there."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from retort.training.evaluate.bootstrap import Estimate
from retort.training.evaluate.cascade import WAYS, CascadeReport, Point, SetCurve
from retort.training.evaluate.evaluation import (
    Comparison,
    EvaluationReport,
    Roles,
    SetResult,
    SystemResult,
)
from retort.training.evaluate.report import plot_cascade, render_cascade, render_quality


@pytest.fixture
def report() -> EvaluationReport:
    def system(value: float, error: float | None = None) -> SystemResult:
        measures = {"AP": Estimate(value, value - 0.01, value + 0.01), "RR": Estimate(0.9, 0.8, 1)}
        return SystemResult(measures=measures, calibration_error=error)

    compared = Comparison(
        retained=Estimate(0.98, 0.96, 1.0),
        gain=Estimate(0.08, 0.05, 0.11),
        gap_closed=Estimate(0.8, 0.6, 1.1),
    )
    return EvaluationReport(
        created="2026-01-02T03:04:05+00:00",
        roles=Roles(student="small", teacher="four", undistilled="plain"),
        resamples=2000,
        seed=5,
        confidence=0.95,
        sets=(
            SetResult(
                name="wikiqa",
                kind="ranking",
                headline="AP",
                pairs=6165,
                queries=243,
                skipped=390,
                systems={"small": system(0.78, 0.03), "four": system(0.8), "plain": system(0.7)},
                comparisons={"AP": compared, "RR": Comparison()},
            ),
        ),
    )


def test_the_page_has_every_figure(report: EvaluationReport) -> None:
    page = render_quality(report, "docs/quality.json", "docs/quality.md")
    lines = page.splitlines()
    assert "| wikiqa | AP | 0.7800 | 0.8000 | 0.7000 | 98.0% | +0.0800* | 80.0% |" in lines
    assert "| small | 0.7800 [0.7700, 0.7900] | 0.9000 [0.8000, 1.0000] | 0.0300 |" in lines
    assert "| four | 0.8000 [0.7900, 0.8100] | 0.9000 [0.8000, 1.0000] |  |" in lines
    assert (
        "| AP | 98.0% [96.0%, 100.0%] | +0.0800 [+0.0500, +0.1100] | 80.0% [60.0%, 110.0%] |"
        in lines
    )
    assert "| RR |  |  |  |" in lines
    assert "6,165 pairs of 633 queries; 390 queries have no relevant passage" in page
    assert "2,000 resamples, seed 5" in page


def test_the_page_says_how_to_make_it_again(report: EvaluationReport) -> None:
    page = render_quality(report, "docs/quality.json", "docs/quality.md")
    assert "retort evaluate --from docs/quality.json --report docs/quality.md" in page


def test_a_lone_student_is_compared_with_nobody(report: EvaluationReport) -> None:
    values = report.model_dump()
    values["roles"] = {"student": "small"}
    page = render_quality(EvaluationReport.model_validate(values))
    assert "gap closed:" not in page
    assert "| small, by |" not in page


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.03, value + 0.03)


def both(value: float) -> dict[str, Estimate]:
    return {"AP": estimate(value), "nDCG@10": estimate(value + 0.05)}


@pytest.fixture
def cascade() -> CascadeReport:
    points = (
        Point(share=0.25, sent=0.2, measures=both(0.785)),
        Point(share=1.0, sent=0.9, measures=both(0.799)),
    )
    curve = SetCurve(
        name="wikiqa-test",
        headline="AP",
        pairs=2351,
        queries=243,
        student=both(0.754),
        teacher=both(0.798),
        ways=dict.fromkeys(WAYS, points),
        against={"random": {"AP": estimate(0.02), "nDCG@10": estimate(0.01)}},
        reached={"AP": 0.2, "nDCG@10": None},
    )
    return CascadeReport(
        created="2026-01-01T00:00:00+00:00",
        student="retort-small 1.0",
        teacher="teacher 0.1",
        share=0.25,
        top_n=None,
        reach=4.0,
        resamples=2000,
        seed=0,
        confidence=0.95,
        sets=(curve,),
    )


def test_the_page_has_the_figures_and_how_to_make_it_again(cascade: CascadeReport) -> None:
    page = render_cascade(cascade, "docs/cascade.json", "cascade.svg")
    line = next(line for line in page.splitlines() if line.startswith("| wikiqa-test"))
    assert line == (
        "| wikiqa-test | MAP | 0.7540 | 0.7850 | 20.0% | 0.7980 [0.7680, 0.8280] | "
        "yes; first at 20.0% sent |"
    )
    assert "retort cascade --from docs/cascade.json" in page
    assert "| served minus random | +0.0200 [-0.0100, +0.0500] |" in page
    assert "none further from the cut than 4 spreads" in page
    assert "![" not in render_cascade(cascade)


def test_a_cascade_below_the_interval_is_called_so(cascade: CascadeReport) -> None:
    curve = cascade.sets[0].model_copy(
        update={"teacher": both(0.9), "reached": {"AP": None, "nDCG@10": None}}
    )
    page = render_cascade(cascade.model_copy(update={"sets": (curve,)}))
    assert "0.9000 [0.8700, 0.9300] | no |" in page


def test_the_picture_has_one_panel_per_set(cascade: CascadeReport) -> None:
    root = ElementTree.fromstring(plot_cascade(cascade))
    texts = ["".join(node.itertext()) for node in root.iter()]
    assert {"wikiqa-test", "MAP"} <= set(texts)
    assert {*WAYS, "teacher"} <= set(texts)
