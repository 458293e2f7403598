"""The pair table: what a stage reads of it, and what its description says."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from retort.training.data.pairs import Pair
from retort.training.data.table import (
    PairTable,
    labelled_pairs,
    read_table,
    select,
    select_all,
    table_counts,
    write_table,
)
from retort.training.recipes.parts.stage import Stage

PAIRS = [Pair(f"q {n}", f"p {n}", None if n % 3 else float(n % 2)) for n in range(60)]
SOURCES = tuple("even" if n % 2 == 0 else "odd" for n in range(60))
COUNTS = {"even": {"pairs": 30, "labelled": 10}, "odd": {"pairs": 30, "labelled": 10}}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    write_table(path, PairTable(tuple(PAIRS), SOURCES, {"recipe": "r"}))
    return path


def test_a_table_is_read_as_it_was_written(table: Path) -> None:
    found = read_table(table)
    assert (found.pairs, found.sources, found.facts) == (tuple(PAIRS), SOURCES, {"recipe": "r"})


def test_a_limit_is_a_sample_and_always_the_same(table: Path) -> None:
    stage = Stage(table=table, limit=10)
    chosen = select(stage).pairs
    assert len(chosen) == 10
    assert chosen == select(stage).pairs
    assert chosen != PAIRS[:10]
    rest = select(Stage(table=table, skip=10)).pairs
    assert len(rest) == len(PAIRS) - 10
    assert {pair.key for pair in rest}.isdisjoint(pair.key for pair in chosen)
    with pytest.raises(ValueError, match="no pairs of"):
        select(Stage(table=table, sources=["nothing"]))


def test_a_limit_keeps_the_passages_of_a_query_together(tmp_path: Path) -> None:
    pairs = [Pair(f"q {n // 6}", f"p {n}") for n in range(120)]
    write_table(tmp_path / "lists.parquet", PairTable(pairs, ["s"] * 120))
    chosen = select(Stage(table=tmp_path / "lists.parquet", limit=27)).pairs
    counts = Counter(pair.query for pair in chosen)
    assert sorted(counts.values()) == [3, 6, 6, 6, 6]
    assert set(counts) != {f"q {n}" for n in range(5)}
    rest = select(Stage(table=tmp_path / "lists.parquet", skip=27)).pairs
    assert {*chosen} | {*rest} == {*pairs}
    assert len(chosen) + len(rest) == len(pairs)


def test_of_one_query_for_all_pairs_a_limit_is_a_sample(tmp_path: Path) -> None:
    pairs = [Pair("is it good", f"p {n}") for n in range(200)]
    write_table(tmp_path / "reviews.parquet", PairTable(pairs, ["s"] * 200))
    chosen = select(Stage(table=tmp_path / "reviews.parquet", limit=100)).pairs
    assert 30 < sum(pair in chosen for pair in pairs[:100]) < 70


def test_stages_of_one_table_read_it_once_and_give_their_labelled_pairs(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [Stage(table=table, sources=["odd"]), Stage(table=table, alpha=0.5)]
    expected = [select(stage) for stage in stages]
    read: list[Path] = []

    def reading(path: Path) -> PairTable:
        read.append(path)
        return read_table(path)

    monkeypatch.setattr("retort.training.data.table.read_table", reading)
    assert select_all(stages) == expected
    assert read == [table]
    assert [len(chosen) for chosen in expected] == [30, 20]
    assert labelled_pairs(expected) == PairTable(
        [*expected[0].labelled().pairs, *expected[1].pairs],
        [*expected[0].labelled().sources, *expected[1].sources],
    )


def test_pairs_are_counted_without_reading_them(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert table_counts(table) == COUNTS
    # A description of another table, or none: only pyarrow can tell.
    beside = table.with_suffix(".json")
    os.utime(beside, ns=(0, 0))
    assert table_counts(table) is None
    monkeypatch.undo()
    assert table_counts(table) == COUNTS
    beside.unlink()
    assert table_counts(table) == COUNTS
    own = table.with_name("own.tsv")
    own.write_text("query\tpassage\tlabel\na\tb\t1\na\tc\t\n")
    assert table_counts(own) == {"own.tsv": {"pairs": 2, "labelled": 1}}
    assert table_counts(table.with_name("none.parquet")) is None
