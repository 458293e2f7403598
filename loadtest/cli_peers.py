"""The command `retort peers`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from retort.loadtest.peers.names import Loads


def peers(
    bundle: Annotated[
        str, typer.Option(help="Name or folder of the bundle whose weights all get.")
    ] = "retort-small",
    peer: Annotated[
        list[str] | None,
        typer.Option(help="A peer to measure, several times.", show_default="all"),
    ] = None,
    load: Annotated[
        Loads,
        typer.Option(help="`fixed`: 10 passages of 128 tokens. `real`: real questions. Or both."),
    ] = "both",
    pairs: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Lines of query<TAB>passage for the load of real questions.",
            show_default="the extract that ships, 1 to 60 passages a question",
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Settings of `retort serve`, as `retort tune` writes them; the peers get none.",
        ),
    ] = None,
    p99_ms: Annotated[
        float, typer.Option(min=1, help="The p99 under which the highest load is looked for.")
    ] = 500.0,
    users: Annotated[int, typer.Option(min=1, help="Users in the closed loop.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each measuring every server.")] = 3,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds on each server in a round.")
    ] = 4.0,
    load_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds of each open load; a slow server gets more.")
    ] = 5.0,
    quick: Annotated[
        bool, typer.Option(help="One round and short loads: whether everything runs, no figures.")
    ] = False,
    work: Annotated[
        Path, typer.Option(file_okay=False, help="Where environments and models are kept.")
    ] = Path("runs/peers"),
    output: Annotated[
        Path | None,
        typer.Option(help="Page to write into, between its markers; peers.svg goes beside it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure this server beside others with the same weights in them.

    Each peer gets a virtual environment of its own, made at the first run (some minutes and about
    6 GB for all), and is asked real questions first: one that ranks differently than the weights
    do is reported as wrong and goes no further. The others are driven in turn, with the same
    closed and open loads. Settings of `retort serve` come from RETORT_ variables.

    Peers: retort, retort-fp32, infinity, infinity-bf16, infinity-onnx, infinity-segments, fastapi,
    litserve, triton.

    Example:

        retort peers --peer infinity --peer fastapi --output docs/performance.md
    """
    from rich.console import Console

    from retort.loadtest.needed import need
    from retort.loadtest.peers.bout import Plan
    from retort.loadtest.peers.page import to_markdown, write_page
    from retort.loadtest.peers.run import Options, run_peers
    from retort.loadtest.watching import watching
    from retort.models.errors import BundleError, StartError
    from retort.models.runtime.base import BackendUnavailable

    need("locust", "transformers")
    plan = Plan(rounds, seconds, load_seconds, users=users, p99_ms=p99_ms)
    if quick:
        plan = Plan(1, 1.0, 1.0, search_steps=1, users=4, p99_ms=p99_ms)
    options = Options(
        bundle=bundle,
        peers=tuple(peer or ()),
        loads=("fixed", "real") if load == "both" else (load,),
        plan=plan,
        pairs=pairs,
        settings=settings,
        folder=work,
        command=" ".join(["retort", *sys.argv[1:]]),
    )
    console = Console(stderr=True)
    with watching(console) as told:
        try:
            about = options.about_s / 60
            console.print(f"this takes about {about:.0f} minutes, installing aside")
            found = run_peers(options, told)
        except (BackendUnavailable, BundleError, StartError, ValueError, RuntimeError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error
    if output is not None:
        for path in write_page(found, output):
            typer.echo(f"wrote {path}", err=True)
    typer.echo(json.dumps(found.to_json(), indent=2) if as_json else to_markdown(found), nl=as_json)
