"""The benchmark: a server compared with its bare backend and with PyTorch, in turn, in one run.

Targets: `retort serve` of a bundle; its backend in this process; sentence-transformers in PyTorch.
Traffic: pairs of an exact length, or a user's own. Loads: closed, from many clients and from one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from retort.loadtest.bare import (
    Forward,
    bare_rate,
    forward_times,
    like_length_batches,
    load_served,
    usual_batch,
)
from retort.loadtest.load import Outcome, Step, require_answers, run_step
from retort.loadtest.options import BenchOptions
from retort.loadtest.result import Cell, Column, Measurement, Setup, Table
from retort.loadtest.rounds import Latency, Log, Spread, percentile, ratios, take_turns
from retort.loadtest.servers import Server
from retort.loadtest.targets import serve
from retort.loadtest.traffic import Traffic, encode, fixed, mixed
from retort.models.bundle import find_bundle, read_bundle
from retort.models.encoding import Batch, EncodedPair, PairEncoder


@dataclass(frozen=True, slots=True)
class Rounds:
    """The results of all rounds: rates in pairs per second, times in seconds."""

    bare: Sequence[float]
    busy: Sequence[Outcome]
    idle: Sequence[Outcome]
    forward: Sequence[list[float]]
    reference: Sequence[float] = ()

    def tables(self, options: BenchOptions) -> tuple[Table, ...]:
        """Rates, their ratios within a round, and latencies over all rounds together."""
        clients = f"{options.clients} concurrent clients"
        http = [outcome.pairs_per_second for outcome in self.busy]
        idle, forward = (
            [percentile(times, 50) for times in rounds]
            for rounds in ([outcome.latencies for outcome in self.idle], self.forward)
        )
        rates = {"Bare backend loop": self.bare, f"Server, {clients}": http}
        shares = {"server / bare backend loop": ratios(http, self.bare)}
        if self.reference:
            rates["`CrossEncoder.predict`, PyTorch fp32"] = self.reference
            shares["server / `CrossEncoder.predict`"] = ratios(http, self.reference)
        shares["idle p50 / one bare forward pass"] = ratios(idle, forward)
        spread = "median [lowest, highest]"
        return (
            Table(
                "rates",
                (Column("pairs/s"), Column(spread, "pairs/s")),
                tuple((name, Spread.over(values)) for name, values in rates.items()),
            ),
            Table(
                "ratios",
                (Column("ratio"), Column(spread, "ratio")),
                tuple(shares.items()),
            ),
            Table(
                "latencies",
                (
                    Column("latency, ms"),
                    *(Column(name, "ms") for name in ("p50", "p95", "p99")),
                    Column("n", "count"),
                    Column("failed", "count"),
                ),
                (
                    _row(f"a request, {clients}", [o.latencies for o in self.busy], self.busy),
                    _row("a request, one idle client", [o.latencies for o in self.idle], self.idle),
                    _row(f"one bare forward pass, {options.passages} pairs", self.forward),
                ),
            ),
        )


def _row(
    name: str, rounds: Sequence[Sequence[float]], loads: Sequence[Outcome] | None = None
) -> tuple[Cell, ...]:
    latency = Latency.of([seconds for times in rounds for seconds in times])
    failed = None if loads is None else sum(outcome.failed for outcome in loads)
    return name, latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.count, failed


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured. `run` puts a step of load on the server."""

    options: BenchOptions
    traffic: Traffic
    encoder: PairEncoder
    forward: Forward
    step: Callable[[int], Step]  # closed load from so many clients
    batch_pairs: int  # of the bare loop
    slots: int = 1  # batches that the server has in the backend at once
    streams: int = 1  # batches that the backend computes at once
    reference: Callable[[Traffic, float], float] | None = None  # pairs per second of PyTorch
    run: Callable[[Step], Outcome] = run_step

    def measure(self, log: Log) -> Rounds:
        """Everything in turn. Raises `RuntimeError` if a load got no answer at all."""
        traffic, seconds, clients = self.traffic, self.options.seconds, self.options.clients
        batches = like_length_batches(self.encoder, traffic.requests, self.batch_pairs)
        encoded = [encode(self.encoder, request) for request in traffic.requests]
        singles = [shared_out(self.encoder, pairs, self.streams) for pairs in encoded]

        def one_forward() -> list[float]:
            with ThreadPoolExecutor(self.streams) as pool:
                return forward_times(
                    lambda shares: list(pool.map(self.forward, shares)), singles, seconds
                )

        many = f"{clients} clients"
        # What is compared with each other stands side by side.
        turns: dict[str, Callable[[], Any]] = {
            "bare backend": lambda: bare_rate(self.forward, batches, seconds, self.slots),
            many: lambda: self._answered(clients),
            "one client": lambda: self._answered(1),
            "one forward pass": one_forward,
        }
        if (reference := self.reference) is not None:
            turns = {"PyTorch": lambda: reference(traffic, seconds), **turns}
        found = take_turns(turns, self.options.rounds, log)
        return Rounds(
            bare=found["bare backend"],
            busy=found[many],
            idle=found["one client"],
            forward=found["one forward pass"],
            reference=found.get("PyTorch", []),
        )

    def _answered(self, clients: int) -> Outcome:
        outcome = require_answers("the server", self.run(self.step(clients)))
        if not outcome.latencies:
            raise RuntimeError(
                f"none of the requests that {clients} clients sent within {outcome.seconds:g} s "
                f"was answered with 200 ({outcome.statuses or 'none was sent'}): measure for longer"
            )
        return outcome


