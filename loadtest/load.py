"""Load: one stretch of requests on one server, sent by a process of its own.

A closed step has `users` users who each send a request as soon as the last one is answered: it
finds how much a server can do. An open step sends `rate` requests per second, answered or not: it
finds how long requests take at that load.

Coordinated omission. A client that waits for its answer before it sends again sends nothing while
the server stalls, so the requests that would have suffered most are never sent and never timed.
Here every request of an open step is due at a set moment, by a schedule that does not look at the
server, and its latency counts from that moment, however late it was sent.

Two generators send the same steps, each in a process of its own, so that its work is not counted as
the server's, and because Locust patches the standard library of its process. `users.py` is Locust,
which people use too. `client.py` is lean, for benchmarks on the cores that the server needs: per
request of 10 passages it takes 0.14 ms of processor time where Locust takes 0.43 ms, and a step
starts and ends in 0.7 s, not 1.7 s.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, field, replace
from time import perf_counter, process_time
from typing import Any, Literal

import orjson

Loop = Literal["closed", "open"]
Arrivals = Literal["poisson", "even"]
Generator = Literal["lean", "locust"]
# Where an answer's JSON has its results: keys and places, from the outside in.
ResultsAt = tuple[str | int, ...]

OK = 200
NO_ANSWER = 0
MODULES: dict[Generator, str] = {
    "lean": "retort.loadtest.client",
    "locust": "retort.loadtest.users",
}
# A closed user waits after a failure: a server that refuses must not be asked in a tight loop.
BACKOFF_S = 0.05
# How often a load process looks whether what it waits for has come.
POLL_S = 0.005
# What starting the process may take in addition to the step itself.
SPARE_S = 60.0
# In which several load processes have all started.
START_S = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """What to send: the bodies in turn, each with the number of pairs that `pairs` says.

    Raises `ValueError` for a step that cannot be run.
    """

    host: str  # http://127.0.0.1:8080
    bodies: tuple[str, ...]
    pairs: tuple[int, ...]
    seconds: float
    loop: Loop = "closed"
    users: int = 8  # of a closed step
    rate: float = 1.0  # of an open step, requests per second
    arrivals: Arrivals = "poisson"
    warmup_s: float = 1.0
    begin: float = 0.0  # count from then on the clock of `perf_counter`, if warm before that
    timeout_s: float = 60.0
    seed: int = 0
    connections: int = 1024  # of an open step; requests beyond them wait, and the wait counts
    route: str = "/score"
    results_at: ResultsAt = ("results",)  # in the answer: a list with one item for each pair

    def __post_init__(self) -> None:
        if self.users < 1 or self.rate <= 0 or self.seconds <= 0:
            raise ValueError(
                f"{self.users} users, {self.rate:g} requests per second for {self.seconds:g} s: "
                "all three must be above 0"
            )
        if not self.bodies or len(self.bodies) != len(self.pairs):
            raise ValueError(
                f"{len(self.bodies)} bodies with {len(self.pairs)} numbers of pairs: a step needs "
                "at least one body, and a number for each"
            )


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
class Outcome:
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
    def failed(self) -> int:
        """How many of them were not answered with 200."""
        return sum(answer.status != OK for answer in self.due)

    @property
    def error_share(self) -> float:
        """The share of them that were not answered with 200."""
        return self.failed / len(self.due) if self.due else 0.0

    @property
    def latencies(self) -> list[float]:
        """Seconds from due to answered, of those answered with 200."""
        return [a.done - a.due for a in self.due if a.status == OK]

    @property
    def lateness(self) -> list[float]:
        """Seconds from due to sent: how far the load process itself lags."""
        return [a.sent - a.due for a in self.due]

    @property
    def pairs_per_second(self) -> float:
        """Pairs answered with 200.

        In a closed step a request counts by the share of its time that lies within the counted
        time: where a few long requests fill a window, whole ones would make the figure jump.
        """
        right = [answer for answer in self.answers if answer.status == OK]
        if self.loop == "open":
            return sum(a.pairs for a in right if 0 <= a.done < self.seconds) / self.seconds
        return sum(a.pairs * self._share_inside(a) for a in right) / self.seconds

    def _share_inside(self, answer: Answer) -> float:
        overlap = min(answer.done, self.seconds) - max(answer.sent, 0.0)
        return max(0.0, overlap) / max(answer.done - answer.sent, 1e-9)


@dataclass(slots=True)
class Recording:
    """The requests of a step while it runs, for a generator to fill in.

    Times are those of `perf_counter` until `outcome` counts them from the start.
    """

    step: Step
    answers: list[Answer] = field(default_factory=list)
    in_flight: dict[int, Answer] = field(default_factory=dict)
    until: float = math.inf  # send nothing that is due later
    all_sent: bool = False  # of an open step: nothing that was due before `until` is left to send
    _start: float = 0.0
    _seconds: float = 0.0
    _cpu: float = 0.0

    def sent(self, turn: int, due: float, pairs: int) -> None:
        """Request number `turn` goes out now."""
        self.in_flight[turn] = Answer(due, perf_counter(), math.inf, NO_ANSWER, pairs)

    def answered(self, turn: int, status: int, retry_after: bool = False) -> None:
        """It was answered now, or will not be (`NO_ANSWER`)."""
        request = self.in_flight.pop(turn)
        self.answers.append(
            replace(request, done=perf_counter(), status=status, retry_after=retry_after)
        )

    def waits(self) -> Iterator[tuple[Callable[[], bool] | None, float]]:
        """What the load process waits for, one after another: a condition and the longest wait.

        Without a condition it waits as long as that. The counted time lies between warm-up and
        end; `outcome` is known when all waits are over.
        """
        step = self.step
        closed = step.loop == "closed"
        yield None, step.warmup_s
        if closed:
            # Warm is when every user has had an answer: a slow server has only then its usual load.
            yield lambda: len(self.answers) >= step.users, step.timeout_s
        if (left := step.begin - perf_counter()) > 0:
            yield None, left
        self._start, used = perf_counter(), process_time()
        yield None, step.seconds
        end = perf_counter()
        self._seconds = end - self._start
        self._cpu = (process_time() - used) / self._seconds
        if closed:
            # Load goes on until those who sent in the counted time are answered, so that the last
            # ones have no emptier server than the others.
            yield lambda: all(a.sent >= end for a in self.in_flight.values()), step.timeout_s
        # Nothing may be left in the server: another step, or another server, has its turn next.
        # A request that was due is still sent, however late this process is.
        self.until = end
        yield lambda: not self.in_flight and (closed or self.all_sent), step.timeout_s

    def outcome(self) -> Outcome:
        """The step's outcome; requests still in flight have no answer."""
        now = perf_counter()
        late = [replace(request, done=now) for request in self.in_flight.values()]
        answers = (
            replace(
                a, due=a.due - self._start, sent=a.sent - self._start, done=a.done - self._start
            )
            for a in (*self.answers, *late)
        )
        return Outcome(self.step.loop, self._seconds, tuple(answers), self._cpu)


