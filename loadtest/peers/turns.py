"""The turns of the peers under one kind of traffic.

Rounds of closed load come first, which say how much each server can do. Then come open loads: a low
one that is the same for all, one at a set share of each server's own capacity, and a search between
them for the highest load at which the p99 stays within its limit, halving what is left of the range
at each step.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from retort.loadtest.load import OK, Outcome, Step, require_answers, run_step
from retort.loadtest.options import PeersOptions
from retort.loadtest.peers.catalog import OURS
from retort.loadtest.peers.processes import PausableServer
from retort.loadtest.rounds import Log, OpenLoad, in_turn, take_turns
from retort.loadtest.traffic import Traffic

# The low load is a share of the slowest server's capacity, the high one of each server's own.
LOW_SHARE, HIGH_SHARE = 0.5, 0.8
# What is left to answer after an open step may wait this long.
TIMEOUT_S = 30.0
FEWEST_REQUESTS, LONGEST_S = 30, 12.0
SEARCH_STEPS = 2
BARE = "bare backend loop, no HTTP"


def about_s(options: PeersOptions, servers: int, loads: int) -> float:
    """About how long it takes, with a warm-up for each step and each server's start."""
    closed = options.rounds * (servers + 1) * (options.seconds + 3.0)
    opened = (2 + SEARCH_STEPS) * servers * (options.load_seconds + 3.0)
    return 10.0 * servers + loads * (closed + opened)


@dataclass(slots=True)
class Figures:
    """What the turns of one server have given so far. `points` begin with the low and high load."""

    server: PausableServer
    closed: list[Outcome] = field(default_factory=list)
    points: list[OpenLoad] = field(default_factory=list)
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    pairs: int = 0
    failed: int = 0
    problem: str = ""  # why it takes no more turns

    @property
    def name(self) -> str:
        """The peer's name."""
        return self.server.target.name

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return self.server.target.label

    @property
    def rates(self) -> list[float]:
        """Pairs per second under closed load, by round."""
        return [outcome.pairs_per_second for outcome in self.closed]

    @property
    def capacity(self) -> float:
        """Their mean."""
        return sum(self.rates) / len(self.rates)

    def next_offer(self, p99_ms: float) -> float:
        """Halfway between the highest load held and the lowest missed, in pairs per second.

        Above its capacity no server holds a load for long.
        """
        missed = min((p.offered for p in self.points if not p.meets(p99_ms)), default=self.capacity)
        held = [p.offered for p in self.points if p.meets(p99_ms) and p.offered < missed]
        return (max(held, default=0.0) + missed) / 2

    def highest_held(self, p99_ms: float) -> float | None:
        """The highest load held, with every lower one held too; None if there is none."""
        best = None
        for point in sorted(self.points, key=lambda point: point.offered):
            if not point.meets(p99_ms):
                break
            best = point.offered
        return best


@dataclass(frozen=True, slots=True)
class Turns:
    """The servers' turns under one kind of traffic. `run` runs a step in a process of its own."""

    options: PeersOptions
    traffic: Traffic
    figures: tuple[Figures, ...]
    log: Log
    bare: Callable[[Traffic, float], float] | None = None  # pairs per second of the bare loop
    run: Callable[[Step], Outcome] = run_step

    def measure(self) -> tuple[float, ...]:
        """Take all turns; the bare loop's pairs per second by round, where there is one.

        A server that fails takes no more turns, and the others go on. Raises `RuntimeError` if
        that server is ours.
        """
        options, name = self.options, self.traffic.name
        bare: list[float] = []
        turns: dict[str, Callable[[], None]] = {}
        if self.bare is not None:
            loop = self.bare
            # It comes next to our server, which is compared with it: both are first, or last.
            turns[BARE] = lambda: bare.append(loop(self.traffic, options.seconds))
        turns |= {one.label: partial(self._try, one, self._closed) for one in self.figures}
        take_turns(turns, options.rounds, lambda line: self.log(f"{name}, {line}"))
        low = LOW_SHARE * min(one.capacity for one in self.figures if not one.problem)
        offers: list[Callable[[Figures], float]] = [
            lambda one: low,
            lambda one: HIGH_SHARE * one.capacity,
            *[lambda one: one.next_offer(options.p99_ms)] * (1 if options.quick else SEARCH_STEPS),
        ]
        for number, one in in_turn(self.figures, len(offers)):
            self._try(one, partial(self._open, offer=offers[number]))
        return tuple(bare)

    def _try(self, one: Figures, turn: Callable[[Figures], None]) -> None:
        if one.problem:
            return
        try:
            turn(one)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            if one.name == OURS:
                raise RuntimeError(str(error)) from error
            one.problem = str(error)
            self.log(f"{one.label} takes no more turns: {error}")

    def _closed(self, one: Figures) -> None:
        outcome = self._turn(one, seconds=self.options.seconds, users=self.options.users)
        one.closed.append(require_answers(one.label, outcome))

    def _open(self, one: Figures, offer: Callable[[Figures], float]) -> None:
        offered = offer(one)
        self.log(f"{self.traffic.name}, {offered:.0f} pairs/s: {one.label}")
        rate = offered / self.traffic.pairs
        # At a low rate a few seconds would hold too few requests for a p99.
        seconds = max(self.options.load_seconds, min(FEWEST_REQUESTS / rate, LONGEST_S))
        one.points.append(
            OpenLoad.of(offered, self._turn(one, seconds=seconds, loop="open", rate=rate))
        )

    def _turn(self, one: Figures, **options: Any) -> Outcome:
        step = one.server.step(self.traffic.requests, timeout_s=TIMEOUT_S, **options)
        with one.server.turn() as usage:
            outcome = self.run(step)
        one.cpu_seconds += usage.cpu_seconds
        one.memory_bytes = max(one.memory_bytes, usage.memory_bytes)
        one.failed += outcome.failed
        # Those of the warm-up too: their work is in the processor time.
        one.pairs += sum(answer.pairs for answer in outcome.answers if answer.status == OK)
        return outcome
