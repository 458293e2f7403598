"""The report of studies: Markdown for `docs/`, and one HTML page that needs no other file or host.

Here are the tables and what the sentences are about; the sentences stand in `words.j2`, the two
pages in `study.md.j2` and `study.html.j2`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.markdown import fill, interval, number, percent, signed
from retort.svg import SCHEMES
from retort.training.study.claims import judge
from retort.training.study.figures import Scope, StudyFigures
from retort.training.study.plots import claims, families, kept, plots, spread_deciles
from retort.training.study.results import THE_BEST, THE_ENSEMBLE

FOLDER = Path(__file__).parent
TITLE = "Ways of distilling, side by side"
# Fewer runs of a row than this say little about the noise of seeds.
ENOUGH_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a head and rows of cells."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    @property
    def right(self) -> list[int]:
        """The columns of figures alone, which are aligned to the right."""
        return [
            column
            for column in range(1, len(self.head))
            if not any(re.search("[A-Za-z]{2}", row[column]) for row in self.rows)
        ]


def to_markdown(studies: Sequence[StudyFigures], page: str = "", command: str = "") -> str:
    """The whole report, a section per study.

    `page` is the HTML page's path from here, `command` the line that writes both.
    """
    sections = [_section(figures) for figures in studies]
    text = fill(
        FOLDER / "study.md.j2",
        title=TITLE,
        page=page,
        command=command,
        studies=sections,
        how_to_read=_how_to_read(studies),
    )
    return text.rstrip("\n") + "\n"


def to_html(studies: Sequence[StudyFigures]) -> str:
    """The whole page, a section per study. Plots come from matplotlib."""
    sections = []
    for figures in studies:
        section, top = _section(figures), figures.top
        if top is not None:
            section |= {
                "headline": _headline(figures, top),
                "whole": top.has(THE_ENSEMBLE),
                "kept": kept(figures, top),
                "families": families(figures, top),
                "parts": [(part, kept(figures, part, 480)) for part in top.parts],
                "plots": list(plots(figures, top)),
                "claims_plot": claims(figures, top),
                "claims_table": claims_table(figures, top),
            }
        sections.append(section)
    return fill(
        FOLDER / "study.html.j2",
        title=TITLE,
        schemes=SCHEMES,
        studies=sections,
        how_to_read=_how_to_read(studies),
    )


def _section(figures: StudyFigures) -> dict[str, Any]:
    """What both pages say about a study."""
    scope = figures.top
    section: dict[str, Any] = {
        "name": figures.plan.name,
        "made": _made(figures),
        "progress": _progress(figures),
        "in_short": _words("in_short", _summary(figures)),
        "scope": scope,
    }
    if scope is not None:
        spread = [(figures.title(row), spread_deciles(figures, row)) for row in scope.ranked()]
        section |= {
            "students": students(figures, scope),
            "claims": _words("claims", judge(figures, scope), figures.title),
            "spread": _words("spread", [(title, found) for title, found in spread if found]),
            "published": published(figures, scope),
            "matrix": matrix(figures, scope),
            "datasets": [students(figures, p) for p in scope.parts if p.level == "dataset"],
            "sets": list(sets(figures, scope)),
        }
    return section


def _words(macro: str, *given: object) -> list[str]:
    """The lines that a macro of `words.j2` makes of what it is given."""
    text = fill(FOLDER / "words.j2", macro=macro, given=given)
    return [line for line in text.splitlines() if line.strip()]


def _how_to_read(studies: Sequence[StudyFigures]) -> list[str]:
    named = dict.fromkeys(figures.title(THE_BEST) for figures in studies)
    return _words("how_to_read", studies[0].resamples, studies[0].seed, " or ".join(named))


def lead(figures: StudyFigures, scope: Scope) -> str:
    """The row that validation chose, or while that is unknown the one with the highest figure."""
    known = [row for row in scope.rows if row in figures.chosen]
    return max(known, key=lambda row: figures.chosen[row]) if known else scope.ranked()[0]


def _summary(figures: StudyFigures) -> Mapping[str, Any] | None:
    """What the short summary says; None before the first run has finished."""
    scope = figures.top
    if scope is None:
        return None
    best, first = scope.ranked()[0], lead(figures, scope)
    others = {row: scope.difference(row, first) for row in scope.ranked() if row != first}
    both = scope.has(THE_ENSEMBLE) and scope.has(THE_BEST)

    def titles(rows: Sequence[str]) -> list[str]:
        return [figures.title(row) for row in rows]

    return {
        "first": figures.title(first),
        "chosen": first in figures.chosen,
        "count": len(scope.rows),
        "kept": scope.compared(first),
        "baseline": figures.title(scope.baselines.get(first, "")),
        "value": scope.value(first),
        "measure": scope.measure,
        "scope": scope.name,
        "best": figures.title(best) if best != first else "",
        "ahead": others.get(best),
        "level": titles([row for row, gap in others.items() if not gap.excludes_zero]),
        "above": titles([row for row, gap in others.items() if gap.low > 0]),
        "below": titles([row for row, gap in others.items() if gap.high < 0]),
        "ensemble": scope.value(THE_ENSEMBLE) if both else None,
        "named": figures.title(THE_BEST),
        "over_best": scope.difference(THE_ENSEMBLE, THE_BEST) if both else None,
        "few": titles([r for r in scope.rows if len(scope.seeds.get(r, ())) < ENOUGH_SEEDS]),
    }


def _progress(figures: StudyFigures) -> list[tuple[str, Sequence[str]]]:
    """What is missing and what is not right; empty for a study that is complete and sound."""
    study = figures.study
    found: list[tuple[str, Sequence[str]]] = []
    if study.missing:
        text = f"{study.done} of {study.wanted} runs have finished. Missing:"
        found.append((text, study.missing))
    if figures.doubts:
        found.append(("Figures that do not fit:", figures.doubts))
    if figures.misnamed:
        found.append(("Named best, and not the best:", figures.misnamed))
    return found


def _made(figures: StudyFigures) -> str:
    """When, by which code, and how long it took."""
    records = [run.record for row in figures.plan.rows for run in figures.study.runs(row.name)]
    if not records:
        return ""
    days = sorted(record.finished[:10] for record in records if record.finished)
    codes = sorted({record.code for record in records if record.code})
    hours = sum(sum(record.seconds.values()) for record in records) / 3600
    text = f"{len(records)} runs"
    if days:
        text += f", {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "")
    text += f", {hours:.1f} hours of training and measuring"
    return text + (f", code {', '.join(codes)}." if codes else ".")


def _headline(figures: StudyFigures, scope: Scope) -> list[tuple[str, str, str]]:
    """The few figures that one remembers: (what, value, more), of the row that is named first."""
    row = lead(figures, scope)
    found = scope.compared(row)
    best = scope.compared(row, THE_BEST).retained if scope.has(THE_BEST) else None
    entries = []
    for what, share, spec in (
        ("kept of the ensemble", found.retained, ".1%"),
        (f"kept of the {figures.title(THE_BEST)}", best, ".1%"),
        ("of the gap closed", found.gap_closed, ".0%"),
    ):
        if share is not None:
            bounds = percent(share, bounds=True).partition(" ")[2]
            entries.append((what, f"{share.value:{spec}}", bounds))
    speeds = figures.study.pairs_per_second
    if row in speeds and speeds.get(THE_ENSEMBLE):
        times = f"{speeds[row] / speeds[THE_ENSEMBLE]:.1f}×"
        entries.append(("as fast as the ensemble", times, f"{speeds[row]:,.0f} pairs/s"))
    if row in figures.study.parameters:
        entries.append(("parameters", _parameters(figures, row), figures.title(row)))
    return entries


def students(figures: StudyFigures, scope: Scope) -> Table:
    """Every row of a scope, best first, and below them their teachers."""
    head = [
        "student",
        "learns by",
        scope.measure,
        "of the ensemble",
        f"of the {figures.title(THE_BEST)}",
        "gap closed",
        *(f"{p.name}{'' if p.measure == scope.measure else f', {p.measure}'}" for p in scope.parts),
        "calibration error",
        "parameters",
        "pairs/s",
        "seeds",
    ]
    plans = {row.name: row for row in figures.plan.rows}
    speeds = figures.study.pairs_per_second
    rows = []
    for name in (*scope.ranked(), *scope.teachers):
        found, plan = scope.compared(name), plans.get(name)
        rows.append(
            [
                figures.title(name),
                plan.school if plan else "",
                interval(scope.value(name)),
                percent(found.retained, bounds=True) if name != THE_ENSEMBLE else "",
                percent(scope.compared(name, THE_BEST).retained) if plan else "",
                percent(found.gap_closed, bounds=True) if plan else "",
                *(number(part.value(name).value) for part in scope.parts),
                number(figures.calibration_error.get(name)),
                _parameters(figures, name),
                number(speeds.get(name), ",.0f"),
                str(len(scope.seeds.get(name, ()))) if plan else "",
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
        yield _without_empty(Table(part.name, head, rows, part.size))


def claims_table(figures: StudyFigures, scope: Scope) -> Table:
    """Every claim and what was found."""
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
    head = ["paper", "claim", "in words", "difference", "it is", "also among all claims"]
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
    """The papers' own figures next to ours; None where no row has any."""
    datasets = {part.dataset: part for part in scope.parts if part.dataset}
    alone = datasets if len(datasets) == len(scope.parts) else {}
    by_name = {name.lower(): part for name, part in alone.items()}
    by_name |= {part.name.lower(): part for part in scope.walk()}
    rows = []
    for row in figures.plan.rows:
        for figure in row.published:
            # `set` names a set of ours to compare with; what the paper measured on is in its note.
            known = figure.set.lower() in by_name
            same = by_name.get(figure.set.lower(), scope)
            note = figure.note if known else f"{figure.set}; {figure.note}".rstrip("; ")
            ours = ""
            if same.has(row.name):
                ours = f"{interval(same.value(row.name))} ({same.measure}, {same.name})"
            rows.append([row.title, row.school, f"{figure.value:g}", note, ours or "no run"])
    head = ["student", "paper", "printed there", "measured on, with", "here"]
    return Table("Compared with the papers", head, rows) if rows else None


def _parameters(figures: StudyFigures, name: str) -> str:
    found = figures.study.parameters.get(name)
    return "" if found is None else f"{found / 1e6:.1f} M"


def _without_empty(table: Table) -> Table:
    """Without the columns that are empty in every row."""
    kept = [column for column in range(len(table.head)) if any(row[column] for row in table.rows)]
    return Table(
        table.title,
        [table.head[column] for column in kept or [0]],
        [[row[column] for column in kept or [0]] for row in table.rows],
        table.note,
    )
