"""The quality page: every figure of the JSON is on it, and it says how to make it again."""

from __future__ import annotations

import pytest

from retort.training.evaluate.bootstrap import Estimate
from retort.training.evaluate.evaluation import (
    Comparison,
    EvaluationReport,
    Roles,
    SetResult,
    SystemResult,
)
from retort.training.evaluate.report import interval, percent, render_report, signed, table


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
    page = render_report(report, "docs/quality.json", "docs/quality.md")
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
    page = render_report(report, "docs/quality.json", "docs/quality.md")
    assert "retort evaluate --from docs/quality.json --report docs/quality.md" in page


def test_a_lone_student_is_compared_with_nobody(report: EvaluationReport) -> None:
    values = report.model_dump()
    values["roles"] = {"student": "small"}
    page = render_report(EvaluationReport.model_validate(values))
    assert "gap closed:" not in page
    assert "| small, by |" not in page


def test_numbers() -> None:
    assert interval(None) == percent(None) == signed(None) == ""
    assert signed(Estimate(-0.01, -0.02, 0.01)) == "-0.0100"
    assert signed(Estimate(-0.01, -0.02, -0.001)) == "-0.0100*"


def test_a_bar_in_a_cell_ends_no_column() -> None:
    assert table(["a"], [["x|y"]])[-1] == r"| x\|y |"
