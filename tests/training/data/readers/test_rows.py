"""Rows: a bad one is an error with its place, or is counted; none is dropped in silence."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from retort.rows import MOST_PLACES
from retort.training.data.readers.rows import BadRows, DataError, lines, locate, parse, read_json


def test_plain_and_gzipped_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("x\n")
    with gzip.open(tmp_path / "b.tsv.gz", "wt") as handle:
        handle.write("\ufeffy\n\nz\n")
    assert list(lines(locate(tmp_path, "a.tsv"))) == [(1, "x")]
    assert list(lines(locate(tmp_path, "b.tsv"))) == [(1, "y"), (3, "z")]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c\.tsv: no such file.*RETORT_DATA"):
        locate(tmp_path, "c.tsv")


def test_a_bad_row_is_an_error_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "n.txt"
    path.write_text("1\ntwo\n3\n")
    with pytest.raises(DataError, match=r"n\.txt, line 2: expected a number, found 'two'"):
        list(parse(path, "a number", BadRows(), int))


def test_bad_rows_are_skipped_and_counted_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "n.txt"
    path.write_text("1\ntwo\n3\n")
    bad = BadRows(skip=True)
    assert [value for _, value in parse(path, "a number", bad, int)] == [1, 3]
    assert bad.places == [f"{path}:2"]
    path.write_text("two\n" * 3_000)
    list(parse(path, "a number", bad, int))
    assert bad.count == 3_001
    assert len(bad.places) == MOST_PLACES


def test_broken_json_and_broken_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a":\n')
    with pytest.raises(DataError, match=r"a\.json, line 2: not JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.txt").write_bytes(b"fine\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"b\.txt, line 2: byte 0xff is not UTF-8"):
        list(lines(tmp_path / "b.txt"))
