"""The command line of bulk scoring: `retort rank`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retort.parallel.options import (
    AddressOption,
    CpusOption,
    GpusOption,
    RayOption,
    check_merge,
    cluster_of,
    given_of,
)
from retort.service.cli import settings_command

if TYPE_CHECKING:
    from retort.bulk.distributed import Opening
    from retort.bulk.scoring import Scorer
    from retort.parallel.cluster import Cluster


CONCURRENCY = 8


def register(app: typer.Typer) -> None:
    """Add `rank` to `app`."""
    options = ("bundle", "backend", "provider", "precision", "threads")
    app.command("rank", cls=settings_command(*options))(rank)


def rank(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A .tsv or .jsonl, perhaps with .gz, a .parquet, or a folder of Parquet files.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The file or folder to write, in the format of the input.")
    ],
    top_n: Annotated[
        int | None, typer.Option(help="Keep only so many rows of each query, its best.")
    ] = None,
    no_rank: Annotated[
        bool,
        typer.Option(
            "--no-rank", help="Scores and spreads alone: rows of a query may lie anywhere."
        ),
    ] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=NAME,…",
            help="Columns by field (query, passage, query_id), where they have unusual names.",
        ),
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="What the names of the columns that are added begin with.")
    ] = "",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad rows out and count them.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(help="Score with the server there, and not in this process. Extra client."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Which of the server's models (default: its first).")
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Requests to the server that are under way at once.")
    ] = CONCURRENCY,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Score the I-th of N shards only; --merge puts them together."
        ),
    ] = None,
    merge: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Write the output from the scores of N shards."),
    ] = None,
    on_ray: RayOption = False,
    address: AddressOption = None,
    cpus: CpusOption = 1,
    gpus: GpusOption = 0.0,
) -> None:
    """Score a file of pairs: each row gets a score, a spread and its rank in its query.

    Rows are a query, a passage and whatever else, found by the usual names of columns and carried
    through. Scores are kept in OUT.partial until all are there: the same command goes on where a
    run was killed, and the output is the same to the byte.

    Example: `retort rank pairs.parquet --out scored.parquet --top-n 10`
    """
    from retort.bulk.file_ranking import FileRanking
    from retort.bulk.output import Added
    from retort.fields import columns_given
    from retort.parallel.shards import Shard, shard_of

    ranking = FileRanking(
        input=source,
        output=out,
        added=Added(prefix, not no_rank, top_n),
        columns=columns_given(columns or ()),
        skip_bad=skip_bad,
    )
    flags = [f"--{name}" for name, value in context.obj.items() if value]
    asks = concurrency != CONCURRENCY
    if merge is not None:
        of_scoring = {"shard": shard, "url": url, "model": model, "concurrency": asks}
        given = given_of(on_ray, address, cpus, gpus, **of_scoring)
        check_merge(merge, given | dict.fromkeys(flags, True))
        ranking.merge(merge, _log)
        return
    if url is None and model is not None:
        raise ValueError(f"--model {model}: it is of a server; in this process give --bundle")
    if url is None and asks:
        raise ValueError(f"--concurrency {concurrency}: it is of a server; give --url, or leave it")
    if url is not None and flags:
        raise ValueError(f"{flags[0]}: with --url it is the server's to say")

    cluster = cluster_of(on_ray, address, cpus, gpus)
    if url is not None and cluster is not None:
        raise ValueError("--ray: with --url it is the server that scores; give one of the two")

    def make_scorer() -> Scorer:
        if url is not None:
            return _remote(url, model, concurrency)
        return _local(context) if cluster is None else _distributed(context, cluster)

    ranking.score(make_scorer, Shard() if shard is None else shard_of(shard), _log)


def _local(context: typer.Context) -> Scorer:
    return _opening(context, {}).open()


def _distributed(context: typer.Context, cluster: Cluster) -> Scorer:
    from retort.bulk.distributed import ClusterScorer

    # Several tasks share a machine: none may take all of its cores.
    threads = {} if context.obj.get("threads") else {"threads": cluster.cpus}
    return ClusterScorer(cluster, _opening(context, threads))


def _opening(context: typer.Context, more: dict[str, Any]) -> Opening:
    from retort.bulk.distributed import Opening
    from retort.service.settings import load_settings

    settings = load_settings(**{**context.obj, **more})
    return Opening(settings.bundle[0], settings.runtime, settings.trusted_key, settings.cache_dir)


def _remote(url: str, model: str | None, concurrency: int) -> Scorer:
    from retort.bulk.remote import RemoteScorer

    return RemoteScorer(url, model, concurrency)


def _log(message: str) -> None:
    typer.echo(message, err=True)
