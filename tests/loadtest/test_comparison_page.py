"""The comparison's pages: what stands in them, and that they need nobody else."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from retort.loadtest.comparison import Comparison, LoadPoint, Role, Target
from retort.loadtest.comparison_page import charts, to_html, to_markdown, write_pages
from retort.loadtest.step import Taken
from tests.loadtest.test_comparison import SETUP, taken


@pytest.fixture
def found() -> Comparison:
    """A student, its shadowing twin and an untaught teacher; one load was too much for it."""
    targets = [
        Target("student", "student <small>", "http://h", "3 layers"),
        Target("shadow", "student, shadowing", "http://h", "3 layers"),
        Target("teacher", "one teacher", "http://h", "a | b", shape_only=True),
    ]
    rounds: list[dict[Role, Taken]] = [
        {"student": taken(900), "shadow": taken(890), "teacher": taken(100)} for _ in range(2)
    ]
    points = [
        LoadPoint("student", 80.0, 790.0, 640, 0.0, 12.0, 20.0, 30.0, 1.5),
        LoadPoint("teacher", 11.0, 0.0, 90, 1.0, None, None, None, 7.0),
        LoadPoint("teacher", 5.0, 50.0, 40, 0.125, 90.0, 1234.5, 2000.0, 1.0),
    ]
    return Comparison.of(SETUP, targets, rounds, points, {"compared": 7, "dropped": 1})


class Checked(HTMLParser):
    """Notes what a page would fetch, and every tag that it opens or closes."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self.tags[tag] = self.tags.get(tag, 0) - 1


def test_markdown_says_what_was_found(found: Comparison) -> None:
    text = to_markdown(found, "loadtest.svg")
    assert "| one teacher (shape only) | 9.0 | 9.0 to 9.0 | ≥ 8 |" in text
    assert "| lost by shadowing | 1.1% | 1.1% to 1.1% | < 3% | 7 compared, 1 dropped |" in text
    assert "| student <small> | 900.0 | 900.0 to 900.0 | 0.0% | 3 layers |" in text
    assert (
        "| one teacher (shape only) | 5.0 | 50.0 | 90.0 | 1,234.5 | 2,000.0 | 12.5% | 40 |" in text
    )
    assert "| 11.0 | 0.0 | none answered | none answered | none answered | 100.0% | 90 |" in text
    assert "a \\| b" in text
    assert "![Latency against load](loadtest.svg)" in text


def test_pages_say_how_omission_is_avoided_and_what_is_untaught(found: Comparison) -> None:
    for text in (to_markdown(found), to_html(found)):
        assert "Coordinated omission" in text
        assert "from the moment a request was due, and not from when it was sent" in text
        assert "its scores mean nothing" in text
        assert "sent 99% of the requests within 7 ms of when they were due" in text
    taught = tuple(replace(f, target=replace(f.target, shape_only=False)) for f in found.figures)
    speedups = tuple(
        replace(s, teacher=replace(s.teacher, shape_only=False)) for s in found.speedups
    )
    assert "hape only" not in to_markdown(replace(found, figures=taught, speedups=speedups))


def test_html_stands_alone_and_is_well_formed(found: Comparison) -> None:
    page = Checked()
    page.feed(to_html(found))
    assert page.fetched == []
    # These two alone are never closed in HTML.
    assert {tag for tag, count in page.tags.items() if count} == {"meta", "tr"}
    assert "student &lt;small&gt;" in to_html(found)
    assert "url(" not in to_html(found)
    assert set(charts(found)) == {"throughput", "latency", "answered", "errors"}
    assert to_html(found).count("<svg ") == 4


def test_a_point_without_answers_is_not_drawn_as_zero_latency(found: Comparison) -> None:
    drawn = charts(found)["latency"]
    assert "one teacher (shape only), p50: 90 at 5" in drawn
    assert not re.search(r"one teacher \(shape only\), p50: [^<]* at 11", drawn)
    assert "one teacher (shape only): 100 at 11" in charts(found)["errors"]


def test_three_files_are_written_beside_each_other(found: Comparison, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "loadtest.md"
    written = write_pages(found, page)
    assert [path.name for path in written] == ["loadtest.md", "loadtest.html", "loadtest.svg"]
    assert all(path.stat().st_size > 1000 for path in written)
    without = write_pages(replace(found, points=()), tmp_path / "short.md")
    assert [path.name for path in without] == ["short.md", "short.html"]
    assert "short.svg" not in without[0].read_text(encoding="utf-8")
