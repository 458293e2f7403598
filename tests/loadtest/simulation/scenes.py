"""Small scenes for the tests of scenarios and reports."""

from __future__ import annotations

from random import Random

from retort.loadtest.simulation.demand import Demand
from retort.loadtest.simulation.scene import Scene
from retort.loadtest.simulation.simulator import Machine
from retort.service.engine.scheduler import Policy, length_steps


def small_scene(requests: int = 300, seed: int = 0) -> Scene:
    """Pairs of 5 to 64 tokens, up to 20 a request."""
    chance = Random(1)
    demand = Demand(tuple(tuple(chance.randint(5, 64) for _ in range(20)) for _ in range(10)), 20)
    policy = Policy(length_steps(64, 16), batch_tokens=512, overhead_tokens=16)
    return Scene(demand, policy, Machine(16, 1e-4), requests, seed)
