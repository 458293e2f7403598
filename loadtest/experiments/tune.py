"""`retort tune`: the settings that serve most requests on this machine within a latency target.

Every candidate is a real server. Screening puts short closed loads on them in turn, from many
clients for the pairs per second and from one alone for the lowest latency, axis after axis. The
best few then get open loads, next to a server with the defaults, until the p99 misses the target.
`tune_search.py` says which settings and which rates are tried.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from retort.loadtest.experiments.tune_search import (
    DEFAULTS,
    SETTINGS,
    Axis,
    Candidate,
    Halving,
    Rung,
    Search,
    axes,
)
from retort.loadtest.load import run_step
from retort.loadtest.options import CHOICES, TuneOptions
from retort.loadtest.result import Cell, Column, Measurement, Setup, Table
from retort.loadtest.rounds import Log, OpenLoad, Spread, percentile, take_turns
from retort.loadtest.servers import Server
from retort.loadtest.targets import PATIENT, serve
from retort.loadtest.traffic import Traffic, mixed
from retort.models.bundle import find_bundle, read_bundle
from retort.models.runtime.choose import CANDIDATES
from retort.models.runtime.cores import usable_cores

READY_TIMEOUT_S = 300.0
# A request this much later than the target is as good as lost: the server gives it up, so that a
# probe at too high a rate is over soon.
LOST_AFTER_TARGETS, LEAST_TIMEOUT_MS = 10, 1_000
# An open load must stay below what a closed one reaches.
OPEN_SHARE = 0.7
# Measured: what starting a server of a small student takes, and a load process.
LOAD_S, STEP_S = 6.0, 1.0
# Some probes are repeated.
REPEATED = 1.3
SERVER_COLUMNS = (
    Column("settings"), Column("probes of, s", "s"), Column("requests/s met", "requests/s"),
    Column("pairs/s", "pairs/s"), Column("p50, ms", "ms"), Column("p99, ms", "ms"),
    Column("requests/s missed", "requests/s"),
)  # fmt: skip
SERVERS_TITLE = "Servers under open load, in turn: a rate that met the target, one that missed it"
SCREENING_COLUMNS = (
    Column("candidate"), Column("axis"), Column("pairs/s", "pairs/s"),
    Column("p99 of one client, ms", "ms"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often to measure; times in seconds.

    The first `axes` of the axes are tried; `leaders` go from one to the next, `finalists` on to the
    open loads.
    """

    rounds: int = 3
    turn_s: float = 1.0
    clients: int = 8
    axes: int = 3
    leaders: int = 2
    finalists: int = 3
    probes: int = 5  # of each server in a rung
    probe_s: float = 3.0  # of the first rung; each rung's are twice as long as the last one's
    warmup_s: float = 0.5

    def about_s(self, backends: int, variants: int) -> float:
        """About how long it takes with these backends, and variants of a leader on all axes."""
        candidates = backends + self.leaders * variants
        turn = self.turn_s + self.warmup_s + STEP_S
        screening = candidates * (LOAD_S + 2 * self.rounds * turn)
        opened = (self.finalists + 1) * LOAD_S
        servers, seconds = self.finalists, self.probe_s
        while servers:
            probe = seconds + self.warmup_s + STEP_S
            opened += (servers + 1) * self.probes * REPEATED * probe
            servers, seconds = (servers + 1) // 2 if servers > 1 else 0, 2 * seconds
        return screening + opened


# Enough to see that everything works and roughly what is fast; so few requests give a rough p99.
QUICK = Plan(
    rounds=1, turn_s=0.4, axes=2, leaders=1, finalists=2, probes=3, probe_s=2.0, warmup_s=0.3
)


class TargetMissed(RuntimeError):
    """No server met the target; the message says what came nearest."""


@dataclass(frozen=True, slots=True)
class Screened:
    """A candidate's pairs per second over the rounds, and the p99 of one client alone, in ms."""

    axis: str
    candidate: Candidate
    rate: Spread
    alone_p99_ms: float

    def order(self, target_ms: float) -> tuple[bool, float]:
        """A key that sorts the better first: those that can meet the target, by their rate."""
        return self.alone_p99_ms > target_ms, -self.rate.value


# Why a candidate cannot be served here.
LeftOut = dict[Candidate, str]


