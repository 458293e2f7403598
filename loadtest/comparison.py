"""The comparison: what each server did in each round, and the ratios that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from retort.loadtest.figures import Interval, Spread, percentile, ratio_of_means
from retort.loadtest.step import Loop, Taken

Role = Literal["student", "shadow", "teacher", "ensemble", "same-backend", "bert-large"]
STUDENT: Role = "student"
SHADOW: Role = "shadow"
# The teachers, and how many times faster than each the shipped student has to be.
WANTED: dict[Role, float] = {
    "teacher": 8.0,
    "ensemble": 25.0,
    "same-backend": 1.9,
    "bert-large": 35.0,
}
WANTED_SHADOW_LOSS = 0.03


@dataclass(frozen=True, slots=True)
class Target:
    """A server under load. `shape_only`: its weights are random and its scores mean nothing."""

    role: Role
    label: str
    host: str
    engine: str
    shape_only: bool = False


@dataclass(frozen=True, slots=True)
class Setup:
    """What was measured, where and how."""

    created: str
    command: str
    machine: str
    load: str
    users: int
    passages: int
    rounds: int
    seconds: float
    load_seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """A server under closed load: pairs a second in each round, and the share of failures."""

    target: Target
    rates: tuple[float, ...]
    error_share: float
    generator_cpu: float  # largest share of one core that the load process used

    @property
    def spread(self) -> Spread:
        """Median, lowest and highest over the rounds."""
        return Spread.over(self.rates)


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """A server at one arrival rate; latencies in ms from due to answered, None if none was."""

    role: Role
    offered: float  # requests a second
    answered: float  # pairs a second
    requests: int
    error_share: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    sent_late_ms: float  # 99th percentile of how long after its due moment a request was sent

    @classmethod
    def of(cls, role: Role, offered: float, taken: Taken) -> LoadPoint:
        """Sum up an open step. Raises `RuntimeError` if no request was due in it."""
        if not taken.due:
            raise RuntimeError(
                f"no request was due in {taken.seconds:g} s at {offered:g} requests a second: "
                "measure for longer"
            )
        found = taken.latencies
        p50, p95, p99 = (
            percentile(found, share) * 1e3 if found else None for share in (50, 95, 99)
        )
        late = percentile(taken.lateness, 99) * 1e3
        rate, errors = taken.pairs_per_second, taken.error_share
        return cls(role, offered, rate, len(taken.due), errors, p50, p95, p99, late)


@dataclass(frozen=True, slots=True)
class Speedup:
    """How many times as many pairs a second the student scores as a teacher."""

    teacher: Target
    times: Interval
    wanted: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures of one run."""

    setup: Setup
    figures: tuple[Figures, ...]
    speedups: tuple[Speedup, ...]
    shadow_loss: Interval | None  # share of the student's pairs a second lost by shadowing
    points: tuple[LoadPoint, ...] = ()
    # Shadowed requests that were compared, dropped or failed: one that is dropped costs nothing.
    shadowed: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        setup: Setup,
        targets: Sequence[Target],
        rounds: Sequence[Mapping[Role, Taken]],
        points: Sequence[LoadPoint] = (),
        shadowed: Mapping[str, int] | None = None,
    ) -> Comparison:
        """Put the rounds together. Raises `RuntimeError` for a server that answered nothing."""
        figures = {target.role: _figures(target, rounds) for target in targets}
        student = figures[STUDENT].rates
        loss = None
        if SHADOW in figures:
            kept = ratio_of_means(figures[SHADOW].rates, student)
            loss = Interval(1 - kept.value, 1 - kept.high, 1 - kept.low, kept.rounds)
        speedups = [
            Speedup(figures[role].target, ratio_of_means(student, figures[role].rates), wanted)
            for role, wanted in WANTED.items()
            if role in figures
        ]
        servers = tuple(figures.values())
        return cls(setup, servers, tuple(speedups), loss, tuple(points), dict(shadowed or {}))

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self)


def _figures(target: Target, rounds: Sequence[Mapping[Role, Taken]]) -> Figures:
    taken = [found[target.role] for found in rounds]
    for step in taken:
        require_answers(target, step, "closed")
    due = [answer for step in taken for answer in step.due]
    return Figures(
        target,
        tuple(step.pairs_per_second for step in taken),
        sum(step.error_share * len(step.due) for step in taken) / max(1, len(due)),
        max(step.cpu for step in taken),
    )


def require_answers(target: Target, taken: Taken, loop: Loop) -> None:
    """Raise `RuntimeError` if a server answered no request of a step with 200."""
    if taken.pairs_per_second <= 0:
        raise RuntimeError(
            f"{target.label} answered no request with 200 in {taken.seconds:g} s under {loop} "
            f"load; the answers were {taken.statuses or 'none'}"
        )
