"""`retort peers`: this server and others with the same weights in them, under the same loads.

A server that ranks real questions differently than the weights do is wrong, and how fast it is does
not matter: the ranking check comes first. Those that pass it take turns, which `peers/turns.py`
describes, under each kind of traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from retort.loadtest.bare import bare_rate, like_length_batches, load_served, usual_batch
from retort.loadtest.options import PeersOptions
from retort.loadtest.peers.catalog import (
    OURS,
    Forms,
    Peer,
    find_peers,
    make_environment,
    requirements_of,
)
from retort.loadtest.peers.processes import PausableServer
from retort.loadtest.peers.turns import BARE, HIGH_SHARE, Figures, Turns, about_s
from retort.loadtest.result import OPEN_COLUMNS, Cell, Column, Measurement, Plot, Setup, Table
from retort.loadtest.rounds import Log, Spread, ratio_of_means
from retort.loadtest.traffic import Request, Traffic, encode, fixed, mixed, real
from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.models.encoding import PairEncoder
from retort.models.rankings import compare
from retort.models.runtime.base import BackendInfo, infer_pairs
from retort.models.runtime.choose import load_backend
from retort.models.runtime.options import RuntimeOptions
from retort.plots import COLOURS, Axis, Line, Panel

CHECKED_QUESTIONS, CHECKED_PASSAGES = 60, 10
# The bounds of the export's own gate, which int8 has to pass too.
TOP1_AT_LEAST, TAU_AT_LEAST = 0.95, 0.97
REFERENCE = BackendInfo("onnxruntime", "cpu", "fp32")
FIXED_PASSAGES, FIXED_TOKENS = 10, 128
READY_TIMEOUT_S = 600.0
WARM_SECONDS = 1.0
RANKING_COLUMNS = (
    Column("server"), Column("same passage first", "share"), Column("Kendall's tau", "score"),
    Column("largest difference", "score"), Column(""),
)  # fmt: skip
RATIO_COLUMNS = (Column("retort"), Column("compared with"), Column("measured", "ratio"))
PEER_COLUMNS = (
    Column("server"), Column("open load"), Column("pairs/s offered", "pairs/s"), *OPEN_COLUMNS,
)  # fmt: skip
# The first open loads; the others are those of the search.
OPEN_LOADS = ("the same for all", f"{HIGH_SHARE:.0%} of its own rate")
TITLES = {"fixed": "Fixed length", "mixed": "Real questions"}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over all questions: same passage first, mean Kendall's tau, largest difference of a score."""

    top1: float
    tau: float
    largest_difference: float

    @property
    def right(self) -> bool:
        """Whether the server ranks as the weights do."""
        return self.top1 >= TOP1_AT_LEAST and self.tau >= TAU_AT_LEAST


# Of each server, by its label: how it ranks, or why it did not run.
Checks = dict[str, Agreement | str]


def run_peers(options: PeersOptions, log: Log) -> Measurement:
    """Install, start and check the peers, then measure those that rank rightly.

    A peer that cannot be installed or started is reported so and left out. Raises `BundleError`,
    `ValueError` for what does not fit, and `RuntimeError` if our own server does not start or rank.
    """
    from retort.loadtest.peers.convert import convert

    if options.quick:
        options = replace(options, rounds=1, seconds=1.0, load_seconds=1.0, users=4)
    chosen = find_peers(options.peer)
    source = read_bundle(find_bundle(options.bundle))
    names = ("fixed", "real") if options.load == "both" else (options.load,)
    minutes = about_s(options, len(chosen), len(names)) / 60
    log(f"this takes about {minutes:.0f} minutes, installing aside")
    # Not resolved: the peers' Pythons are links.
    work = options.work.absolute()
    forms = Forms.inside(work / "made", options.settings)
    checked = real(source.encoder(), None, passages=CHECKED_PASSAGES).requests[:CHECKED_QUESTIONS]
    log(f"writing {source.manifest.name} with its golden head alone, for us and for the others")
    golden = convert(source, forms, checked)
    expected = expected_scores(golden, checked)
    traffic = [_traffic(name, golden.encoder(), options.pairs) for name in names]
    with ExitStack() as stack:
        checks: Checks = {}
        running: list[PausableServer] = []
        for peer in chosen:
            label = peer.target(forms, Path()).label
            checks[label], server = admit(stack, peer, forms, work, checked, expected, log)
            if server is not None:
                running.append(server)
        if not running or running[0].target.name != OURS:
            raise RuntimeError(f"our own server cannot be compared: {next(iter(checks.values()))}")
        bare = BareLoop(golden, running[0], options.users)
        results = []
        for kind in traffic:
            figures = tuple(Figures(server) for server in running)
            turns = Turns(options, kind, figures, log, bare.pairs_per_second)
            results.append((kind, figures, turns.measure()))
    served = f"{source.manifest.name} {source.manifest.version}, golden head alone, in all servers"
    setup = Setup.now(f"{served}; ours on {bare.backend.info}")
    return report(setup, options, checks, results)


