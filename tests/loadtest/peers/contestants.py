"""Contestants that do nothing, and steps that are noted and not taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from retort.loadtest.peers.api import RETORT, Api
from retort.loadtest.peers.loads import Workload
from retort.loadtest.peers.started import Used
from retort.loadtest.step import Answer, Step, Taken
from retort.loadtest.texts import Request

WORKLOAD = Workload("real", "two passages", (Request("q", ("a", "b")),))


@dataclass
class Idle:
    """A contestant of a set capacity in pairs a second, and a latency that grows near to it."""

    name: str
    capacity: float
    label: str = ""
    api: Api = RETORT
    turns: int = 0

    @property
    def host(self) -> str:
        """Its name, so that a step tells whose it is."""
        return self.name

    @contextmanager
    def turn(self) -> Iterator[Used]:
        """Count the turn; each takes a second of processor time."""
        self.turns += 1
        used = Used()
        yield used
        used.cpu_seconds, used.memory_bytes = 1.0, 100 * self.turns


@dataclass
class Track:
    """Runs steps: a second long, answers as the contestant's capacity allows."""

    contestants: tuple[Idle, ...]
    steps: list[Step] = field(default_factory=list)

    def run(self, step: Step) -> Taken:
        """Note the step; two requests in a second, or as many as were offered."""
        self.steps.append(step)
        capacity = next(one.capacity for one in self.contestants if one.name == step.host)
        rate = capacity / 2 if step.loop == "closed" else step.rate
        latency = 0.01 / max(1e-3, 1 - 2 * step.rate / capacity) if step.loop == "open" else 0.01
        moments = [number / rate for number in range(max(1, round(rate)))]
        answers = tuple(Answer(at, at, at + latency, 200, 2) for at in moments)
        return Taken(step.loop, 1.0, answers, 0.1)
