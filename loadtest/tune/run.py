"""The run: from a bundle to the settings that serve it best on this machine."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retort.loadtest.machine import describe_machine
from retort.loadtest.tune.axes import axes, engines
from retort.loadtest.tune.candidate import DEFAULTS, TUNED_SETTINGS, Candidate
from retort.loadtest.tune.lane import Garage
from retort.loadtest.tune.outcome import Outcome, Setup, Standings, require_met
from retort.loadtest.tune.plan import Plan
from retort.loadtest.tune.progress import Progress
from retort.loadtest.tune.screen import Heat, Screening
from retort.loadtest.tune.search import Halving, Probe
from retort.loadtest.tune.trace import Trace, read_trace
from retort.loadtest.tune.trial import Trial
from retort.models.bundle import read_bundle
from retort.models.cores import usable_cores
from retort.models.find import find_bundle
from retort.models.runtime.choose import Wish
from retort.service.settings import PREFIX

# HTTP costs something, and an open load must stay below what a closed one reaches.
OPEN_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Options:
    """What `retort tune` was asked for; `wish` limits what is tried."""

    bundle: str
    target_ms: float = 200.0
    passages: int = 10
    pairs: Path | None = None
    wish: Wish = field(default_factory=Wish)
    plan: Plan = field(default_factory=Plan)
    command: str = "retort tune"


def run_tune(options: Options, progress: Progress) -> Outcome:
    """Screen in this process, then try the best few as servers; nothing is written.

    Raises `TargetMissed` if no server keeps the p99 within the target, `ValueError` for texts or
    variables that do not fit, `BundleError`, and `RuntimeError` if nothing runs here.
    """
    refuse_variables()
    bundle = read_bundle(find_bundle(options.bundle))
    encoder = bundle.encoder()
    trace = read_trace(encoder, pairs=options.pairs, passages=options.passages)
    plan = options.plan
    screening = Screening(Garage(bundle), trace.requests, plan, options.target_ms, progress)
    first = engines(options.wish)
    along = axes(cores=usable_cores(), longest=encoder.truncation.max_length)[: plan.axes]
    variants = sum(len(axis.variants(Candidate())) for axis in along)
    progress.found(f"this takes about {plan.about_s(len(first), variants) / 60:.0f} minutes")
    heats = screening.run(first, along)
    screening.garage.keep([])
    finalists = [found.candidate for found in heats[-1].screened[: plan.finalists]]
    progress.found(f"to be tried as servers: {'; '.join(map(str, finalists))}")
    setup = Setup(
        bundle=options.bundle,
        described=f"{bundle.manifest.name} {bundle.manifest.version}",
        machine=describe_machine(),
        load=f"{trace.described}; Poisson arrivals",
        target_ms=options.target_ms,
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
        command=options.command,
    )
    return _try_servers(options, setup, trace, heats, finalists, progress)


def refuse_variables() -> None:
    """Raise `ValueError` if a variable is set that would win over the settings that are tried."""
    names = [f"{PREFIX}{name.upper()}" for name in TUNED_SETTINGS]
    if found := [name for name in names if name in os.environ]:
        raise ValueError(
            f"{', '.join(found)} would win over the settings that are tried: unset "
            f"{'it' if len(found) == 1 else 'them'}"
        )


def _try_servers(
    options: Options,
    setup: Setup,
    trace: Trace,
    heats: list[Heat],
    finalists: list[Candidate],
    progress: Progress,
) -> Outcome:
    plan, target_ms = options.plan, options.target_ms
    with ExitStack() as stack:
        trials: dict[Candidate, Trial] = {}
        for candidate in dict.fromkeys([*finalists, DEFAULTS]):
            progress.step(f"starting a server: {candidate}")
            trial = Trial(candidate, options.bundle, target_ms, wish=options.wish)
            trials[candidate] = stack.enter_context(trial)

        def ask(candidate: Candidate, rate: float, seconds: float, turn: int) -> Probe:
            progress.step(f"{rate:.1f} requests a second for {seconds:.0f} s: {candidate}")
            probe = trials[candidate].probe(trace, rate, seconds, warmup_s=plan.warmup_s, seed=turn)
            progress.found(told(candidate, probe, target_ms))
            return probe

        halving = Halving(
            finalists,
            DEFAULTS,
            guess=_guess(heats, trace),
            target_ms=target_ms,
            probes=plan.probes,
            seconds=plan.probe_s,
            ask=ask,
        )
        rungs = tuple(Standings.of(rung) for rung in halving.run())
        require_met(rungs, halving.probed, target_ms)
        winner = rungs[-1].places[0].candidate
        settings = {**_engine(trials[winner]), **winner.settings}
    return Outcome(setup, tuple(heats), rungs, settings)


def told(candidate: Candidate, probe: Probe, target_ms: float) -> str:
    """A probe in one line."""
    p99 = "none" if probe.p99_ms is None else f"{probe.p99_ms:.1f} ms"
    word = "met" if probe.meets(target_ms) else "missed"
    return f"{candidate}: {probe.rate:.1f} requests a second: p99 {p99}, target {word}"


def _guess(heats: list[Heat], trace: Trace) -> float:
    pairs = sum(len(request.passages) for request in trace.requests)
    a_request = pairs / len(trace.requests)
    return OPEN_SHARE * heats[-1].screened[0].rate.median / a_request


def _engine(trial: Trial) -> dict[str, Any]:
    backend = trial.backend()
    return {name: backend[name] for name in ("backend", "provider", "precision")}
