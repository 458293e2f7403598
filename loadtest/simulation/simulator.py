"""The simulator: one backend, one queue and a policy, from event to event.

An event is an arrival, the end of a batch, or the end of a policy's patience; what lies between
takes no time. Tokenizing and HTTP cost nothing here, and no request has a deadline.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retort.loadtest.simulation.policies import Contender, Held
from retort.service.engine.scheduler import Pick, Policy


@dataclass(frozen=True, slots=True)
class Machine:
    """What a batch costs: (overhead + pairs x longest) tokens, each so many seconds.

    `queue_tokens` may wait; what comes past that is refused, as the server does it.
    """

    overhead_tokens: float
    seconds_per_token: float
    queue_tokens: int = 524_288

    def seconds(self, pairs: int, length: int) -> float:
        """How long a batch of `pairs` pairs padded to `length` takes."""
        return (self.overhead_tokens + pairs * length) * self.seconds_per_token

    def least_seconds(self, lengths: Sequence[int], policy: Policy) -> float:
        """What a request costs if all its pairs go in full batches of their own length."""
        padded = sum(policy.padded(length) for length in lengths)
        return padded * self.seconds_per_token * (1 + self.overhead_tokens / policy.batch_tokens)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that comes at `at` seconds; with `again`, once more when it is answered.

    It comes no more once all others have come.
    """

    at: float
    lengths: tuple[int, ...]
    again: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that was answered; times in seconds. `start` is when its first pair went."""

    arrival: Arrival
    start: float
    finish: float

    @property
    def seconds(self) -> float:
        """How long the request took."""
        return self.finish - self.arrival.at


@dataclass(frozen=True, slots=True)
class Ran:
    """A batch that ran from `start` to `finish`: its pairs, padded to `length`, and tokens."""

    start: float
    finish: float
    pairs: int
    length: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Run:
    """All that happened, in order."""

    answers: tuple[Answer, ...]
    batches: tuple[Ran, ...]
    refused: tuple[Arrival, ...]


def simulate(
    arrivals: Iterable[Arrival], contender: Contender, policy: Policy, machine: Machine
) -> Run:
    """Serve the arrivals, which must come in order of time, until all are answered.

    Raises `ValueError` for a policy that picks what is not there, goes past the longest wait it
    named, or makes no progress.
    """
    return _Simulator(deque(arrivals), contender, policy, machine).run()


@dataclass(slots=True)
class _Guest:
    held: Held
    arrival: Arrival
    tokens: dict[int, list[int]]  # padded length to the token counts of the pairs that wait
    start: float = math.inf


class _Simulator:
    def __init__(
        self, arrivals: deque[Arrival], contender: Contender, policy: Policy, machine: Machine
    ) -> None:
        self.arrivals = arrivals
        self.contender = contender
        self.policy = policy
        self.machine = machine
        self.now = 0.0
        self.next_key = 0
        self.held_tokens = 0
        self.guests: dict[int, _Guest] = {}
        self.waiting: dict[int, Held] = {}
        self.answers: list[Answer] = []
        self.batches: list[Ran] = []
        self.refused: list[Arrival] = []

    def run(self) -> Run:
        while self.arrivals or self.waiting:
            self._admit_until(self.now)
            picks = self._choose()
            if picks:
                self._infer(picks)
            else:
                self.now = self._next_event()
        return Run(tuple(self.answers), tuple(self.batches), tuple(self.refused))

    def _choose(self) -> list[Pick]:
        if not self.waiting:
            return []
        return self.contender.choose(self.waiting.values(), self.policy, self.now)

    def _next_event(self) -> float:
        times = [self.arrivals[0].at] if self.arrivals else []
        if self.waiting:
            oldest = next(iter(self.waiting.values()))
            times.append(oldest.arrival + self.contender.wait_seconds)
        if min(times) <= self.now:
            raise ValueError(
                f"{self.contender.name} picks nothing at {self.now:g} s, though a request has "
                f"waited since {oldest.arrival:g} s: it may wait {self.contender.wait_seconds:g} s"
            )
        return min(times)

    def _admit_until(self, now: float) -> None:
        while self.arrivals and self.arrivals[0].at <= now:
            self._admit(self.arrivals.popleft())

    def _admit(self, arrival: Arrival) -> None:
        tokens = sum(arrival.lengths)
        limit = self.machine.queue_tokens
        if self.held_tokens + min(tokens, limit // 2) > limit:
            self.refused.append(arrival)
            return
        self.held_tokens += tokens
        due = self.policy.due(arrival.at, math.inf, tokens, self.machine.seconds_per_token)
        padded = tuple(map(self.policy.padded, arrival.lengths))
        held = Held(self.next_key, arrival.at, due, padded)
        guest = _Guest(held, arrival, {})
        for length, own in zip(padded, arrival.lengths, strict=True):
            guest.tokens.setdefault(length, []).append(own)
        self.guests[held.key] = guest
        self.waiting[held.key] = held
        self.next_key += 1

    def _infer(self, picks: Sequence[Pick]) -> None:
        start = self.now
        tokens = 0
        finished: list[_Guest] = []
        for pick in picks:
            guest = self.guests[pick.key]
            guest.held.take(pick)
            rows = guest.tokens[pick.length]
            tokens += sum(rows[-pick.count :])
            del rows[-pick.count :]
            guest.start = min(guest.start, start)
            if not guest.held.left:
                del self.waiting[pick.key]
                finished.append(self.guests.pop(pick.key))
        pairs = sum(pick.count for pick in picks)
        length = max(pick.length for pick in picks)
        self.now = start + self.machine.seconds(pairs, length)
        self.batches.append(Ran(start, self.now, pairs, length, tokens))
        # What comes while the batch runs finds its tokens still in the queue.
        self._admit_until(self.now)
        self.held_tokens -= tokens
        for guest in finished:
            self.answers.append(Answer(guest.arrival, guest.start, self.now))
            if guest.arrival.again and self.arrivals:
                self._admit(Arrival(self.now, guest.arrival.lengths, again=True))
