"""A simulator of the engine in no real time: the server's own queue and scheduler, a backend that
only costs time, and requests of which only the token counts matter.

The queue is the real one, so batches, admission, deadlines and pace are the server's. An event is
an arrival or the end of a batch; tokenizing takes no time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random

import numpy as np

from retort.models.encoding import EncodedPair
from retort.service.engine.job import Job
from retort.service.engine.queue import Work, WorkQueue
from retort.service.engine.scheduler import Policy, length_steps
from retort.service.errors import Overloaded

LONGEST = 128
LOOP = asyncio.new_event_loop()
LOOP.close()
PAIRS = [EncodedPair(np.zeros(n, dtype=np.int64), 2, False) for n in range(LONGEST + 1)]


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

    def seconds(self, pairs: int, length: int) -> float:
        return (self.overhead_tokens + pairs * length) * self.streams / self.tokens_per_second


@dataclass(eq=False, slots=True)
class Request:
    """Comes at `at` seconds; `lengths` are its pairs' tokens. The simulator fills in the rest."""

    at: float
    lengths: tuple[int, ...]
    timeout: float = 60.0
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


def simulate(requests: Iterable[Request], machine: Machine) -> list[Ran]:
    """Serve the requests until nothing is left; fills them in and returns the batches."""
    now = 0.0
    queue = WorkQueue(
        machine.policy,
        limit_tokens=machine.queue_tokens,
        slots=machine.streams,
        streams=machine.streams,
        clock=lambda: now,
    )
    queue.seconds_per_token = 1 / machine.tokens_per_second
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
            job = _job(number, event, queue)
            jobs[job.key] = event
            try:
                queue.put(job)
            except Overloaded:
                event.refused = True
        else:
            for job in queue.scored(event, now - started.pop(number)):
                # The event loop's timer has answered what is late.
                if now <= job.deadline:
                    jobs[job.key].finish = now
        while (task := queue.poll()) is not None:
            if isinstance(task, Job):
                lengths = jobs[task.key].lengths
                queue.encoded(task, [PAIRS[n] for n in lengths], 0.0)
                continue
            batch = []
            for span in task.spans:
                jobs[span.job.key].scored.extend(span.indices)
                jobs[span.job.key].last_start = now
                batch += [len(span.job.pairs[index]) for index in span.indices]
            finish = now + machine.seconds(len(batch), task.length)
            ran.append(Ran(now, finish, task.length, tuple(batch)))
            number = next(numbers)
            started[number] = now
            heapq.heappush(events, (finish, number, task))
    assert queue.tokens == 0
    return ran


def _job(key: int, request: Request, queue: WorkQueue) -> Job:
    tokens, deadline = sum(request.lengths), request.at + request.timeout
    due = queue.policy.due(request.at, deadline, tokens, queue.seconds_per_token)
    result = LOOP.create_future()
    return Job(key, "", ["" for _ in request.lengths], deadline, due, tokens, result)


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
