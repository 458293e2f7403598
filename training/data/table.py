"""The pair table: a corpus on disk, one parquet file, with its description beside it.

Where a table is read, a file of one's own pairs (`.tsv`, `.jsonl`) will do as well, and so will a
server's disagreement file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from retort.training.data.pairs import Pair
from retort.training.data.readers.own_pairs import is_own, read_file
from retort.training.data.readers.rows import BadRows, DataError

_COLUMNS = ("query", "passage", "label", "query_id", "passage_id")


@dataclass(frozen=True, slots=True)
class PairTable:
    """Pairs with the name of the source of each, and facts on how the table was made."""

    pairs: tuple[Pair, ...]
    sources: tuple[str, ...]
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.pairs)


def write_table(path: Path, table: PairTable) -> None:
    """Write the table to `path` (parquet); a reader never sees half of it."""
    columns: dict[str, Sequence[object]] = {
        name: [getattr(pair, name) for pair in table.pairs] for name in _COLUMNS
    }
    columns["source"] = table.sources
    schema = pa.schema([(n, pa.float32() if n == "label" else pa.string()) for n in columns])
    arrow = pa.table(columns, schema=schema)
    arrow = arrow.replace_schema_metadata({"retort": json.dumps(table.facts)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    pq.write_table(arrow, temporary, compression="zstd")
    temporary.replace(path)


def read_table(path: Path) -> PairTable:
    """Raises `DataError` when the file is missing or is no pair table."""
    if not path.is_file():
        raise DataError(f"{path}: no such table; build it with `retort data build RECIPE`")
    if is_own(str(path)):
        pairs = tuple(read_file(path, BadRows()))
        return PairTable(pairs, (path.name,) * len(pairs), {})
    arrow = pq.read_table(path)
    if not {*_COLUMNS, "source"} <= set(arrow.column_names):
        raise DataError(f"{path}: columns {arrow.column_names} are not those of a pair table")
    rows = zip(*(arrow.column(name).to_pylist() for name in _COLUMNS), strict=True)
    metadata = arrow.schema.metadata or {}
    facts = json.loads(metadata.get(b"retort", b"{}"))
    return PairTable(
        tuple(Pair(*row) for row in rows), tuple(arrow.column("source").to_pylist()), facts
    )


def table_digest(path: Path) -> str:
    """sha256 of the file: what a run's manifest records of its data."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
