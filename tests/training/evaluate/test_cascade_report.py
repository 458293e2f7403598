"""The cascade's page says what the curve says."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from retort.training.evaluate.bootstrap import Estimate
from retort.training.evaluate.cascade import WAYS, CascadeReport, Point, SetCurve
from retort.training.evaluate.cascade_report import plot_cascade, render_cascade


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.03, value + 0.03)


def both(value: float) -> dict[str, Estimate]:
    return {"AP": estimate(value), "nDCG@10": estimate(value + 0.05)}


@pytest.fixture
def report() -> CascadeReport:
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


def test_the_page_has_the_figures_and_how_to_make_it_again(report: CascadeReport) -> None:
    page = render_cascade(report, "docs/cascade.json", "cascade.svg")
    line = next(line for line in page.splitlines() if line.startswith("| wikiqa-test"))
    assert line == (
        "| wikiqa-test | MAP | 0.7540 | 0.7850 | 20.0% | 0.7980 [0.7680, 0.8280] | "
        "yes; first at 20.0% sent |"
    )
    assert "retort cascade --from docs/cascade.json" in page
    assert "| served minus random | +0.0200 [-0.0100, +0.0500] |" in page
    assert "none further from the cut than 4 spreads" in page
    assert "![" not in render_cascade(report)


def test_a_cascade_below_the_interval_is_called_so(report: CascadeReport) -> None:
    curve = report.sets[0].model_copy(
        update={"teacher": both(0.9), "reached": {"AP": None, "nDCG@10": None}}
    )
    page = render_cascade(report.model_copy(update={"sets": (curve,)}))
    assert "0.9000 [0.8700, 0.9300] | no |" in page


def test_the_picture_has_one_panel_a_set(report: CascadeReport) -> None:
    root = ElementTree.fromstring(plot_cascade(report))
    texts = ["".join(node.itertext()) for node in root.iter()]
    assert "wikiqa-test, MAP" in texts
    assert {*WAYS, "teacher"} <= set(texts)
