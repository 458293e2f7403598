"""Scored pairs are read with their texts in the rows, or apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retort.training.data.pairs import Pair
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.data.readers.scored import given_scores, scored_pairs

SCORES = [0.5, float("nan"), -2.0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Texts apart, as a set of the catalog has them."""
    texts = pa.table({"id": [7, 8, 9], "text": ["who?", "me", "you"]})
    pq.write_table(texts, tmp_path / "texts.parquet")
    rows = {"query": [7, 7, 7], "passage": [8, 9, 7], "group": [1, 1, 2], "ce": SCORES}
    pq.write_table(pa.table(rows), tmp_path / "pairs.parquet")
    return tmp_path


def test_pairs_of_a_set_come_without_scores(folder: Path) -> None:
    assert list(scored_pairs(folder, "all", BadRows())) == [
        Pair("who?", "me", None, "1"),
        Pair("who?", "you", None, "1"),
        Pair("who?", "who?", None, "2"),
    ]


def test_scores_go_with_the_keys_of_their_pairs(folder: Path) -> None:
    keys, scores = given_scores(folder / "pairs.parquet", "ce")
    assert keys.tolist() == [Pair("who?", "me").key, Pair("who?", "who?").key]
    assert scores.tolist() == [0.5, -2.0]
    assert scores.dtype == np.float32


def test_texts_may_stand_in_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"query": ["a"], "passage": ["b"], "mine": [3]}), path)
    keys, scores = given_scores(path, "mine")
    assert (keys.tolist(), scores.tolist()) == ([Pair("a", "b").key], [3.0])


@pytest.mark.parametrize(
    ("columns", "column", "message"),
    [
        ({"query": ["a"], "passage": ["b"], "ce": [1.0]}, "bi", "no column 'bi'; there are ce"),
        ({"question": ["a"], "passage": ["b"], "ce": [1.0]}, "ce", "expected query and passage"),
        ({"query": ["a"], "passage": ["b"], "ce": ["x"]}, "ce", "not numbers"),
        ({"query": [1], "passage": [2], "ce": [1.0]}, "ce", "texts.parquet"),
    ],
)
def test_what_cannot_be_read_is_told(
    tmp_path: Path, columns: dict[str, list[object]], column: str, message: str
) -> None:
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=message):
        given_scores(path, column)


def test_what_is_no_parquet_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    path.write_text("query\tpassage\n")
    with pytest.raises(DataError, match=r"mine\.parquet: no parquet file"):
        given_scores(path, "ce")
    with pytest.raises(DataError, match="no such file"):
        given_scores(tmp_path / "other.parquet", "ce")
