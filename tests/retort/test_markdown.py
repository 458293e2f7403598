"""Markdown: cells that hold a bar, figures with intervals, sections between markers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from retort.markdown import interval, number, percent, section, signed, table


@dataclass(frozen=True)
class Found:
    value: float
    low: float
    high: float


def test_a_table_aligns_figures_and_escapes_bars() -> None:
    assert table(["what", "ms"], [["a|b", "3.1"]], right=[1]) == [
        "| what | ms |",
        "| --- | ---: |",
        r"| a\|b | 3.1 |",
    ]


def test_figures_are_written_with_their_intervals() -> None:
    found = Found(0.97349, 0.96, 0.98)
    assert (number(found.value), number(None)) == ("0.9735", "")
    assert (interval(found), interval(found, ".2f")) == (
        "0.9735 [0.9600, 0.9800]",
        "0.97 [0.96, 0.98]",
    )
    assert (percent(found), percent(found, bounds=True)) == ("97.3%", "97.3% [96.0%, 98.0%]")
    assert (interval(None), percent(None), signed(None)) == ("", "", "")


def test_a_star_marks_a_difference_whose_interval_excludes_zero() -> None:
    assert signed(Found(0.03, 0.01, 0.05)) == "+0.0300*"
    assert signed(Found(-0.03, -0.05, -0.01)) == "-0.0300*"
    assert signed(Found(0.03, -0.01, 0.05)) == "+0.0300"
    assert signed(Found(0.03, -0.01, 0.05), bounds=True) == "+0.0300 [-0.0100, +0.0500]"


def test_a_section_replaces_what_stands_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "page.md"
    section(page, "one\n", "<!-- a -->", "<!-- b -->", "Page")
    assert page.read_text() == "# Page\n\n<!-- a -->\none\n<!-- b -->\n"
    page.write_text("before\n<!-- a -->\none\n<!-- b -->\nafter\n")
    section(page, "two\n", "<!-- a -->", "<!-- b -->", "Page")
    assert page.read_text() == "before\n<!-- a -->\ntwo\n<!-- b -->\nafter\n"
    page.write_text("<!-- b --> <!-- a -->")
    with pytest.raises(ValueError, match="markers"):
        section(page, "three\n", "<!-- a -->", "<!-- b -->", "Page")
