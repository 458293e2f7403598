"""Files of one's own: every format reads alike, and what is wrong is told with its place."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retort.training.data.pairs import Pair
from retort.training.data.readers.own import form_of, read_file
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.recipes.corpus import FileLayout

LONG = "word " * 30_000  # more than the 131,072 characters that Python's csv takes by default
PAIRS = [
    Pair("wie groß", "330 m, rund", 1.0, "7", "a"),
    Pair("wie groß", 'die "Dame"', 0.0, "7", "b"),
    Pair("who", LONG, None, "", "c"),
]
ROWS: list[dict[str, object]] = [
    {"Question": "wie groß", "answer": "330 m, rund", "score": 1, "qid": 7, "doc-id": "a"},
    {"Question": "wie groß", "answer": 'die "Dame"', "score": 0, "qid": 7, "doc-id": "b"},
    {"Question": "who", "answer": LONG, "score": None, "qid": None, "doc-id": "c"},
]


def write(path: Path, content: str | bytes) -> Path:
    """Write text as UTF-8, or bytes; gzipped where the name ends in .gz."""
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def content(form: str, tmp_path: Path) -> bytes:
    """`ROWS` in a format."""
    if form == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "made.parquet")
        return (tmp_path / "made.parquet").read_bytes()
    if form == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    lines = [list(ROWS[0]), *([str(v) if v is not None else "" for v in r.values()] for r in ROWS)]
    if form == ".csv":
        quoted = [['"' + field.replace('"', '""') + '"' for field in line] for line in lines]
        return b"\xef\xbb\xbf" + "\r\n".join(",".join(line) for line in quoted).encode()
    return "".join("\t".join(line) + "\n" for line in lines).encode()


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("form", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_pairs(form: str, packed: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"mine{form}{packed}", content(form, tmp_path))
    assert read_file(path, BadRows()).pairs == PAIRS


def test_names_of_files_go_in_any_case() -> None:
    assert form_of("Clicks.TSV.GZ") == ".tsv"
    assert form_of("clicks.json") is None


def test_a_table_without_a_header_is_query_passage_and_label(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '"a, b",p,0.5\nq,"two\nlines",\n')
    assert read_file(path, BadRows()).pairs == [Pair("a, b", "p", 0.5), Pair("q", "two\nlines")]
    path = write(tmp_path / "a.tsv", 'a "b"\tp\u2028p\x00\n')
    assert read_file(path, BadRows()).pairs == [Pair('a "b"', "p\u2028p\x00")]


def test_columns_by_their_own_names_and_semicolons(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "Nr;Frage;Antwort;Note\n1;q;a, b;3\n2;q;c;0\n")
    columns = {"query": "frage", "passage": "Antwort", "label": "Note"}
    found = read_file(path, BadRows(), FileLayout.model_validate({"columns": columns}))
    assert found.pairs == [Pair("q", "a, b", 1.0), Pair("q", "c", 0.0)]
    wrong = FileLayout.model_validate({"columns": {**columns, "label": "Punkte"}})
    with pytest.raises(DataError, match=r"a\.csv: no column 'Punkte' for the label"):
        read_file(path, BadRows(), wrong)


def test_grades_are_divided_by_the_largest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "q\ta\t3\nq\tb\t1\nq\tc\t0\nq\td\n")
    found = read_file(path, BadRows())
    assert [pair.label for pair in found.pairs] == [1.0, 1 / 3, 0.0, None]
    assert [pair.right for pair in found.pairs] == [True, False, False, False]
    assert found.largest == 3.0
    assert "0 to 3" in found.graded
    wide = read_file(path, BadRows(), FileLayout(largest=4.0))
    assert [pair.label for pair in wide.pairs] == [0.75, 0.25, 0.0, None]
    assert read_file(write(tmp_path / "b.tsv", "q\ta\t0.5\n"), BadRows()).graded == ""


@pytest.mark.parametrize("missing", [{"query_id": None}, {"query_id": ""}, {}])
def test_no_query_id_is_no_id(missing: dict[str, object], tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "passage": "p", "label": n, **missing} for n in range(2)]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert [pair.query_key for pair in read_file(path, BadRows()).pairs] == ["q0", "q1"]


def test_ids_that_a_missing_value_made_floats_are_whole_again(tmp_path: Path) -> None:
    table = pa.table({"q": ["a", "b"], "text": ["x", "y"], "qid": [12.0, math.nan]})
    pq.write_table(table, tmp_path / "a.parquet")
    pairs = read_file(tmp_path / "a.parquet", BadRows()).pairs
    assert [pair.query_id for pair in pairs] == ["12", ""]


LONG_ROW = json.dumps({"query": "q", "passage": LONG, "label": "yes"})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"query": "q", "passage": null}', "line 1: the passage is null"),
        ("a.jsonl", '{"query": null, "passage": "p"}', "line 1: the query is null"),
        ("a.jsonl", '{"query": 12, "passage": "p"}', "line 1: the query is 12, not a text"),
        ("a.jsonl", '{"query": "q", "passage": "\\ud83d"}', "passage has half of a surrogate"),
        ("a.jsonl", '{"query": " ", "passage": "p"}', "line 1: the query is empty"),
        ("a.jsonl", '{"query": "?!", "passage": "p"}', "line 1: the query is '\\?!': it has no"),
        ("a.jsonl", '{"query": "\\u200b\\u00a0", "passage": "p"}', "line 1: the query is empty"),
        ("a.jsonl", '{"query": "q", "passage": "p", "label": 0, "label": 1}', "'label' is there"),
        ("a.jsonl", '{"query": "q", "lable": 1, "text": "p"}', "line 1: unknown columns lable"),
        ("a.jsonl", '{"query": "q", "text": "p", "answer": "p"}', "text and answer can both be"),
        ("a.jsonl", '["q", "p"]', "line 1: .* is no object"),
        ("a.jsonl", '{"query": "q"', "line 1: not JSON"),
        ("a.jsonl", LONG_ROW, "line 1: the label is 'yes': give a number from 0 to 1, or a grade"),
        ("a.tsv", f"q\tp\t1\nq\t{LONG}\tyes", "line 2: the label is 'yes'"),
        ("a.tsv", "q\tp\t1\nq\tp\t0,5", "line 2: the label is '0,5'"),
        ("a.tsv", "q\tp\t1\nq\tp\t-1", "line 2: the label is '-1'"),
        ("a.tsv", "q\tp\t1\nq\tp\tnan", "line 2: the label is 'nan'"),
        ("a.tsv", "q\tp\t3\nq\tp\t0.5", "line 2: the label is 0.5 where others run to 3"),
        ("a.tsv", "q\tp\t2.5", "line 1: the label is 2.5: .* --largest"),
        ("a.tsv", "q\tp\t85", "line 1: the label is 85: grades run to 10"),
        ("a.tsv", "q\tp\tx\t1", r"line 1: 4 columns, \['q', 'p', 'x', '1'\]"),
        ("a.tsv", "query\tpassage\nq", "line 2: 1 column"),
        ("a.tsv", "query\tpassage\n \nq\tp\n\t\n", "line 4: the query is empty"),
        ("a.tsv", "question\tAntwort\tlabel\nq\tp\t1", "line 1: .* seems to be a header"),
        ("a.tsv", "Frage\tAntwort\tNote\nq\tp\t1", "line 1: .*if this is a header: .*--columns"),
        ("a.csv", 'query,passage\nq,"p\nq,p\n', "line 2: not CSV"),
        ("a.parquet", "no Parquet", "not a sound Parquet file"),
        ("a.tsv", "q\tp\t1\n".encode("utf-16"), "line 1: the text is UTF-16"),
        ("a.tsv", "q\tp\t1\n".encode("utf-16-le"), "line 1: the text is UTF-16"),
        (
            "a.tsv",
            ("q\tp\n" * 9_000 + "groß\tp\n").encode("latin-1"),
            "line 9001: byte 0xdf",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    name: str, text: str | bytes, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(DataError, match=message) as caught:
        read_file(path, BadRows())
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_broken_gzip_files_are_told(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"question %d\tpassage\n" % n for n in range(9_000)))
    (tmp_path / "cut.tsv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.tsv\.gz, after line \d+: the gzip file is cut off"):
        read_file(tmp_path / "cut.tsv.gz", BadRows())
    (tmp_path / "more.tsv.gz").write_bytes(whole + b"q\tp\n")
    with pytest.raises(DataError, match=r"more\.tsv\.gz, after line 9000: what follows"):
        read_file(tmp_path / "more.tsv.gz", BadRows())
    (tmp_path / "none.tsv.gz").write_text("q\tp\n")
    with pytest.raises(DataError, match=r"none\.tsv\.gz, .*: not a sound gzip file"):
        read_file(tmp_path / "none.tsv.gz", BadRows())


def test_bad_rows_of_every_kind_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "q\tp\t3\nq\tp\tyes\nq\tp\t0.5\nq\tp\n" + "q\n" + "q\tp\t1\n")
    bad = BadRows(skip=True, offered=True)
    assert [pair.label for pair in read_file(path, bad).pairs] == [1.0, None, 1 / 3]
    assert sorted(bad.places) == [f"{path}:{line}" for line in (2, 3, 5)]


def test_advice_to_skip_is_given_where_a_command_can(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "q\n")
    with pytest.raises(DataError, match="pass --skip-bad"):
        read_file(path, BadRows(offered=True))
    with pytest.raises(DataError, match=r"Mend the row\.$"):
        read_file(path, BadRows())


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.tsv.gz"])
@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_a_file_without_a_pair_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(DataError, match="there is no pair in it"):
        read_file(tmp_path / name, BadRows())


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").mkdir()
    with pytest.raises(DataError, match="a folder, and not a file"):
        read_file(tmp_path / "a.tsv", BadRows())
    with pytest.raises(DataError, match="no such file"):
        read_file(tmp_path / "b.tsv", BadRows())
