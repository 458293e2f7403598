"""The run: starts the server, loads its backend here too, and measures both in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from retort.loadtest.bench import Bench, Plan
from retort.loadtest.client import run_in_process
from retort.loadtest.counters import Counters
from retort.loadtest.machine import describe_machine
from retort.loadtest.reference import load_reference
from retort.loadtest.report import Report, Round, Setup
from retort.loadtest.served import load_served
from retort.loadtest.server import HOST, Server, serve_command
from retort.loadtest.texts import Request, encode, made_up_requests, pair_count, read_requests
from retort.models.bundle import read_bundle
from retort.models.encoding import PairEncoder
from retort.models.find import find_bundle
from retort.service.settings import load_settings

# Enough that clients do not all ask the same, few enough that they are encoded in no time.
MADE_UP_REQUESTS = 64

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What `retort bench` was asked for."""

    bundle: str
    clients: int = 32
    passages: int = 10
    tokens: int = 128
    rounds: int = 5
    seconds: float = 5.0
    pairs: Path | None = None
    cross_encoder: bool = True
    checkpoint: Path | None = None
    command: str = "retort bench"

    @property
    def longest_s(self) -> float:
        """About how long the measurements take together."""
        steps = 5 if self.cross_encoder else 4
        return (self.rounds * steps + 1) * self.seconds


def run_bench(options: Options, progress: Progress) -> Report:
    """Measure and sum up; `progress` is told what begins, once a round.

    Raises `BundleError`, `BackendUnavailable`, `ValueError` for options that do not fit the
    bundle, and `RuntimeError` if the server does not start or does not answer.
    """
    bundle = read_bundle(find_bundle(options.bundle))
    encoder = bundle.encoder()
    requests = _requests(options, encoder)
    reference = None
    if options.cross_encoder:
        progress("loading sentence-transformers")
        reference = load_reference(bundle, options.checkpoint)
    progress("starting the server")
    with Server(serve_command(str(bundle.folder), "--log-level", "warning")) as server:
        served = server.backend()
        backend = load_served(served, bundle, load_settings())
        plan = Plan(tuple(requests), options.clients, options.rounds, options.seconds)

        def bench(batch_pairs: int) -> Bench:
            return Bench(
                plan=plan,
                encoder=encoder,
                forward=backend.infer,
                send=run_in_process,
                host=HOST,
                port=server.port,
                batch_pairs=batch_pairs,
                slots=served["slots"],
                streams=served["streams"],
                reference=reference.pairs_per_second if reference else None,
            )

        progress("warming up")
        batch_pairs = _usual_batch(server, bench(1))
        rounds: list[Round] = []
        for found in bench(batch_pairs).rounds():
            rounds.append(found)
            progress(f"round {len(rounds)} of {options.rounds}")
    setup = Setup(
        bundle=f"{bundle.manifest.name} {bundle.manifest.version}",
        backend=str(backend.info),
        machine=describe_machine(),
        load=_describe(options, encoder, requests),
        clients=options.clients,
        passages=options.passages,
        seconds=options.seconds,
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
        batch_pairs=batch_pairs,
        command=options.command,
        reference=reference.describe() if reference else None,
    )
    return Report.of(setup, rounds)


def _requests(options: Options, encoder: PairEncoder) -> list[Request]:
    if options.pairs is not None:
        return read_requests(options.pairs, passages=options.passages)
    return made_up_requests(
        encoder, requests=MADE_UP_REQUESTS, passages=options.passages, tokens=options.tokens
    )


def _describe(options: Options, encoder: PairEncoder, requests: list[Request]) -> str:
    if options.pairs is None:
        return f"{options.passages} passages of {options.tokens} tokens a request"
    lengths = [len(pair) for request in requests for pair in encode(encoder, request)]
    mean = sum(lengths) / len(lengths)
    return (
        f"{pair_count(requests):,} pairs of {options.pairs.name}, up to {options.passages} a "
        f"request, {min(lengths)} to {max(lengths)} tokens, mean {mean:.0f}"
    )


def _usual_batch(server: Server, bench: Bench) -> int:
    """Pairs in the server's mean batch under the full load, which this puts on it."""
    before = Counters.parse(server.get("/metrics")[1].decode())
    outcome = bench.send(bench.load(bench.plan.clients, bench.plan.seconds))
    if not outcome.latencies:
        raise RuntimeError(f"the server answered no request with 200: {outcome.statuses}")
    return Counters.parse(server.get("/metrics")[1].decode()).since(before).usual_batch()
