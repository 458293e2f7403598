"""Servers that do nothing, and steps that are noted and not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from retort.loadtest.load import Answer, Outcome, Step
from retort.loadtest.peers.processes import PausableServer, Usage
from retort.loadtest.peers.turns import Figures
from retort.loadtest.targets import Target
from retort.loadtest.traffic import Request, Traffic

TRAFFIC = Traffic("mixed", "two passages", (Request("q", ("a", "b")),))


class Idle(PausableServer):
    """A server of a set capacity in pairs per second, whose latency grows as the load nears it."""

    def __init__(self, name: str, capacity: float, label: str = "") -> None:
        super().__init__(Target(name, label or name, ()))
        self.stop()
        self.capacity = capacity
        self.turns = 0

    @property
    def host(self) -> str:
        """Its name, so that a step says whose it is."""
        return self.target.name

    @contextmanager
    def turn(self) -> Iterator[Usage]:
        """Count the turn; each takes a second of processor time."""
        self.turns += 1
        usage = Usage()
        yield usage
        usage.cpu_seconds, usage.memory_bytes = 1.0, 100 * self.turns


@dataclass
class Track:
    """Runs steps: a second long, with answers as the server's capacity allows."""

    servers: tuple[Idle, ...]
    steps: list[Step] = field(default_factory=list)

    def run(self, step: Step) -> Outcome:
        """Note the step; half the capacity in requests of two pairs, or the offered rate."""
        self.steps.append(step)
        capacity = next(one.capacity for one in self.servers if one.host == step.host)
        rate = capacity / 2 if step.loop == "closed" else step.rate
        latency = 0.01 / max(1e-3, 1 - 2 * step.rate / capacity) if step.loop == "open" else 0.01
        moments = [number / rate for number in range(max(1, round(rate)))]
        answers = tuple(Answer(at, at, at + latency, 200, 2) for at in moments)
        return Outcome(step.loop, 1.0, answers, 0.1)

    @property
    def figures(self) -> tuple[Figures, ...]:
        """Nothing measured yet."""
        return tuple(Figures(server) for server in self.servers)
