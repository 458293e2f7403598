"""The screening: candidates in this process, taking turns, axis after axis.

Every candidate runs the same requests twice in each round: from many clients, for its pairs a
second, and from one alone, for the latency that it has at least. Every other round goes backwards,
so that a machine that slows down does so for all alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retort.loadtest.figures import Spread, percentile
from retort.loadtest.texts import Request
from retort.loadtest.tune.axes import Axis
from retort.loadtest.tune.candidate import Candidate
from retort.loadtest.tune.lane import Garage, Lane, Turn
from retort.loadtest.tune.plan import Plan
from retort.loadtest.tune.progress import Progress
from retort.models.errors import StartError
from retort.models.runtime.base import BackendUnavailable
from retort.service.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Screened:
    """A candidate's pairs a second over the rounds, and the p99 of a request alone, in ms."""

    candidate: Candidate
    rate: Spread
    alone_p99_ms: float

    def better(self, target_ms: float) -> tuple[bool, float]:
        """A key that sorts the better first: those that can meet the target, by their rate."""
        return self.alone_p99_ms > target_ms, -self.rate.median


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A candidate that cannot be served here, and why."""

    candidate: Candidate
    reason: str


@dataclass(frozen=True, slots=True)
class Heat:
    """What was measured along one axis, the better first, and what could not be."""

    axis: str
    screened: tuple[Screened, ...]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True)
class Screening:
    """Screens candidates for a bundle on the requests of a trace."""

    garage: Garage
    requests: Sequence[Request]
    plan: Plan
    target_ms: float
    progress: Progress

    def run(self, first: Sequence[Candidate], axes: Sequence[Axis]) -> list[Heat]:
        """One heat for `first`, then one for each axis, on the best of the heat before.

        Raises `RuntimeError` if nothing runs here, with the reasons.
        """
        heats = [self.heat("backend and precision", first)]
        for axis in axes:
            leaders = [found.candidate for found in heats[-1].screened[: self.plan.leaders]]
            variants = [variant for leader in leaders for variant in axis.variants(leader)]
            heats.append(self.heat(axis.name, list(dict.fromkeys(variants))))
        return heats

    def heat(self, axis: str, candidates: Sequence[Candidate]) -> Heat:
        """Measure these candidates beside each other."""
        lanes: list[Lane] = []
        left_out: list[LeftOut] = []
        for candidate in candidates:
            self.progress.step(f"{axis}: loading {candidate}")
            try:
                lanes.append(self.garage.lane(candidate))
            except (StartError, BackendUnavailable) as problem:
                left_out.append(LeftOut(candidate, str(problem)))
        turns = self._turns(axis, lanes, left_out)
        if not turns:
            reasons = "; ".join(f"{out.candidate}: {out.reason}" for out in left_out)
            raise RuntimeError(
                f"nothing that was asked for runs here: {reasons or 'there is no such backend'}"
            )
        self.garage.keep([lane for lane in lanes if lane.candidate in turns])
        screened = [_screened(candidate, *found) for candidate, found in turns.items()]
        screened.sort(key=lambda found: found.better(self.target_ms))
        for found in screened:
            self.progress.found(
                f"{axis}: {found.candidate}: {found.rate.median:,.0f} pairs/s, alone p99 "
                f"{found.alone_p99_ms:.1f} ms"
            )
        return Heat(axis, tuple(screened), tuple(left_out))

    def _turns(
        self, axis: str, lanes: list[Lane], left_out: list[LeftOut]
    ) -> dict[Candidate, tuple[list[Turn], list[Turn]]]:
        plan = self.plan
        turns: dict[Candidate, tuple[list[Turn], list[Turn]]] = {
            lane.candidate: ([], []) for lane in lanes
        }
        for number in range(plan.rounds):
            for lane in reversed(lanes) if number % 2 else lanes:
                if lane.candidate not in turns:
                    continue
                self.progress.step(f"{axis}, round {number + 1} of {plan.rounds}: {lane.candidate}")
                busy, alone = turns[lane.candidate]
                try:
                    busy.append(lane.turn(self.requests, plan.clients, plan.turn_s))
                    alone.append(lane.turn(self.requests, 1, plan.turn_s))
                except ServiceError as problem:
                    left_out.append(LeftOut(lane.candidate, str(problem)))
                    del turns[lane.candidate]
        return turns


def _screened(candidate: Candidate, busy: Sequence[Turn], alone: Sequence[Turn]) -> Screened:
    latencies = [latency for turn in alone for latency in turn.latencies]
    rates = Spread.over([turn.pairs_per_second for turn in busy])
    return Screened(candidate, rates, percentile(latencies, 99) * 1e3)
