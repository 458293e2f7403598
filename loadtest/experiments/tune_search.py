"""The search of `retort tune`: which settings to try, and the highest rate that each of them keeps.

Screening varies one axis after another, because all of them at once would be hundreds of
candidates; their order is one in which an early choice hardly depends on a later one. Then a server
is probed at one rate after another: higher after a rate that met the target, lower after one that
missed it twice, and in between as soon as both are known. Several servers are searched side by
side, and the worse half leaves after each rung (successive halving), so that most of the time goes
to those that are hard to tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from retort.loadtest.rounds import OpenLoad, in_turn
from retort.models.runtime.base import BackendInfo

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = (512, 1_024, 2_048, 4_096), (8_192, 16_384, 32_768)
CPU_STEPS, GPU_STEPS = (4, 8, 16), (16, 32, 64)
GPU_SLOTS = (1, 2, 3)
MOST_STREAMS = 16

SETTINGS = (
    "backend", "provider", "precision", "threads", "streams", "slots", "batch_tokens",
    "length_step",
)  # fmt: skip
FASTER, SLOWER = 1.25, 0.6
# Closer than this, two rates are the same as far as a probe can tell.
RESOLUTION = 1.03
# A p99 this many times over the target is no accident.
HOPELESS = 3.0
# The p99 of fewer requests says nothing: at a low rate a probe takes longer, up to a bound.
LEAST_REQUESTS, LONGEST_S = 20, 60.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings of `retort serve`; what is None is left to the server.

    >>> str(Candidate(BackendInfo("openvino", "cpu", "int8"), streams=2))
    'openvino/cpu/int8, 2 streams'
    """

    backend: BackendInfo | None = None
    threads: int | None = None
    streams: int | None = None
    slots: int | None = None
    batch_tokens: int | None = None
    length_step: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What is set, by the names that `retort serve` gives it."""
        own = asdict(self)
        backend = own.pop("backend") or {}
        return backend | {name: value for name, value in own.items() if value is not None}

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.backend is not None and self.backend.on_gpu

    def __str__(self) -> str:
        parts = [str(self.backend)] if self.backend else []
        if self.threads is not None:
            parts.append(_count(self.threads, "thread") if self.threads else "all threads")
        if self.streams is not None:
            parts.append(_count(self.streams, "stream"))
        if self.slots is not None:
            parts.append(_count(self.slots, "slot"))
        if self.batch_tokens is not None:
            parts.append(f"batches of {self.batch_tokens:,} tokens")
        if self.length_step is not None:
            parts.append(f"steps of {self.length_step}")
        return ", ".join(parts) or "the defaults"


# A server without settings.
DEFAULTS = Candidate()


@dataclass(frozen=True, slots=True)
class Axis:
    """What varies, and the variants of a candidate along it."""

    name: str
    variants: Callable[[Candidate], list[Candidate]]


def axes(*, cores: int, longest: int) -> list[Axis]:
    """The axes after the backend, for pairs of up to `longest` tokens."""

    def parallel(candidate: Candidate) -> list[Candidate]:
        if candidate.on_gpu:
            return [replace(candidate, slots=slots) for slots in GPU_SLOTS]
        return [replace(candidate, threads=t, streams=s) for t, s in parallelism(cores)]

    def budgets(candidate: Candidate) -> list[Candidate]:
        values = GPU_BATCH_TOKENS if candidate.on_gpu else CPU_BATCH_TOKENS
        fitting = [tokens for tokens in values if tokens >= longest] or [longest]
        return [replace(candidate, batch_tokens=tokens) for tokens in fitting]

    def steps(candidate: Candidate) -> list[Candidate]:
        values = GPU_STEPS if candidate.on_gpu else CPU_STEPS
        fitting = [step for step in values if step <= longest] or [longest]
        return [replace(candidate, length_step=step) for step in fitting]

    return [
        Axis("threads and streams", parallel),
        Axis("tokens of a batch", budgets),
        Axis("steps of length", steps),
    ]


def parallelism(cores: int) -> Sequence[tuple[int, int]]:
    """Threads and streams worth trying; 0 threads means one per core.

    One fewer leaves a core to HTTP and tokenizing, half of them leaves out hyper-threads. The
    streams share the threads.

    >>> parallelism(2)
    [(0, 1), (0, 2)]
    """
    counts = [cores] if cores < 4 else [cores, cores - 1, cores // 2]
    return [
        (0 if threads == cores else threads, streams)
        for threads in counts
        for streams in (2**power for power in range(MOST_STREAMS.bit_length()))
        if streams <= threads
    ]


@dataclass(slots=True)
class Search:
    """The search for one server's highest rate; `guess` is the rate to begin with."""

    guess: float
    target_ms: float
    met: OpenLoad | None = None  # at the highest rate that met the target
    missed: OpenLoad | None = None  # at the lowest that did not

    def next_rate(self) -> float | None:
        """Requests per second to probe next; None once the two sides are close."""
        if self.met is None and self.missed is None:
            return self.guess
        if self.missed is None:
            return self.rate * FASTER
        if self.met is None:
            return self.missed.offered * SLOWER
        if self.missed.offered / self.met.offered < RESOLUTION:
            return None
        return math.sqrt(self.met.offered * self.missed.offered)

    def learn(self, probe: OpenLoad) -> None:
        """Take in the result of a probe."""
        if probe.meets(self.target_ms):
            self.met = probe
        else:
            self.missed = probe

    @property
    def rate(self) -> float:
        """The highest rate that met the target; 0 if none has."""
        return self.met.offered if self.met else 0.0