def run_bench(options: BenchOptions, log: Log) -> Measurement:
    """Measure and sum up; `log` is called with each step.

    Raises `BundleError`, `BackendUnavailable`, `ValueError` for options that do not fit the
    bundle, and `RuntimeError` if the server does not start or does not answer.
    """
    steps = 5 if options.cross_encoder else 4
    # With the warm-up of each load.
    about_s = (options.rounds * steps + 1) * options.seconds + 4.0 * options.rounds
    log(f"this takes about {about_s:.0f} s")
    bundle = read_bundle(find_bundle(options.bundle))
    encoder = bundle.encoder()
    if options.pairs is None:
        traffic = fixed(encoder, passages=options.passages, tokens=options.tokens)
    else:
        traffic = mixed(encoder, options.pairs, most=options.passages)
    reference = None
    if options.cross_encoder:
        from retort.loadtest.experiments.reference import load_reference

        log("loading sentence-transformers")
        reference = load_reference(bundle)
    log("starting the server")
    with Server(serve(bundle.folder, "--log-level", "warning")) as server:
        served = server.backend()
        backend = load_served(served, bundle)

        def step(clients: int) -> Step:
            return server.step(traffic.requests, seconds=options.seconds, users=clients)

        log("warming up")
        bench = Bench(
            options=options,
            traffic=traffic,
            encoder=encoder,
            forward=backend.infer,
            step=step,
            batch_pairs=usual_batch(server, step(options.clients)),
            slots=served["slots"],
            streams=served["streams"],
            reference=reference.pairs_per_second if reference else None,
        )
        rounds = bench.measure(log)
    manifest = bundle.manifest
    facts = [
        f"Load: {traffic.description}; the bare loop runs batches of "
        f"{bench.batch_pairs} pairs, the server's own mean under this load",
        *([f"Reference: {reference.describe()}"] if reference else []),
        f"{options.rounds} rounds, in each of which every measurement has {options.seconds:g} s, "
        "in turn; ratios are taken within a round",
    ]
    return Measurement(
        experiment="bench",
        part="bench",
        setup=Setup.now(f"{manifest.name} {manifest.version}, {backend.info}"),
        facts=tuple(facts),
        tables=rounds.tables(options),
    )


def shared_out(encoder: PairEncoder, pairs: Sequence[EncodedPair], streams: int) -> list[Batch]:
    """A request's pairs as the batches that `streams` idle streams would make of them."""
    share = -(-len(pairs) // streams)
    starts = range(0, len(pairs), share)
    return [encoder.collate(pairs[start : start + share]) for start in starts]
