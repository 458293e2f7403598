"""Recent comparisons: their means, kept by all front ends of a server together."""

from __future__ import annotations

import fcntl
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np

from retort.models.arrays import FloatArray
from retort.models.rankings import Comparison

RECENT_REQUESTS = 1_000


class Recent:
    """The most recent comparisons of student and teacher, and their means.

    All front ends of a server keep them together, in a file at `path`; one alone needs none.
    Thread-safe.
    """

    def __init__(self, path: Path | None = None, size: int = RECENT_REQUESTS) -> None:
        shape = size + 1, 3  # how many there were, then for each: top 1 agrees, tau, difference
        self._size = size
        self._path = path
        self._lock = Lock()
        self._rows: FloatArray
        if path is None:
            self._rows = np.zeros(shape)
            return
        with self._alone() as file:
            if file is not None and not path.stat().st_size:
                file.write(bytes(8 * shape[0] * shape[1]))
        self._rows = np.memmap(path, np.float64, "r+", shape=shape)

    @property
    def total(self) -> int:
        """Comparisons since the start."""
        return int(self._rows[0, 0])

    def add(self, comparison: Comparison, raw: bool = False) -> None:
        """Keep one more, and forget the oldest if there are too many.

        The teacher's scores are `raw` where they differ from the student's by their scale alone.
        """
        tau = math.nan if comparison.kendall_tau is None else comparison.kendall_tau
        difference = math.nan if raw else comparison.mean_difference
        with self._lock, self._alone():
            row = 1 + self.total % self._size
            self._rows[row] = comparison.top1_agrees, tau, difference
            self._rows[0, 0] += 1

    @property
    def top1_agreement(self) -> float | None:
        """The share with the same first passage; None before the first."""
        return self._mean(0)

    @property
    def kendall_tau(self) -> float | None:
        """Mean tau-b; None before the first."""
        return self._mean(1)

    @property
    def score_difference(self) -> float | None:
        """Mean |student - teacher|; None before the first."""
        return self._mean(2)

    def _mean(self, column: int) -> float | None:
        values = self._rows[1 : 1 + min(self.total, self._size), column]
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else None

    @contextmanager
    def _alone(self) -> Iterator[BinaryIO | None]:
        """Keep the other processes out, until the file that they share is closed."""
        if self._path is None:
            yield None
            return
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