@dataclass(frozen=True, slots=True)
class Rung:
    """How long the probes of a rung were, and each server's search, the best first.

    Among equals the defaults come first: a change of settings has to gain something.
    """

    seconds: float
    searches: dict[Candidate, Search]

    def __post_init__(self) -> None:
        ranked = sorted(self.searches.items(), key=lambda kv: (-kv[1].rate, kv[0] != DEFAULTS))
        object.__setattr__(self, "searches", dict(ranked))

    @property
    def best(self) -> Candidate:
        """The server with the highest rate."""
        return next(iter(self.searches))


@dataclass(slots=True)
class Halving:
    """Successive halving among `finalists`; the defaults are probed to the end, next to the last.

    `guess` is the rate at which the first rung begins. `probe` probes a server at a rate for a
    number of seconds; its last argument is the number of the turn.
    """

    finalists: Sequence[Candidate]
    guess: float
    target_ms: float
    probes: int
    seconds: float
    probe: Callable[[Candidate, float, float, int], OpenLoad]
    probed: list[OpenLoad] = field(default_factory=list)

    def run(self) -> list[Rung]:
        """All rungs; none after one in which no server met the target."""
        left = [candidate for candidate in self.finalists if candidate != DEFAULTS]
        rungs: list[Rung] = []
        guesses = dict.fromkeys([*left, DEFAULTS], self.guess)
        seconds = self.seconds
        while True:
            rung = self._rung({key: guesses[key] for key in [*left, DEFAULTS]}, seconds)
            rungs.append(rung)
            searches = rung.searches
            if len(left) <= 1 or not any(search.met for search in searches.values()):
                return rungs
            left = [key for key in searches if key in left][: (len(left) + 1) // 2]
            guesses = {
                key: searches[key].rate or guesses[key] * SLOWER for key in [*left, DEFAULTS]
            }
            seconds *= 2

    def nearest(self) -> OpenLoad | None:
        """The probe with the lowest p99; None if no p99 is known."""
        known = [probe for probe in self.probed if probe.p99_ms is not None]
        return min(known, key=lambda probe: probe.p99_ms or 0.0, default=None)

    def _rung(self, guesses: dict[Candidate, float], seconds: float) -> Rung:
        searches = {key: Search(guess, self.target_ms) for key, guess in guesses.items()}
        for number, key in in_turn(list(searches), self.probes):
            rate = searches[key].next_rate()
            if rate is not None and LEAST_REQUESTS / rate <= LONGEST_S:
                longer = max(seconds, LEAST_REQUESTS / rate)
                searches[key].learn(self._probe(key, rate, longer, number))
        return Rung(seconds, searches)

    def _probe(self, key: Candidate, rate: float, seconds: float, number: int) -> OpenLoad:
        """A miss has to be repeated to count, because the machine may have been disturbed."""
        first = self.probe(key, rate, seconds, number)
        self.probed.append(first)
        if first.meets(self.target_ms) or not first.meets(HOPELESS * self.target_ms):
            return first
        second = self.probe(key, rate, seconds, number)
        self.probed.append(second)
        return second if second.meets(self.target_ms) else first


def _count(value: int, noun: str) -> str:
    return f"{value} {noun}{'s' * (value != 1)}"
