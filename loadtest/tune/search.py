"""The search: the highest rate of requests at which a server keeps its p99 within the target.

A server is probed at one rate after the other: higher after a rate that met the target, lower
after one that missed it twice, and in between as soon as both are known. Several servers are
searched side by side, and the worse half leaves after each rung (successive halving), so that most
of the time goes to those that are hard to tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FASTER, SLOWER = 1.25, 0.6
# Closer than this, two rates are the same as far as a probe can tell.
RESOLUTION = 1.03
# A p99 so many times over the target is no accident.
HOPELESS = 3.0
# Of fewer requests the p99 says nothing: at a low rate a probe takes longer, up to a bound.
LEAST_REQUESTS, LONGEST_S = 20, 60.0


@dataclass(frozen=True, slots=True)
class Probe:
    """One stretch of open load at `rate` requests a second.

    `p99_ms` is None if more than one request of a hundred was not answered.
    """

    rate: float
    seconds: float
    requests: int
    pairs_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    failed: int

    def meets(self, target_ms: float) -> bool:
        """Whether the p99 is within the target."""
        return self.p99_ms is not None and self.p99_ms <= target_ms


@dataclass(slots=True)
class Search:
    """The search for one server: `guess` is the rate to begin with."""

    guess: float
    target_ms: float
    met: Probe | None = None  # at the highest rate that met the target
    missed: Probe | None = None  # at the lowest that did not

    def next_rate(self) -> float | None:
        """Requests a second to probe next; None once the two sides are close."""
        if self.met is None and self.missed is None:
            return self.guess
        if self.missed is None:
            return self.rate * FASTER
        if self.met is None:
            return self.missed.rate * SLOWER
        if self.missed.rate / self.met.rate < RESOLUTION:
            return None
        return math.sqrt(self.met.rate * self.missed.rate)

    def learn(self, probe: Probe) -> None:
        """Take in what a probe found."""
        if probe.meets(self.target_ms):
            self.met = probe
        else:
            self.missed = probe

    @property
    def rate(self) -> float:
        """The highest rate that met the target; 0 if none has."""
        return self.met.rate if self.met else 0.0


# Probes the server of that key at a rate for so many seconds; the last is the turn's number.
Ask = Callable[[Key, float, float, int], Probe]


@dataclass(frozen=True, slots=True)
class Rung(Generic[Key]):
    """One rung: how long its probes were, and each server's search."""

    seconds: float
    searches: dict[Key, Search]


@dataclass(slots=True)
class Halving(Generic[Key]):
    """Successive halving among `contenders`; `reference` is probed to the end, beside the last.

    `guess` is the rate at which the first rung begins.
    """

    contenders: Sequence[Key]
    reference: Key
    guess: float
    target_ms: float
    probes: int
    seconds: float
    ask: Ask[Key]
    probed: list[Probe] = field(default_factory=list)

    def run(self) -> list[Rung[Key]]:
        """All rungs; none after one in which no server met the target."""
        left = [key for key in self.contenders if key != self.reference]
        rungs: list[Rung[Key]] = []
        guesses = dict.fromkeys([*left, self.reference], self.guess)
        seconds = self.seconds
        while True:
            rung = self._rung({key: guesses[key] for key in [*left, self.reference]}, seconds)
            rungs.append(rung)
            searches = rung.searches
            if len(left) <= 1 or not any(search.met for search in searches.values()):
                return rungs
            left.sort(key=lambda key: -searches[key].rate)
            left = left[: (len(left) + 1) // 2]
            guesses = {
                key: searches[key].rate or guesses[key] * SLOWER for key in [*left, self.reference]
            }
            seconds *= 2

    def _rung(self, guesses: dict[Key, float], seconds: float) -> Rung[Key]:
        searches = {key: Search(guess, self.target_ms) for key, guess in guesses.items()}
        for number in range(self.probes):
            keys = list(searches)
            for key in reversed(keys) if number % 2 else keys:
                rate = searches[key].next_rate()
                if rate is None or LEAST_REQUESTS / rate > LONGEST_S:
                    continue
                longer = max(seconds, LEAST_REQUESTS / rate)
                searches[key].learn(self._probe(key, rate, longer, number))
        return Rung(seconds, searches)

    def _probe(self, key: Key, rate: float, seconds: float, number: int) -> Probe:
        """A miss has to be repeated to count, for the machine may have been disturbed."""
        first = self.ask(key, rate, seconds, number)
        self.probed.append(first)
        if first.meets(self.target_ms) or not first.meets(HOPELESS * self.target_ms):
            return first
        second = self.ask(key, rate, seconds, number)
        self.probed.append(second)
        return second if second.meets(self.target_ms) else first


def nearest(probed: Sequence[Probe]) -> Probe | None:
    """The probe that came nearest to any target: the lowest p99; None if no p99 is known."""
    known = [probe for probe in probed if probe.p99_ms is not None]
    return min(known, key=lambda probe: probe.p99_ms or 0.0, default=None)
