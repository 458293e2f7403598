"""Servers on a GPU: with few and many front ends, asked for few and for many passages.

The load comes from several processes. How busy the busiest of them was is reported, because near a
whole core it is the load that is measured, not the server.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial

from retort.loadtest.bare import bare_rate, like_length_batches, load_served, usual_batch
from retort.loadtest.experiments.gpu.options import Options
from retort.loadtest.experiments.gpu.parts import Found, write_part
from retort.loadtest.experiments.gpu.variants import NULL, VARIANTS
from retort.loadtest.load import Outcome, require_answers, run_step, run_together
from retort.loadtest.null_bundle import ENVIRONMENT, write_null_bundle
from retort.loadtest.rounds import in_turn, percentile
from retort.loadtest.servers import Server
from retort.loadtest.targets import Target, serve
from retort.loadtest.traffic import Traffic, fixed
from retort.models.bundle import Bundle


@dataclass(slots=True)
class Load:
    """What a server did with requests of a size; a value per round, times in ms."""

    workers: int | None
    passages: int
    clients: int
    rates: list[float] = field(default_factory=list)  # pairs per second
    bare: list[float] = field(default_factory=list)  # the same of the bare loop
    busy_p99: list[float] = field(default_factory=list)
    idle_p50: list[float] = field(default_factory=list)
    client_cpu: list[float] = field(default_factory=list)  # share of one core, of the busiest
    failed: int = 0


def http(options: Options, bundle: Bundle) -> Found:
    """Servers of one variant in turn, and the bare loop of the batches that they build.

    Raises `RuntimeError` if one does not start or does not answer.
    """
    if options.variant == NULL:
        environment = ENVIRONMENT
        bundle = write_null_bundle(options.out / "null", bundle)
    else:
        environment = VARIANTS[options.device][options.variant].environment
    # For the bare loop in this process too.
    os.environ |= {**environment, "RETORT_CACHE_DIR": str(options.cache)}
    encoder = bundle.encoder()
    traffics = {
        passages: fixed(encoder, passages=passages, tokens=options.tokens)
        for passages in options.passages
    }
    with ExitStack() as stack:
        servers = [
            stack.enter_context(Server(target(bundle, workers)))
            for workers in options.workers or (None,)
        ]
        bares = {} if options.variant == NULL else _bares(options, bundle, servers[-1], traffics)
        loads = {
            (server.port, passages): Load(
                workers, passages, max(1, options.pairs_in_flight // passages)
            )
            for server, workers in zip(servers, options.workers or (None,), strict=True)
            for passages in traffics
        }
        found: Found = {"loads": []}
        items = [(server, passages) for server in servers for passages in traffics]
        for number, (server, passages) in in_turn(items, options.rounds):
            load, traffic = loads[server.port, passages], traffics[passages]
            _measure(options, server, load, traffic)
            if passages in bares:
                load.bare.append(bares[passages]())
            if all(len(each.rates) > number for each in loads.values()):
                found = {"loads": [asdict(each) for each in loads.values()]}
                write_part(options.out, options.name, found)
    return found


def target(bundle: Bundle, workers: int | None) -> Target:
    """A server of `workers` front ends; None: as many as it starts by itself."""
    flags = () if workers is None else ("--workers", str(workers))
    label = f"the server with {workers or 'its'} front ends"
    return serve(bundle.folder, "--log-level", "warning", *flags, label=label)


def _measure(options: Options, server: Server, load: Load, traffic: Traffic) -> None:
    """One round: many clients, then, where requests are smallest, one."""
    step = server.step(traffic.requests, seconds=options.seconds, users=load.clients)
    busy = _answered(server, run_together(step, options.client_processes))
    load.rates.append(busy.pairs_per_second)
    load.busy_p99.append(percentile(busy.latencies, 99) * 1e3)
    load.client_cpu.append(busy.cpu)
    load.failed += busy.failed
    if load.passages == min(options.passages):
        step = server.step(traffic.requests, seconds=options.seconds, users=1)
        idle = _answered(server, run_step(step))
        load.idle_p50.append(percentile(idle.latencies, 50) * 1e3)
        load.failed += idle.failed


def _answered(server: Server, outcome: Outcome) -> Outcome:
    answered = require_answers(server.target.label, outcome)
    if not answered.latencies:
        raise RuntimeError(
            f"{server.target.label} answered nothing that was sent within {outcome.seconds:g} s "
            "with 200: measure for longer"
        )
    return answered


def _bares(
    options: Options, bundle: Bundle, server: Server, traffics: dict[int, Traffic]
) -> dict[int, Callable[[], float]]:
    """For each number of passages a bare loop of batches as that server builds them."""
    served = server.backend()
    backend = load_served(served, bundle)
    run = partial(run_together, processes=options.client_processes)
    bares: dict[int, Callable[[], float]] = {}
    for passages, traffic in traffics.items():
        clients = max(1, options.pairs_in_flight // passages)
        step = server.step(traffic.requests, seconds=options.seconds, users=clients)
        pairs = usual_batch(server, step, run)
        batches = like_length_batches(bundle.encoder(), traffic.requests, pairs)
        slots = served["slots"]
        bares[passages] = partial(bare_rate, backend.infer, batches, options.seconds, slots)
    return bares
