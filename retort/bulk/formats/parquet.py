"""Parquet as a source: a file, or a folder of them with or without Hive partitions.

Only the columns of the pairs are read for scoring, batch by batch. The output has a file for each
file, at the same place in the folder, so partitions stay what they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retort.bulk.output import Added, Ranked
from retort.bulk.sources import (
    BLOCK_BYTES,
    BLOCK_ROWS,
    Block,
    Place,
    Row,
    files_of,
    group_of,
)
from retort.extras import install_advice
from retort.failures import reading
from retort.fields import (
    REQUIRED,
    ColumnsError,
    OwnField,
    checked_id,
    checked_query,
    checked_text,
    columns_of,
)
from retort.rows import BadRows, DataError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise ImportError(
        install_advice("retort rank of a Parquet file", "pyarrow", "bulk"), name="pyarrow"
    ) from error

# Row groups of the output have at most so many rows, and hardly more bytes: one is in memory as a
# whole. They are gathered from several of the input where few rows are kept.
GROUP_ROWS = 65_536
GROUP_BYTES = 64 * 2**20
# What pyarrow's metadata calls codecs that its writer has other names for.
CODECS = {"UNCOMPRESSED": "none"}

CHANGED = "the input has another number of rows than when it was scored: run the command again"


class _Values(NamedTuple):
    """The values of a row that is still to be checked."""

    file: int
    number: int
    query: object
    passage: object
    query_id: object


@dataclass(frozen=True, slots=True)
class _File:
    """A file: its path, its rows per row group, and its columns by field."""

    path: Path
    folder: str
    groups: tuple[int, ...]
    fields: Mapping[OwnField, str]
    text_bytes: int

    @property
    def rows(self) -> int:
        return sum(self.groups)


class ParquetFiles:
    """A `.parquet`, or all of a folder in the order of their paths.

    Names that begin with `_` or `.` are left out, as everywhere with Hive partitions.
    """

    def __init__(self, path: Path, columns: Mapping[OwnField, str], added: Added) -> None:
        self.path = path
        self.added = added
        paths = files_of(path)
        if not paths:
            raise DataError(f"{path}: there is no .parquet in this folder")
        self._files = [_described(path, file, columns, added) for file in paths]
        self._columns = dict(columns)
        self._ends = list(accumulate(file.rows for file in self._files))
        self.blocks = tuple(self._cut())

    @property
    def identity(self) -> Mapping[str, Any]:
        """Each file's place, size and rows, and the columns that were named."""
        files = [
            [_place(self.path, file.path), file.path.stat().st_size, file.rows]
            for file in self._files
        ]
        return {"input": files, "columns": self._columns}

    def read(
        self, blocks: Iterable[Block], bad: BadRows
    ) -> Iterator[tuple[Block, list[Row | None]]]:
        """The rows of each of the blocks, which ascend; None for one that is bad."""
        at = -1
        values: Iterator[_Values] = iter(())
        for block in blocks:
            if block.start != at:
                values = self._values(block.start)
            rows = islice(values, block.stop - block.start)
            yield block, [self._row(row, bad) for row in rows]
            at = block.stop

    def place(self, block: Block, row: int) -> Place:
        """The row at that position of a block, in its file."""
        at = block.start + row
        file = bisect_right(self._ends, at)
        before = self._ends[file] - self._files[file].rows
        return Place(self._files[file].path, at - before + 1, "row")

    def write(self, target: Path, ranked: Iterable[Ranked]) -> None:
        """Write a file for each file, with what is added as its last columns."""
        rows = _Results(ranked)
        for file in self._files:
            inside = file.path.relative_to(self.path) if self.path.is_dir() else None
            place = target if inside is None else target / inside
            place.parent.mkdir(parents=True, exist_ok=True)
            with reading(file.path, "Parquet"):
                self._write(file, place, rows)
        rows.end()

    def _write(self, file: _File, place: Path, rows: _Results) -> None:
        score, spread, *rank = self.added.names
        with pq.ParquetFile(file.path) as source:
            schema = source.schema_arrow
            for name, kind in ((score, pa.float64()), (spread, pa.float64())):
                schema = schema.append(pa.field(name, kind))
            if rank:
                schema = schema.append(pa.field(rank[0], pa.int32()))
            with pq.ParquetWriter(place, schema, compression=_codec(source.metadata)) as out:
                groups = _Groups(out)
                for group in range(len(file.groups)):
                    for batch in source.iter_batches(GROUP_ROWS, row_groups=[group]):
                        found = rows.take(len(batch))
                        added = (found.score, found.spread, found.rank)[: len(self.added.names)]
                        table = pa.Table.from_arrays(
                            [*batch.columns, *map(pa.array, added)], schema=schema
                        ).filter(pa.array(found.kept))
                        groups.add(table)
                groups.flush()

    def _cut(self) -> Iterator[Block]:
        total = self._ends[-1]
        text_bytes = sum(file.text_bytes for file in self._files)
        per_row = max(1, text_bytes // max(1, total))
        rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // per_row))
        for number, start in enumerate(range(0, total, rows)):
            yield Block(number, start, min(start + rows, total), start + 1)

    def _values(self, start: int) -> Iterator[_Values]:
        """The values of all rows from row `start` of all files on."""
        first = bisect_right(self._ends, start)
        for index in range(first, len(self._files)):
            file = self._files[index]
            before = self._ends[index] - file.rows
            with reading(file.path, "Parquet"), pq.ParquetFile(file.path) as source:
                names = list(file.fields.values())
                number = 0
                for group, count in enumerate(file.groups):
                    if before + number + count <= start:
                        number += count
                        continue
                    for batch in source.iter_batches(BLOCK_ROWS, row_groups=[group], columns=names):
                        skipped = min(max(0, start - before - number), len(batch))
                        yield from _rows(index, number, batch.slice(skipped), file, skipped)
                        number += len(batch)

    def _row(self, values: _Values, bad: BadRows) -> Row | None:
        file = self._files[values.file]
        try:
            query = checked_query(values.query)
            own = checked_id("query_id", values.query_id)
            passage = checked_text("passage", values.passage)
        except ValueError as error:
            bad.refuse(file.path, values.number, str(error), "row")
            return None
        return Row(query, (passage,), group_of(query, own, file.folder))


class _Groups:
    """Row groups of the output, gathered from tables."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self._held: list[Any] = []
        self._rows = self._bytes = 0

    def add(self, table: Any) -> None:
        """Hold these rows, for which what is held is written if it leaves no room."""
        if not len(table):
            return
        if self._rows + len(table) > GROUP_ROWS or self._bytes + table.nbytes > GROUP_BYTES:
            self.flush()
        self._held.append(table)
        self._rows += len(table)
        self._bytes += table.nbytes

    def flush(self) -> None:
        """Write what is held as a group."""
        if self._held:
            self._out.write_table(pa.concat_tables(self._held))
        self._held = []
        self._rows = self._bytes = 0


class _Results:
    """Results row by row, from those of blocks."""

    def __init__(self, ranked: Iterable[Ranked]) -> None:
        self._ranked = iter(ranked)
        self._left: list[Ranked] = []

    def take(self, rows: int) -> Ranked:
        """Those of the next `rows`; a row without a pair is not kept."""
        held = sum(len(found.pairs) for found in self._left)
        while held < rows:
            found = next(self._ranked, None)
            if found is None:
                raise DataError(CHANGED)
            self._left.append(_by_row(found))
            held += len(found.pairs)
        every = Ranked(*(np.concatenate(arrays) for arrays in _columns(self._left)))
        self._left = [Ranked(*(array[rows:] for array in _arrays(every)))]
        return Ranked(*(array[:rows] for array in _arrays(every)))

    def end(self) -> None:
        """Raise `DataError` where there are more results than rows."""
        if any(len(found.pairs) for found in (*self._left, *self._ranked)):
            raise DataError(CHANGED)


def _by_row(found: Ranked) -> Ranked:
    """The same with arrays (rows,)."""
    there = found.pairs.astype(bool)

    def spread_out(values: Any) -> Any:
        rows = np.zeros(len(there), dtype=values.dtype)
        rows[there] = values
        return rows

    return Ranked(found.pairs, *map(spread_out, _arrays(found)[1:]))


def _arrays(found: Ranked) -> tuple[Any, ...]:
    return found.pairs, found.score, found.spread, found.rank, found.kept


def _columns(several: list[Ranked]) -> Iterator[tuple[Any, ...]]:
    return zip(*map(_arrays, several), strict=True)


def _place(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if root.is_dir() else ""


def _described(root: Path, path: Path, columns: Mapping[OwnField, str], added: Added) -> _File:
    with reading(path, "Parquet"), pq.ParquetFile(path) as file:
        metadata = file.metadata
        names = file.schema_arrow.names
        try:
            fields = columns_of(names, columns, others=True)
        except ColumnsError as error:
            raise DataError(f"{path}: {error}") from error
        added.check(path, names)
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        wanted = {fields[field] for field in REQUIRED}
        text_bytes = sum(
            group.column(place).total_uncompressed_size
            for group in groups
            for place in range(metadata.num_columns)
            if group.column(place).path_in_schema in wanted
        )
        used = {field: fields[field] for field in (*REQUIRED, "query_id") if field in fields}
        folder = "" if path == root else str(path.parent.relative_to(root))
        return _File(path, folder, tuple(group.num_rows for group in groups), used, text_bytes)


def _rows(
    file: int, number: int, batch: Any, description: _File, skipped: int
) -> Iterator[_Values]:
    columns = [
        batch.column(description.fields[field]).to_pylist()
        if field in description.fields
        else [None] * len(batch)
        for field in (*REQUIRED, "query_id")
    ]
    for position, (query, passage, query_id) in enumerate(zip(*columns, strict=True)):
        yield _Values(file, number + skipped + position + 1, query, passage, query_id)


def _codec(metadata: Any) -> str:
    """The codec of a file's first column."""
    if not metadata.num_row_groups or not metadata.num_columns:
        return "snappy"
    name: str = metadata.row_group(0).column(0).compression
    return CODECS.get(name, name.lower())
