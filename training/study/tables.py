"""Tables: what the Markdown and the page both show, as plain cells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from retort.training.evaluate.report import interval, number, percent, signed
from retort.training.study.claims import judge
from retort.training.study.figures import THE_BEST, THE_ENSEMBLE, Scope, StudyFigures
from retort.training.study.sizes import Sizes

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a head and rows of cells."""

    title: str
    head: Row
    rows: Sequence[Row]
    note: str = ""

    def worded(self, place: int) -> bool:
        """Whether a column holds words, which stand to the left, and not figures alone."""
        return place == 0 or any(re.search("[A-Za-z]{2}", row[place]) for row in self.rows)


def students(figures: StudyFigures, scope: Scope, sizes: Sizes) -> Table:
    """Every row of a scope, best first, and below them their teachers."""
    head = [
        "student",
        "learns by",
        scope.measure,
        "of the ensemble",
        "of the best teacher",
        "gap closed",
        *(f"{part.name}{_measure(part, scope)}" for part in scope.parts),
        "calibration error",
        "parameters",
        "pairs/s",
        "seeds",
    ]
    plans = {row.name: row for row in figures.plan.rows}
    rows = []
    for row in scope.ranked():
        found = scope.compared(row)
        rows.append(
            [
                figures.title(row),
                plans[row].paper or plans[row].method,
                interval(scope.value(row)),
                percent(found.retained, bounds=True),
                percent(scope.compared(row, THE_BEST).retained),
                percent(found.gap_closed, bounds=True),
                *(number(part.value(row).value) for part in scope.parts),
                _number(figures.calibration_error.get(row)),
                sizes.parameters(row),
                sizes.speed(row),
                str(len(scope.seeds.get(row, ()))),
            ]
        )
    for name in scope.teachers:
        found = scope.compared(name)
        rows.append(
            [
                figures.title(name),
                "",
                interval(scope.value(name)),
                percent(found.retained, bounds=True) if name != THE_ENSEMBLE else "",
                "",
                "",
                *(number(part.value(name).value) for part in scope.parts),
                _number(figures.calibration_error.get(name)),
                sizes.parameters(name),
                sizes.speed(name),
                "",
            ]
        )
    return _without_empty(Table(scope.name, head, rows))


def sets(figures: StudyFigures, scope: Scope) -> Iterator[Table]:
    """Every set within a scope with all its measures and intervals."""
    for part in scope.walk():
        if part.level != "set":
            continue
        head = ["system", part.measure, "of the ensemble", "gap closed", *part.others]
        rows = [
            [
                figures.title(name),
                interval(part.value(name)),
                percent(part.compared(name).retained, bounds=True) if name != THE_ENSEMBLE else "",
                percent(part.compared(name).gap_closed, bounds=True),
                *(
                    interval(found.of(name)) if name in found.names else ""
                    for found in part.others.values()
                ),
            ]
            for name in (*part.ranked(), *part.teachers)
        ]
        yield _without_empty(Table(part.name, head, rows, note=part.size))


def claims(figures: StudyFigures, scope: Scope) -> Table:
    """Every claim beside what was found."""
    rows = [
        [
            verdict.claim.paper,
            f"{figures.title(verdict.claim.row)} above {figures.title(verdict.claim.other)}",
            verdict.claim.words,
            signed(verdict.difference, bounds=True),
            verdict.word,
            "yes" if verdict.among.excludes_zero else "no",
        ]
        for verdict in judge(figures, scope)
    ]
    head = ["whose", "claim", "in words", "difference", "it is", "also among all claims"]
    return Table(f"Claims, {scope.measure} on {scope.name}", head, rows)


def matrix(figures: StudyFigures, scope: Scope) -> Table:
    """Each row minus each other; a star where the interval excludes zero."""
    ranked = scope.ranked()
    rows = [
        [
            figures.title(row),
            *(signed(scope.difference(row, other)) if other != row else "" for other in ranked),
        ]
        for row in ranked
    ]
    head = ["row minus column", *(figures.title(row) for row in ranked)]
    return Table(f"Row minus column, {scope.measure} on {scope.name}", head, rows)


def published(figures: StudyFigures, scope: Scope) -> Table | None:
    """The papers' own figures beside ours; None where no row has any."""
    datasets = {part.dataset: part for part in scope.parts if part.dataset}
    alone = datasets if len(datasets) == len(scope.parts) else {}
    by_name = {name.lower(): part for name, part in alone.items()}
    by_name |= {part.name.lower(): part for part in scope.walk()}
    rows = []
    for row in figures.plan.rows:
        for figure in row.published:
            # A set of ours says what to stand beside; on what the paper measured, its note says.
            known = figure.set.lower() in by_name
            same = by_name.get(figure.set.lower(), scope)
            note = figure.note if known else f"{figure.set}; {figure.note}".rstrip("; ")
            ours = ""
            if same.has(row.name):
                ours = f"{interval(same.value(row.name))} ({same.measure}, {same.name})"
            paper = row.paper or row.method
            rows.append([row.title, paper, f"{figure.value:g}", note, ours or "no run"])
    head = ["student", "paper", "printed there", "measured on, with", "here"]
    return Table("Beside the papers", head, rows) if rows else None


def _measure(part: Scope, whole: Scope) -> str:
    return "" if part.measure == whole.measure else f", {part.measure}"


def _number(value: float | None) -> str:
    return "" if value is None else number(value)


def _without_empty(table: Table) -> Table:
    """Without the columns in which nothing stands."""
    kept = [place for place in range(len(table.head)) if any(row[place] for row in table.rows)] or [
        0
    ]
    return Table(
        table.title,
        [table.head[place] for place in kept],
        [[row[place] for place in kept] for row in table.rows],
        table.note,
    )
