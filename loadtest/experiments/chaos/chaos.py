"""`retort chaos`: what a server loses when something is done to it, part by part.

    engine      its engine is killed, or stopped so that it hangs, with and without a standby
    terminate   SIGTERM while it answers, also with an engine that hangs
    reload      another version takes over, again and again
    bodies      bodies that are as bad as the limits allow, and everybody else's wait
    overload    ten times the load that it can take
    fuzz        mutated requests by the thousand
    connections clients that say nothing, or half of something, or a byte per second

Every part has servers of its own and is recorded as soon as it is measured, so that parts may be
measured one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace

from retort.loadtest.experiments.chaos.connections import connections
from retort.loadtest.experiments.chaos.faults import engine, reload, terminate
from retort.loadtest.experiments.chaos.floods import bodies, fuzz, overload
from retort.loadtest.experiments.chaos.setting import Found, Setting
from retort.loadtest.options import ChaosOptions, chosen
from retort.loadtest.result import Measurement, Setup, read, write
from retort.loadtest.rounds import Log
from retort.models.bundle import find_bundle, read_bundle

# In the order in which they are measured and shown, each with its title.
PARTS: dict[str, tuple[str, Callable[[Setting], Coroutine[None, None, Found]]]] = {
    "engine": ("An engine that is lost", engine),
    "terminate": ("Asked to stop", terminate),
    "reload": ("Another version", reload),
    "bodies": ("The worst bodies", bodies),
    "overload": ("Ten times the load that it can take", overload),
    "fuzz": ("Mutated requests", fuzz),
    "connections": ("Connections that take their time", connections),
}


def run_chaos(options: ChaosOptions, log: Log) -> tuple[list[Measurement], dict[str, str]]:
    """Measure part by part into a record; all that it holds then, and why parts failed that did.

    Raises `BundleError` if there is nothing to serve, `ValueError` for a part that does not exist.
    """
    record = options.keep / "chaos.json"
    if options.quick:
        options = replace(
            options,
            faults=2,
            stops=2,
            reloads=2,
            fuzzed=1_000,
            overload_s=10.0,
            flood_s=20.0,
            users=4,
        )
        # Rough figures must not mix with measured ones in a record.
        record = options.keep / "quick" / "chaos.json"
    names = chosen(options.only, PARTS)
    setting = Setting(read_bundle(find_bundle(options.bundle)), options, log)
    failed: dict[str, str] = {}
    for name in names:
        title, measure = PARTS[name]
        log(f"{name} begins")
        try:
            found = asyncio.run(measure(setting))
        except (ValueError, RuntimeError, OSError) as error:
            failed[name] = str(error)
            log(f"{name} could not be measured: {error}")
            continue
        manifest = setting.bundle.manifest
        setup = Setup.now(f"{manifest.name} {manifest.version}, {options.users} clients")
        part = Measurement("chaos", name, setup, (), (found.table,), found.notes, (), title)
        write(record, [part])
    return read(record) if record.exists() else [], failed
