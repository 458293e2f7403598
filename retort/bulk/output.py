"""The output: what is added to the rows, and which of them are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retort.models.arrays import FloatArray
from retort.rows import ColumnsFault


@dataclass(frozen=True, slots=True)
class Added:
    """What the output adds to a row: its score, its spread and, unless `ranked` is off, its rank.

    The names begin with `prefix`. With `top_n`, only so many rows of a query are kept, its best.
    Raises `ValueError` for a `top_n` below 1, and for one without ranks.
    """

    prefix: str = ""
    ranked: bool = True
    top_n: int | None = None

    def __post_init__(self) -> None:
        if self.top_n is not None and self.top_n < 1:
            raise ValueError(f"--top-n {self.top_n}: ask for at least one row per query")
        if self.top_n is not None and not self.ranked:
            raise ValueError("--top-n and --no-rank: the best of a query are known by their ranks")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what is added: that of the score, of the spread and of the rank."""
        names = ("score", "spread", "rank") if self.ranked else ("score", "spread")
        return tuple(self.prefix + name for name in names)

    @property
    def results(self) -> str:
        """The name of what is added to a list of passages."""
        return self.prefix + "results"

    def check(self, place: object, columns: Iterable[str]) -> None:
        """Raise `ColumnsFault` where a column of the input has a name that is added."""
        if taken := sorted(set(self.names).intersection(columns)):
            raise ColumnsFault(
                f"{place}: there is a column {taken[0]} already, which the output adds: rename it, "
                "or name what is added with --prefix"
            )


@dataclass(frozen=True, slots=True)
class Ranked:
    """The results of a block's rows.

    `pairs` (rows,) says how many pairs each row is, none if it is bad or blank; the others
    (pairs,) are of all pairs in turn. What is not `kept` is left out of the output.
    """

    pairs: NDArray[np.int32]
    score: FloatArray
    spread: FloatArray
    rank: NDArray[np.int32]
    kept: NDArray[np.bool_]
