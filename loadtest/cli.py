"""The command `retort bench`, and the others of this package from their own files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from retort.loadtest.cli_loadtest import loadtest
from retort.loadtest.cli_peers import peers
from retort.loadtest.cli_simulate import simulate


def register(app: typer.Typer) -> None:
    """Add the commands of this package."""
    app.command()(bench)
    app.command()(loadtest)
    app.command()(peers)
    app.command()(simulate)


def bench(
    bundle: Annotated[
        str, typer.Option(help="Name or folder of the bundle to serve.")
    ] = "retort-small",
    clients: Annotated[int, typer.Option(min=1, help="Concurrent clients.")] = 32,
    passages: Annotated[int, typer.Option(min=1, help="Passages a request.")] = 10,
    tokens: Annotated[
        int, typer.Option(min=5, help="Tokens of each made-up pair, special tokens counted.")
    ] = 128,
    pairs: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Lines of query<TAB>passage, in place of made-up pairs.",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each measuring everything once.")] = 5,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds for each measurement of a round.")
    ] = 5.0,
    cross_encoder: Annotated[
        bool,
        typer.Option(help="Measure sentence-transformers in PyTorch too (needs the extra train)."),
    ] = True,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Checkpoint whose weights sentence-transformers runs.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Page to write the report into, between its markers.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure the server beside its bare engine and beside PyTorch.

    Starts a server of its own. In each round everything is measured once, in turn, so that a
    machine that slows down does so for all alike: PyTorch, the bare engine on batches as the
    server builds them, the server under many clients and under one, one bare forward pass.
    Settings of the server come from RETORT_ variables, as for `retort serve`.

    Example:

        retort bench --bundle retort-small --rounds 5 --seconds 5 --output docs/performance.md
    """
    from rich.console import Console

    from retort.loadtest.report import write_section
    from retort.loadtest.run import Options, run_bench
    from retort.models.errors import BundleError, StartError
    from retort.models.runtime.base import BackendUnavailable

    options = Options(
        bundle=bundle,
        clients=clients,
        passages=passages,
        tokens=tokens,
        rounds=rounds,
        seconds=seconds,
        pairs=pairs,
        cross_encoder=cross_encoder,
        checkpoint=checkpoint,
        command=" ".join(["retort", *sys.argv[1:]]),
    )
    console = Console(stderr=True)
    with console.status(f"measuring, about {options.longest_s:.0f} s") as status:
        try:
            report = run_bench(
                options,
                lambda step: status.update(f"{step} (about {options.longest_s:.0f} s in all)"),
            )
        except (BundleError, StartError, BackendUnavailable, ValueError, RuntimeError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error
    if output is not None:
        write_section(output, report.to_markdown())
    typer.echo(
        json.dumps(report.to_json(), indent=2) if as_json else report.to_markdown(), nl=False
    )
