"""The ranking check: whether a peer ranks real questions as the same weights do in float32.

A server that ranks differently is wrong, and how fast it is does not matter. The bounds are those
of the export's own gate, which int8 has to pass too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from retort.loadtest.texts import Request

TOP1_AT_LEAST = 0.95
TAU_AT_LEAST = 0.97
# Scores nearer than this are a tie: either passage may stand first.
TIE = 1e-6


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over `questions`: same passage first, mean Kendall's tau, largest difference of a score."""

    questions: int
    top1: float
    tau: float
    largest_difference: float

    @property
    def right(self) -> bool:
        """Whether it ranks as the weights do."""
        return self.top1 >= TOP1_AT_LEAST and self.tau >= TAU_AT_LEAST


def compare(
    requests: Sequence[Request],
    ask: Callable[[Request], list[float]],
    expected: Sequence[Sequence[float]],
) -> Agreement:
    """Ask every request and compare its scores with the expected ones. Raises what `ask` raises."""
    tops, taus, largest = [], [], 0.0
    for request, wanted in zip(requests, expected, strict=True):
        found = ask(request)
        first = int(np.argmax(found))
        tops.append(max(wanted) - wanted[first] <= TIE)
        taus.append(kendall_tau(wanted, found))
        largest = max(largest, *(abs(a - b) for a, b in zip(found, wanted, strict=True)))
    return Agreement(len(tops), float(np.mean(tops)), float(np.mean(taus)), largest)


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's tau-a over pairs that are no tie in `one`; 1 where there is none.

    >>> kendall_tau([0.1, 0.2, 0.3], [0.1, 0.3, 0.2])
    0.3333333333333333
    """
    a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    above, below = np.triu_indices(len(a), 1)
    wanted = a[above] - a[below]
    told = np.abs(wanted) > TIE
    if not told.any():
        return 1.0
    return float(np.mean(np.sign(wanted[told]) * np.sign((b[above] - b[below])[told])))
