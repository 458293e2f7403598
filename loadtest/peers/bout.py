"""The bout: every peer under the same loads, in turn, A B C, C B A, …

Closed rounds first, which say how much each can do. Then open loads: a low one that is the same for
all, one at a set share of each one's own capacity, and between them a search for the highest load
at which the target is met, halving what is left of the range at each step.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from retort.loadtest.figures import Latency
from retort.loadtest.peers.api import Api
from retort.loadtest.peers.findings import Bout, Measured, Point, failed_of
from retort.loadtest.peers.loads import Workload
from retort.loadtest.peers.peer import OURS
from retort.loadtest.peers.started import Used
from retort.loadtest.step import OK, Step, Taken, run_step

# Of the slowest one's capacity, for the load that is the same for all.
LOW_SHARE = 0.5
# Of each one's own.
HIGH_SHARE = 0.8
# What is left to answer after an open step may wait as long as this.
TIMEOUT_S = 30.0
FEWEST_REQUESTS = 30
LONGEST_S = 12.0

Progress = Callable[[str], None]
Thing = TypeVar("Thing")


class Contestant(Protocol):
    """A server that can be given a turn."""

    @property
    def name(self) -> str:
        """The peer's name."""

    @property
    def label(self) -> str:
        """What it is called in tables."""

    @property
    def api(self) -> Api:
        """How it is asked."""

    @property
    def host(self) -> str:
        """Where it listens."""

    def turn(self) -> AbstractContextManager[Used]:
        """Let it run, and measure what it takes meanwhile."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and for how long."""

    rounds: int = 3
    seconds: float = 4.0
    load_seconds: float = 5.0
    search_steps: int = 2
    users: int = 16
    p99_ms: float = 500.0

    def about_s(self, contestants: int) -> float:
        """About how long one bout takes, with a start of Locust and a warm-up for each step."""
        closed = (self.rounds * (contestants + 1)) * (self.seconds + 3.0)
        return closed + (2 + self.search_steps) * contestants * (self.load_seconds + 3.0)


