"""The report: tables, plots and the page they go to."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from retort.loadtest.simulation.policies import CONTENDERS
from retort.loadtest.simulation.report import BEGIN, END, Report, Setup, write_page
from retort.loadtest.simulation.scenarios import head_of_line, sizes, starvation, sweep
from tests.loadtest.simulation.scenes import small_scene


@pytest.fixture(scope="module")
def report() -> Report:
    scene = small_scene(60)
    return Report(
        setup=Setup("retort simulate", "made up", "a machine", "some limits", 60, 0),
        points=tuple(sweep(scene, [0.2, 0.5, 0.8], lambda _: None)),
        heads=tuple(head_of_line(scene, contender) for contender in CONTENDERS),
        starved=tuple(starvation(scene, contender) for contender in CONTENDERS),
        sizes=tuple(sizes(scene, lambda _: None)),
    )


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table below that heading, without its head."""
    section = text.partition(f"### {heading}")[2].partition("###")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_has_a_middle_load_and_the_highest(report: Report) -> None:
    found = rows(report.to_markdown(), "By load")
    assert [row[:2] for row in found] == [
        [f"{kind}, {load}", contender.name]
        for kind in ("poisson", "bursty")
        for load in ("50%", "80%")
        for contender in CONTENDERS
    ]
    first = next(p for p in report.points if p.load == 0.5).figures
    assert found[0][2] == f"{first.padding:.1%}"
    assert found[0][6] == f"{first.p99_ms:,.0f}"


def test_every_scenario_has_its_table(report: Report) -> None:
    text = report.to_markdown()
    names = [contender.name for contender in CONTENDERS]
    large = rows(text, "A request of 1,000 passages among requests of 10")
    assert [row[0] for row in large] == names
    assert [row[4] for row in large] == [f"{head.ratio:.1f}" for head in report.heads]
    assert [row[0] for row in rows(text, "Long pairs in a flood of short ones")] == names
    assert len(rows(text, "Token budget and steps of length")) == len(report.sizes)


def test_the_page_is_written_between_its_markers(report: Report, tmp_path: Path) -> None:
    page = tmp_path / "scheduling.md"
    page.write_text(f"# Mine\n\n{BEGIN}\nold\n{END}\nmore\n", encoding="utf-8")
    written = write_page(report, page)
    assert [path.name for path in written] == [
        "scheduling.md",
        "scheduling.svg",
        "scheduling-padding.svg",
    ]
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Mine\n")
    assert text.endswith("\nmore\n")
    assert "old" not in text
    assert "### By load" in text


def test_plots_have_a_line_for_each_policy_and_kind_of_arrivals(report: Report) -> None:
    for chart in (report.latency_chart(), report.padding_chart()):
        root = ElementTree.fromstring(chart)
        lines = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
        assert len(lines) == 2 * len(CONTENDERS)
        assert all(len(line.attrib["points"].split()) == 3 for line in lines)
        assert sum(bool(line.attrib["stroke-dasharray"]) for line in lines) == len(CONTENDERS)


def test_json_has_every_figure(report: Report) -> None:
    plain = json.loads(json.dumps(report.to_json()))
    assert len(plain["points"]) == len(report.points)
    assert plain["points"][0]["figures"]["p99_ms"] == report.points[0].figures.p99_ms
