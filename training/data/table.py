"""The pair table: a corpus on disk, and the selection of it that a recipe learns from.

A table is a parquet file; beside it a description, `NAME.json`, counts its pairs by source. Where a
table is read, a file of one's own pairs (`readers/own.py`) will do as well, and so will a server's
disagreement file. Such a file is taken as it is: a pair that is there twice counts twice.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retort.failures import reading
from retort.models.rankings import rows_by_query
from retort.training.data.pairs import Pair
from retort.training.data.readers.own import form_of, read_file
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.recipes.parts.stage import Stage

ROW_GROUP, DICTIONARY_BYTES = 2**22, 2**28
_COLUMNS = ("query", "passage", "label", "query_id", "passage_id")


@dataclass(frozen=True, slots=True)
class PairTable:
    """Pairs, the name of the source of each, and facts on how the table was made."""

    pairs: Sequence[Pair]
    sources: Sequence[str]
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, rows: Iterable[int]) -> PairTable:
        """The pairs at `rows`, in that order."""
        chosen = [(self.pairs[row], self.sources[row]) for row in rows]
        return PairTable([pair for pair, _ in chosen], [source for _, source in chosen])

    def labelled(self) -> PairTable:
        """The pairs that have a label."""
        return self.take(row for row, pair in enumerate(self.pairs) if pair.label is not None)

    def of_sources(self, sources: Collection[str] | None) -> PairTable:
        """The pairs that come from `sources`; all where that is None."""
        if sources is None:
            return self
        return self.take(row for row, source in enumerate(self.sources) if source in sources)


def write_table(path: Path, table: PairTable) -> None:
    """Write the table and its description; a reader never sees half of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Sequence[object]] = {
        name: [getattr(pair, name) for pair in table.pairs] for name in _COLUMNS
    }
    columns["source"] = table.sources
    schema = pa.schema([(n, pa.float32() if n == "label" else pa.string()) for n in columns])
    arrow = pa.table(columns, schema=schema)
    arrow = arrow.replace_schema_metadata({"retort": json.dumps(table.facts)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    # A text stands in many pairs: kept once, 1.8 million of them are 17 MB and not 161.
    pq.write_table(
        arrow, temporary, compression="zstd", row_group_size=ROW_GROUP,
        dictionary_pagesize_limit=DICTIONARY_BYTES,
    )  # fmt: skip
    temporary.replace(path)
    counts = _count(zip(table.sources, (pair.label for pair in table.pairs), strict=True))
    description = {"pairs": len(table), "sources": counts}
    path.with_suffix(".json").write_text(json.dumps(description, indent=1) + "\n")


def table_counts(path: Path) -> dict[str, dict[str, int]] | None:
    """By source the numbers of `pairs` and of `labelled` ones; None for a table that is not there.

    They come from the table's description. Where that is missing or older than the table, its rows
    are counted; the answer is None if that takes a library that is not installed.
    """
    if not path.is_file():
        return None
    beside = path.with_suffix(".json")
    try:
        described = form_of(path) in (None, ".parquet")
        if described and beside.is_file() and beside.stat().st_mtime_ns >= path.stat().st_mtime_ns:
            found: dict[str, dict[str, int]] = json.loads(beside.read_text())["sources"]
            return found
        table = read_table(path)
    except (ModuleNotFoundError, ValueError):
        return None
    return _count(zip(table.sources, (pair.label for pair in table.pairs), strict=True))


def _count(rows: Iterable[tuple[str, float | None]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for source, label in rows:
        own = counts.setdefault(source, {"pairs": 0, "labelled": 0})
        own["pairs"] += 1
        own["labelled"] += label is not None
    return counts


def read_table(path: Path) -> PairTable:
    """A table, or a file of one's own. Raises `DataError` where it is missing or is neither."""
    if not path.is_file():
        raise DataError(f"{path}: no such table; build it with `retort data build RECIPE`")
    if form_of(path) not in (None, ".parquet"):
        return _own_table(path)
    import pyarrow.parquet as pq

    with reading(path, "a pair table"):
        arrow = pq.read_table(path)
    if not {*_COLUMNS, "source"} <= set(arrow.column_names):
        return _own_table(path)
    rows = zip(*(arrow.column(name).to_pylist() for name in _COLUMNS), strict=True)
    metadata = arrow.schema.metadata or {}
    facts = json.loads(metadata.get(b"retort", b"{}"))
    return PairTable(
        tuple(Pair(*row) for row in rows), tuple(arrow.column("source").to_pylist()), facts
    )


def table_queries(path: Path, sources: Collection[str] | None = None) -> list[str]:
    """The distinct queries of a table, or of its pairs of `sources`, without reading its passages.

    Raises as `read_table`.
    """
    import pyarrow.parquet as pq

    if path.is_file() and form_of(path) in (None, ".parquet"):
        with reading(path, "a pair table"):
            names = set(pq.read_schema(path).names)
            if {*_COLUMNS, "source"} <= names:
                arrow = pq.read_table(path, columns=["query", "source"])
                rows = zip(arrow["query"].to_pylist(), arrow["source"].to_pylist(), strict=True)
                return list(dict.fromkeys(q for q, s in rows if sources is None or s in sources))
    return list(dict.fromkeys(p.query for p in read_table(path).of_sources(sources).pairs))


def _own_table(path: Path) -> PairTable:
    pairs = tuple(read_file(path, BadRows()).pairs)
    return PairTable(pairs, (path.name,) * len(pairs), {})


def table_digest(path: Path) -> str:
    """sha256 of the file: what a run's manifest records of its data."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def select_all(stages: Sequence[Stage]) -> list[PairTable]:
    """The pairs of each stage; every table is read once. Raises `ValueError` for no pairs."""
    tables = {path: read_table(path) for path in dict.fromkeys(s.table for s in stages)}
    return [select(stage, tables[stage.table]) for stage in stages]


def select(stage: Stage, table: PairTable | None = None) -> PairTable:
    """The pairs of a stage: of the named sources, those with labels where labels count.

    `table` is the stage's, where it has been read before. The samples of `limit` and `skip` depend
    on their size alone, and are of whole queries. Raises `ValueError` for no pairs.
    """
    chosen = (table or read_table(stage.table)).of_sources(stage.sources)
    if stage.alpha < 1.0:
        chosen = chosen.labelled()
    if stage.skip is not None:
        left_out = set(_sample(chosen, stage.skip))
        chosen = chosen.take(row for row in range(len(chosen)) if row not in left_out)
    if stage.limit is not None:
        chosen = chosen.take(_sample(chosen, stage.limit))
    if not chosen.pairs:
        raise ValueError(f"{stage.table}: no pairs of {stage.sources} are left for this stage")
    return chosen


def labelled_pairs(chosen: Iterable[PairTable]) -> PairTable:
    """The labelled pairs of several tables, one after another."""
    labelled = [table.labelled() for table in chosen]
    return PairTable(
        [pair for table in labelled for pair in table.pairs],
        [source for table in labelled for source in table.sources],
    )


def _sample(table: PairTable, size: int) -> list[int]:
    """Rows of `size` pairs in order: all of each query drawn, and some of the last.

    A loss that compares the passages of a query learns nothing from one passage.
    """
    rng = random.Random(size)
    queries = rows_by_query([pair.query_key for pair in table.pairs])
    rng.shuffle(queries)
    drawn: list[int] = []
    for rows in queries:
        # One query may have all pairs: a table of reviews asks the same of each.
        drawn += rng.sample(rows.tolist(), min(len(rows), size - len(drawn)))
        if len(drawn) == size:
            break
    return sorted(drawn)
