"""The board: a few numbers that an engine keeps up to date for every process of the server.

It lies in shared memory, so reading it costs no message and still works while the engine hangs.
Times are on `time.perf_counter`, the machine's monotonic clock, which all processes share. Each
number is an aligned float64 that is stored at once, so nobody reads half of one.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from retort.models.arrays import FloatArray

NAMES = ("beat", "tokens", "backlog_seconds", "margin", "token_seconds", "overdue_at", "healthy")


class _Number:
    """One number of a board, read and written like an attribute."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __get__(self, board: Board, _: type[Board]) -> float:
        return float(board.numbers[self._index])

    def __set__(self, board: Board, value: float) -> None:
        board.numbers[self._index] = value


class Board:
    """The numbers of one process; one that makes no passes keeps only `beat`.

    `beat` is when it last said that it is alive, `tokens` what it has accepted and not yet scored,
    `backlog_seconds` how long that takes, `margin` how far such estimates were off, `token_seconds`
    the time that one more token adds, `overdue_at` when the oldest running pass has taken far too
    long (infinite: none runs), and `healthy` is 1 while the last pass worked.
    """

    beat = _Number(0)
    tokens = _Number(1)
    backlog_seconds = _Number(2)
    margin = _Number(3)
    token_seconds = _Number(4)
    overdue_at = _Number(5)
    healthy = _Number(6)

    def __init__(self, path: Path | None = None) -> None:
        """Without a `path`, a board of this process alone; else the file there, made if missing.

        Raises `OSError`.
        """
        self.path = path
        self.numbers: FloatArray
        if path is None:
            self.numbers = np.zeros(len(NAMES))
            fresh = True
        else:
            fresh = not path.exists()
            if fresh:
                # Written, not only made longer: a page refused later, by a full disk, is fatal.
                path.write_bytes(bytes(8 * len(NAMES)))
            self.numbers = np.memmap(path, np.float64, "r+", shape=(len(NAMES),))
        if fresh:
            self.margin = 1.0
            self.overdue_at = math.inf
            self.healthy = 1.0
