"""Random small loads and servers, for the tests that hold for every one of them."""

from __future__ import annotations

from random import Random

from retort.loadtest.simulation.arrivals import KINDS, TIMES
from retort.loadtest.simulation.simulator import Arrival, Machine
from retort.service.engine.scheduler import Policy, length_steps

LONGEST = 64


def random_policy(seed: int) -> Policy:
    """Some budget, some step of lengths, some overhead."""
    chance = Random(seed)
    return Policy(
        length_steps(LONGEST, chance.choice([1, 8, 16])),
        batch_tokens=chance.choice([64, 100, 192, 400]),
        overhead_tokens=chance.choice([0, 8, 64, 500]),
    )


def random_arrivals(seed: int, rate: float, count: int = 60) -> list[Arrival]:
    """Requests of 1 to 20 pairs of 3 to `LONGEST` tokens, now and then one of 100 pairs."""
    chance = Random(seed)
    times = TIMES[chance.choice(KINDS)](rate, chance)
    found = []
    for at, _ in zip(times, range(count), strict=False):
        pairs = 100 if chance.random() < 0.05 else chance.randint(1, 20)
        found.append(Arrival(at, tuple(chance.randint(3, LONGEST) for _ in range(pairs))))
    return found


def random_machine(seed: int, policy: Policy) -> Machine:
    """One that the arrivals of rate 1 keep busy for about 0.1 to 1.5 of the time."""
    load = Random(seed).uniform(0.1, 1.5)
    mean_tokens = 15 * LONGEST / 2
    return Machine(policy.overhead_tokens, load / mean_tokens)
