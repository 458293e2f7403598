"""The drive: Locust without its web page, as a process that runs one step.

`python -m retort.loadtest.drive` reads a `Step` as JSON from standard input and prints the result.
"""

from __future__ import annotations

# First of all: it patches the standard library, which others then import patched.
from locust.env import Environment  # isort: skip

import json
import sys
from collections.abc import Callable
from dataclasses import astuple
from time import perf_counter, process_time
from typing import Any

import gevent

from retort.loadtest.step import NO_ANSWER, Answer, Step
from retort.loadtest.users import Asked, ClosedLoopUser, OpenLoopUser, ScoreUser

POLL_S = 0.005


class Recorder:
    """Takes every request from Locust's event."""

    def __init__(self) -> None:
        self.found: list[tuple[Asked, float, int, bool]] = []

    def __call__(self, context: dict[str, Any], **others: object) -> None:
        """What `events.request` calls."""
        self.found.append(
            (context["asked"], context["done"], context["status"], context["retry_after"])
        )

    def answers(self, start: float) -> list[Answer]:
        """All of them, in seconds from `start`; those still on their way have no answer."""
        now = perf_counter()
        never = [(asked, now, NO_ANSWER, False) for asked in asked_now()]
        return [
            Answer(asked.due - start, asked.sent - start, done - start, status, asked.pairs, again)
            for asked, done, status, again in (*self.found, *never)
        ]


def user_of(step: Step) -> type[ScoreUser]:
    """The user class that sends the step."""
    ScoreUser.bodies, ScoreUser.pairs = step.bodies, step.pairs
    ScoreUser.route, ScoreUser.results_at = step.route, step.results_at
    user: type[ScoreUser] = ClosedLoopUser
    if step.loop == "open":
        user = OpenLoopUser
        OpenLoopUser.rate, OpenLoopUser.arrivals = step.rate, step.arrivals
        OpenLoopUser.seed, OpenLoopUser.concurrency = step.seed, step.connections
    user.network_timeout = user.connection_timeout = step.timeout_s
    return user


def run(step: Step) -> dict[str, Any]:
    """Run the step; what it took, as plain values."""
    environment = Environment(user_classes=[user_of(step)], host=step.host)
    recorder = Recorder()
    environment.events.request.add_listener(recorder)
    runner = environment.create_local_runner()
    users = step.users if step.loop == "closed" else 1
    runner.start(users, spawn_rate=users)

    gevent.sleep(step.warmup_s)
    if step.loop == "closed":
        # Warm is when every user has had an answer: a slow server has only then its usual load.
        wait_until(lambda: len(recorder.found) >= users, step.timeout_s)
    start, used = perf_counter(), process_time()
    gevent.sleep(step.seconds)
    end, used = perf_counter(), process_time() - used

    if step.loop == "closed":
        # Load goes on until whoever asked in the counted time is answered, so that the last ones
        # have no emptier server than the others.
        wait_until(lambda: all(a.sent >= end for a in asked_now()), step.timeout_s)
    # Nothing may be left in the server: another step, or another server, has its turn next. What
    # was due is still sent, however late this process is.
    ScoreUser.until = end
    wait_until(
        lambda: not asked_now() and (step.loop == "closed" or OpenLoopUser.over), step.timeout_s
    )
    answers = recorder.answers(start)
    return {
        "seconds": end - start,
        "cpu": used / (end - start),
        "answers": [astuple(answer) for answer in answers],
    }


def asked_now() -> list[Asked]:
    """The requests on their way."""
    return list(ScoreUser.on_their_way.values())


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Let the users run until `condition` holds, or for `timeout_s`."""
    until = perf_counter() + timeout_s
    while not condition() and perf_counter() < until:
        gevent.sleep(POLL_S)


def main() -> None:
    """Run the step that standard input holds."""
    raw: dict[str, Any] = json.load(sys.stdin)
    print(json.dumps(run(Step(**raw))), flush=True)


if __name__ == "__main__":
    main()
