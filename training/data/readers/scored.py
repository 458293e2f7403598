"""Scored pairs: what other people's teachers said of pairs, as parquet.

A file has a row per pair: `query` and `passage`, and a column of numbers per teacher. Texts stand
in the rows themselves, or once each in `texts.parquet` in the same folder (`id`, `text`), and the
rows hold their ids. A column `group`, if there is one, numbers the question.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retort.training.data.pairs import Pair, content_key
from retort.training.data.readers.rows import BadRows, DataError, locate

if TYPE_CHECKING:
    from pyarrow import Table

PAIRS_FILE, TEXTS_FILE = "pairs.parquet", "texts.parquet"


def scored_pairs(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """The pairs of `folder/pairs.parquet`, without their scores."""
    table = _read(locate(folder, PAIRS_FILE))
    groups = table["group"].to_pylist() if "group" in table.column_names else [""] * table.num_rows
    for query, passage, group in zip(*_texts(folder, table), groups, strict=True):
        yield Pair(query, passage, None, str(group))


def given_scores(path: Path, column: str) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Content keys and scores, (pairs,) each, of one teacher's column; without empty rows.

    Raises `DataError` for a file or a column that there is not, or for scores that are no numbers.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; a teacher of given scores is a parquet file")
    table = _read(path)
    if column not in table.column_names:
        known = ", ".join(n for n in table.column_names if n not in ("query", "passage", "group"))
        raise DataError(
            f"{path}: no column {column!r}; there are {known or 'no columns of scores'}"
        )
    try:
        scores = table[column].to_numpy().astype(np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}, column {column}: not numbers ({error})") from error
    keys = np.fromiter(
        (content_key(q, p) for q, p in zip(*_texts(path.parent, table), strict=True)),
        dtype=np.uint64,
        count=table.num_rows,
    )
    known = np.isfinite(scores)
    return keys[known], scores[known]


def _read(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: no parquet file ({error})") from error
    if not {"query", "passage"} <= set(table.column_names):
        raise DataError(
            f"{path}: columns {', '.join(table.column_names)}; expected query and passage"
        )
    return table


def _texts(folder: Path, table: Table) -> tuple[list[str], list[str]]:
    """Queries and passages, (pairs,) each."""
    import pyarrow as pa

    columns = table["query"], table["passage"]
    if not pa.types.is_integer(columns[0].type):
        return columns[0].to_pylist(), columns[1].to_pylist()
    import pyarrow.parquet as pq

    known = pq.read_table(locate(folder, TEXTS_FILE))
    texts = dict(zip(known["id"].to_pylist(), known["text"].to_pylist(), strict=True))
    try:
        queries, passages = ([texts[i] for i in column.to_pylist()] for column in columns)
    except KeyError as error:
        raise DataError(f"{folder / TEXTS_FILE}: no text has the id {error}") from None
    return queries, passages
