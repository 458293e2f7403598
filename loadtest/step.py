"""The step: one stretch of load on one server, run by Locust in a process of its own.

A closed step has `users` users who each ask again as soon as they are answered: it finds out how
much a server can do. An open step sends `rate` requests a second whatever becomes of them: it
finds out how long requests take at that load.

Coordinated omission. A client that waits for its answer before it asks again sends nothing while
the server stalls, so the requests that would have suffered most are never sent and never timed.
Here every request of an open step has a moment at which it is due, by a schedule that does not
look at the server, and its latency counts from that moment, however late it was sent.

Locust patches the standard library for its whole process: therefore a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Loop = Literal["closed", "open"]
Arrivals = Literal["poisson", "even"]
# Where an answer's JSON has its results: keys and places, from the outside in.
ResultsAt = tuple[str | int, ...]

OK = 200
NO_ANSWER = 0
# What starting Locust, and the requests still on their way, may take beside the step itself.
SPARE_S = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """What to send: the bodies in turn, each asking for as many pairs as `pairs` says."""

    host: str  # http://127.0.0.1:8080
    bodies: tuple[str, ...]
    pairs: tuple[int, ...]
    seconds: float
    loop: Loop = "closed"
    users: int = 8  # of a closed step
    rate: float = 1.0  # of an open step, requests a second
    arrivals: Arrivals = "poisson"
    warmup_s: float = 1.0
    timeout_s: float = 60.0
    seed: int = 0
    connections: int = 1024  # of an open step; requests beyond them wait, and the wait counts
    route: str = "/score"
    results_at: ResultsAt = ("results",)  # in the answer: a list with one item for each pair

    def __post_init__(self) -> None:
        if self.users < 1 or self.rate <= 0 or self.seconds <= 0:
            raise ValueError(
                f"{self.users} users, {self.rate:g} requests a second for {self.seconds:g} s: "
                "all three must be above 0"
            )
        if not self.bodies or len(self.bodies) != len(self.pairs):
            raise ValueError(f"{len(self.bodies)} bodies with {len(self.pairs)} counts of pairs")


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: when it was due, sent and answered, in seconds from the counted start.

    `status` is the HTTP status, or `NO_ANSWER`; `retry_after` says that it had such a header.
    """

    due: float
    sent: float
    done: float
    status: int
    pairs: int
    retry_after: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What a step measured. `cpu` is the share of one core that the load process used."""

    loop: Loop
    seconds: float
    answers: tuple[Answer, ...]
    cpu: float

    @property
    def due(self) -> tuple[Answer, ...]:
        """The requests due within the counted time, answered or not."""
        return tuple(a for a in self.answers if 0 <= a.due < self.seconds)

    @property
    def statuses(self) -> dict[int, int]:
        """How many of them were answered with which status."""
        return dict(Counter(answer.status for answer in self.due))

    @property
    def error_share(self) -> float:
        """The share of them that were not answered with 200."""
        return sum(a.status != OK for a in self.due) / len(self.due) if self.due else 0.0

    @property
    def latencies(self) -> list[float]:
        """Seconds from due to answered, of those answered with 200."""
        return [a.done - a.due for a in self.due if a.status == OK]

    @property
    def lateness(self) -> list[float]:
        """Seconds from due to sent: what a closed client would have left out, and what we lag."""
        return [a.sent - a.due for a in self.due]

    @property
    def pairs_per_second(self) -> float:
        """Pairs answered with 200.

        Of a closed step a request counts by the share of its time that lies within the counted
        time: where a few long requests fill a window, whole ones would make the figure jump.
        """
        right = [answer for answer in self.answers if answer.status == OK]
        if self.loop == "open":
            return sum(a.pairs for a in right if 0 <= a.done < self.seconds) / self.seconds
        return sum(a.pairs * self._inside(a) for a in right) / self.seconds

    def _inside(self, answer: Answer) -> float:
        overlap = min(answer.done, self.seconds) - max(answer.sent, 0.0)
        return max(0.0, overlap) / max(answer.done - answer.sent, 1e-9)


def complete(content: bytes | None, pairs: int, results_at: ResultsAt) -> bool:
    """Whether the answer has a list of that many results, at that place in its JSON."""
    try:
        found = json.loads(content or b"")
        for step in results_at:
            found = found[step]
        return len(found) == pairs
    except (ValueError, TypeError, KeyError, IndexError):
        return False


def step_command() -> Sequence[str]:
    """The process that reads a step as JSON from standard input and prints what it took."""
    return [sys.executable, "-m", "retort.loadtest.drive"]


def run_step(step: Step) -> Taken:
    """Run the step in a process of its own. Raises `RuntimeError` if that process fails."""
    done = subprocess.run(
        step_command(),
        input=json.dumps(asdict(step)).encode(),
        capture_output=True,
        timeout=step.warmup_s + step.seconds + 2 * step.timeout_s + SPARE_S,
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace")[-2000:]
        raise RuntimeError(f"the load process ended with status {done.returncode}:\n{words}")
    raw = json.loads(done.stdout)
    answers = tuple(Answer(*row) for row in raw["answers"])
    return Taken(step.loop, raw["seconds"], answers, raw["cpu"])