@dataclass(slots=True)
class Kept:
    """What one contestant's turns have given so far."""

    contestant: Contestant
    closed: list[Taken] = field(default_factory=list)
    opened: list[Taken] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    cpu_seconds: float = 0.0
    pairs: int = 0
    memory_bytes: int = 0
    problem: str = ""  # what put it out

    @property
    def capacity(self) -> float:
        """Pairs a second under closed load, the mean of the rounds."""
        return sum(taken.pairs_per_second for taken in self.closed) / len(self.closed)

    def next_offer(self, p99_ms: float) -> float:
        """The middle between the highest load held and the lowest that was not, in pairs a second.

        Above its capacity no server holds a load for long.
        """
        missed = min((p.offered for p in self.points if not p.holds(p99_ms)), default=self.capacity)
        held = [p.offered for p in self.points if p.holds(p99_ms) and p.offered < missed]
        return (max(held, default=0.0) + missed) / 2


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns under one workload. `run` runs a step in a process of its own."""

    plan: Plan
    workload: Workload
    contestants: Sequence[Contestant]
    progress: Progress
    bare: Callable[[Workload, float], float] | None = None  # pairs a second of the bare loop
    run: Callable[[Step], Taken] = run_step

    def measure(self) -> Bout:
        """Everything. One that fails is put out, with the reason, and the others go on.

        Raises `RuntimeError` if that is ours.
        """
        kept = [Kept(contestant) for contestant in self.contestants]
        bare = [rate for number in range(self.plan.rounds) for rate in self._round(number, kept)]
        low = LOW_SHARE * min(one.capacity for one in kept if not one.problem)
        for one in kept:
            self._try(one, lambda one: self._open(one, low))
        for one in reversed(kept):
            self._try(one, lambda one: self._open(one, HIGH_SHARE * one.capacity))
        for number in range(self.plan.search_steps):
            for one in in_turn(kept, number):
                self._try(one, lambda one: self._open(one, one.next_offer(self.plan.p99_ms)))
        return Bout(
            self.workload.name,
            self.workload.words,
            tuple(_sum_up(one) for one in kept if not one.problem),
            tuple(bare),
            tuple(f"{one.contestant.label}: {one.problem}" for one in kept if one.problem),
        )

    def _try(self, one: Kept, turn: Callable[[Kept], None]) -> None:
        """A turn of one that is not out."""
        if one.problem:
            return
        try:
            turn(one)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            if one.contestant.name == OURS:
                raise RuntimeError(str(error)) from error
            one.problem = str(error)
            self.progress(f"{one.contestant.label} is out: {error}")

    def _round(self, number: int, kept: Sequence[Kept]) -> list[float]:
        """Everyone under closed load once; what the bare loop managed, if there is one."""
        said = f"{self.workload.name}, round {number + 1} of {self.plan.rounds}"
        bare: list[float] = []
        # The loop stands beside ours, which it is compared with: both are first, or last.
        for one in in_turn([None, *kept] if self.bare else kept, number):
            if one is not None:
                self.progress(f"{said}: {one.contestant.label}")
                self._try(one, self._closed)
            elif self.bare is not None:
                self.progress(f"{said}: bare backend loop")
                bare.append(self.bare(self.workload, self.plan.seconds))
        return bare

    def _closed(self, one: Kept) -> None:
        step = replace(self._step(one), seconds=self.plan.seconds, users=self.plan.users)
        taken = self._turn(one, step)
        if taken.pairs_per_second <= 0:
            raise RuntimeError(
                f"no request was answered with 200 in {taken.seconds:g} s of closed load: the "
                f"answers were {taken.statuses or 'none'}"
            )
        one.closed.append(taken)

    def _open(self, one: Kept, offered: float) -> None:
        """`offered` pairs a second."""
        self.progress(f"{self.workload.name}, {offered:.0f} pairs/s: {one.contestant.label}")
        rate = offered / self.workload.pairs
        # At a low rate a few seconds would hold too few requests to speak of a tail.
        seconds = max(self.plan.load_seconds, min(FEWEST_REQUESTS / rate, LONGEST_S))
        taken = self._turn(one, replace(self._step(one), seconds=seconds, loop="open", rate=rate))
        one.opened.append(taken)
        one.points.append(Point.of(offered, taken))

    def _step(self, one: Kept) -> Step:
        contestant, requests = one.contestant, self.workload.requests
        return Step(
            host=contestant.host,
            bodies=tuple(map(contestant.api.encoded, requests)),
            pairs=tuple(len(request.passages) for request in requests),
            seconds=self.plan.seconds,
            timeout_s=TIMEOUT_S,
            route=contestant.api.route,
            results_at=contestant.api.results_at,
        )

    def _turn(self, one: Kept, step: Step) -> Taken:
        with one.contestant.turn() as used:
            taken = self.run(step)
        one.cpu_seconds += used.cpu_seconds
        one.memory_bytes = max(one.memory_bytes, used.memory_bytes)
        # Those of the warm-up too: their work is in the processor time.
        one.pairs += sum(answer.pairs for answer in taken.answers if answer.status == OK)
        return taken


def in_turn(things: Sequence[Thing], number: int) -> Sequence[Thing]:
    """The order of turn `number`: every other one backwards."""
    return things[::-1] if number % 2 else things


def _sum_up(one: Kept) -> Measured:
    low, high, *_ = one.points
    return Measured(
        name=one.contestant.name,
        label=one.contestant.label,
        rates=tuple(taken.pairs_per_second for taken in one.closed),
        closed=Latency.of([seconds for taken in one.closed for seconds in taken.latencies]),
        cpu_seconds_per_1000=1000 * one.cpu_seconds / max(1, one.pairs),
        memory_bytes=one.memory_bytes,
        failed=failed_of([*one.closed, *one.opened]),
        low=low,
        high=high,
        points=tuple(sorted(one.points, key=lambda point: point.offered)),
    )
