"""The scenarios: which requests meet which policy, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from retort.loadtest.simulation.arrivals import KINDS, ArrivalKind
from retort.loadtest.simulation.figures import Figures
from retort.loadtest.simulation.policies import CONTENDERS, OURS, Contender
from retort.loadtest.simulation.scene import Scene
from retort.loadtest.simulation.simulator import Arrival, simulate
from retort.service.engine.scheduler import Policy, length_steps

# Requests of usual size, beside a large one that is served without end.
USUAL_PASSAGES, LARGE_PASSAGES = 10, 1_000
IDLE_LOAD = 0.1
# More requests of the shortest pairs than can be served, and every second one of the longest.
FLOOD_LOAD = 1.1
SHORT, LONG = (0.0, 0.25), (0.95, 1.0)
SIZES_LOAD = 0.7
BATCH_TOKENS = (512, 1_024, 2_048, 4_096)
LENGTH_STEPS = (1, 4, 8, 16, 32)
# Where much waits a run takes longer, and a p99 of some thousand requests is steady enough.
FEWER_REQUESTS = 4_000

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Point:
    """A policy at a load."""

    kind: ArrivalKind
    load: float
    policy: str
    figures: Figures


def sweep(scene: Scene, loads: Sequence[float], told: Told) -> Iterator[Point]:
    """Every policy under both kinds of arrivals at every load."""
    for kind in KINDS:
        for load in loads:
            arrivals = scene.arrivals(kind, load)
            for contender in CONTENDERS:
                told(f"{kind} arrivals at {load:.0%} of capacity: {contender.name}")
                yield Point(kind, load, contender.name, scene.serve(arrivals, contender))


@dataclass(frozen=True, slots=True)
class HeadOfLine:
    """Usual requests alone, and while large ones are served, one after another."""

    policy: str
    alone: Figures
    beside: Figures

    @property
    def ratio(self) -> float:
        """How many times slower the p99 is."""
        return self.beside.p99_ms / self.alone.p99_ms


def head_of_line(scene: Scene, contender: Contender, policy: Policy | None = None) -> HeadOfLine:
    """Requests of 10 passages at a low load, without and with requests of 1,000 among them."""
    large = scene.demand.of_pairs(LARGE_PASSAGES).draw(Random(scene.seed))
    scene = scene.of(scene.demand.of_pairs(USUAL_PASSAGES), FEWER_REQUESTS)
    usual = scene.arrivals("poisson", IDLE_LOAD)
    beside = [Arrival(0.0, large, again=True), *usual]
    return HeadOfLine(
        contender.name,
        scene.serve(usual, contender, policy),
        scene.serve(beside, contender, policy),
    )


@dataclass(frozen=True, slots=True)
class Starvation:
    """The longest wait for a request of long pairs, and for those that flooded the server."""

    policy: str
    long_ms: float
    short_ms: float
    flood_seconds: float
    refused: float


def starvation(scene: Scene, contender: Contender) -> Starvation:
    """A flood of requests of short pairs past the capacity, and every second one of long pairs."""
    whole = scene.demand
    flood = scene.of(whole.between(*SHORT, USUAL_PASSAGES), FEWER_REQUESTS).arrivals(
        "poisson", FLOOD_LOAD
    )
    lengths = whole.between(*LONG, USUAL_PASSAGES).draw(Random(scene.seed))
    long = {Arrival(float(second), lengths) for second in range(int(flood[-1].at) + 1)}
    arrivals = sorted([*flood, *long], key=lambda arrival: arrival.at)
    run = simulate(arrivals, contender, scene.policy, scene.machine)

    def longest(of_long: bool) -> float:
        times = [a.seconds for a in run.answers if (a.arrival in long) == of_long]
        return max(times, default=0.0) * 1e3

    return Starvation(
        contender.name,
        longest(True),
        longest(False),
        flood[-1].at,
        len(run.refused) / len(arrivals),
    )


@dataclass(frozen=True, slots=True)
class Size:
    """The server's own policy with another token budget or another step of lengths."""

    batch_tokens: int
    length_step: int
    figures: Figures
    head_of_line: float


def sizes(scene: Scene, told: Told) -> Iterator[Size]:
    """The same requests under each of `other_limits`."""
    arrivals = scene.arrivals("poisson", SIZES_LOAD)
    for policy in other_limits(scene.policy):
        step = policy.lengths[0]
        told(f"batches of {policy.batch_tokens:,} tokens, lengths in steps of {step}")
        yield Size(
            policy.batch_tokens,
            step,
            scene.serve(arrivals, OURS, policy),
            head_of_line(scene, OURS, policy).ratio,
        )


def other_limits(policy: Policy) -> list[Policy]:
    """Each budget with the policy's step of lengths, then each step with its budget.

    A budget without room for the longest pair is left out, and so is what would be run twice.
    """
    longest = policy.lengths[-1]
    budgets = [tokens for tokens in BATCH_TOKENS if tokens >= longest]
    steps = [length_steps(longest, step) for step in LENGTH_STEPS]
    found = [replace(policy, batch_tokens=tokens) for tokens in budgets]
    found += [replace(policy, lengths=lengths) for lengths in steps]
    return list(dict.fromkeys(found))
