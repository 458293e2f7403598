"""The most recent comparisons of student and teacher, and their means."""

from __future__ import annotations

from collections import deque
from threading import Lock

from retort.models.rankings import Comparison

WINDOW = 1_000


class Recent:
    """The comparisons of the last `WINDOW` requests. Thread-safe."""

    def __init__(self, size: int = WINDOW) -> None:
        self._kept: deque[Comparison] = deque(maxlen=size)
        self._lock = Lock()
        self.total = 0

    def add(self, comparison: Comparison) -> None:
        """Keep one more, and forget the oldest if there are too many."""
        with self._lock:
            self._kept.append(comparison)
            self.total += 1

    @property
    def top1_agreement(self) -> float | None:
        """The share with the same first passage; None before the first."""
        return _mean([float(kept.top1_agrees) for kept in self._all()])

    @property
    def kendall_tau(self) -> float | None:
        """Mean tau-b; None before the first."""
        taus = [kept.kendall_tau for kept in self._all()]
        return _mean([tau for tau in taus if tau is not None])

    @property
    def score_difference(self) -> float | None:
        """Mean |student - teacher|; None before the first."""
        return _mean([kept.mean_difference for kept in self._all()])

    def _all(self) -> list[Comparison]:
        with self._lock:
            return list(self._kept)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