def gaps(rate: float, arrivals: Arrivals, seed: int) -> Iterator[float]:
    """Seconds between one request and the next, without end.

    Poisson arrivals are what many independent people make; several such sources together are one
    again. Even ones begin at a random moment, so that several sources do not all send at once.
    """
    chance = random.Random(seed)
    if arrivals == "even":
        yield chance.random() / rate
        while True:
            yield 1 / rate
    while True:
        yield chance.expovariate(rate)


def run_step(step: Step, generator: Generator = "lean") -> Outcome:
    """Run the step in a process of its own. Raises `RuntimeError` if that process fails."""
    done = subprocess.run(
        [sys.executable, "-m", MODULES[generator]],
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
    return Outcome(step.loop, raw["seconds"], answers, raw["cpu"])


def run_together(step: Step, processes: int) -> Outcome:
    """Run a closed step from several load processes at once, its users shared out among them.

    One process sends no more than some thousands of requests per second. `cpu` is that of the
    busiest: if it is near 1, the load was the limit, not the server. Raises `ValueError` for an
    open step, `RuntimeError` if a process fails.
    """
    if step.loop != "closed":
        raise ValueError("an open step runs in one process: its schedule is one")
    count = max(1, min(processes, step.users))
    begin = perf_counter() + START_S + step.warmup_s
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(count) as pool:
        outcomes += pool.map(run_step, [_share(step, n, count, begin) for n in range(count)])
    answers = tuple(answer for outcome in outcomes for answer in outcome.answers)
    seconds = sum(outcome.seconds for outcome in outcomes) / count
    return Outcome("closed", seconds, answers, max(outcome.cpu for outcome in outcomes))


def _share(step: Step, number: int, count: int, begin: float) -> Step:
    """Process `number` of `count`: its users, and bodies that begin at another one."""
    first = number * len(step.bodies) // count
    return replace(
        step,
        users=step.users // count + (number < step.users % count),
        bodies=step.bodies[first:] + step.bodies[:first],
        pairs=step.pairs[first:] + step.pairs[:first],
        begin=begin,
    )


def read_step() -> Step:
    """The step that a load process gets on standard input, as JSON."""
    raw: dict[str, Any] = json.load(sys.stdin)
    return Step(**raw)


def print_outcome(outcome: Outcome) -> None:
    """Print the outcome as `run_step` reads it."""
    answers = [astuple(answer) for answer in outcome.answers]
    told = json.dumps({"seconds": outcome.seconds, "cpu": outcome.cpu, "answers": answers})
    # Standard output may be unbuffered, and then writes no more than a pipe takes at once.
    with open(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(told.encode())


def require_answers(label: str, outcome: Outcome) -> Outcome:
    """The outcome. Raises `RuntimeError` if the server answered no request with 200."""
    if outcome.pairs_per_second <= 0:
        raise RuntimeError(
            f"{label} answered no request with 200 in {outcome.seconds:g} s under {outcome.loop} "
            f"load; the answers were {outcome.statuses or 'none'}"
        )
    return outcome


def complete(content: bytes | None, pairs: int, results_at: ResultsAt) -> bool:
    """Whether the answer has a list of that many results, at that place in its JSON."""
    try:
        found = orjson.loads(content or b"")
        for step in results_at:
            found = found[step]
        return len(found) == pairs
    except (ValueError, TypeError, KeyError, IndexError):
        return False
