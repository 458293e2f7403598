"""Bad rows: told before anything is scored, or left out and counted."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.retort.bulk.files import SCORING, call, rank, read

GOOD = {"query": "who wrote hamlet", "passage": "Hamlet is a play."}
LINES = {
    "null query": json.dumps({**GOOD, "query": None}),
    "empty query": json.dumps({**GOOD, "query": " "}),
    "no word": json.dumps({**GOOD, "query": "?!"}),
    "no passage": json.dumps({"query": "who wrote hamlet"}),
    "null passage": json.dumps({**GOOD, "passage": None}),
    "a number": json.dumps({**GOOD, "passage": 7}),
    "no JSON": '{"query": "who',
    "no object": "[1]",
    "half a character": '{"query": "who", "passage": "\\ud800"}',
    "half a character in a list": '{"query": "who", "passages": ["paris", "\\ud800"]}',
    "no list": json.dumps({"query": "who", "passages": []}),
    "null in a list": json.dumps({"query": "who", "passages": ["paris", None]}),
}
# No matter of one row: to leave it out would hide that nothing fits.
FAULTS = {
    "taken": json.dumps({**GOOD, "score": 1}),
    "results taken": json.dumps({"query": "who", "passages": ["paris"], "results": 1}),
    "two passages": json.dumps({**GOOD, "text": "Hamlet is a town."}),
}


@pytest.mark.parametrize("bad", LINES)
def test_a_bad_line_is_told_by_its_number(bad: str, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(f"{json.dumps(GOOD)}\n\n{LINES[bad]}\n{json.dumps(GOOD)}\n")
    ended = call(source, "--out", out, *SCORING)
    assert ended.exit_code == 1
    assert f"{source}, line 3: " in ended.stderr
    assert "--skip-bad" in ended.stderr
    # Nothing stands in the way of the mended file.
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("fault", FAULTS)
def test_columns_that_do_not_fit_are_refused_whatever_is_skipped(
    fault: str, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(f"{json.dumps(GOOD)}\n{FAULTS[fault]}\n")
    for options in ((), ("--skip-bad",)):
        ended = call(source, "--out", out, *SCORING, *options)
        assert ended.exit_code == 1
        assert f"{source}, line 2: " in ended.stderr
        assert "--skip-bad" not in ended.stderr
    assert list(tmp_path.iterdir()) == [source]


def test_bad_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [line for text in LINES.values() for line in (text, json.dumps(GOOD))]
    # Of this one only the tokenizer says that there is nothing in it.
    lines.append(json.dumps({**GOOD, "query": "\u200b"}))
    source.write_text("\n".join(lines))
    ended = rank(source, out, "--skip-bad")
    assert f"{len(LINES) + 1} bad rows skipped" in ended.stderr
    assert [{**GOOD, "rank": place} for place in range(1, 1 + len(LINES))] == [
        {name: row[name] for name in (*GOOD, "rank")} for row in read(out)
    ]


def test_what_the_tokenizer_refuses_is_told_when_it_is_scored(tmp_path: Path) -> None:
    source = tmp_path / "in.tsv"
    source.write_text("query\tpassage\nwho\tparis\n\u0301\tparis\n", encoding="utf-8")
    out = tmp_path / "out.tsv"
    ended = call(source, "--out", out, *SCORING)
    assert ended.exit_code == 1
    assert f"{source}, line 3: " in ended.stderr
    # What was scored is not scored again.
    parts = {p: p.stat().st_mtime_ns for p in out.with_name("out.tsv.partial").glob("block-*")}
    assert parts
    assert call(source, "--out", out, *SCORING).exit_code == 1
    assert all(path.stat().st_mtime_ns == time for path, time in parts.items())
    rank(source, out, "--skip-bad")
    assert [row["passage"] for row in read(out)] == ["paris"]


def test_a_line_of_tabs_is_a_row_and_a_blank_first_line_none(tmp_path: Path) -> None:
    source = tmp_path / "in.tsv"
    source.write_text("query\tpassage\nwho\tparis\n\t\n \nwho\tfrance\n")
    ended = call(source, "--out", tmp_path / "out.tsv", *SCORING)
    assert f"{source}, line 3: " in ended.stderr
    assert "1 bad row skipped" in rank(source, tmp_path / "out.tsv", "--skip-bad").stderr
    source.write_text("\nquery\tpassage\nwho\tparis\n")
    ended = call(source, "--out", tmp_path / "other.tsv", *SCORING)
    assert ended.exit_code == 1
    assert f"{source}, line 1: " in ended.stderr


def test_bad_rows_of_tables(tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_bytes(
        b"query\tpassage\nwho\tparis\nwho\twho\twho\nwho\t\nwho\t\xff\nwho\tfrance\n"
    )
    texts = [("who", "paris"), (None, "paris"), ("who", None), ("who", ""), ("who", "france")]
    table = pa.table({"query": [q for q, _ in texts], "passage": [p for _, p in texts]})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    for form, place in ((".tsv", "line 3"), (".parquet", "row 2")):
        source, out = tmp_path / f"in{form}", tmp_path / f"out{form}"
        ended = call(source, "--out", out, *SCORING)
        assert ended.exit_code == 1
        assert f"{source}, {place}: " in ended.stderr
        ended = rank(source, out.with_stem("skipped"), "--skip-bad")
        assert "3 bad rows skipped" in ended.stderr
        assert [row["passage"] for row in read(out.with_stem("skipped"))] == ["paris", "france"]


def test_damaged_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_text("no Parquet")
    (tmp_path / "in.tsv.gz").write_text("no gzip")
    (tmp_path / "in.tsv").write_text("query\tpassage\n", encoding="utf-16")
    for name in ("in.parquet", "in.tsv.gz", "in.tsv"):
        ended = call(tmp_path / name, "--out", tmp_path / name.replace("in", "out"), *SCORING)
        assert ended.exit_code == 1
        assert name in ended.stderr
        assert "fault of Retort" not in ended.stderr
