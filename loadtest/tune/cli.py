"""The command `retort tune`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command of this package."""
    app.command()(tune)


def tune(
    bundle: Annotated[
        str, typer.Option(help="Name or folder of the bundle to tune for.")
    ] = "retort-small",
    p99_ms: Annotated[
        float, typer.Option(min=0.1, help="The target: 99 of 100 requests take at most this long.")
    ] = 200.0,
    backend: Annotated[str, typer.Option(help="Try this one alone; auto: each.")] = "auto",
    provider: Annotated[str, typer.Option(help="Try this one alone; auto: each.")] = "auto",
    precision: Annotated[str, typer.Option(help="Try this one alone; auto: each.")] = "auto",
    passages: Annotated[
        int, typer.Option(min=1, max=30, help="Mean passages of a request of the extract.")
    ] = 10,
    pairs: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Lines of query<TAB>passage; neighbours of one query are a request.",
            show_default="the extract that ships",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A minute or two, to try it out: rough figures.")
    ] = False,
    output: Annotated[
        Path, typer.Option(dir_okay=False, help="The settings file to write.")
    ] = Path("retort-tuned.yaml"),
    page: Annotated[
        Path | None, typer.Option(help="Page to write the report into, between its markers.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Find the settings that serve most requests on this machine within a latency target.

    First backends, precisions, threads, streams, batch sizes and length steps are tried in this
    process on real requests. Then the best few run as servers, beside one with the defaults, under
    requests that come whatever becomes of them, faster and faster until the p99 is over the target.
    What does not reproduce the golden pairs, or ranks unlike the original, is not tried. The winner
    is written as a file for `retort serve --settings FILE`; if nothing meets the target, nothing
    is written, and the command ends with status 1. Leave the machine alone meanwhile.

    Example:

        retort tune --p99-ms 50 --output runs/tuned.yaml
    """
    from retort.loadtest.needed import need
    from retort.loadtest.report import write_section
    from retort.loadtest.tune.console import watch
    from retort.loadtest.tune.page import BEGIN, END, to_markdown, write_settings
    from retort.loadtest.tune.plan import QUICK, Plan
    from retort.loadtest.tune.run import Options, run_tune
    from retort.models.errors import BundleError, StartError
    from retort.service.settings import load_settings

    need("locust")
    try:
        # Checks the names too, and says which there are.
        wish = load_settings(backend=backend, provider=provider, precision=precision).wish
        options = Options(
            bundle=bundle,
            target_ms=p99_ms,
            passages=passages,
            pairs=pairs,
            wish=wish,
            plan=QUICK if quick else Plan(),
            command=" ".join(["retort", *sys.argv[1:]]),
        )
        with watch() as progress:
            outcome = run_tune(options, progress)
        write_settings(outcome, output)
        if page is not None:
            write_section(page, to_markdown(outcome), begin=BEGIN, end=END)
    except (BundleError, StartError, ValueError, RuntimeError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"wrote {output}: retort serve --settings {output}", err=True)
    typer.echo(
        json.dumps(outcome.to_json(), indent=2) if as_json else to_markdown(outcome), nl=as_json
    )
