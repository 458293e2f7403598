"""The page: all findings in one table, between markers, and the memory's plot beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from retort.loadtest.chart import Line, line_chart
from retort.loadtest.limits.found import Kept, Row, Table
from retort.loadtest.report import write_section

BEGIN = "<!-- stress:begin (written by `retort stress`; change the command, not the text) -->"
END = "<!-- stress:end -->"
PICTURE = "stress.svg"


def to_markdown(kept: Sequence[Kept], *, picture: bool = False) -> str:
    """How it was measured, the table of figures, notes, and tables of single parts.

    With `picture` it also shows `PICTURE`, which `write_page` puts beside the page.
    """
    rows = [row for one in kept for row in one.finding.rows]
    lines = [*_sources(kept), "", *_figures(rows), ""]
    lines += [f"* {note}" for one in kept for note in one.finding.notes]
    for one in kept:
        if one.finding.table:
            lines += ["", *_table(one.finding.table)]
    if picture and _drawn(kept) is not None:
        lines += ["", f"![Memory of the server's process against pairs scored.]({PICTURE})"]
    return "\n".join(lines) + "\n"


def write_page(page: Path, kept: Sequence[Kept]) -> list[Path]:
    """Write the section of `page` and the plot beside it; what was written.

    Raises `ValueError` if the page has text but not both markers.
    """
    write_section(page, to_markdown(kept, picture=True), begin=BEGIN, end=END)
    drawn = _drawn(kept)
    if drawn is None:
        return [page]
    picture = page.with_name(PICTURE)
    picture.write_text(drawn, encoding="utf-8")
    return [page, picture]


def mark(row: Row) -> str:
    """Whether a row reached what was wanted, in a word."""
    return {True: "reached", False: "missed", None: ""}[row.reached]


def _figures(rows: Sequence[Row]) -> Iterator[str]:
    yield "| what | found | wanted | |"
    yield "|---|---|---|---|"
    for row in rows:
        yield f"| {row.what} | {row.found} | {row.wanted} | {mark(row)} |"


def _sources(kept: Sequence[Kept]) -> Iterator[str]:
    """Parts that were measured in one go share a line; usually there is one."""
    for (created, command, machine, served), group in groupby(
        kept, key=lambda one: (one.created, one.command, one.machine, one.served)
    ):
        parts = ", ".join(one.finding.part for one in group)
        yield f"* Measured {created} by `{command}` ({parts}) on {machine}; served: {served}."


def _table(table: Table) -> Iterator[str]:
    head, *lines = table
    yield f"| {' | '.join(head)} |"
    yield f"|---{'|---:' * (len(head) - 1)}|"
    for line in lines:
        yield f"| {' | '.join(line)} |"


def _drawn(kept: Sequence[Kept]) -> str | None:
    points = next((one.finding.points for one in kept if one.finding.points), None)
    if points is None:
        return None
    return line_chart(
        [Line("resident set", points)],
        title="Memory of the server while it scores pairs that never came before",
        x_label="pairs scored",
        y_label="MB",
    )
