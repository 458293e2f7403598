"""The page of the findings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retort.loadtest.limits.found import Finding, Row
from retort.loadtest.limits.page import BEGIN, END, PICTURE, to_markdown, write_page
from tests.loadtest.limits.test_found import KEPT

PADDING = replace(
    KEPT, finding=Finding("padding", (Row("padding", "9%", "below 8%", False),), ("mixed",))
)


def test_one_table_holds_the_rows_of_all_parts() -> None:
    text = to_markdown([PADDING, KEPT])
    assert (
        "* Measured 2026-01-01 by `retort stress` (padding, memory) on one core; "
        "served: tiny on fake.\n" in text
    )
    assert "| padding | 9% | below 8% | missed |\n| growth | none | none | reached |\n" in text
    assert "| other | 1 |  |  |" in text
    assert "* mixed\n* a note\n" in text
    assert "| head | value |\n|---|---:|\n| line | 2 |" in text
    assert PICTURE not in text


def test_parts_measured_apart_have_lines_of_their_own() -> None:
    text = to_markdown([PADDING, replace(KEPT, created="2026-02-02")])
    assert text.count("* Measured ") == 2


def test_the_plot_stands_beside_the_page(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    assert write_page(page, [PADDING, KEPT]) == [page, tmp_path / PICTURE]
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n* Measured")
    assert text.endswith(f"({PICTURE})\n{END}\nafter\n")
    assert "<svg" in (tmp_path / PICTURE).read_text(encoding="utf-8")
    assert write_page(page, [PADDING]) == [page]
    assert PICTURE not in page.read_text(encoding="utf-8")


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("my own words\n", encoding="utf-8")
    with pytest.raises(ValueError, match="stress:begin"):
        write_page(page, [PADDING])
