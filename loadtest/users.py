"""The users: Locust users who ask `POST /score`, in a closed loop or at a set rate.

    ClosedLoopUser   asks again as soon as it is answered; more users, more at once
    OpenLoopUser     a source of `rate` requests a second, whatever becomes of them; ten such
                     users are ten times the rate

Latency of an `OpenLoopUser` counts from when a request was due and not from when it was sent (see
`step.py` on coordinated omission); that is also what Locust's own statistics then show.

Importing this module patches the standard library, as Locust does.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import Any, ClassVar

import gevent
from gevent.pool import Group
from locust import FastHttpUser, constant, task

from retort.loadtest.step import NO_ANSWER, OK, Arrivals, ResultsAt, complete

# After a failure a closed user waits: a server that refuses must not be asked in a tight loop.
BACKOFF_S = 0.05


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way, times as `perf_counter` gives them."""

    due: float
    sent: float
    pairs: int


class ScoreUser(FastHttpUser):
    """Sends the bodies in turn, all users together, and checks that each passage has a result."""

    abstract = True
    bodies: ClassVar[tuple[str, ...]] = ()
    pairs: ClassVar[tuple[int, ...]] = ()
    route: ClassVar[str] = "/score"
    results_at: ClassVar[ResultsAt] = ("results",)
    headers: ClassVar[dict[str, str]] = {"Content-Type": "application/json"}
    on_their_way: ClassVar[dict[int, Asked]] = {}
    until: ClassVar[float] = math.inf  # ask nothing that is due later, as `perf_counter` goes
    _turn: ClassVar[Iterator[int]] = count()

    def ask(self, due: float) -> bool:
        """Send the next request, which was due at `due`; whether it was answered well."""
        turn = next(ScoreUser._turn)
        body, pairs = self.bodies[turn % len(self.bodies)], self.pairs[turn % len(self.bodies)]
        asked = Asked(due, perf_counter(), pairs)
        self.on_their_way[turn] = asked
        try:
            with self.client.post(
                self.route, data=body, headers=self.headers, catch_response=True
            ) as response:
                status = response.status_code or NO_ANSWER
                if status == OK and not complete(response.content, pairs, self.results_at):
                    status = NO_ANSWER
                    response.failure(f"an answer without {pairs} results")
                done = perf_counter()
                response.request_meta["response_time"] = (done - due) * 1e3
                response.request_meta["context"] = {
                    "asked": asked, "done": done, "status": status,
                    "retry_after": "Retry-After" in (response.headers or {}),
                }  # fmt: skip
        finally:
            del self.on_their_way[turn]
        return status == OK


class ClosedLoopUser(ScoreUser):
    """One client: asks, waits for the answer, asks again."""

    wait_time = constant(0)

    @task
    def score(self) -> None:
        """Ask once."""
        now = perf_counter()
        if now >= self.until or not self.ask(due=now):
            gevent.sleep(BACKOFF_S)


class OpenLoopUser(ScoreUser):
    """One source of requests, `rate` a second, each in a greenlet of its own."""

    concurrency = 1024
    rate: ClassVar[float] = 1.0
    arrivals: ClassVar[Arrivals] = "poisson"
    seed: ClassVar[int] = 0
    over: ClassVar[bool] = False  # nothing that was due before `until` is left to send
    _sources: ClassVar[Iterator[int]] = count()

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._sent = Group()
        self._due = 0.0
        self._gaps = gaps(self.rate, self.arrivals, self.seed + next(OpenLoopUser._sources))

    def on_start(self) -> None:
        """Begin the schedule."""
        self._due = perf_counter()

    @task
    def arrive(self) -> None:
        """Wait until the next request is due and send it; do not wait for its answer."""
        self._due += next(self._gaps)
        # Late, it does not wait: whatever the server or this process does, the schedule stands.
        gevent.sleep(max(0.0, self._due - perf_counter()))
        if self._due < self.until:
            self._sent.spawn(self.ask, self._due)
        else:
            OpenLoopUser.over = True

    def on_stop(self) -> None:
        """Wait for the answers that are still to come."""
        self._sent.join(timeout=self.network_timeout)


def gaps(rate: float, arrivals: Arrivals, seed: int) -> Iterator[float]:
    """Seconds between one request and the next, without end.

    Poisson arrivals are what many independent people make; many such sources together are one
    again. Even ones begin at a random moment, so that many sources do not all send at once.
    """
    chance = random.Random(seed)
    if arrivals == "even":
        yield chance.random() / rate
        while True:
            yield 1 / rate
    while True:
        yield chance.expovariate(rate)
