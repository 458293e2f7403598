"""The record of a measurement: one shape for every command, as JSON next to the page that shows it.

Numbers are stored as they were measured, with their unit; how they look is `report.py`'s business.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from retort.loadtest.rounds import Spread
from retort.loadtest.servers import describe_machine
from retort.plots import Panel

# A share is stored as 0.056. A ratio is of two numbers of one unit, near 1; times are large ones. A
# score is one of a ranking, of which the fourth digit counts.
Unit = Literal[
    "text", "pairs/s", "requests/s", "ms", "s", "MB", "ratio", "times", "share", "score", "count"
]
Cell = Spread | int | float | str | None


@dataclass(frozen=True, slots=True)
class Setup:
    """When, by which command and on which machine something was measured, and what was served."""

    created: str  # 2026-11-21
    command: str
    machine: str
    served: str

    @classmethod
    def now(cls, served: str, command: str | None = None) -> Setup:
        """The setup of a measurement that this command makes on this machine today."""
        created = datetime.now(UTC).strftime("%Y-%m-%d")
        typed = shlex.join(["retort", *sys.argv[1:]])
        return cls(created, command or typed, describe_machine(), served)


@dataclass(frozen=True, slots=True)
class Column:
    """A column's head and the unit of its numbers."""

    name: str
    unit: Unit = "text"


# The figures of an `OpenLoad`.
OPEN_COLUMNS = (
    Column("pairs/s answered", "pairs/s"), Column("p50, ms", "ms"), Column("p95, ms", "ms"),
    Column("p99, ms", "ms"), Column("errors", "share"), Column("requests", "count"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, the first of which names the row. `title` stands above the table."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.name}: row {row[:1]} has {len(row)} cells for "
                    f"{len(self.columns)} columns"
                )

    def cell(self, row: str, column: str) -> Cell:
        """The cell of a row and a column, by their names.

        Raises `KeyError` if there is no such row or column, or several rows of the name.
        """
        places = [place for place, found in enumerate(self.columns) if found.name == column]
        rows = [cells for cells in self.rows if cells[0] == row]
        if len(places) != 1 or len(rows) != 1:
            raise KeyError(f"table {self.name}: {len(rows)} rows {row!r}, {len(places)} {column!r}")
        return rows[0][places[0]]


@dataclass(frozen=True, slots=True)
class Plot:
    """The contents of `NAME.svg` next to the page."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    size: tuple[int, int] = (430, 300)
    legend_columns: int = 0  # 0: the lines of a single panel are named at their ends


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one command measured, or one part of what it did.

    `facts` say how it was measured, `notes` what must be known to read the tables.
    """

    experiment: str
    part: str
    setup: Setup
    facts: tuple[str, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    title: str = ""  # of a part

    def table(self, name: str) -> Table:
        """The table of that name. Raises `KeyError` if there is none."""
        return {table.name: table for table in self.tables}[name]


_RECORD = TypeAdapter(list[Measurement])


def read(path: Path) -> list[Measurement]:
    """The measurements of a record. Raises `ValueError` with the path if it is none."""
    try:
        return _RECORD.validate_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is no record of a measurement ({error}): remove it, and measure again"
        ) from error


def write(path: Path, measurements: Sequence[Measurement]) -> list[Measurement]:
    """Put measurements into a record; all that it holds then.

    They take the place of earlier ones of the same part, and the other parts stay, so parts may
    be measured one at a time. Raises `ValueError` if `path` holds something else.
    """
    parts = {found.part: found for found in read(path)} if path.exists() else {}
    parts |= {found.part: found for found in measurements}
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = list(parts.values())
    path.write_text(to_json(whole) + "\n", encoding="utf-8")
    return whole


def to_json(measurements: Sequence[Measurement]) -> str:
    """The measurements as `read` reads them."""
    return _RECORD.dump_json(list(measurements), indent=1).decode()
