"""The scene: the demand, the limits and the machine that all runs of a simulation share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from retort.loadtest.simulation.arrivals import TIMES, ArrivalKind
from retort.loadtest.simulation.demand import Demand
from retort.loadtest.simulation.figures import Figures
from retort.loadtest.simulation.policies import Contender
from retort.loadtest.simulation.simulator import Arrival, Machine, simulate
from retort.service.engine.scheduler import Policy


@dataclass(frozen=True, slots=True)
class Scene:
    """`requests` come in each run, drawn by `seed`."""

    demand: Demand
    policy: Policy
    machine: Machine
    requests: int
    seed: int = 0

    def arrivals(self, kind: ArrivalKind, load: float) -> list[Arrival]:
        """Draw requests and when they come: the same for every policy.

        At a load of 1 a backend whose batches are all full, each of pairs of one padded length,
        would never rest.
        """
        chance = Random(f"{self.seed} {kind} {load}")
        drawn = [self.demand.draw(chance) for _ in range(self.requests)]
        work = sum(self.machine.least_seconds(lengths, self.policy) for lengths in drawn)
        times = TIMES[kind](load * len(drawn) / work, chance)
        return [Arrival(at, lengths) for at, lengths in zip(times, drawn, strict=False)]

    def serve(
        self, arrivals: Sequence[Arrival], contender: Contender, policy: Policy | None = None
    ) -> Figures:
        """Run the arrivals, with other limits than the scene's if given, and sum up."""
        return Figures.of(simulate(arrivals, contender, policy or self.policy, self.machine))

    def of(self, demand: Demand, requests: int) -> Scene:
        """The same with another demand and at most so many requests."""
        return replace(self, demand=demand, requests=min(self.requests, requests))
