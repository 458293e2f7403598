"""The command `retort stress`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command of this package."""
    app.command()(stress)


def stress(
    bundle: Annotated[str, typer.Option(help="Name or folder of the bundle to serve.")] = (
        "retort-small"
    ),
    settings: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Settings file of the server."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure this part alone, several times for several: padding, neighbour, "
            "overload, arithmetic, breakdown, memory."
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Lines of query<TAB>passage.",
            show_default="the extract that ships",
        ),
    ] = None,
    clients: Annotated[int, typer.Option(min=1, help="Clients of the closed loads.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of what is compared in turn.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of a measurement.")] = 20.0,
    rate: Annotated[
        float, typer.Option(min=0.1, help="Small requests a second beside the large ones.")
    ] = 5.0,
    large: Annotated[int, typer.Option(min=1, help="Passages of a large request.")] = 1000,
    timeout_ms: Annotated[int, typer.Option(min=1, help="Deadline under overload.")] = 1000,
    memory_pairs: Annotated[
        int, typer.Option(min=1, help="Pairs over which the memory is watched.")
    ] = 500_000,
    warmup_pairs: Annotated[
        int, typer.Option(min=0, help="Pairs before them, while caches fill.")
    ] = 50_000,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A smoke run: one short round, few pairs, kept apart."),
    ] = False,
    keep: Annotated[
        Path, typer.Option(file_okay=False, help="Where each part's findings are kept.")
    ] = Path("runs/stress"),
    output: Annotated[
        Path | None,
        typer.Option(help="Page to write all that is kept into, between its markers."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Push a server to its limits, and hold what it does there against what is wanted.

    Starts a server of its own for each part: padding under mixed lengths, small requests beside
    large ones, twice the load that it can take, its share of what the cores can multiply, where
    a request's time goes, and growth of memory. Findings are kept part by part, so that parts may
    be measured one at a time. Settings come from RETORT_ variables or a file, as for
    `retort serve`.

    Example:

        retort stress --output docs/performance.md
        retort stress --only overload --seconds 10
    """
    from rich.console import Console

    from retort.loadtest.extract import EXTRACT
    from retort.loadtest.limits.found import Kept
    from retort.loadtest.limits.ground import Options
    from retort.loadtest.limits.page import mark, to_markdown, write_page
    from retort.loadtest.limits.run import about_s, all_kept, check_parts, run_parts
    from retort.loadtest.needed import need
    from retort.models.errors import BundleError, StartError

    need("locust")
    options = Options(
        bundle=bundle,
        settings=settings,
        pairs=pairs or EXTRACT,
        clients=clients,
        rounds=1 if quick else rounds,
        seconds=min(seconds, 3.0) if quick else seconds,
        rate=rate,
        large=large,
        timeout_ms=timeout_ms,
        memory_pairs=min(memory_pairs, 5_000) if quick else memory_pairs,
        warmup_pairs=min(warmup_pairs, 1_000) if quick else warmup_pairs,
        command=" ".join(["retort", *sys.argv[1:]]),
    )
    # Rough figures must not stand beside measured ones on a page.
    keep = keep / "quick" if quick else keep
    console = Console(stderr=True)
    missed = 0
    try:
        parts = check_parts(only or ())
        minutes = about_s(options, parts) / 60
        console.print(f"{', '.join(parts)}: about {minutes:.0f} minutes", highlight=False)
        with console.status("starting") as status:
            for found in run_parts(options, parts, keep, status.update):
                if isinstance(found, Kept):
                    for row in found.finding.rows:
                        told = f"{row.what}: {row.found} (wanted: {row.wanted}) {mark(row)}"
                        console.print(told, highlight=False, markup=False)
                else:
                    missed += 1
                    told = f"{found.part} could not be measured: {found.why}"
                    console.print(told, highlight=False, markup=False)
        kept = all_kept(keep)
        if output is not None and kept:
            for path in write_page(output, kept):
                typer.echo(f"wrote {path}", err=True)
    except (BundleError, StartError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(
        json.dumps([asdict(one) for one in kept], indent=2) if as_json else to_markdown(kept),
        nl=as_json,
    )
    if missed:
        raise typer.Exit(1)
