"""The run of the comparison: the servers in turn, round by round, then load upon load.

Each round puts a closed load on every server once, every other round backwards (A B C, C B A, …),
so that a machine that slows down does so for all alike; speedups come from these. Then the
student and the teacher get open loads at shares of what each managed, from which latency, errors
and throughput against load come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from retort.loadtest.comparison import SHADOW, STUDENT, Comparison, LoadPoint, Role, Setup, Target
from retort.loadtest.counters import shadow_outcomes
from retort.loadtest.extract import EXTRACT, bodies, read_ranking_requests
from retort.loadtest.lineup import Lineup, Progress, Wanted
from retort.loadtest.machine import describe_machine
from retort.loadtest.step import Arrivals, Loop, Step, Taken, run_step
from retort.loadtest.texts import Request, encode
from retort.models.bundle import Bundle

# Shares of a server's own capacity; the last is more than it can do.
SHARES = (0.25, 0.5, 0.75, 0.9, 1.1)
LADDER: tuple[Role, ...] = (STUDENT, "teacher", "same-backend")

Run = Callable[[Step], Taken]


@dataclass(frozen=True, slots=True)
class Options:
    """What `retort loadtest` was asked for."""

    wanted: Wanted
    users: int = 8
    passages: int = 10
    rounds: int = 4
    seconds: float = 5.0
    load_seconds: float = 8.0  # of each arrival rate; 0: measure none
    arrivals: Arrivals = "poisson"
    pairs: Path = EXTRACT
    command: str = "retort loadtest"

    @property
    def about_s(self) -> float:
        """About how long it takes: the steps, a start of Locust for each, slow servers' tails."""
        wanted = self.wanted
        closed = 1 + (wanted.shadow > 0) + wanted.same_backend
        slow = (wanted.teacher is not None) + bool(wanted.ensemble) + wanted.bert_large
        start_s = 15.0 * (closed + slow)
        round_s = (closed + slow) * (self.seconds + 3.0) + slow * 5.0
        ladder = 1 + (wanted.teacher is not None) + wanted.same_backend
        ladder_s = len(SHARES) * ladder * (self.load_seconds + 3.0) if self.load_seconds else 0.0
        return start_s + self.rounds * round_s + ladder_s


@dataclass(frozen=True, slots=True)
class Bout:
    """Puts steps on the targets. `run` runs one in a process of its own."""

    options: Options
    requests: tuple[Request, ...]
    targets: tuple[Target, ...]
    progress: Progress
    run: Run = run_step

    def rounds(self) -> list[dict[Role, Taken]]:
        """Every target under closed load once a round, every other round backwards."""
        found: list[dict[Role, Taken]] = []
        for number in range(self.options.rounds):
            taken: dict[Role, Taken] = {}
            for target in reversed(self.targets) if number % 2 else self.targets:
                self.progress(f"round {number + 1} of {self.options.rounds}: {target.label}")
                taken[target.role] = self.run(self._step(target, "closed", 1.0))
            found.append(taken)
        return found

    def ladder(self, rates: dict[Role, float]) -> Iterator[LoadPoint]:
        """Open loads at shares of `rates`, the requests a second that each target managed."""
        if not self.options.load_seconds:
            return
        for share in SHARES:
            for target in self.targets:
                if target.role in LADDER:
                    rate = share * rates[target.role]
                    self.progress(f"{rate:.1f} requests a second: {target.label}")
                    taken = self.run(self._step(target, "open", rate))
                    yield LoadPoint.of(target.role, rate, taken)

    def _step(self, target: Target, loop: Loop, rate: float) -> Step:
        return Step(
            host=target.host,
            bodies=bodies(self.requests),
            pairs=tuple(len(request.passages) for request in self.requests),
            seconds=self.options.seconds if loop == "closed" else self.options.load_seconds,
            loop=loop,
            users=self.options.users,
            rate=rate,
            arrivals=self.options.arrivals,
        )


def run_comparison(options: Options, progress: Progress) -> Comparison:
    """Start everything, measure and sum up; `progress` is told what begins.

    Raises `BundleError`, `ValueError` for texts that do not fit, and `RuntimeError` if a server
    does not start or does not answer.
    """
    requests = read_ranking_requests(options.pairs, passages=options.passages)
    with Lineup(options.wanted, progress) as lineup:
        setup = _setup(options, lineup.student, requests)
        bout = Bout(options, tuple(requests), tuple(lineup.targets), progress)
        rounds = bout.rounds()
        found = Comparison.of(setup, bout.targets, rounds)
        rates = {
            figures.target.role: figures.spread.median / options.passages
            for figures in found.figures
        }
        points = list(bout.ladder(rates))
        shadowed = None
        if SHADOW in rates:
            shadowed = shadow_outcomes(lineup.get(SHADOW, "/metrics"))
    return Comparison.of(setup, bout.targets, rounds, points, shadowed)


def _setup(options: Options, student: Bundle, requests: list[Request]) -> Setup:
    encoder = student.encoder()
    lengths = [len(pair) for request in requests for pair in encode(encoder, request)]
    return Setup(
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
        command=options.command,
        machine=describe_machine(),
        load=f"{len(requests)} questions of {options.pairs.name}, {options.passages} passages "
        f"each, {min(lengths)} to {max(lengths)} tokens a pair, mean "
        f"{sum(lengths) / len(lengths):.0f}; {options.arrivals} arrivals in the open loop",
        users=options.users,
        passages=options.passages,
        rounds=options.rounds,
        seconds=options.seconds,
        load_seconds=options.load_seconds,
    )
