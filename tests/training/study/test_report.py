"""Report and page: what stands in them, and that the page needs nobody else."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.training.study.figures import StudyFigures, measure_study
from retort.training.study.plots import plots, quality_and_speed
from retort.training.study.records import SpeedsRecord
from retort.training.study.report import to_html, to_markdown
from retort.training.study.results import read_results
from tests.training.study.made import ROWS, Made

pytestmark = pytest.mark.slow

runner = CliRunner()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> StudyFigures:
    """A whole study of one dataset; a label that a page must escape."""
    rows = [{**row, "label": "<b>TMKD</b>"} if row["name"] == "tmkd" else row for row in ROWS]
    return measure_study(read_results(Made(tmp_path_factory.mktemp("m"), rows=rows).write()), 200)


class Checked(HTMLParser):
    """Notes what a page would fetch, and every tag that it opens or closes."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[tag] = self.open.get(tag, 0) + 1
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self.open[tag] = self.open.get(tag, 0) - 1


def test_the_page_stands_alone_and_is_well_formed(found: StudyFigures) -> None:
    text = to_html([found])
    page = Checked()
    page.feed(text)
    assert page.fetched == []
    assert {tag for tag, count in page.open.items() if count} == {"meta"}
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r"https?:|url\((?!#)|@import|<script", text)
    assert "<b>TMKD" not in text
    assert "&lt;b&gt;TMKD&lt;/b&gt;" in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_every_plot_is_there(found: StudyFigures) -> None:
    assert found.top is not None
    titles = [plot.title for plot in plots(found, found.top)]
    assert titles == [
        "Quality against speed",
        "Learning curves, stage unlabelled",
        "Learning curves, stage labelled",
        "Calibration",
        "Disagreement of the heads against error",
    ]
    text = to_html([found])
    assert all(title in text for title in titles)
    # What each kept overall and on each of two sets, the five plots, and the claims.
    assert text.count("<svg ") == 3 + 5 + 1


def test_no_speed_measured_yet(found: StudyFigures) -> None:
    assert found.top is not None
    untimed = replace(found, study=replace(found.study, speeds=SpeedsRecord()))
    assert next(quality_and_speed(untimed, found.top)).title == "Quality against size"


def test_two_studies_have_a_section_each(found: StudyFigures) -> None:
    text = to_html([found, found])
    assert text.count("<section ") == 2
    page = Checked()
    page.feed(text)
    assert page.fetched == ["#qa-study", "#qa-study"]


def test_markdown_says_what_was_found(found: StudyFigures) -> None:
    top = found.top
    assert top is not None
    text = to_markdown([found], "study.html", "retort report runs/study/qa --out docs/study.md")
    lines = text.splitlines()
    assert "[study.html](study.html)" in text
    assert "retort report runs/study/qa --out docs/study.md" in lines
    value = top.value("skd-uniform")
    start = f"| skd-uniform | SKDBERT | {value.value:.4f} [{value.low:.4f}, {value.high:.4f}] |"
    row = next(line for line in lines if line.startswith(start))
    assert row.endswith("| 17.3 M | 600 | 3 |")
    assert any(
        line.startswith("* TMKD: the average teacher beats the best? `1avg-o-1` ")
        and line.endswith(": inside the noise.")
        for line in lines
    )
    assert any("| 86.44 | QNLI; BERT-3, 40M pairs, 3 BERT-large |" in line for line in lines)
    assert "percentiles of a paired bootstrap over queries and seeds, 200 resamples" in text
    assert "### qa-judged" in lines
    assert "teachers' ensemble" in text


def test_tables_are_rectangular(found: StudyFigures) -> None:
    widths: set[int] = set()
    for line in [*to_markdown([found]).splitlines(), ""]:
        if line.startswith("|"):
            widths.add(len(re.findall(r"(?<!\\)\|", line)))
        else:
            assert len(widths) < 2
            widths = set()


def test_the_command_writes_both_and_speaks_of_what_is_missing(tmp_path: Path) -> None:
    made = Made(tmp_path, left_out=[("tmkd", 3)], queries=30, teachers=False, speeds=False)
    study = made.write()
    report, page = tmp_path / "docs" / "study.md", tmp_path / "docs" / "study.html"
    asked = ["report", str(study), f"--out={report}", f"--page={page}", "--resamples=100"]
    result = runner.invoke(app, asked)
    assert result.exit_code == 0, result.output
    for text in (report.read_text(), page.read_text()):
        assert "17 of 18 runs have finished. Missing:" in text
    assert "* `tmkd` on qa: seed 3" in report.read_text()
    assert "[study.html](study.html)" in report.read_text()
    assert "How good each is" in page.read_text()

    printed = runner.invoke(app, ["report", str(study), "--resamples=100"])
    assert "17 of 18 runs have finished" in printed.stdout


def test_a_study_that_has_only_begun(tmp_path: Path) -> None:
    left_out = [(str(row["name"]), seed) for row in ROWS for seed in (1, 2, 3)]
    study = Made(tmp_path, left_out=left_out, teachers=False, speeds=False, queries=30).write()
    page = tmp_path / "study.html"
    result = runner.invoke(app, ["report", str(study), f"--page={page}"])
    assert result.exit_code == 0, result.output
    assert "0 of 18 runs have finished" in page.read_text()
    assert "No run of this study has finished yet." in page.read_text()


def test_mistakes_are_told_without_a_traceback(tmp_path: Path) -> None:
    result = runner.invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 1
    assert "plan.json: not there: run `retort study`" in result.stderr
    assert "Traceback" not in result.output
