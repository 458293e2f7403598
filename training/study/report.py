"""The study's report: Markdown, for `docs/`, in words and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from retort.training.evaluate.report import table as markdown_table
from retort.training.study import tables, words
from retort.training.study.figures import Scope, StudyFigures
from retort.training.study.page import TITLE
from retort.training.study.sizes import Sizes
from retort.training.study.tables import Table


def to_markdown(
    studies: Sequence[tuple[StudyFigures, Sizes]], page: str = "", command: str = ""
) -> str:
    """The whole report, a section a study.

    `page` is the HTML page's path beside it, `command` the line that writes both.
    """
    lines = [f"# {TITLE}", ""]
    if page:
        lines += [f"The same with plots, to open in a browser: [{page}]({page}).", ""]
    if command:
        lines += ["To write this again:", "", "```sh", command, "```", ""]
    for figures, sizes in studies:
        lines += _study(figures, sizes)
    lines += ["## How to read it", ""]
    for text in words.how_to_read([figures for figures, _ in studies]):
        lines += [text, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _study(figures: StudyFigures, sizes: Sizes) -> Iterator[str]:
    yield from (f"## {figures.plan.name}", "")
    made = words.made(figures)
    if made:
        yield from (made, "")
    missing = words.progress(figures)
    if missing:
        yield from (*missing, "")
    yield from (*(f"* {text}" for text in words.in_short(figures)), "")
    if figures.top is not None:
        yield from _found(figures, figures.top, sizes)


def _found(figures: StudyFigures, scope: Scope, sizes: Sizes) -> Iterator[str]:
    yield from _table(tables.students(figures, scope, sizes))
    sentences = words.claims(figures, scope)
    if sentences:
        what = f"{scope.measure}, {scope.name}"
        yield from (
            f"### What the papers claim: {what}",
            "",
            *(f"* {text}" for text in sentences),
            "",
        )
    told = list(words.spread(figures, scope.ranked()))
    if told:
        yield from ("### Heads that disagree", "", *(f"* {text}" for text in told), "")
    beside = tables.published(figures, scope)
    if beside is not None:
        yield from _table(beside)
    yield from _table(tables.matrix(figures, scope))
    yield from ("\\* outside the noise.", "")
    for part in scope.parts:
        if part.level == "dataset":
            yield from _table(tables.students(figures, part, sizes))
    for found in tables.sets(figures, scope):
        yield from _table(found)


def _table(table: Table) -> Iterator[str]:
    yield from (f"### {table.title}", "")
    if table.note:
        yield from (table.note, "")
    head, _, *rows = markdown_table(table.head, table.rows)
    yield head
    yield (
        "|"
        + "|".join(" --- " if table.worded(place) else " ---: " for place in range(len(table.head)))
        + "|"
    )
    yield from (*rows, "")
