"""A simulator of the engine in no real time: the server's own queue and scheduler, a backend that
only costs time, and requests of which only the token counts matter.

The queue is the real one, so batches, admission, deadlines and pace are the server's. An event is
an arrival or the end of a batch; tokenizing takes no time.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random

import numpy as np

from retort.service.engine.job import Job
from retort.service.engine.pace import Pace
from retort.service.engine.pairs import Pairs
from retort.service.engine.queue import Work, WorkQueue
from retort.service.engine.scheduler import Policy, length_steps
from retort.service.errors import Overloaded

LONGEST = 128


@dataclass(frozen=True, slots=True)
class Machine:
    """A batch costs (overhead + pairs x longest) tokens, each so many seconds per stream."""

    overhead_tokens: int = 64
    tokens_per_second: float = 48_000.0
    streams: int = 1
    queue_tokens: int = 524_288
    batch_tokens: int = 1_024
    length_step: int = 8

    @property
    def policy(self) -> Policy:
        steps = length_steps(LONGEST, self.length_step)
        return Policy(steps, self.batch_tokens, self.overhead_tokens)

    @property
    def pace(self) -> Pace:
        token = self.streams / self.tokens_per_second
        overhead = self.overhead_tokens * token
        return Pace(overhead, token, batch_tokens=self.batch_tokens, streams=self.streams)

    def seconds(self, pairs: int, length: int) -> float:
        return (self.overhead_tokens + pairs * length) * self.streams / self.tokens_per_second


@dataclass(eq=False, slots=True)
class Request:
    """Comes at `at` seconds; `lengths` are its pairs' tokens. The simulator fills in the rest."""

    at: float
    lengths: tuple[int, ...]
    timeout: float = 60.0
    client: int = 0
    last_start: float = 0.0
    finish: float | None = None
    refused: bool = False
    scored: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        assert self.finish is not None
        return self.finish - self.at


@dataclass(frozen=True, slots=True)
class Ran:
    """A batch, padded to `length`; `lengths` are its pairs' own tokens."""

    start: float
    finish: float
    length: int
    lengths: tuple[int, ...]


def simulate(
    requests: Iterable[Request],
    machine: Machine,
    slowness: Callable[[float], float] = lambda _: 1.0,
) -> list[Ran]:
    """Serve the requests until nothing is left; fills them in and returns the batches.

    `slowness` is how many times longer a batch takes that starts at a moment, in seconds.
    """
    now = 0.0
    queue = WorkQueue(
        machine.policy,
        machine.pace,
        limit_tokens=machine.queue_tokens,
        slots=machine.streams,
        streams=machine.streams,
        clock=lambda: now,
    )
    numbers = itertools.count()
    events: list[tuple[float, int, Request | Work]] = []
    for request in requests:
        heapq.heappush(events, (request.at, next(numbers), request))
    jobs: dict[int, Request] = {}
    started: dict[int, float] = {}
    ran: list[Ran] = []
    while events:
        now, number, event = heapq.heappop(events)
        if isinstance(event, Request):
            job = _job(number, event)
            jobs[job.key] = event
            try:
                queue.put(job, _pairs(event.lengths))
            except Overloaded:
                event.refused = True
        else:
            for job in queue.scored(event, now - started.pop(number)):
                # The front end's timer has answered what is late.
                if now <= job.deadline:
                    jobs[job.key].finish = now
        queue.expire()
        while (work := queue.poll()) is not None:
            batch: list[int] = []
            for span in work.spans:
                jobs[span.job.key].scored.extend(span.indices.tolist())
                jobs[span.job.key].last_start = now
                batch += span.pairs.lengths[span.indices].tolist()
            finish = now + machine.seconds(len(batch), work.length) * slowness(now)
            ran.append(Ran(now, finish, work.length, tuple(batch)))
            number = next(numbers)
            started[number] = now
            heapq.heappush(events, (finish, number, work))
    assert queue.tokens == 0
    return ran


def _pairs(lengths: tuple[int, ...]) -> Pairs:
    ids = np.zeros(sum(lengths), np.uint16)
    return Pairs(ids, np.array(lengths), np.full(len(lengths), 2))


def _job(key: int, request: Request) -> Job:
    return Job(
        key=key,
        client=request.client,
        size=len(request.lengths),
        deadline=request.at + request.timeout,
        coming_tokens=0,
        background=False,
        alone=False,
        done=lambda *_: None,
    )


def poisson(
    chance: Random,
    machine: Machine,
    load: float,
    count: int,
    sizes: tuple[int, int] = (1, 60),
    lengths: tuple[int, int] = (22, 120),
    timeout: float = 60.0,
) -> list[Request]:
    """`count` requests whose padded tokens take `load` of the machine's time, gaps exponential.

    Numbers of pairs are log-uniform in `sizes`, token counts uniform in `lengths`.
    """
    drawn = [tuple(_lengths(chance, sizes, lengths)) for _ in range(count)]
    full = 1 + machine.overhead_tokens / machine.batch_tokens
    work = sum(machine.policy.padded(n) for pairs in drawn for n in pairs) * full
    rate = load * count * machine.tokens_per_second / work
    times = itertools.accumulate(chance.expovariate(rate) for _ in range(count))
    return [Request(at, pairs, timeout) for at, pairs in zip(times, drawn, strict=True)]


def _lengths(chance: Random, sizes: tuple[int, int], lengths: tuple[int, int]) -> Iterator[int]:
    least, most = sizes
    pairs = int(least * ((most + 1) / least) ** chance.random())
    # The passages of one query are of like length, as in real traffic.
    middle = chance.uniform(*lengths)
    for _ in range(pairs):
        yield int(min(max(chance.gauss(middle, 12), lengths[0]), lengths[1]))
