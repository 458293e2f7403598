"""The memory: what the server's process holds while it scores pair after pair, none of them twice.

It may grow at first: caches fill, and a backend keeps code for every shape that it meets. After
that warm-up it should not. The growth is the slope of a straight line through the means of ten
equal stretches, with the 95% interval of least squares (Student's t, eight degrees of freedom).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from retort.loadtest.limits.found import Finding, Row
from retort.loadtest.limits.ground import Ground
from retort.loadtest.limits.mixed import mixed_requests, varied_requests

STRETCHES = 10
STUDENT_T = 2.306  # 97.5% of the distribution with STRETCHES - 2 degrees of freedom
SAMPLE_S = 1.0
LOAD_S = 30.0
REQUESTS = 2000
MEGA = 1e6
DRAWN = 200  # points at most
# Below this share of what it holds after the warm-up, growth is that of the allocator's pages.
NO_GROWTH = 0.01


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident bytes of the server when it had scored so many pairs."""

    pairs: float
    resident: float


@dataclass(frozen=True, slots=True)
class Slope:
    """Bytes a pair, with the 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Memory:
    """The samples in order; those of the first `warmup_pairs` are not counted.

    Raises `ValueError` if too few are left.
    """

    samples: tuple[Sample, ...]
    warmup_pairs: int
    failed: int = 0

    def __post_init__(self) -> None:
        if len(self.counted) < STRETCHES:
            raise ValueError(
                f"{len(self.counted)} samples after {self.warmup_pairs:,} pairs of warm-up, at "
                f"least {STRETCHES} are needed: give more --memory-pairs"
            )

    @property
    def counted(self) -> tuple[Sample, ...]:
        """The samples after the warm-up."""
        return tuple(s for s in self.samples if s.pairs >= self.warmup_pairs)

    @property
    def means(self) -> list[Sample]:
        """The means of `STRETCHES` equal stretches."""
        parts = np.array_split([(s.pairs, s.resident) for s in self.counted], STRETCHES)
        return [Sample(*map(float, part.mean(axis=0))) for part in parts]

    @property
    def slope(self) -> Slope:
        """By how much it grows with a pair."""
        pairs, resident = np.array([(s.pairs, s.resident) for s in self.means]).T
        centred = pairs - pairs.mean()
        spread = float(centred @ centred)
        value = float(centred @ resident) / spread
        rest = resident - resident.mean() - value * centred
        half = STUDENT_T * float(np.sqrt(rest @ rest / (STRETCHES - 2) / spread))
        return Slope(value, value - half, value + half)

    @property
    def growth(self) -> float:
        """Bytes from the mean of the first stretch to that of the last."""
        return self.means[-1].resident - self.means[0].resident

    @property
    def flat(self) -> bool:
        """Whether it did not grow: no slope that is surely above 0, or a growth of nothing."""
        return self.slope.low <= 0 or self.growth < NO_GROWTH * self.means[0].resident

    def finding(self) -> Finding:
        """The growth, with its slope in the notes and the samples to draw."""
        slope, counted = self.slope, self.counted
        pairs = counted[-1].pairs - counted[0].pairs
        row = Row(
            f"Growth of memory over {pairs:,.0f} pairs after {self.warmup_pairs:,} of warm-up",
            f"{self.growth / MEGA:+.1f} MB of {self.means[0].resident / MEGA:.0f} MB",
            f"none (interval holds 0, or under {NO_GROWTH:.0%})",
            self.flat,
        )
        note = (
            f"Memory: slope {slope.value * 1e5 / MEGA:+.2f} MB per 100,000 pairs (95% interval "
            f"{slope.low * 1e5 / MEGA:+.2f} to {slope.high * 1e5 / MEGA:+.2f}), resident set of "
            f"the server's process in {len(counted)} samples, passages that never came before; "
            f"requests that failed: {self.failed}."
        )
        every = -(-len(self.samples) // DRAWN)
        points = tuple((s.pairs, s.resident / MEGA) for s in self.samples[::every])
        return Finding("memory", (row,), (note,), points=points)


def resident_bytes(pid: int, root: Path = Path("/proc")) -> int:
    """What a process holds in memory. Raises `OSError` where the system has no /proc."""
    pages = int((root / str(pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Sampler:
    """Takes a sample every `every_s` in a thread of its own."""

    take: Callable[[], Sample]
    every_s: float = SAMPLE_S
    samples: list[Sample] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside this block samples are taken, one at its beginning and one at its end."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(self.every_s):
                self.samples.append(self.take())

        self.samples.append(self.take())
        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        self.samples.append(self.take())


def measure_memory(ground: Ground) -> Memory:
    """Load the server until it has scored the options' pairs. Raises `RuntimeError` if it does not.

    Every stretch of load has texts of its own.
    """
    options = ground.options
    real = mixed_requests(options.pairs)
    pid = ground.server.pid
    begin = ground.counters().pairs

    def sample() -> Sample:
        return Sample(ground.counters().pairs - begin, resident_bytes(pid))

    sampler = Sampler(sample, min(SAMPLE_S, options.seconds / STRETCHES))
    wanted = options.warmup_pairs + options.memory_pairs
    failed = stretch = 0
    with sampler.running():
        while (
            (done := sampler.samples[-1].pairs) < wanted
            # A fast server is through with few pairs before there is a line to lay.
            or sum(s.pairs >= options.warmup_pairs for s in sampler.samples) < STRETCHES
        ):
            ground.progress(f"memory: {done:,.0f} of {wanted:,} pairs")
            seed = options.seed + stretch
            requests = list(varied_requests(real, requests=REQUESTS, seed=seed))
            outcome = ground.load(requests, min(LOAD_S, 2 * options.seconds))
            if not outcome.completed:
                raise RuntimeError(f"the server answered no request with 200: {outcome.statuses}")
            failed += outcome.failed
            stretch += 1
    return Memory(tuple(sampler.samples), options.warmup_pairs, failed)
