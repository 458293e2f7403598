"""`retort scale`: what a machine's cores are worth, as one server or as several next to each other.

Every arrangement is one or more real servers, each pinned to cores of its own, under clients who
send a request as soon as the last one is answered. More and more of them come, until the p99 is
over the target; what was answered per second just before that is what the arrangement can do. Then
all arrangements take turns at that load, so that their ratios hold on a machine that drifts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from time import perf_counter

from retort.loadtest.load import START_S, Outcome, Step, require_answers, run_step
from retort.loadtest.options import ScaleOptions
from retort.loadtest.peers.processes import PausableServer, Tree
from retort.loadtest.result import Cell, Column, Measurement, Setup, Table
from retort.loadtest.rounds import Log, Spread, percentile, ratios, take_turns
from retort.loadtest.targets import PATIENT, Target, serve
from retort.loadtest.traffic import Traffic, mixed
from retort.models.bundle import find_bundle, read_bundle
from retort.models.runtime.cores import usable_cores
from retort.wording import counted

MOST_SERVERS = 3
MOST_USERS = 128  # per server
MEGA = 1e6
COLUMNS = (
    Column("servers"), Column("clients each", "count"), Column("pairs/s", "pairs/s"),
    Column("requests/s", "requests/s"), Column("p99, ms", "ms"),
    Column("compared with one of 1 core", "ratio"), Column("memory, MB", "MB"),
    Column("start, s", "s"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arrangement:
    """So many servers, each on cores of its own.

    >>> str(Arrangement(2, 1)), Arrangement(2, 2).shares([0, 1, 2, 3])
    ('2 servers, 1 core each', [{0, 1}, {2, 3}])
    """

    servers: int
    cores: int

    def __str__(self) -> str:
        cores = counted(self.cores, "core")
        return f"{counted(self.servers, 'server')}, {cores}{' each' * (self.servers > 1)}"

    def shares(self, usable: Sequence[int]) -> list[set[int]]:
        """The cores of each server, of those that may be used."""
        starts = range(0, self.servers * self.cores, self.cores)
        return [set(usable[start : start + self.cores]) for start in starts]


def arrangements(cores: int) -> list[Arrangement]:
    """One server on 1, 2, 4, … cores, and all of them shared out among two and three.

    >>> [str(each) for each in arrangements(2)]
    ['1 server, 1 core', '1 server, 2 cores', '2 servers, 1 core each']
    """
    one = [Arrangement(1, 1 << power) for power in range(cores.bit_length())]
    several = [Arrangement(n, cores // n) for n in range(2, MOST_SERVERS + 1) if n <= cores]
    return one + several


@dataclass(frozen=True, slots=True)
class Running:
    """The servers of an arrangement, the seconds that one takes to start, and what runs it."""

    arrangement: Arrangement
    servers: tuple[PausableServer, ...]
    start_s: float
    backend: str

    def load(self, traffic: Traffic, users: int, seconds: float) -> Load:
        """Closed load from so many users for each server, by processes of their own.

        Raises `RuntimeError` if a server answers nothing.
        """
        begin = perf_counter() + START_S + 1.0
        steps = [
            server.step(traffic.requests, users=users, seconds=seconds, begin=begin)
            for server in self.servers
        ]
        with ExitStack() as stack, ThreadPoolExecutor(len(steps)) as pool:
            for server in self.servers:
                stack.enter_context(server.turn())
            outcomes = list(pool.map(self._answered, map(_from_another, steps, range(len(steps)))))
            held = sum(Tree(server.pid).memory_bytes() for server in self.servers)
        return Load(users, tuple(outcomes), held)

    def _answered(self, step: Step) -> Outcome:
        return require_answers(str(self.arrangement), run_step(step))


def _from_another(step: Step, number: int) -> Step:
    """Servers are not asked the same at the same time: each begins at bodies of its own."""
    first = number * len(step.bodies) // MOST_SERVERS
    return replace(
        step,
        bodies=step.bodies[first:] + step.bodies[:first],
        pairs=step.pairs[first:] + step.pairs[:first],
    )


@dataclass(frozen=True, slots=True)
class Load:
    """What servers did under so many users each, and the memory of their processes, in bytes."""

    users: int
    outcomes: tuple[Outcome, ...]
    memory: int

    @property
    def pairs_per_second(self) -> float:
        """Pairs answered by all servers together."""
        return sum(outcome.pairs_per_second for outcome in self.outcomes)

    @property
    def requests_per_second(self) -> float:
        """Requests answered by all servers together."""
        return sum(len(outcome.latencies) / outcome.seconds for outcome in self.outcomes)

    @property
    def p99_ms(self) -> float:
        """Of all their requests."""
        return percentile([s for outcome in self.outcomes for s in outcome.latencies], 99) * 1e3


def most_users(load: Callable[[int], Load], p99_ms: float, log: Log) -> int:
    """The users per server that get most answered while the p99 is within the target.

    Their number is doubled until it is over. Raises `RuntimeError` if one alone waits longer.
    """
    best: Load | None = None
    users = 1
    while users <= MOST_USERS:
        found = load(users)
        log(f"{counted(users, 'client')}: {found.pairs_per_second:.0f} pairs/s, "
            f"p99 {found.p99_ms:.0f} ms")  # fmt: skip
        if found.p99_ms > p99_ms:
            break
        if best is None or found.pairs_per_second > best.pairs_per_second:
            best = found
        users *= 2
    if best is None:
        raise RuntimeError(
            f"one client alone has a p99 of {found.p99_ms:.0f} ms: give a target above that with "
            "--p99-ms, or fewer --passages"
        )
    return best.users


def run_scale(options: ScaleOptions, log: Log) -> Measurement:
    """Measure every arrangement that this machine has cores for; `log` is called with each step.

    Raises `BundleError`, and `RuntimeError` if a server does not start or misses the target alone.
    """
    bundle = read_bundle(find_bundle(options.bundle))
    traffic = mixed(bundle.encoder(), options.pairs, most=options.passages)
    target = serve(bundle.folder, *PATIENT, settings=options.settings)
    cores = sorted(os.sched_getaffinity(0))[: usable_cores()]
    with ExitStack() as stack:
        running: list[Running] = []
        for arrangement in arrangements(len(cores)):
            log(f"starting {arrangement}")
            running.append(stack.enter_context(_started(arrangement, target, cores)))
        users: dict[Arrangement, int] = {}
        for one in running:
            log(f"more and more clients: {one.arrangement}")
            users[one.arrangement] = most_users(
                lambda count, one=one: one.load(traffic, count, options.seconds),  # type: ignore[misc]
                options.p99_ms,
                log,
            )
        found = take_turns(
            {
                str(one.arrangement): lambda one=one: one.load(  # type: ignore[misc]
                    traffic, users[one.arrangement], options.seconds
                )
                for one in running
            },
            options.rounds,
            log,
        )
    manifest = bundle.manifest
    base = [load.pairs_per_second for load in found[str(running[0].arrangement)]]
    rows = tuple(_row(one, found[str(one.arrangement)], base) for one in running)
    return Measurement(
        experiment="scale",
        part="scale",
        setup=Setup.now(f"{manifest.name} {manifest.version} on {running[0].backend}"),
        facts=(
            f"Load: {traffic.description}; clients send a request as soon as the last is answered, "
            f"as many as keep the p99 within {options.p99_ms:g} ms",
            f"{counted(options.rounds, 'round')}, in each of which every arrangement has "
            f"{options.seconds:g} s, in turn; ratios are taken within a round",
            "The clients run on the same machine: where a server has all cores, they share them",
        ),
        tables=(Table("scale", COLUMNS, rows),),
    )


def _row(one: Running, loads: Sequence[Load], base: Sequence[float]) -> tuple[Cell, ...]:
    rates = [load.pairs_per_second for load in loads]
    return (
        str(one.arrangement),
        loads[0].users,
        Spread.over(rates),
        Spread.over([load.requests_per_second for load in loads]),
        Spread.over([load.p99_ms for load in loads]),
        ratios(rates, base),
        max(load.memory for load in loads) / MEGA,
        one.start_s,
    )


@contextmanager
def _started(arrangement: Arrangement, target: Target, cores: Sequence[int]) -> Iterator[Running]:
    """The arrangement's servers, ready and then stopped until their turn."""
    shares = arrangement.shares(cores)
    with pinned(shares[0]), PausableServer(target):
        pass  # the first start on so many cores measures what is fastest there
    with ExitStack() as stack:
        servers = []
        begin = perf_counter()
        for share in shares:
            with pinned(share):
                servers.append(stack.enter_context(PausableServer(target)))
        start_s = (perf_counter() - begin) / len(servers)
        told = servers[0].backend()
        backend = f"{told['backend']}/{told['provider']}/{told['precision']}"
        for server in servers:
            server.pause()
        yield Running(arrangement, tuple(servers), start_s, backend)


@contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """Processes that are started in this block may use these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
