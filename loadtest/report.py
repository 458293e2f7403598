"""The report: records of measurements as sections of a Markdown page, with its plots.

    python -m retort.loadtest.report docs/performance.md                renders its sections anew
    python -m retort.loadtest.report docs/performance.md record.json    takes a record in first

Nothing is measured for that: the page `docs/NAME.md` shows the records `docs/measured/*.json`. A
record from another machine takes the place of the parts that it has measured.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from retort.loadtest.result import Cell, Measurement, Plot, Table, Unit, read, write
from retort.loadtest.rounds import Spread
from retort.markdown import interval, section, table
from retort.plots import line_plot

RECORDS = "measured"
# The experiments that are no command of `retort`.
SCRIPTS = {
    "frontend": "python -m retort.loadtest.experiments.frontend",
    "gpu": "loadtest/gpu.sh",
}
SPECS: dict[Unit, str] = {
    "ratio": ".2f",
    "times": ",.1f",
    "share": ".1%",
    "score": ".4f",
    "count": ",.0f",
}


def publish(page: Path, measurements: Sequence[Measurement]) -> list[Path]:
    """Write the record next to `page`, its section and its plots; the files written.

    The section shows all that the record holds, earlier parts included. Raises `ValueError` if the
    page has text but not the experiment's markers.
    """
    experiment = measurements[0].experiment
    record = page.parent / RECORDS / f"{experiment}.json"
    return [record, *render(page, write(record, measurements))]


def render(page: Path, measurements: Sequence[Measurement]) -> list[Path]:
    """Write the section of `page` that shows the measurements, and its plots."""
    begin, end = markers(measurements[0].experiment)
    section(page, to_markdown(measurements, pictures=True), begin, end, "Performance")
    written = [page]
    for found in measurements:
        for plot in found.plots:
            picture = page.with_name(f"{plot.name}.svg")
            picture.write_text(to_svg(plot), encoding="utf-8")
            written.append(picture)
    return written


def markers(experiment: str) -> tuple[str, str]:
    """The lines of a page between which an experiment's section stands."""
    command = SCRIPTS.get(experiment, f"retort {experiment}")
    words = f"written by `{command}`; change the command, not the text"
    return f"<!-- {experiment}:begin ({words}) -->", f"<!-- {experiment}:end -->"


def to_svg(plot: Plot) -> str:
    """The plot as SVG. Raises `ModuleNotFoundError` without the extra `report`."""
    return line_plot(plot.panels, plot.title, size=plot.size, legend_columns=plot.legend_columns)


def to_markdown(measurements: Sequence[Measurement], *, pictures: bool = False) -> str:
    """How it was measured, then tables, notes and, with `pictures`, links to the plots."""
    lines = list(_setups(measurements))
    for found in measurements:
        if found.title:
            lines += ["", f"### {found.title}"]
        if found.facts:
            lines += [""] if found.title else []
            lines += [f"* {fact}" for fact in found.facts]
        for each in found.tables:
            lines += ["", f"### {each.title}"] if each.title else []
            lines += ["", *_table(each)]
        if found.notes:
            lines += ["", *(f"* {note}" for note in found.notes)]
        if pictures:
            for plot in found.plots:
                lines += ["", f"![{plot.title}]({plot.name}.svg)"]
    return "\n".join(lines) + "\n"


def _setups(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Parts that were measured in one go share their lines; usually all were."""
    groups = [(setup, [*parts]) for setup, parts in groupby(measurements, key=lambda m: m.setup)]
    if len(groups) == 1:
        setup = groups[0][0]
        yield f"Measured {setup.created} by `{setup.command}`."
        yield ""
        yield f"* Machine: {setup.machine}"
        yield f"* Served: {setup.served}"
        return
    for setup, parts in groups:
        names = ", ".join(part.part for part in parts)
        yield (
            f"* Measured {setup.created} by `{setup.command}` ({names}) on {setup.machine}; "
            f"served: {setup.served}."
        )


def _table(found: Table) -> list[str]:
    numbers = [place for place, column in enumerate(found.columns) if column.unit != "text"]
    rows = [
        [words(cell, column.unit) for cell, column in zip(row, found.columns, strict=True)]
        for row in found.rows
    ]
    return table([column.name for column in found.columns], rows, right=numbers)


def words(cell: Cell, unit: Unit) -> str:
    """A cell as the page has it.

    >>> words(0.056, "share"), words(1139.7, "ms"), words(Spread(8.93, 8.5, 9.2, 4), "ratio")
    ('5.6%', '1,140', '8.93 [8.50, 9.20]')
    """
    if cell is None or isinstance(cell, str):
        return cell or ""
    values = [cell.value, cell.low, cell.high] if isinstance(cell, Spread) else [cell]
    spec = SPECS.get(unit) or _three_digits(values)
    return interval(cell, spec) if isinstance(cell, Spread) else format(cell, spec)


def _three_digits(values: Sequence[float]) -> str:
    if abs(values[0]) >= 99.95 or all(float(value).is_integer() for value in values):
        return ",.0f"
    return ".1f" if abs(values[0]) >= 9.995 else ".2f"


def main(arguments: Sequence[str] | None = None) -> None:
    """Render a page, each section whose markers it has, with the records that are named too."""
    page, *taken = map(Path, sys.argv[1:] if arguments is None else arguments)
    for record in taken:
        publish(page, read(record))
    text = page.read_text(encoding="utf-8")
    for record in sorted((page.parent / RECORDS).glob("*.json")):
        if markers(record.stem)[0] in text:
            for path in render(page, read(record)):
                print(f"wrote {path}")


if __name__ == "__main__":
    main()
