"""The page of complaints: each row has a report on GitHub and a test that there is."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "complaints.md").read_text(encoding="utf-8")
REPORT = r"\[[\w .-]+ #(\d+)\]\(https://github\.com/[\w.-]+/[\w.-]+/(?:issues|pull)/(\d+)\)"


def rows() -> list[list[str]]:
    """The cells of every row of the page's tables, heads and rules aside."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    cells = [line.strip("|").split("|") for line in lines]
    stripped = [[cell.strip() for cell in row] for row in cells]
    return [row for row in stripped if row[0] != "complaint" and set(row[0]) != {"-"}]


each_row = pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])


@cache
def names_in(path: str) -> frozenset[str]:
    """The names of a file's tests, which is read and not imported."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


@each_row
def test_a_row_says_what_happens_here(row: list[str]) -> None:
    complaint, _, here, _ = row
    assert complaint
    assert here


@each_row
def test_a_row_has_reports_on_github(row: list[str]) -> None:
    for report in row[1].split(", "):
        found = re.fullmatch(REPORT, report)
        assert found is not None, report
        assert found[1] == found[2], report


@each_row
def test_a_row_names_a_test_that_there_is(row: list[str]) -> None:
    found = re.fullmatch(r"`(tests/[\w/]*test_\w+\.py)::(test_\w+)`", row[3])
    assert found is not None, row[3]
    assert found[2] in names_in(found[1])


def test_no_complaint_is_there_twice() -> None:
    complaints = [row[0] for row in rows()]
    assert len(complaints) > 30
    assert len(set(complaints)) == len(complaints)
