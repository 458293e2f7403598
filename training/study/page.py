"""The study's page: HTML that needs no other file and asks no other host for anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from retort.training.evaluate.bootstrap import Estimate
from retort.training.evaluate.report import percent
from retort.training.study import bars, tables, words
from retort.training.study.bars import legend
from retort.training.study.figures import THE_BEST, THE_ENSEMBLE, Scope, StudyFigures
from retort.training.study.plots import Plot, colour, papers, plots
from retort.training.study.sizes import Sizes
from retort.training.study.style import CSS
from retort.training.study.tables import Table

TITLE = "Ways of distilling, side by side"
# More lines than this are folded.
MANY = 6


def to_html(studies: Sequence[tuple[StudyFigures, Sizes]]) -> str:
    """The whole page, a section a study."""
    parts = [f"<header><h1>{escape(TITLE)}</h1>"]
    if len(studies) > 1:
        links = (f'<a href="#{escape(f.plan.name)}">{escape(f.plan.name)}</a>' for f, _ in studies)
        parts.append(f"<nav>{''.join(links)}</nav>")
    parts.append("</header><main>")
    for figures, sizes in studies:
        parts += _study(figures, sizes)
    parts.append("</main><footer><h4>How to read it</h4>")
    parts += [f"<p>{_marked(text)}</p>" for text in words.how_to_read([f for f, _ in studies])]
    parts.append("</footer>")
    return PAGE.format(title=escape(TITLE), style=CSS, body="\n".join(parts))


def _study(figures: StudyFigures, sizes: Sizes) -> Iterator[str]:
    name = escape(figures.plan.name)
    yield f'<section id="{name}"><h2>{name}</h2>'
    yield f'<p class="soft">{_marked(words.made(figures))}</p>'
    yield _progress(words.progress(figures))
    first, *others = words.in_short(figures)
    yield f'<p class="lead">{_marked(first)}</p>'
    if figures.top is not None:
        yield _headline(figures, figures.top, sizes)
        yield _list(others)
        yield from _found(figures, figures.top, sizes)
    yield "</section>"


def _found(figures: StudyFigures, scope: Scope, sizes: Sizes) -> Iterator[str]:
    kept = "What each kept of its teachers" if scope.has(THE_ENSEMBLE) else "How good each is"
    yield f"<h3>{kept}</h3>"
    yield (
        f'<p class="note">{escape(f"{scope.name}: {scope.measure}")}. Dots are means over seeds, '
        "thin strokes single seeds, lines 95% intervals over queries and seeds.</p>"
    )
    yield bars.rows(figures, scope)
    yield legend(_families(figures, scope))
    if scope.parts:
        yield f"<details><summary>The same for each of {len(scope.parts)}</summary>"
        yield '<div class="many">'
        for part in scope.parts:
            yield f"<div><h4>{escape(f'{part.name}, {part.measure}')}</h4>"
            yield f"{bars.rows(figures, part)}</div>"
        yield "</div></details>"
    yield f"<h3>All figures</h3>{_table(tables.students(figures, scope, sizes))}"
    yield '<div class="plots">'
    for plot in plots(figures, scope, sizes):
        yield _figure(plot)
    yield "</div>"
    judged = tables.claims(figures, scope)
    if judged.rows:
        yield "<h3>What the papers claim</h3>"
        yield '<p class="note">Grey is inside the noise; right of the line the claim holds.</p>'
        yield bars.claims(figures, scope)
        yield from _folded("The claims in words", [judged])
    beside = tables.published(figures, scope)
    if beside is not None:
        yield f"<h3>{escape(beside.title)}</h3>{_table(beside)}"
    yield from _folded("Each row against each other", [tables.matrix(figures, scope)])
    datasets = [part for part in scope.parts if part.level == "dataset"]
    if datasets:
        within = [tables.students(figures, part, sizes) for part in datasets]
        yield from _folded("Each dataset", within)
    yield from _folded("Each set, all measures", list(tables.sets(figures, scope)))


def _headline(figures: StudyFigures, scope: Scope, sizes: Sizes) -> str:
    """The few figures that one remembers, of the row that is named first."""
    row = words.lead(figures, scope)
    found = scope.compared(row)
    entries = []
    if found.retained is not None:
        entries.append(
            ("kept of the ensemble", f"{found.retained.value:.1%}", _bounds(found.retained))
        )
    best = scope.compared(row, THE_BEST).retained if scope.has(THE_BEST) else None
    if best is not None:
        entries.append(("kept of the best teacher", f"{best.value:.1%}", _bounds(best)))
    if found.gap_closed is not None:
        entries.append(
            ("of the gap closed", f"{found.gap_closed.value:.0%}", _bounds(found.gap_closed))
        )
    ours, theirs = (sizes.pairs_per_second.get(name) for name in (row, THE_ENSEMBLE))
    if ours and theirs:
        entries.append(("as fast as the ensemble", f"{ours / theirs:.1f}×", f"{ours:,.0f} pairs/s"))
    if row in sizes.parameters_of:
        entries.append(("parameters", sizes.parameters(row), figures.title(row)))
    return (
        '<dl class="figures">'
        + "".join(
            f"<div><dt>{escape(name)}</dt>"
            f"<dd>{escape(value)} <small>{escape(more)}</small></dd></div>"
            for name, value, more in entries
        )
        + "</dl>"
    )


def _bounds(estimate: Estimate) -> str:
    return percent(estimate, bounds=True).partition(" ")[2]


def _families(figures: StudyFigures, scope: Scope) -> list[tuple[str, str]]:
    """The papers' colours, of the papers that share none."""
    names = papers(figures)
    found: dict[str, list[str]] = {}
    for row in scope.rows:
        key = colour(figures, row)
        plan = next(r for r in figures.plan.rows if r.name == row)
        name = "no teacher" if key == "base" else plan.paper or plan.method
        if name not in found.setdefault(key, []):
            found[key].append(name)
    order = ["base", *(f"c{number}" for number in range(len(names)))]
    return [(key, ", ".join(found[key])) for key in order if key in found]


