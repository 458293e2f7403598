"""Locust's users, who send `POST /score` in a closed loop or at a set rate.

    ClosedLoopUser   sends again as soon as it is answered; more users, more requests at once
    OpenLoopUser     a source of `rate` requests per second, answered or not; ten such users are
                     ten times the rate

    python -m retort.loadtest.users      reads a `Step` as JSON, prints its `Outcome`

The latency of an `OpenLoopUser` counts from when a request was due and not from when it was sent
(see `load.py` on coordinated omission); Locust's own statistics show that too.

Importing this module patches the standard library, as Locust does.
"""

from __future__ import annotations

# First of all: it patches the standard library, which others then import patched.
from locust.env import Environment  # isort: skip

import math
from collections.abc import Iterator
from itertools import count
from time import perf_counter
from typing import Any, ClassVar

import gevent
from gevent.pool import Group
from locust import FastHttpUser, constant, task

from retort.loadtest.load import (
    BACKOFF_S,
    NO_ANSWER,
    OK,
    POLL_S,
    Arrivals,
    Outcome,
    Recording,
    ResultsAt,
    Step,
    complete,
    gaps,
    print_outcome,
    read_step,
)


class ScoreUser(FastHttpUser):
    """Sends the bodies in turn, all users together, and checks that each passage has a result."""

    abstract = True
    bodies: ClassVar[tuple[str, ...]] = ()
    pairs: ClassVar[tuple[int, ...]] = ()
    route: ClassVar[str] = "/score"
    results_at: ClassVar[ResultsAt] = ("results",)
    headers: ClassVar[dict[str, str]] = {"Content-Type": "application/json"}
    recording: ClassVar[Recording | None] = None  # of a step; people read Locust's statistics
    _turns: ClassVar[Iterator[int]] = count()

    @property
    def until(self) -> float:
        """Send nothing that is due later."""
        return self.recording.until if self.recording else math.inf

    def ask(self, due: float) -> bool:
        """Send the next request, which was due at `due`; whether it was answered well."""
        turn = next(ScoreUser._turns)
        body, pairs = self.bodies[turn % len(self.bodies)], self.pairs[turn % len(self.bodies)]
        status, retry_after = NO_ANSWER, False
        if self.recording:
            self.recording.sent(turn, due, pairs)
        try:
            with self.client.post(
                self.route, data=body, headers=self.headers, catch_response=True
            ) as response:
                status = response.status_code or NO_ANSWER
                retry_after = "Retry-After" in (response.headers or {})
                if status == OK and not complete(response.content, pairs, self.results_at):
                    status = NO_ANSWER
                    response.failure(f"an answer without {pairs} results")
                response.request_meta["response_time"] = (perf_counter() - due) * 1e3
        finally:
            if self.recording:
                self.recording.answered(turn, status, retry_after)
        return status == OK


class ClosedLoopUser(ScoreUser):
    """One client: sends, waits for the answer, sends again."""

    wait_time = constant(0)

    @task
    def score(self) -> None:
        """Send once."""
        now = perf_counter()
        if now >= self.until or not self.ask(due=now):
            gevent.sleep(BACKOFF_S)


class OpenLoopUser(ScoreUser):
    """One source of `rate` requests per second, each in a greenlet of its own."""

    concurrency = 1024
    rate: ClassVar[float] = 1.0
    arrivals: ClassVar[Arrivals] = "poisson"
    seed: ClassVar[int] = 0
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
        # When late it does not wait: the schedule does not depend on server or client.
        gevent.sleep(max(0.0, self._due - perf_counter()))
        if self._due < self.until:
            self._sent.spawn(self.ask, self._due)
        elif self.recording:
            self.recording.all_sent = True

    def on_stop(self) -> None:
        """Wait for the answers that are still to come."""
        self._sent.join(timeout=self.network_timeout)


def run(step: Step) -> Outcome:
    """Run the step with Locust's users."""
    recording = ScoreUser.recording = Recording(step)
    ScoreUser.bodies, ScoreUser.pairs = step.bodies, step.pairs
    ScoreUser.route, ScoreUser.results_at = step.route, step.results_at
    OpenLoopUser.rate, OpenLoopUser.arrivals = step.rate, step.arrivals
    OpenLoopUser.seed, OpenLoopUser.concurrency = step.seed, step.connections
    user = ClosedLoopUser if step.loop == "closed" else OpenLoopUser
    user.network_timeout = user.connection_timeout = step.timeout_s
    users = step.users if step.loop == "closed" else 1
    environment = Environment(user_classes=[user], host=step.host)
    environment.create_local_runner().start(users, spawn_rate=users)
    for condition, longest in recording.waits():
        end = perf_counter() + longest
        while (left := end - perf_counter()) > 0 and not (condition and condition()):
            gevent.sleep(min(POLL_S, left) if condition else left)
    return recording.outcome()


if __name__ == "__main__":
    print_outcome(run(read_step()))
