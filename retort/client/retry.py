"""Retries: whether to try again, and when.

Refusals for the moment (429, 503) and lost connections are retried: scoring has no side effects, so
a request may be sent twice. Pauses grow exponentially with full jitter, on top of what
`Retry-After` asks for. If the deadline would pass during a pause, the error is raised at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from retort.client.errors import ConnectionFailed, NotReady, Overloaded, RetortError

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 8.0
RETRIED = (Overloaded, NotReady, ConnectionFailed)

# Phases of a request that httpx limits one by one.
_PHASES = ("connect", "read", "write", "pool")


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance: seconds since any moment, since 1970, and a number from 0 to 1."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    random: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True)
class Deadline(Mapping[str, float]):
    """When a call must be over; as a mapping, the timeouts that httpx wants for a request's phases.

    httpx reads each as its phase begins, so all phases together keep the deadline.
    """

    end: float
    clock: Clock

    @property
    def left(self) -> float:
        """Seconds that are left, 0.001 at least."""
        return max(0.001, self.end - self.clock.monotonic())

    def __getitem__(self, phase: str) -> float:
        if phase not in _PHASES:
            raise KeyError(phase)
        return self.left

    def __iter__(self) -> Iterator[str]:
        return iter(_PHASES)

    def __len__(self) -> int:
        return len(_PHASES)


class Attempts:
    """The attempts of one request, at most `most`."""

    def __init__(self, most: int, deadline: Deadline) -> None:
        self._most = most
        self._deadline = deadline
        self._failed = 0

    def pause(self, error: RetortError) -> float:
        """Seconds to wait before the next attempt, after one that ended with `error`.

        Raises `error` if there is no next one.
        """
        self._failed += 1
        if not isinstance(error, RETRIED) or self._failed >= self._most:
            raise error
        seconds = (error.retry_after or 0.0) + backoff(self._failed, self._deadline.clock)
        if seconds >= self._deadline.left:
            raise error
        return seconds


def backoff(failed: int, clock: Clock) -> float:
    """Seconds to wait after so many attempts that failed: exponential, with full jitter."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (failed - 1)) * clock.random()


def retry_after(header: str | None, now: float) -> float | None:
    """The seconds that a `Retry-After` asks for, as a number or a date; None if it says nothing.

    `now` is in seconds since 1970.

    >>> retry_after("3", now=0.0), retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=20.0)
    (3.0, 40.0)
    """
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except ValueError:
        return None
