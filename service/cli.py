"""The command line of the service: `retort serve`, `retort verify` and `retort score`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

BundleOption = Annotated[
    str | None, typer.Option(help="Name or path of the bundle.", show_default="retort-small")
]
BackendOption = Annotated[
    str | None, typer.Option(help="auto, onnxruntime or openvino.", show_default="auto")
]
ProviderOption = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda or tensorrt.", show_default="auto")
]
PrecisionOption = Annotated[
    str | None, typer.Option(help="auto, fp32, fp16, bf16 or int8.", show_default="auto")
]
ThreadsOption = Annotated[
    int | None, typer.Option(help="CPU threads; 0: one a core.", show_default="0")
]
StreamsOption = Annotated[
    int | None,
    typer.Option(help="Batches that the CPU computes at once.", show_default="1 a core, at most 4"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for a machine.")]


def register(app: typer.Typer) -> None:
    """Add the service's subcommands to `app`."""
    app.command("serve")(serve)
    app.command("verify")(verify)
    app.command("score")(score)


def serve(
    bundle: BundleOption = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port.", show_default="8080")] = None,
    backend: BackendOption = None,
    provider: ProviderOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    streams: StreamsOption = None,
    teacher: Annotated[
        str | None, typer.Option(help="Name or path of the teacher's bundle.", show_default="none")
    ] = None,
    teacher_backend: BackendOption = None,
    teacher_provider: ProviderOption = None,
    teacher_precision: PrecisionOption = None,
    mode: Annotated[
        str | None,
        typer.Option(help="Who scores: student, teacher or cascade.", show_default="student"),
    ] = None,
    shadow: Annotated[
        float | None,
        typer.Option(help="Share of requests to compare with the teacher.", show_default="0"),
    ] = None,
    cascade_share: Annotated[
        float | None,
        typer.Option(help="Largest share of passages a cascade sends on.", show_default="0.25"),
    ] = None,
    disagreements: Annotated[
        Path | None, typer.Option(help="JSONL file of disagreements.", show_default="none")
    ] = None,
    disagreement_texts: Annotated[
        bool | None,
        typer.Option(help="Write their texts, not only hashes.", show_default="hashes"),
    ] = None,
    disagreements_max_bytes: Annotated[
        int | None, typer.Option(help="Bound of that file.", show_default="67108864")
    ] = None,
    passage_cache: Annotated[
        int | None,
        typer.Option(help="Passages whose tokens are kept; 0: none.", show_default="10000"),
    ] = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens in a batch, padding counted.", show_default="by the backend"),
    ] = None,
    length_step: Annotated[
        int | None,
        typer.Option(
            help="Pairs are padded to a multiple of it, in tokens.", show_default="8, on a GPU 16"
        ),
    ] = None,
    queue_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens that may wait; past it, 429.", show_default="524288"),
    ] = None,
    max_passages: Annotated[
        int | None, typer.Option(help="Passages in a request; past it, 413.", show_default="4000")
    ] = None,
    timeout_ms: Annotated[
        int | None,
        typer.Option(help="For requests without their own timeout_ms.", show_default="10000"),
    ] = None,
    drain_seconds: Annotated[
        int | None, typer.Option(help="Time to finish after SIGTERM.", show_default="30")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error.", show_default="info")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="A .yaml or .toml file of settings.", show_default="none")
    ] = None,
) -> None:
    """Serve a bundle over HTTP.

    Every setting is also an environment variable, `RETORT_PORT` for instance, and a line of the
    settings file; flags win over the environment, and that over the file. The API key is set by
    `RETORT_API_KEY` or in the file.

    Example: `retort serve --bundle retort-small --port 8080`
    """
    with told_plainly():
        from retort.service.server import serve as run
        from retort.service.settings import load_settings

        run(
            load_settings(
                settings,
                bundle=bundle,
                host=host,
                port=port,
                backend=backend,
                provider=provider,
                precision=precision,
                threads=threads,
                streams=streams,
                teacher=teacher,
                teacher_backend=teacher_backend,
                teacher_provider=teacher_provider,
                teacher_precision=teacher_precision,
                mode=mode,
                shadow=shadow,
                cascade_share=cascade_share,
                disagreements=disagreements,
                disagreement_texts=disagreement_texts,
                disagreements_max_bytes=disagreements_max_bytes,
                passage_cache=passage_cache,
                batch_tokens=batch_tokens,
                length_step=length_step,
                queue_tokens=queue_tokens,
                max_passages=max_passages,
                timeout_ms=timeout_ms,
                drain_seconds=drain_seconds,
                log_level=log_level,
            )
        )


def verify(
    bundle: Annotated[str, typer.Argument(help="Name or path of the bundle.")],
    backend: BackendOption = None,
    provider: ProviderOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle: its files, its hashes, and its golden scores on every backend there is.

    Ends with status 1 if a file is wrong, if a backend gives other scores in fp32 or in the
    precision that was asked for, or if none can run.

    Example: `retort verify retort-small`
    """
    with told_plainly():
        from retort.service.settings import load_settings
        from retort.service.verify import verify_bundle

        asked = load_settings(
            bundle=bundle, backend=backend, provider=provider, precision=precision
        )
        verdict = verify_bundle(asked)
    if as_json:
        typer.echo(json.dumps(asdict(verdict), indent=2))
    else:
        typer.echo(verdict.describe())
    if not verdict.passed:
        raise typer.Exit(1)


def score(
    query: Annotated[str, typer.Argument(help="The question.")],
    passages: Annotated[
        list[str],
        typer.Argument(help="The passages; - reads them from standard input, a line each."),
    ],
    bundle: BundleOption = None,
    backend: BackendOption = None,
    provider: ProviderOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score passages against a query, best first, without a server.

    Example: `retort score "how tall is the eiffel tower" "The tower is 330 metres tall." "Paris."`
    """
    texts = [
        text
        for passage in passages
        for text in (sys.stdin.read().splitlines() if passage == "-" else [passage])
    ]
    with told_plainly():
        from retort.service.settings import load_settings
        from retort.service.verify import score_directly

        asked = load_settings(
            bundle=bundle,
            backend=backend,
            provider=provider,
            precision=precision,
            threads=threads,
        )
        results = score_directly(asked, query, texts)
    if as_json:
        typer.echo(json.dumps({"query": query, "results": [asdict(r) for r in results]}, indent=2))
        return
    for result in results:
        typer.echo(f"{result.score:.4f}  ±{result.spread:.4f}  {texts[result.index]}")


class told_plainly:
    """Turn what a user can mend into one line on standard error and status 1."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        """Print the error, if it is one of ours."""
        from retort.models.errors import BundleError, StartError
        from retort.service.errors import ServiceError

        if isinstance(error, BundleError | StartError | ServiceError):
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
