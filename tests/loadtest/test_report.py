"""Records of measurements, and how a page shows them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.loadtest.cli import measuring
from retort.loadtest.report import main, markers, publish, render, to_markdown, words
from retort.loadtest.result import Column, Measurement, Plot, Setup, Table, Unit, read, write
from retort.loadtest.rounds import Spread
from retort.plots import Axis, Line, Panel

DOCS = Path(__file__).parents[2] / "docs"
SETUP = Setup("2026-01-01", "retort bench", "one core", "retort-small 1, fake")
TABLE = Table(
    "rates",
    (Column("server"), Column("pairs/s", "pairs/s"), Column("errors", "share")),
    (("ours", Spread(1139.7, 900.0, 1200.0, 3), 0.056), ("theirs | other", 17.72, None)),
    title="Rates",
)
FOUND = Measurement(
    "stress", "padding", SETUP, ("Load: some",), (TABLE,), ("A note.",), title="Padding"
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    panel = Panel("p50", Axis("rate", log=True), Axis("ms"), (Line("ours", ((1.0, 2.5),)),))
    found = replace(FOUND, plots=(Plot("stress", "Memory", (panel,)),))
    path = tmp_path / "measured" / "stress.json"
    assert write(path, [found]) == read(path) == [found]


def test_a_part_takes_the_place_of_the_earlier_one_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "stress.json"
    write(path, [FOUND, replace(FOUND, part="overload")])
    again = replace(FOUND, setup=replace(SETUP, created="2026-02-02"))
    assert write(path, [again]) == [again, replace(FOUND, part="overload")]


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stress.json"
    path.write_text('[{"experiment": 1}]')
    with pytest.raises(ValueError, match=r"stress\.json is no record of a measurement"):
        write(path, [FOUND])
    assert path.read_text() == '[{"experiment": 1}]'


def test_cells_are_found_by_row_and_column() -> None:
    assert TABLE.cell("ours", "errors") == 0.056
    for row, column in (("ours", "none"), ("none", "errors")):
        with pytest.raises(KeyError, match="table rates"):
            TABLE.cell(row, column)
    with pytest.raises(ValueError, match="has 1 cells for 3 columns"):
        replace(TABLE, rows=(("ours",),))


@pytest.mark.parametrize(
    ("cell", "unit", "expected"),
    [
        (0.0564, "share", "5.6%"),
        (3878, "count", "3,878"),
        (8.93, "ratio", "8.93"),
        (1139.7, "ms", "1,140"),
        (99.96, "ms", "100"),
        (38.46, "ms", "38.5"),
        (0.334, "ms", "0.33"),
        (None, "ms", ""),
        ("none answered", "ms", "none answered"),
        (Spread(8.93, 8.5, 9.21, 4), "ratio", "8.93 [8.50, 9.21]"),
        (Spread(-0.014, -0.055, 0.018, 4), "share", "-1.4% [-5.5%, 1.8%]"),
    ],
)
def test_numbers_are_printed_by_their_unit(
    cell: Spread | float | str | None, unit: Unit, expected: str
) -> None:
    assert words(cell, unit) == expected


def test_a_section_says_when_where_and_how() -> None:
    assert to_markdown([FOUND]) == (
        """Measured 2026-01-01 by `retort bench`.

* Machine: one core
* Served: retort-small 1, fake

### Padding

* Load: some

### Rates

| server | pairs/s | errors |
| --- | ---: | ---: |
| ours | 1,140 [900, 1,200] | 5.6% |
| theirs \\| other | 17.7 |  |

* A note.
"""
    )


def test_parts_of_different_days_are_told_apart() -> None:
    later = replace(FOUND, part="overload", setup=replace(SETUP, created="2026-02-02"))
    lines = to_markdown([FOUND, later]).splitlines()
    assert [re.findall(r"Measured (\S+) .*\((\w+)\)", line) for line in lines[:2]] == [
        [("2026-01-01", "padding")],
        [("2026-02-02", "overload")],
    ]


def test_a_page_gets_section_record_and_plots(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    begin, end = markers("stress")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n", encoding="utf-8")
    panel = Panel("Memory", Axis("pairs"), Axis("MB"), (Line("ours", ((0.0, 1.0), (9.0, 2.0))),))
    found = replace(FOUND, plots=(Plot("stress", "Memory", (panel,)),))
    written = publish(page, [found])
    assert [path.name for path in written] == ["stress.json", "performance.md", "stress.svg"]
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{begin}\nMeasured")
    assert text.endswith(f"![Memory](stress.svg)\n{end}\nafter\n")
    # Anew from the record, nothing changes.
    picture = written[2].read_bytes()
    render(page, read(written[0]))
    assert (page.read_text(encoding="utf-8"), written[2].read_bytes()) == (text, picture)


def test_a_record_from_elsewhere_replaces_the_parts_that_it_has(tmp_path: Path) -> None:
    page, elsewhere = tmp_path / "performance.md", tmp_path / "record.json"
    publish(page, [FOUND, replace(FOUND, part="overload", title="Overload")])
    write(elsewhere, [replace(FOUND, title="Measured again")])
    main([str(page), str(elsewhere)])
    titles = re.findall(r"^### (Padding|Overload|Measured again)$", page.read_text(), re.MULTILINE)
    assert titles == ["Measured again", "Overload"]


def test_a_section_names_the_script_that_writes_it() -> None:
    assert "`loadtest/gpu.sh`" in markers("gpu")[0]
    assert "`retort bench`" in markers("bench")[0]


@pytest.mark.parametrize("record", sorted(DOCS.glob("measured/*.json")), ids=lambda p: p.stem)
def test_the_documents_show_the_records(record: Path) -> None:
    begin, end = markers(record.stem)
    measurements = read(record)
    pages = [page for page in DOCS.glob("*.md") if begin in page.read_text(encoding="utf-8")]
    assert len(pages) == 1
    shown = pages[0].read_text(encoding="utf-8").partition(f"{begin}\n")[2].partition(end)[0]
    assert shown == to_markdown(measurements, pictures=True)
    for plot in (plot for found in measurements for plot in found.plots):
        assert f'aria-label="{plot.title}"' in (DOCS / f"{plot.name}.svg").read_text("utf-8")


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(ModuleNotFoundError) as caught, measuring("json", "no_such_module"):
        pass
    assert caught.value.name == "no_such_module"


def test_commands_say_what_they_measure() -> None:
    for command in ("bench", "loadtest"):
        result = CliRunner().invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert "--output" in result.output
