"""`retort stress`: what a server does at the edge of what it can do, part by part.

    padding     which share of the computed tokens is padding, under mixed real lengths
    neighbour   latency of small requests while large ones are being served
    overload    what is answered in time at twice the capacity
    arithmetic  how near the bare backend comes to what the cores can multiply
    breakdown   where a request's time goes, stage by stage
    memory      whether the server's memory grows over half a million pairs

Every part has a fresh server of its own and is recorded as soon as it is measured, so that parts
may be measured one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from retort.loadtest.experiments.stress_arithmetic import arithmetic
from retort.loadtest.experiments.stress_parts import (
    Part,
    Subject,
    breakdown,
    memory,
    neighbour,
    overload,
    padding,
)
from retort.loadtest.options import StressOptions, chosen
from retort.loadtest.result import Measurement, Setup, read, write
from retort.loadtest.rounds import Log
from retort.loadtest.servers import Server
from retort.loadtest.targets import serve
from retort.models.bundle import find_bundle, read_bundle

# What two cores manage at least, of pairs as mixed as these.
SLOW_PAIRS_PER_SECOND = 300
# Starting a load process for a step, and the server for a part.
STEP_S, START_S = 2.0, 12.0

# In the order in which they are measured and shown, each with its title; memory takes longest.
PARTS: dict[str, tuple[str, Callable[[Subject], Part]]] = {
    "padding": ("Padding", padding),
    "neighbour": ("Small requests next to large ones", neighbour),
    "overload": ("Twice the load that the server can take", overload),
    "arithmetic": ("What the cores can multiply", arithmetic),
    "breakdown": ("Where a request's time goes", breakdown),
    "memory": ("Memory", memory),
}


def check_parts(names: Sequence[str]) -> tuple[str, ...]:
    """The parts of these names in their order; see `chosen`."""
    return chosen(names, PARTS)


def about_s(options: StressOptions, names: Sequence[str]) -> float:
    """About how many seconds the parts take on two cores."""
    step = options.seconds + STEP_S
    each = {
        "padding": 2 * step,
        "neighbour": 2 * options.rounds * step,
        "overload": 2 * options.rounds * step,
        "arithmetic": 2 * options.rounds * options.seconds,
        "breakdown": 2 * step,
        "memory": (options.memory_pairs + options.warmup_pairs) / SLOW_PAIRS_PER_SECOND,
    }
    return sum(each[name] + START_S for name in names)


def run_stress(options: StressOptions, log: Log) -> tuple[list[Measurement], dict[str, str]]:
    """Measure part by part into a record; all that it holds then, and why parts failed that did.

    A part that fails does not stop the others. Raises `BundleError` if there is nothing to serve,
    and `ValueError` for a part that does not exist.
    """
    record = options.keep / "stress.json"
    if options.quick:
        options = replace(
            options,
            rounds=1,
            seconds=min(options.seconds, 3.0),
            memory_pairs=min(options.memory_pairs, 5_000),
            warmup_pairs=min(options.warmup_pairs, 1_000),
        )
        # Rough figures must not mix with measured ones in a record.
        record = options.keep / "quick" / "stress.json"
    names = check_parts(options.only)
    log(f"{', '.join(names)}: about {about_s(options, names) / 60:.0f} minutes")
    bundle = read_bundle(find_bundle(options.bundle))
    target = serve(bundle.folder, "--log-level", "warning", settings=options.settings)
    failed: dict[str, str] = {}
    for name in names:
        title, measure = PARTS[name]
        log(f"starting the server for {name}")
        try:
            with Server(target) as server:
                subject = Subject(server, bundle, bundle.encoder(), options, log)
                setup = Setup.now(served(subject))
                part = measure(subject)
        except (ValueError, RuntimeError, OSError) as error:
            failed[name] = str(error)
            log(f"{name} could not be measured: {error}")
        else:
            shown = (part.table,), (part.note,), part.plots, title
            write(record, [Measurement("stress", name, setup, (), *shown)])
    return read(record) if record.exists() else [], failed


def served(subject: Subject) -> str:
    """What runs in the server, in one line."""
    backend, manifest = subject.server.backend(), subject.bundle.manifest
    return (
        f"{manifest.name} {manifest.version} on {backend['backend']}/{backend['provider']}/"
        f"{backend['precision']}, batches of up to {backend['batch_tokens']:,} tokens, "
        f"{backend['slots']} at once"
    )