@dataclass(frozen=True, slots=True)
class Tuned:
    """The record of a run, and the settings that won, with the backend always among them."""

    measurement: Measurement
    bundle: str
    settings: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write the settings file for `retort serve --settings`, its origin in the head."""
        setup = self.measurement.setup
        head = [
            f"Written {setup.created} by: {setup.command}",
            f"Machine: {setup.machine}",
            f"Bundle: {setup.served}",
            *self.measurement.facts,
            "Measured on this machine for this load: tune again where either differs.",
        ]
        values = yaml.safe_dump({"bundle": self.bundle, **self.settings}, sort_keys=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"# {line.replace('**', '')}\n" for line in head) + values
        path.write_text(text, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Tuning:
    """What stays the same through a run: what was asked for, the traffic, the plan."""

    options: TuneOptions
    traffic: Traffic
    plan: Plan
    log: Log

    @property
    def target_ms(self) -> float:
        """The p99 that must be met."""
        return self.options.p99_ms

    def server(self, candidate: Candidate, *options: str) -> Server:
        """A server with a candidate's settings, not started yet; options win over them."""
        # What was asked for holds for the defaults, too.
        settings = {**self.options.choice, **candidate.settings}
        variables = {f"RETORT_{name.upper()}": str(value) for name, value in settings.items()}
        label, bundle = str(candidate), self.options.bundle
        target = serve(bundle, *PATIENT, *options, label=label, environment=variables)
        return Server(target, ready_timeout_s=READY_TIMEOUT_S)

    def screen(self, axis: str, candidates: Sequence[Candidate]) -> tuple[list[Screened], LeftOut]:
        """Measure candidates in turn, the better first.

        Raises `RuntimeError` with the reasons if none of them runs here.
        """
        plan, out = self.plan, LeftOut()
        rates: dict[Candidate, list[float]] = defaultdict(list)
        alone: dict[Candidate, list[float]] = defaultdict(list)

        def turn(candidate: Candidate, server: Server) -> None:
            for users in (plan.clients, 1) if candidate not in out else ():
                step = server.step(
                    self.traffic.requests, seconds=plan.turn_s, users=users, warmup_s=plan.warmup_s
                )
                outcome = run_step(step)
                if outcome.failed or not outcome.latencies:
                    out[candidate] = f"it answered with {outcome.statuses or 'nothing'}"
                elif users == 1:
                    alone[candidate] += outcome.latencies
                else:
                    rates[candidate].append(outcome.pairs_per_second)

        with ExitStack() as stack:
            turns = {}
            for candidate in candidates:
                self.log(f"{axis}: starting {candidate}")
                try:
                    server = stack.enter_context(self.server(candidate))
                    turns[str(candidate)] = partial(turn, candidate, server)
                except RuntimeError as problem:
                    out[candidate] = reason(str(problem))
            take_turns(turns, plan.rounds, lambda line: self.log(f"{axis}, {line}"))
        screened = [
            Screened(axis, key, Spread.over(found), percentile(alone[key], 99) * 1e3)
            for key, found in rates.items()
            if key not in out
        ]
        if not screened:
            reasons = "; ".join(f"{candidate}: {why}" for candidate, why in out.items())
            raise RuntimeError(
                f"nothing that was asked for runs here: {reasons or 'there is no such backend'}"
            )
        screened.sort(key=lambda found: found.order(self.target_ms))
        for found in screened:
            self.log(
                f"{axis}: {found.candidate}: {found.rate.value:,.0f} pairs/s, p99 of one client "
                f"{found.alone_p99_ms:.1f} ms"
            )
        return screened, out

    def finals(
        self, finalists: Sequence[Candidate], guess: float
    ) -> tuple[list[Rung], dict[str, Any]]:
        """The rungs of open load, and the winner's settings. Raises `TargetMissed`."""
        with ExitStack() as stack:
            servers: dict[Candidate, Server] = {}
            timeout_ms = max(LEAST_TIMEOUT_MS, math.ceil(LOST_AFTER_TARGETS * self.target_ms))
            for candidate in dict.fromkeys([*finalists, DEFAULTS]):
                self.log(f"starting a server: {candidate}")
                server = self.server(candidate, "--timeout-ms", str(timeout_ms))
                servers[candidate] = stack.enter_context(server)

            def probe(candidate: Candidate, rate: float, seconds: float, turn: int) -> OpenLoad:
                self.log(f"{rate:.1f} requests per second for {seconds:.0f} s: {candidate}")
                step = servers[candidate].step(
                    self.traffic.requests, seconds=seconds, loop="open", rate=rate, seed=turn,
                    warmup_s=self.plan.warmup_s,
                    # Twice as long as the server waits, so that the server gives a request up.
                    timeout_s=2 * timeout_ms / 1e3,
                )  # fmt: skip
                found = OpenLoad.of(rate, run_step(step))
                p99 = "none" if found.p99_ms is None else f"{found.p99_ms:.1f} ms"
                word = "met" if found.meets(self.target_ms) else "missed"
                self.log(f"{candidate}: {rate:.1f} requests/s: p99 {p99}, target {word}")
                return found

            plan = self.plan
            halving = Halving(finalists, guess, self.target_ms, plan.probes, plan.probe_s, probe)
            rungs = halving.run()
            winner = rungs[-1].best
            if rungs[-1].searches[winner].met is None:
                raise TargetMissed(missed(halving.nearest(), self.target_ms))
            served = servers[winner].backend()
            backend = {name: served[name] for name in CHOICES}
        return rungs, {**backend, **winner.settings}


