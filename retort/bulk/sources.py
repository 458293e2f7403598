"""A source: rows of pairs in blocks, whatever the format, and the way back into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from retort.bulk.output import Ranked
from retort.rows import BadRows

# A block is what is lost when a run is killed, and what pairs of like length are chosen from: of
# 1,000 pairs there are enough, and a CPU needs some seconds for twice as many.
BLOCK_ROWS = 2_048
# Texts of more bytes are fewer rows.
BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows that are scored, and kept, together.

    `start` and `stop` are bytes of a text file, or rows of all Parquet files; `first` is the number
    of its first line or row.
    """

    number: int
    start: int
    stop: int
    first: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row to score: a query and its passage, or several.

    `group` says which query it is, so that rows of one query are known by it; None for a list of
    passages, which is a query of its own.
    """

    query: str
    passages: tuple[str, ...]
    group: str | None


def files_of(path: Path) -> list[Path]:
    """The files of an input: itself, or a folder's Parquet files in the order of their paths.

    Names that begin with `_` or `.` are left out, as everywhere with Hive partitions.
    """
    if not path.is_dir():
        return [path]
    return sorted(
        file
        for file in path.rglob("*.parquet")
        if not any(part.startswith(("_", ".")) for part in file.relative_to(path).parts)
    )


def group_of(query: str, query_id: str, folder: str = "") -> str:
    """What says which query a row is of: its id, or its text; in each folder of a partition."""
    return f"{folder}\0id {query_id}" if query_id else f"{folder}\0{query}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row is: a file, and the number of the row or line in it, from 1."""

    path: Path
    number: int
    unit: str

    def __str__(self) -> str:
        return f"{self.path}, {self.unit} {self.number}"


class Source(Protocol):
    """Rows of one format. Its blocks depend on the input alone."""

    @property
    def blocks(self) -> Sequence[Block]:
        """All blocks, in order."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """By what another input is noticed before it is read: files, sizes, columns."""
        ...

    def read(
        self, blocks: Iterable[Block], bad: BadRows
    ) -> Iterator[tuple[Block, list[Row | None]]]:
        """The rows of each of the blocks, which ascend; None for one that is bad or blank.

        Raises `DataError` as `bad` says.
        """
        ...

    def place(self, block: Block, row: int) -> Place:
        """Where the row at that position of a block is."""
        ...

    def write(self, target: Path, ranked: Iterable[Ranked]) -> None:
        """Write the input's rows with their results; `ranked` are those of every block."""
        ...
