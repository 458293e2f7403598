"""The findings: what became of each peer, what it did under load, and the ratios that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from retort.loadtest.figures import Interval, Latency, Spread, percentile, ratio_of_means
from retort.loadtest.peers.peer import OURS
from retort.loadtest.peers.ranking import Agreement
from retort.loadtest.step import Taken

WANTED_OF_INFINITY = 4.0
WANTED_OF_BARE = 0.9
# A load counts as held if no more than this share of its requests failed.
MOST_ERRORS = 0.01


@dataclass(frozen=True, slots=True)
class Setup:
    """What was measured, where and how."""

    created: str
    command: str
    machine: str
    bundle: str
    backend: str  # what ours chose
    rounds: int
    seconds: float
    load_seconds: float
    users: int
    p99_ms: float  # the target


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a peer ran, and whether it ranked as the weights do."""

    name: str
    label: str
    agreement: Agreement | None = None
    problem: str = ""

    @property
    def right(self) -> bool:
        """Whether it goes on to be measured."""
        return self.agreement is not None and self.agreement.right


@dataclass(frozen=True, slots=True)
class Point:
    """A peer under one open load; pairs a second, latencies in ms from due to answered."""

    offered: float
    answered: float
    requests: int
    error_share: float
    latency: Latency | None  # None if nothing was answered
    sent_late_ms: float

    @classmethod
    def of(cls, offered: float, taken: Taken) -> Point:
        """Sum up an open step. Raises `RuntimeError` if no request was due in it."""
        if not taken.due:
            raise RuntimeError(
                f"no request was due in {taken.seconds:g} s at {offered:g} pairs a second: "
                "measure for longer"
            )
        latencies = taken.latencies
        return cls(
            offered,
            taken.pairs_per_second,
            len(taken.due),
            taken.error_share,
            Latency.of(latencies) if latencies else None,
            percentile(taken.lateness, 99) * 1e3,
        )

    def holds(self, p99_ms: float) -> bool:
        """Whether the target was met at this load."""
        fits = self.latency is not None and self.latency.p99_ms <= p99_ms
        return fits and self.error_share <= MOST_ERRORS


@dataclass(frozen=True, slots=True)
class Measured:
    """A peer under one workload. `low` is the same load for all, `high` a share of its own."""

    name: str
    label: str
    rates: tuple[float, ...]  # pairs a second under closed load, by round
    closed: Latency
    cpu_seconds_per_1000: float
    memory_bytes: int
    failed: int
    low: Point
    high: Point
    points: tuple[Point, ...]  # all open loads, in the order of their offers

    @property
    def spread(self) -> Spread:
        """Pairs a second over the rounds."""
        return Spread.over(self.rates)

    def highest_within(self, p99_ms: float) -> Point | None:
        """The highest offered load below which, and at which, the target was met."""
        best = None
        for point in self.points:
            if not point.holds(p99_ms):
                break
            best = point
        return best


@dataclass(frozen=True, slots=True)
class Bout:
    """All who were measured under one workload, and the bare loop as their ceiling."""

    workload: str
    words: str
    measured: tuple[Measured, ...]
    bare: tuple[float, ...] = ()
    out: tuple[str, ...] = ()  # who failed under load, and how

    def of(self, name: str) -> Measured | None:
        """The peer of that name, if it was measured."""
        return next((found for found in self.measured if found.name == name), None)

    def times(self, name: str) -> Interval | None:
        """How many times as many pairs a second ours scores as the peer."""
        ours, other = self.of(OURS), self.of(name)
        if ours is None or other is None:
            return None
        return ratio_of_means(ours.rates, other.rates)

    @property
    def of_bare(self) -> Interval | None:
        """The share of the bare loop's pairs a second that ours has over HTTP."""
        ours = self.of(OURS)
        return ratio_of_means(ours.rates, self.bare) if ours and self.bare else None

    @property
    def best_infinity(self) -> Measured | None:
        """The fastest of infinity's engines that ranks rightly."""
        engines = [found for found in self.measured if found.name.startswith("infinity")]
        return max(engines, key=lambda found: found.spread.median, default=None)


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that one run found."""

    setup: Setup
    standings: tuple[Standing, ...]
    bouts: tuple[Bout, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self)


def failed_of(steps: Sequence[Taken]) -> int:
    """Requests that were due and not answered with 200."""
    return sum(round(taken.error_share * len(taken.due)) for taken in steps)