def _traffic(name: str, encoder: PairEncoder, pairs: Path | None) -> Traffic:
    if name == "real":
        return mixed(encoder, pairs)
    tokens = min(FIXED_TOKENS, encoder.truncation.max_length)
    return fixed(encoder, passages=FIXED_PASSAGES, tokens=tokens)


def admit(
    stack: ExitStack,
    peer: Peer,
    forms: Forms,
    work: Path,
    requests: Sequence[Request],
    expected: Sequence[Sequence[float]],
    log: Log,
) -> tuple[Agreement | str, PausableServer | None]:
    """Install, start and check one peer; if it ranks rightly it stays up, paused."""
    python = Path("python")
    with ExitStack() as own:
        try:
            if peer.environment:
                requirements = requirements_of(peer.environment)
                python = make_environment(work / peer.environment, requirements, log)
            target = peer.target(forms, python)
            log(f"starting {target.label}")
            server = own.enter_context(PausableServer(target, ready_timeout_s=READY_TIMEOUT_S))
            log(f"checking how {target.label} ranks")
            agreement = check_ranking(requests, partial(target.api.ask, server.host), expected)
        except (OSError, RuntimeError) as error:
            return str(error), None
        if not agreement.right:
            return agreement, None
        server.pause()
        stack.push(own.pop_all())
    return agreement, server


def check_ranking(
    requests: Sequence[Request],
    ask: Callable[[Request], Sequence[float]],
    expected: Sequence[Sequence[float]],
) -> Agreement:
    """Send every request and compare its scores with the expected ones. Raises what `ask` does."""
    found = [
        compare(ask(request), reference)
        for request, reference in zip(requests, expected, strict=True)
    ]
    return Agreement(
        sum(one.top1_agrees for one in found) / len(found),
        sum(one.order_agreement for one in found) / len(found),
        max(one.max_difference for one in found),
    )


def expected_scores(bundle: Bundle, requests: Sequence[Request]) -> list[list[float]]:
    """What the weights give in float32, by this project's own backend in this process."""
    encoder = bundle.encoder()
    backend = load_backend(REFERENCE, bundle, RuntimeOptions(), bundle.folder)
    score = bundle.manifest.scores
    return [
        score(infer_pairs(backend, encoder, encode(encoder, request))).score.tolist()
        for request in requests
    ]


class BareLoop:
    """The backend that our server runs, in this process, on batches as large as the server's."""

    def __init__(self, bundle: Bundle, ours: PausableServer, users: int) -> None:
        with ours.turn():
            served = ours.backend()
        self._encoder, self._ours, self._users = bundle.encoder(), ours, users
        self._slots: int = served["slots"]
        self._batch_pairs: dict[str, int] = {}
        self.backend = load_served(served, bundle)

    def pairs_per_second(self, traffic: Traffic, seconds: float) -> float:
        """Its rate on the traffic's pairs: the most that a server could reach."""
        if traffic.name not in self._batch_pairs:
            step = self._ours.step(traffic.requests, seconds=seconds, users=self._users)
            with self._ours.turn():
                self._batch_pairs[traffic.name] = usual_batch(self._ours, step)
        size = self._batch_pairs[traffic.name]
        batches = like_length_batches(self._encoder, traffic.requests, size)
        # A first run warms it up and does not count.
        bare_rate(self.backend.infer, batches, min(WARM_SECONDS, seconds), self._slots)
        return bare_rate(self.backend.infer, batches, seconds, self._slots)


Result = tuple[Traffic, Sequence[Figures], Sequence[float]]


def report(
    setup: Setup, options: PeersOptions, checks: Checks, results: Sequence[Result]
) -> Measurement:
    """The record: who ranks rightly, and the tables and the plot of each kind of traffic."""
    tables = [ranking_table(checks)]
    notes: list[str] = []
    plots: list[Plot] = []
    for traffic, figures, bare in results:
        measured = [one for one in figures if not one.problem]
        tables += [
            throughput_table(traffic, measured, bare, options.p99_ms),
            open_table(traffic, measured),
        ]
        out = [one for one in figures if one.problem]
        notes += [f"{one.label} failed: {_last_line(one.problem)}" for one in out]
        late = max(point.late_ms for one in measured for point in one.points)
        notes.append(f"{traffic.name}: 99% of requests were sent at most {late:.1f} ms late")
    if results:
        traffic, figures, bare = results[0]
        measured = [one for one in figures if not one.problem]
        tables.append(ratios_table(traffic, measured, bare))
        plots.append(plot(traffic, measured))
    facts = (
        f"Closed load: {options.rounds} rounds, in each every server for {options.seconds:g} s "
        f"with {options.users} users, in turn, every other round backwards; mean [lowest, highest]",
        f"Open load: Poisson arrivals for {options.load_seconds:g} s or more, latency from when a "
        "request was due; the load generator runs on the same machine",
    )
    return Measurement("peers", "peers", setup, facts, tuple(tables), tuple(notes), tuple(plots))


