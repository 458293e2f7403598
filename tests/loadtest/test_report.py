"""The arithmetic of the report, and where it is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from retort.loadtest.figures import Spread
from retort.loadtest.report import BEGIN, END, Report, Round, Setup, write_section

SETUP = Setup(
    bundle="retort-small 1",
    backend="fake/none/fp32",
    machine="one core",
    load="10 passages of 128 tokens a request",
    clients=32,
    passages=10,
    seconds=5.0,
    created="2026-01-01",
    batch_pairs=32,
    command="retort bench",
)
FIRST = Round(
    bare=1000.0, http=900.0, forward=(0.010,), idle=(0.012,), busy=(0.3, 0.4), reference=200.0
)
# The machine runs at half its speed.
SECOND = Round(
    bare=500.0, http=460.0, forward=(0.020,), idle=(0.022,), busy=(0.6,), failed=2, reference=100.0
)


def test_ratios_do_not_see_the_machine_drift() -> None:
    report = Report.of(SETUP, [FIRST, SECOND])
    assert report.http_of_bare.median == pytest.approx(0.91)
    assert (report.http_of_bare.low, report.http_of_bare.high) == (0.9, 0.92)
    assert report.http_of_reference is not None
    assert report.http_of_reference.median == pytest.approx(4.55)
    assert report.idle_of_forward.high == pytest.approx(1.2)
    assert report.bare == Spread(750.0, 500.0, 1000.0, 2)
    assert report.failed == 2
    assert report.busy.count == 3
    assert report.busy.p50_ms == pytest.approx(400)


def test_without_a_reference_its_rows_are_left_out() -> None:
    report = Report.of(SETUP, [replace(FIRST, reference=None)])
    assert report.reference is None
    assert report.http_of_reference is None
    assert "CrossEncoder" not in report.to_markdown()


def test_markdown_names_the_setup_and_the_figures() -> None:
    setup = replace(SETUP, reference="sentence-transformers 6")
    text = Report.of(setup, [FIRST, SECOND]).to_markdown()
    assert "| Server, 32 concurrent clients | 680 | 460 to 900 |" in text
    assert "| server / bare backend loop | 0.91 | 0.90 to 0.92 | ≥ 0.85 |" in text
    assert "| server / `CrossEncoder.predict` | 4.55 | 4.50 to 4.60 | ≥ 3 |" in text
    assert "* Reference: sentence-transformers 6" in text
    assert "* Requests that failed: 2" in text


def test_json_holds_everything() -> None:
    found = json.loads(json.dumps(Report.of(SETUP, [FIRST]).to_json()))
    assert found["setup"]["clients"] == 32
    assert found["http_of_bare"] == {"median": 0.9, "low": 0.9, "high": 0.9, "rounds": 1}


def test_no_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="no round"):
        Report.of(SETUP, [])


def test_a_new_page_is_begun(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "performance.md"
    write_section(page, "one\n")
    assert page.read_text(encoding="utf-8") == f"# Performance\n\n{BEGIN}\none\n{END}\n"


def test_only_what_is_between_the_markers_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_section(page, "new\n")
    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("my own words\n", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the markers"):
        write_section(page, "new\n")
    assert page.read_text(encoding="utf-8") == "my own words\n"
