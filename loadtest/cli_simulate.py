"""The command `retort simulate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

LOADS = [0.2, 0.4, 0.6, 0.7, 0.8, 0.9]


def simulate(
    bundle: Annotated[
        str, typer.Option(help="Name or folder of the bundle whose tokenizer counts.")
    ] = "retort-small",
    pairs: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Lines of query<TAB>passage; each query is a request.",
            show_default="the extract that ships",
        ),
    ] = None,
    requests: Annotated[int, typer.Option(min=1, help="Requests of a run.")] = 20_000,
    passages: Annotated[
        int, typer.Option(min=1, help="Most passages of a request, without --pairs.")
    ] = 60,
    load: Annotated[
        list[float] | None,
        typer.Option(
            min=0.01,
            max=2.0,
            help="Load as a share of capacity, several times.",
            show_default=", ".join(map(str, LOADS)),
        ),
    ] = None,
    batch_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens in a batch, padding counted.")
    ] = 1_024,
    length_step: Annotated[
        int, typer.Option(min=1, help="Pairs are padded to a multiple of it, in tokens.")
    ] = 8,
    overhead_tokens: Annotated[
        int, typer.Option(min=0, help="What starting a batch costs, in tokens' time.")
    ] = 64,
    tokens_per_second: Annotated[
        float, typer.Option(min=1.0, help="Tokens that the backend computes in a second.")
    ] = 48_000.0,
    queue_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens that may wait; past it, requests are refused.")
    ] = 524_288,
    seed: Annotated[int, typer.Option(help="Seed of requests and arrivals.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(help="Page to write into, between its markers; plots are written beside it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Simulate the scheduling policy beside three others, without a server.

    Real requests arrive at random, evenly or in bursts; a batch costs its tokens, padding counted,
    and the time to start it. Prints padding, p50 and p99 by load, what a request of 1,000 passages
    does to those of 10, whether anything starves, and what other batch sizes would change. One
    seed always gives the same figures.

    Example:

        retort simulate --requests 20000 --output docs/scheduling.md
    """
    from rich.console import Console

    from retort.loadtest.simulation.report import write_page
    from retort.loadtest.simulation.run import Options, run_simulation
    from retort.models.errors import BundleError

    options = Options(
        bundle=bundle,
        requests=requests,
        passages=passages,
        loads=tuple(load or LOADS),
        batch_tokens=batch_tokens,
        length_step=length_step,
        overhead_tokens=overhead_tokens,
        tokens_per_second=tokens_per_second,
        queue_tokens=queue_tokens,
        seed=seed,
        pairs=pairs,
        command=" ".join(["retort", *sys.argv[1:]]),
    )
    with Console(stderr=True).status("reading the bundle") as status:
        try:
            report = run_simulation(options, status.update)
            written = write_page(report, output) if output else []
        except (BundleError, ValueError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error
    for path in written:
        typer.echo(f"wrote {path}", err=True)
    typer.echo(
        json.dumps(report.to_json(), indent=2) if as_json else report.to_markdown(), nl=as_json
    )