def run_tune(options: TuneOptions, plan: Plan, log: Log) -> Tuned:
    """Screen, then try the best few under open load; nothing is written.

    Raises `TargetMissed` if no server keeps the p99 within the target, `ValueError` for texts,
    or variables that do not fit, `BundleError`, and `RuntimeError` if nothing runs here.
    """
    check_environment()
    bundle = read_bundle(find_bundle(options.bundle))
    encoder = bundle.encoder()
    traffic = mixed(encoder, options.pairs, most=options.passages)
    tuning = Tuning(options, traffic, plan, log)
    backends = [
        Candidate(info)
        for info in CANDIDATES
        if all(getattr(info, name) == value for name, value in options.choice.items())
    ]
    along = axes(cores=usable_cores(), longest=encoder.truncation.max_length)[: plan.axes]
    variants = sum(len(axis.variants(Candidate())) for axis in along)
    log(f"this takes about {plan.about_s(len(backends), variants) / 60:.0f} minutes")
    screened, out = screen_axes(tuning, backends, along)
    last = [one for one in screened if one.axis == screened[-1].axis]
    finalists = [one.candidate for one in last[: plan.finalists]]
    log(f"finalists: {'; '.join(map(str, finalists))}")
    guess = OPEN_SHARE * last[0].rate.value / traffic.pairs
    rungs, settings = tuning.finals(finalists, guess)
    setup = Setup.now(f"{bundle.manifest.name} {bundle.manifest.version}")
    return Tuned(report(setup, tuning, screened, out, rungs), options.bundle, settings)


def check_environment() -> None:
    """Raise `ValueError` for a variable that the server with the defaults would follow."""
    variables = [f"RETORT_{name.upper()}" for name in SETTINGS]
    if found := [name for name in variables if name in os.environ]:
        raise ValueError(
            f"{', '.join(found)} would hold for the server with the defaults: unset "
            f"{'it' if len(found) == 1 else 'them'}"
        )


def screen_axes(
    tuning: Tuning, backends: Sequence[Candidate], along: Sequence[Axis]
) -> tuple[list[Screened], LeftOut]:
    """Screen the backends, then each axis on the best candidates of the one before."""
    best, out = tuning.screen("backend and precision", backends)
    screened = best
    for axis in along:
        leaders = [found.candidate for found in best[: tuning.plan.leaders]]
        variants = [variant for leader in leaders for variant in axis.variants(leader)]
        best, problems = tuning.screen(axis.name, list(dict.fromkeys(variants)))
        screened, out = [*screened, *best], {**out, **problems}
    return screened, out


def missed(near: OpenLoad | None, target_ms: float) -> str:
    """What to say where no server met the target."""
    if near is None or near.p99_ms is None:
        found = "at every rate more than one request in a hundred was not answered in time"
    else:
        found = f"the nearest was {near.p99_ms:.1f} ms at {near.offered:.2f} requests per second"
    return (
        f"no settings keep the p99 within {target_ms:g} ms: {found}; allow more with --p99-ms, "
        "or send requests of fewer passages"
    )


def reason(problem: str) -> str:
    """Why a server did not start: the end of its last line."""
    line = problem.strip().splitlines()[-1].removeprefix("error: ")
    return line.partition("): ")[2] or line


def result(rung: Rung, target_ms: float) -> str:
    """What was reached, in a sentence or two. The winner has met the target."""
    winner, defaults = rung.searches[rung.best], rung.searches[DEFAULTS]
    assert winner.met is not None
    reached = (
        f"{winner.rate:.1f} requests ({winner.met.answered:,.0f} pairs) per second with "
        f"p99 {winner.met.p99_ms:.1f} ms, within the target of {target_ms:g} ms."
    )
    if rung.best == DEFAULTS:
        return f"{reached} These are what the server chooses by itself: nothing did better."
    if not defaults.rate:
        return f"{reached} The defaults met the target at no rate that was tried."
    gain = winner.rate / defaults.rate
    return (
        f"{reached} The defaults, in turn with it: {defaults.rate:.1f}, so this is {gain:.2f} "
        "times the rate."
    )


def report(
    setup: Setup, tuning: Tuning, screened: Sequence[Screened], out: LeftOut, rungs: Sequence[Rung]
) -> Measurement:
    """The record: the winner, the servers under open load, what was screened."""
    facts = (
        f"Load: {tuning.traffic.description}; Poisson arrivals",
        f"Target: p99 of a request at most {tuning.target_ms:g} ms",
        f"**{rungs[-1].best}**: {result(rungs[-1], tuning.target_ms)}",
    )
    rows = [
        (str(candidate), rung.seconds, *_figures(search))
        for rung in rungs
        for candidate, search in rung.searches.items()
    ]
    tried = [(str(one.candidate), one.axis, one.rate, one.alone_p99_ms) for one in screened]
    title = f"Screening: {tuning.plan.clients} clients for the rate, then one, in turn"
    tables = (
        Table("servers", SERVER_COLUMNS, tuple(rows), SERVERS_TITLE),
        Table("screening", SCREENING_COLUMNS, tuple(tried), title),
    )
    notes = tuple(
        f"Not tried: {candidate}: {shorten(why, 160, placeholder=' …')}"
        for candidate, why in out.items()
    )
    return Measurement("tune", "tune", setup, facts, tables, notes)


def _figures(search: Search) -> tuple[Cell, ...]:
    met, missed_rate = search.met, search.missed.offered if search.missed else None
    if met is None:
        return "none", None, None, None, missed_rate
    return met.offered, met.answered, met.p50_ms, met.p99_ms, missed_rate
