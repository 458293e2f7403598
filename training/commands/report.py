"""The command `retort report`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from retort.training.commands.told import log, reported

HELP = """Write what studies have found: a Markdown report, and a page with plots in one HTML file.

Example:

    retort report runs/study/qa runs/study/tasks --out docs/study.md --page docs/study.html

It reads the folders that `retort study` writes, one section each, and works while runs are still to
come: it says which are missing. Without --out the report is printed.
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("report", help=HELP)(report_command)


def report_command(
    studies: Annotated[
        list[Path], typer.Argument(help="Folders of studies.", metavar="STUDY_FOLDER...")
    ],
    out: Annotated[Path | None, typer.Option(help="Write the report here, as Markdown.")] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the page with plots here, as HTML.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Measure, then write or print."""
    with reported():
        from retort.training.commands.evaluate import write
        from retort.training.study.figures import measure_study
        from retort.training.study.page import to_html
        from retort.training.study.reading import read_study
        from retort.training.study.report import to_markdown
        from retort.training.study.sizes import read_sizes

        found = []
        for folder in studies:
            figures = measure_study(read_study(folder), resamples, seed, told=log)
            found.append((figures, read_sizes(figures)))
        if page is not None:
            write(page, to_html(found))
            log(f"{page} is written")
        beside = os.path.relpath(page, out.parent) if page is not None and out is not None else ""
        text = to_markdown(found, beside, _command(studies, out, page))
        if out is not None:
            write(out, text)
            log(f"{out} is written")
        elif page is None:
            typer.echo(text, nl=False)


def _command(studies: list[Path], out: Path | None, page: Path | None) -> str:
    """The line that writes both again."""
    words = ["retort report", *map(str, studies)]
    words += [f"--out {out}"] if out is not None else []
    words += [f"--page {page}"] if page is not None else []
    return " ".join(words)
