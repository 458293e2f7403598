"""The commands `retort study` and `retort recommend`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retort.training.commands.told import reported

if TYPE_CHECKING:
    from retort.training.recipes.study import StudyRecipe

STUDY_HELP = """Run a study: methods times datasets times seeds, in order of need.

Examples:

    retort study recipes/study-qa.yaml --dry-run

    retort study recipes/study-qa.yaml recipes/study-tasks.yaml --jobs 2

    retort study recipes/study-qa.yaml seeds=[1]

Arguments are recipes of kind study, and key=value to change a field in all of them. A run that is
finished is kept; a study that was stopped or killed goes on where it was when the same command is
given again. `retort report` writes what was found.
"""


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("study", help=STUDY_HELP)(study_command)
    app.command("recommend")(recommend_command)


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
        bool, typer.Option(help="Measure how fast students and teachers are, once a study.")
    ] = True,
    redo: Annotated[
        bool, typer.Option("--redo", help="Make runs anew whose recipe or data has changed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Run, or print what would be run."""
    from rich.console import Console

    with reported():
        from retort.training.study.study import failures, run_study

        studies = _load(recipes)
        if dry_run:
            _print_timetable(studies, jobs, as_json)
            return
        failed, facts = [], []
        for study in studies:
            failed += run_study(study, Console(stderr=True), jobs=jobs, speeds=speeds, redo=redo)
            facts.append({"study": str(study.out)})
        if as_json:
            typer.echo(json.dumps({"studies": facts, "failed": [r.name for r in failed]}))
        else:
            typer.echo("\n".join(f"study in {study.out}" for study in studies))
        if failed:
            raise ValueError(f"{len(failed)} failed:\n{failures(failed)}")


def _print_timetable(studies: list[StudyRecipe], jobs: int, as_json: bool) -> None:
    from retort.training.study.estimate import in_words
    from retort.training.study.study import timetable

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
        f"{in_words(left)}, {jobs} at once, besides the teachers' labels"
        + (
            f"; {unknown} cannot be estimated: their tables are not there, `retort data build` "
            "makes them"
            if unknown
            else ""
        )
    )


def recommend_command(
    study: Annotated[Path, typer.Argument(help="The study's folder, as runs/study/qa.")],
    latency_ms: Annotated[
        float | None, typer.Option(min=0.001, help="The time a query may take, in milliseconds.")
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.5, help="The share of the teachers' quality to keep, as 0.97."),
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Passages a query.")] = 100,
    dataset: Annotated[
        str | None, typer.Option(help="Only this dataset (default: the mean of all).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say which method and depth to take, for a time or a quality, and what it costs.

    Example: retort recommend runs/study/qa --latency-ms 200 --pairs 100
    """
    with reported():
        from retort.training.study.recommend import read_options, recommend, render

        options = read_options(study, pairs, dataset)
        choice = recommend(options, latency_ms, quality)
    if as_json:
        typer.echo(json.dumps(choice.to_dict()))
    else:
        typer.echo(render(choice))


def _load(arguments: list[str]) -> list[StudyRecipe]:
    from retort.training.recipes.recipe import RecipeError, load_recipe
    from retort.training.recipes.study import StudyRecipe

    overrides = [word for word in arguments if "=" in word and not Path(word).is_file()]
    paths = [Path(word) for word in arguments if word not in overrides]
    if not paths:
        raise RecipeError("no recipe: give one or more, as recipes/study-qa.yaml")
    studies = []
    for path in paths:
        plan = load_recipe(path, overrides)
        if not isinstance(plan, StudyRecipe):
            raise RecipeError(f"{path}: a {plan.kind} recipe; this command takes a study recipe")
        studies.append(plan)
    return studies