def ranking_table(checks: Checks) -> Table:
    """Whether each server ranks as the weights do."""
    rows: list[tuple[Cell, ...]] = []
    for label, found in checks.items():
        if isinstance(found, str):
            rows.append((label, None, None, None, f"not run: {_last_line(found)}"))
        else:
            verdict = "" if found.right else "**ranks wrongly**, not measured"
            rows.append((label, found.top1, found.tau, found.largest_difference, verdict))
    title = (
        f"Ranking: {CHECKED_PASSAGES} passages for each of {CHECKED_QUESTIONS} real questions, "
        "compared with the same weights in float32"
    )
    return Table("ranking", RANKING_COLUMNS, tuple(rows), title)


def throughput_table(
    traffic: Traffic, measured: Sequence[Figures], bare: Sequence[float], p99_ms: float
) -> Table:
    """Each server's figures, and the bare loop's rate as the most that ours could reach."""
    ours = _ours(measured)
    rows: list[tuple[Cell, ...]] = [
        (
            one.label,
            Spread.mean(one.rates),
            None if one is ours else ratio_of_means(ours.rates, one.rates),
            one.highest_held(p99_ms) or "none",
            1000 * one.cpu_seconds / max(1, one.pairs),
            one.memory_bytes / 1e6,
            one.failed,
        )
        for one in measured
    ]
    if bare:
        rows.append((BARE, Spread.mean(bare), *[None] * 5))
    columns = (
        Column("server"), Column("closed load, pairs/s", "pairs/s"),
        Column("times as fast is retort", "ratio"),
        Column(f"pairs/s held with p99 ≤ {p99_ms:g} ms", "pairs/s"),
        Column("CPU s per 1,000 pairs", "s"), Column("memory, MB", "MB"),
        Column("failed", "count"),
    )  # fmt: skip
    title = f"{TITLES[traffic.name]}: {traffic.description}"
    return Table(traffic.name, columns, tuple(rows), title)


def open_table(traffic: Traffic, measured: Sequence[Figures]) -> Table:
    """Each server under each open load: first all under the first one, and so on."""
    rows: list[tuple[Cell, ...]] = []
    for number, points in enumerate(zip(*(one.points for one in measured), strict=True)):
        load = OPEN_LOADS[number] if number < len(OPEN_LOADS) else "search"
        rows += [
            (one.label, load, point.offered, *point.cells)
            for one, point in zip(measured, points, strict=True)
        ]
    return Table(f"{traffic.name} open", PEER_COLUMNS, tuple(rows))


def ratios_table(traffic: Traffic, measured: Sequence[Figures], bare: Sequence[float]) -> Table:
    """Our server over infinity's fastest engine that ranks rightly, and over the bare loop."""
    rows: list[tuple[Cell, ...]] = []
    ours = _ours(measured)
    engines = [one for one in measured if one.name.startswith("infinity")]
    if engines:
        best = max(engines, key=lambda one: one.capacity)
        times = ratio_of_means(ours.rates, best.rates)
        rows.append(("pairs/s over infinity's fastest engine", best.label, times))
        theirs, own = best.points[0].p99_ms, ours.points[0].p99_ms
        if theirs is not None and own is not None:
            ratio = own / theirs
            rows.append(("p99 at the same load over that engine's", best.label, ratio))
    if bare:
        rows.append(("HTTP over the bare loop", BARE, ratio_of_means(ours.rates, bare)))
    return Table("ratios", RATIO_COLUMNS, tuple(rows), f"Ratios, {traffic.description}")


def plot(traffic: Traffic, measured: Sequence[Figures]) -> Plot:
    """The p99 by offered load, (pairs per second, ms), of each server."""
    lines = []
    for number, one in enumerate(measured):
        points = [(p.offered, p.p99_ms) for p in one.points if p.p99_ms is not None]
        colour, dashed = COLOURS[number % len(COLOURS)], number >= len(COLOURS)
        if points:
            lines.append(Line(one.label, tuple(sorted(points)), colour, dashed, marked=True))
    title = f"p99 by offered load, {traffic.description}"
    offered, p99 = Axis("pairs offered per second", log=True), Axis("p99, ms", log=True)
    panel = Panel(title, offered, p99, tuple(lines))
    return Plot("peers", title, (panel,), size=(640, 400), legend_columns=2)


def _ours(measured: Sequence[Figures]) -> Figures:
    return next(one for one in measured if one.name == OURS)


def _last_line(problem: str) -> str:
    """What a process printed is long; its last line says what was wrong."""
    return problem.strip().splitlines()[-1][:200].replace("|", "/")