def _figure(plot: Plot) -> str:
    return (
        f"<figure><figcaption><h4>{escape(plot.title)}</h4><p>{escape(plot.caption)}</p>"
        f"</figcaption>{plot.svg}{legend(plot.legend)}</figure>"
    )


def _folded(title: str, found: Sequence[Table]) -> Iterator[str]:
    if found:
        yield f"<details><summary>{escape(title)}</summary>"
        for table in found:
            yield f"<h4>{escape(table.title)}</h4>{_table(table)}"
        yield "</details>"


def _table(table: Table) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        marked = (
            f"<{tag}{' class=words' if table.worded(place) else ''}>{escape(cell)}</{tag}>"
            for place, cell in enumerate(row)
        )
        return f"<tr>{''.join(marked)}</tr>"

    body = "".join(cells("td", row) for row in table.rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'{note}<div class="wide" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f"<table><thead>{cells('th', table.head)}</thead><tbody>{body}</tbody></table></div>"
    )


def _progress(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    texts = [line for line in lines if not line.startswith("* ")]
    items = [line.removeprefix("* ") for line in lines if line.startswith("* ")]
    head = "".join(f"<p>{_marked(text)}</p>" for text in texts)
    listed = _list(items)
    if len(items) > MANY:
        listed = f"<details><summary>{len(items)} lines</summary>{listed}</details>"
    return f'<div class="callout">{head}{listed}</div>'


def _list(texts: Sequence[str]) -> str:
    items = "".join(f"<li>{_marked(text)}</li>" for text in texts)
    return f'<ul class="prose">{items}</ul>' if items else ""


def _marked(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
<body>
{body}
</body>
</html>
"""
