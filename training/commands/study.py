"""The commands `retort study`, `retort recommend` and `retort report`."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retort.training.commands.common import JsonOption, load_plan, log, write
from retort.training.commands.evaluate import Resamples, Seed

if TYPE_CHECKING:
    from retort.training.recipes.study import StudyRecipe

STUDY_HELP = """Run a study: methods times datasets times seeds, in order of need.

Examples:

    retort study recipes/study-qa.yaml --dry-run

    retort study recipes/study-qa.yaml recipes/study-tasks.yaml --jobs 2

    retort study recipes/study-qa.yaml seeds=[1]

Arguments are recipes of kind study, and key=value to change a field in all of them. A finished run
is kept; a study that was stopped or killed goes on where it was when the same command is given
again. Each run is a process with its own log, OUT/logs/RUN.log. `retort report` writes what was
found.
"""

REPORT_HELP = """Write what studies found: a Markdown report, and one HTML page with plots.

Example:

    retort report runs/study/qa runs/study/tasks --out docs/study.md --page study.html

It reads the folders that `retort study` writes, one section each, and works while runs are still to
come: it says which are missing. Without --out the report is printed.
"""


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("study", help=STUDY_HELP)(study_command)
    app.command("study-job", hidden=True)(job_command)
    app.command("recommend")(recommend_command)
    app.command("report", help=REPORT_HELP)(report_command)


def study_command(
    recipes: Annotated[
        list[str], typer.Argument(help="Recipes, and key=value.", metavar="RECIPE... [KEY=VALUE]")
    ],
    jobs: Annotated[
        int, typer.Option(min=1, help="Runs at once, each with its share of the cores.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the runs in order and the time they may take.")
    ] = False,
    speeds: Annotated[
        bool, typer.Option(help="Measure how fast students and teachers are, once per study.")
    ] = True,
    redo: Annotated[
        bool, typer.Option("--redo", help="Repeat runs whose recipe or data has changed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run, or print what would be run."""
    studies = _load(recipes)
    if dry_run:
        from retort.training.study.jobs import check_files

        to_make = [item for study in studies for item in check_files(study, planned=True)]
        _print_timetable(studies, jobs, as_json)
        if to_make:
            log("\n  ".join(["to be made before it can run:", *map(str, to_make)]))
        return

    from rich.console import Console

    from retort.training.study.jobs import run_study

    failed, facts = [], []
    for study in studies:
        failed += run_study(study, Console(stderr=True), jobs=jobs, speeds=speeds, redo=redo)
        facts.append({"study": str(study.out)})
    if as_json:
        typer.echo(json.dumps({"studies": facts, "failed": [r.name for r in failed]}))
    else:
        typer.echo("\n".join(f"study in {study.out}" for study in studies))
    if failed:
        alike: dict[str, list[str]] = {}
        for report in failed:
            alike.setdefault(report.error, []).append(report.name)
        lines = "\n".join(f"{', '.join(names)}: {error}" for error, names in alike.items())
        raise ValueError(f"{len(failed)} failed:\n{lines}")


def _print_timetable(studies: list[StudyRecipe], jobs: int, as_json: bool) -> None:
    from retort.training.study.estimate import in_words, timetable

    rows = [(study.name, *row) for study in studies for row in timetable(study)]
    left = sum(seconds or 0.0 for _, _, seconds, done in rows if not done) / jobs
    if as_json:
        runs = [
            {"study": study, "run": name, "seconds": seconds, "finished": done}
            for study, name, seconds, done in rows
        ]
        typer.echo(json.dumps({"runs": runs, "seconds_left": left}))
        return
    for study, name, seconds, done in rows:
        typer.echo(f"{study:10} {name:40} {'finished' if done else in_words(seconds)}")
    unknown = sum(seconds is None for _, _, seconds, _ in rows)
    typer.echo(
        f"{sum(done for *_, done in rows)} of {len(rows)} runs are finished; the rest takes about "
        f"{in_words(left)}, {jobs} at once, not counting the teachers' labels"
        + (
            f"; {unknown} cannot be estimated: their tables are not there, `retort data build` "
            "makes them"
            if unknown
            else ""
        )
    )


def job_command(
    study: Annotated[Path, typer.Argument(help="The study's folder.")],
    names: Annotated[list[str], typer.Argument(help="The job, or with --check several.")],
    check: Annotated[
        bool, typer.Option("--check", help="Print the jobs with nothing to do.")
    ] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Repeat what has changed.")] = False,
) -> None:
    """Do one job of a study: `retort study` starts one such process per job.

    Example: retort study-job runs/study/qa qa/tmkd/seed-1
    """
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        # `retort study` holds the other end: when it is gone, end in the middle of a step if need
        # be. The next run resumes from the last checkpoint.
        threading.Thread(target=_end_with_input, daemon=True).start()
    from retort.training.study.records import read_plan

    plan = read_plan(study)

    from retort.training.study.run import do_job, is_done  # 10 s of imports

    if check:
        typer.echo("\n".join(name for name in names if is_done(plan, name)))
    else:
        do_job(plan, names[0], log, redo=redo)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


def recommend_command(
    study: Annotated[Path, typer.Argument(help="The study's folder, as runs/study/qa.")],
    latency_ms: Annotated[
        float | None, typer.Option(min=0.001, help="The time per query, in milliseconds.")
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.5, help="The share of the teachers' quality to keep, as 0.97."),
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Passages per query.")] = 100,
    dataset: Annotated[
        str | None, typer.Option(help="Only this dataset (default: the mean of all).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which method and depth to take for a time or a quality, and what it costs.

    Example: retort recommend runs/study/qa --latency-ms 200 --pairs 100
    """
    from retort.training.study.recommend import read_options, recommend, render

    options = read_options(study, pairs, dataset)
    choice = recommend(options, latency_ms, quality)
    if as_json:
        typer.echo(json.dumps(asdict(choice)))
    else:
        typer.echo(render(choice))


def report_command(
    studies: Annotated[
        list[Path], typer.Argument(help="Folders of studies.", metavar="STUDY_FOLDER...")
    ],
    out: Annotated[Path | None, typer.Option(help="Write the report here, as Markdown.")] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the page with plots here, as HTML.")
    ] = None,
    resamples: Resamples = 2000,
    seed: Seed = 0,
) -> None:
    """Measure, then write or print."""
    from retort.training.study.figures import measure_study
    from retort.training.study.report import to_html, to_markdown
    from retort.training.study.results import read_results

    found = [measure_study(read_results(path), resamples, seed, log) for path in studies]
    if page is not None:
        write(page, to_html(found))
        log(f"{page} is written")
    beside = os.path.relpath(page, out.parent) if page is not None and out is not None else ""
    words = ["retort report", *map(str, studies)]
    words += [f"--out {out}"] if out is not None else []
    words += [f"--page {page}"] if page is not None else []
    text = to_markdown(found, beside, " ".join(words))
    if out is not None:
        write(out, text)
        log(f"{out} is written")
    elif page is None:
        typer.echo(text, nl=False)


def _load(arguments: list[str]) -> list[StudyRecipe]:
    from retort.training.recipes.load import RecipeError
    from retort.training.recipes.study import StudyRecipe

    overrides = [word for word in arguments if "=" in word and not Path(word).is_file()]
    paths = [Path(word) for word in arguments if word not in overrides]
    if not paths:
        raise RecipeError("no recipe: give one or more, as recipes/study-qa.yaml")
    return [load_plan(path, overrides, StudyRecipe) for path in paths]
