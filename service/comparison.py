"""The comparison: how a student's ranking of one request differs from its teacher's.

It is pure, as is the window that keeps what was found of late.

Example: student 0.9, 0.5, 0.1 and teacher 0.8, 0.2, 0.3 have the same first passage; of the three
pairs of passages one is in another order, so tau is (2 - 1) / 3; the scores differ by 0.2 on
average.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

WINDOW = 1_000
# Scores nearer than this are a tie: either passage may stand first.
TIE = 1e-6


@dataclass(frozen=True, slots=True)
class Comparison:
    """One request: the same first passage? Kendall's tau-b; mean |student - teacher|.

    `kendall_tau` is None where either gave all passages the same score: that is no ranking.
    """

    top1_agreed: bool
    kendall_tau: float | None
    score_difference: float


def compare(student: FloatArray, teacher: FloatArray) -> Comparison:
    """Compare scores (passages,) of the same passages; at least two of them."""
    if student.shape != teacher.shape or len(student) < 2:
        raise ValueError(f"scores of shapes {student.shape} and {teacher.shape}: two of one length")
    return Comparison(
        top1_agreed=bool(teacher[student.argmax()] >= teacher.max() - TIE),
        kendall_tau=kendall_tau(student, teacher),
        score_difference=float(np.abs(student - teacher).mean()),
    )


def kendall_tau(one: FloatArray, other: FloatArray) -> float | None:
    """Kendall's tau-b of two score arrays (passages,); None if either is constant."""
    rows, columns = np.triu_indices(len(one), 1)
    signs = np.sign(one[rows] - one[columns]), np.sign(other[rows] - other[columns])
    untied = np.sqrt(np.count_nonzero(signs[0]) * float(np.count_nonzero(signs[1])))
    return float(signs[0] @ signs[1] / untied) if untied else None


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
        return _mean([float(kept.top1_agreed) for kept in self._all()])

    @property
    def kendall_tau(self) -> float | None:
        """Mean tau-b; None before the first."""
        taus = [kept.kendall_tau for kept in self._all()]
        return _mean([tau for tau in taus if tau is not None])

    @property
    def score_difference(self) -> float | None:
        """Mean |student - teacher|; None before the first."""
        return _mean([kept.score_difference for kept in self._all()])

    def _all(self) -> list[Comparison]:
        with self._lock:
            return list(self._kept)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
