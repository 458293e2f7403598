"""`retort rank`: every format, compared with `Ranker.rank`."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import retort
from retort import fields
from retort.bulk import progress, survey
from retort.bulk.formats import jsonl, parquet, text
from retort.bulk.formats.jsonl import JsonlFile
from retort.bulk.opening import open_source
from retort.bulk.output import Added
from retort.bulk.scoring import score_rows
from retort.extras import EXTRA_OF_MODULE
from retort.models.bundle import Bundle
from retort.parallel import shards
from retort.ranked import Passage
from retort.rows import BadRows, DataError
from tests.retort.bulk.files import (
    FORMS,
    ROOT,
    SCORING,
    Rows,
    by_query,
    call,
    make_rows,
    rank,
    read,
    write,
)
from tests.test_cli import run_without
from tests.tiny_texts import PASSAGES, QUERIES


@pytest.fixture(scope="module")
def ranker(tiny_bundle: Bundle) -> retort.Ranker:
    return retort.load(tiny_bundle.folder, backend="onnxruntime", precision="fp32", threads=1)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return make_rows(12)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (parquet, text):
        monkeypatch.setattr(module, "BLOCK_ROWS", 40)


def check(rows: Rows, ranked: Rows, ranker: retort.Ranker) -> None:
    """Scores and places are those of `Ranker.rank`, query by query."""
    for query, own in by_query(ranked).items():
        expected = ranker.rank(query, [row["passage"] for row in own])
        for place, result in enumerate(expected, start=1):
            row = own[result.index]
            assert row["score"] == pytest.approx(result.score, abs=1e-6)
            assert row["spread"] == pytest.approx(result.spread, abs=1e-6)
            if row["rank"] != place:  # rounding, where two are as good as equal
                assert own[expected[row["rank"] - 1].index]["score"] == pytest.approx(row["score"])
    added = {"score", "spread", "rank"}
    kept = [{name: value for name, value in row.items() if name not in added} for row in ranked]
    assert kept == rows


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_scored_and_ranked(
    form: str, rows: Rows, ranker: retort.Ranker, tmp_path: Path, small_blocks: None
) -> None:
    source = write(tmp_path / f"pairs{form}", rows, row_group_size=25)
    rank(source, tmp_path / f"out{form}")
    ranked = read(tmp_path / f"out{form}")
    check(rows, ranked, ranker)
    windows = [r.windows for r in ranker.rank(rows[0]["query"], [row["passage"] for row in rows])]
    assert max(windows) > 1
    rank(source, tmp_path / f"best{form}", "--top-n", 2)
    assert read(tmp_path / f"best{form}") == [row for row in ranked if row["rank"] <= 2]


def test_a_list_of_pairs_is_scored_as_by_the_ranker(rows: Rows, ranker: retort.Ranker) -> None:
    pairs = [(row["query"], row["passage"]) for row in rows]
    found = score_rows(ranker, pairs)
    assert found.score == pytest.approx(ranker.score(pairs), abs=1e-6)
    assert found.problems == {}
    found = score_rows(ranker, [*pairs[:2], ("\u200b", "paris"), *pairs[2:4], ("?!", "paris")])
    assert np.flatnonzero(np.isnan(found.score)).tolist() == [2, 5] == list(found.problems)
    assert found.score[[0, 1, 3, 4]] == pytest.approx(ranker.score(pairs[:4]), abs=1e-6)
    assert len(score_rows(ranker, []).score) == 0


def test_lists_of_passages_are_ranked_as_by_the_server(
    ranker: retort.Ranker, tmp_path: Path
) -> None:
    passages: list[Passage] = [
        PASSAGES[0],
        {"id": "b7", "text": PASSAGES[1]},
        {"text": ""},
        *PASSAGES[2:],
    ]
    lines = [{"query": query, "passages": passages, "who": number} for number, query in
             enumerate((*QUERIES, QUERIES[0]))]  # fmt: skip
    source = write(tmp_path / "lists.jsonl", [*lines, {"query": "q", "passage": "paris"}])
    rank(source, tmp_path / "out.jsonl", "--top-n", 3)
    *listed, single = read(tmp_path / "out.jsonl")
    for line, found in zip(lines, listed, strict=True):
        expected = ranker.rank(str(line["query"]), passages, top_n=3)
        results = found.pop("results")
        assert found == line
        assert [result["index"] for result in results] == [result.index for result in expected]
        assert [result.get("id") for result in results] == [result.id for result in expected]
        for result, wanted in zip(results, expected, strict=True):
            assert result["score"] == pytest.approx(wanted.score, abs=1e-6)
            assert result["spread"] == pytest.approx(wanted.spread, abs=1e-6)
    assert single["rank"] == 1


def test_ids_of_a_list_are_echoed_whatever_they_are(tmp_path: Path) -> None:
    ids = ['"\\ud800"', str(2**70), '{"a": [1.5, null]}', '"é"']
    passages = ",".join(f'{{"id": {own}, "text": "paris"}}' for own in ids)
    (tmp_path / "in.jsonl").write_text(f'{{"query": "who", "passages": [{passages}]}}\n')
    rank(tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    (found,) = read(tmp_path / "out.jsonl")
    by_index = sorted(found["results"], key=lambda result: result["index"])
    assert [result["id"] for result in by_index] == [json.loads(own) for own in ids]


def test_partitions_are_kept(rows: Rows, ranker: retort.Ranker, tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{**row, "lang": "de" if row["price"] % 2 else "en"}
                                  for row in rows])  # fmt: skip
    pq.write_to_dataset(table, tmp_path / "in", partition_cols=["lang"])
    (tmp_path / "in" / "_SUCCESS").touch()
    (tmp_path / "in" / "_temporary").mkdir()
    (tmp_path / "in" / "_temporary" / "x.parquet").write_text("no Parquet")
    rank(tmp_path / "in", tmp_path / "out")
    files = sorted(path.relative_to(tmp_path / "in") for path in (tmp_path / "in").glob("*/*"))
    files = [file for file in files if not str(file).startswith("_")]
    found = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*"))
    assert found == files
    for lang in ("de", "en"):
        # Without the folders, pyarrow reads the files alone.
        own = [pq.ParquetFile(tmp_path / "out" / f).read().to_pylist() for f in files
               if f"lang={lang}" in str(f)]  # fmt: skip
        given = [row for row in rows if (row["price"] % 2 == 1) == (lang == "de")]
        check(given, [row for file in own for row in file], ranker)
    partitions = pq.read_table(tmp_path / "out")["lang"].to_pylist()
    assert sorted(set(partitions)) == ["de", "en"]
    assert len(partitions) == len(rows)


def test_a_file_without_a_header_gets_none(rows: Rows, tmp_path: Path) -> None:
    source = tmp_path / "pairs.tsv"
    lines = [f"{row['query']}\t{row['passage']}" for row in rows]
    # With Windows' line ends, a blank line, and no end of the last line.
    source.write_bytes("\r\n".join([*lines[:5], "", *lines[5:]]).encode())
    rank(source, tmp_path / "out.tsv")
    found = (tmp_path / "out.tsv").read_bytes().decode().splitlines(keepends=True)
    assert [line.rsplit("\t", 3)[0] for line in found] == lines
    assert all(line.endswith("\r\n") for line in found[:-1])
    assert found[-1].endswith("\n")
    first = [line for line in found if line.startswith(f"{rows[0]['query']}\t")]
    places = sorted(int(line.rsplit("\t", 1)[1]) for line in first)
    assert places == list(range(1, 1 + len(by_query(rows)[rows[0]["query"]])))


def test_columns_of_other_names(rows: Rows, tmp_path: Path) -> None:
    strange = [{"frage": row["query"], "text": row["passage"], "score": 7} for row in rows]
    source = write(tmp_path / "pairs.parquet", strange)
    ended = call(source, "--out", tmp_path / "out.parquet", *SCORING)
    assert ended.exit_code == 1
    assert "no column 'query'" in ended.stderr
    named = ("--columns", "query=frage")
    ended = call(source, "--out", tmp_path / "out.parquet", *SCORING, *named)
    assert ended.exit_code == 1
    assert "column score already" in ended.stderr
    rank(source, tmp_path / "out.parquet", *named, "--prefix", "new_")
    (first, *_) = read(tmp_path / "out.parquet")
    assert list(first) == ["frage", "text", "score", "new_score", "new_spread", "new_rank"]
    assert first["score"] == 7


def test_a_query_is_its_id(ranker: retort.Ranker, tmp_path: Path) -> None:
    texts = [("1", QUERIES[0]), ("1", QUERIES[1]), ("2", QUERIES[1])]
    rows = [{"qid": own, "query": query, "passage": PASSAGES[0]} for own, query in texts]
    rank(write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
    ranks = [row["rank"] for row in read(tmp_path / "out.jsonl")]
    assert sorted(ranks[:2]) == [1, 2]
    assert ranks[2] == 1


@pytest.mark.parametrize("form", [".tsv", ".parquet"])
def test_rows_of_a_query_have_to_lie_together_to_be_ranked(
    form: str, rows: Rows, tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Looked through in several buckets.
    monkeypatch.setattr(survey, "RUNS_AT_ONCE", 3)
    source = write(tmp_path / f"in{form}", [*rows, rows[3]])
    out = tmp_path / f"out{form}"
    ended = call(source, "--out", out, *SCORING)
    assert ended.exit_code == 1
    place = f"line {len(rows) + 2}" if form == ".tsv" else f"row {len(rows) + 1}"
    assert place in ended.stderr
    assert "--no-rank" in ended.stderr
    rank(source, out, "--no-rank")
    found = read(out)
    assert list(found[0]) == [*rows[0], "score", "spread"]
    assert found[-1]["score"] == pytest.approx(found[3]["score"], abs=1e-6)


def test_runs_of_queries_are_looked_through_in_linear_time(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "RUNS_AT_ONCE", 8)
    many = [{"query": f"query {number}", "passage": "paris"} for number in range(1_000)]
    source = open_source(write(tmp_path / "in.tsv", [*many, many[7], many[3]]), {}, Added())
    taken = 0
    from_file = np.fromfile

    def counted(*given: Any, **options: Any) -> Any:
        nonlocal taken
        found = from_file(*given, **options)
        taken += len(found) // 4
        return found

    monkeypatch.setattr(np, "fromfile", counted)
    with pytest.raises(DataError, match=r"line 1002: .* from line 9 on"):
        survey.survey(
            source,
            source.blocks,
            BadRows(),
            grouped=True,
            folder=tmp_path,
            advance=lambda _: None,
        )
    assert taken == 2 * len(many) + 4


def test_row_groups_of_the_best_are_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"query": f"query {number // 10}", "passage": "paris"} for number in range(400)]
    source = write(tmp_path / "in.parquet", rows, row_group_size=20)

    def groups(name: str) -> list[int]:
        rank(source, tmp_path / name, "--top-n", 1)
        metadata = pq.read_metadata(tmp_path / name)
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    assert groups("one.parquet") == [40]
    monkeypatch.setattr(parquet, "GROUP_ROWS", 15)
    assert groups("rows.parquet") == [14, 14, 12]
    monkeypatch.setattr(parquet, "GROUP_ROWS", 65_536)
    monkeypatch.setattr(parquet, "GROUP_BYTES", 800)
    sizes = groups("bytes.parquet")
    assert len(sizes) > 1
    assert sum(sizes) == 40
    assert read(tmp_path / "bytes.parquet") == read(tmp_path / "one.parquet")


def test_kinds_of_objects_are_not_remembered_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "MOST_KINDS", 5)
    rows = [{"query": "who", "passage": "paris", f"field {n % 23}": n} for n in range(60)]
    source = JsonlFile(write(tmp_path / "in.jsonl", rows), {}, Added())
    held = [row for _, block in source.read(source.blocks, BadRows()) for row in block]
    assert len(held) == 60
    assert len(source._known) <= 5


def test_what_is_asked_wrongly_is_told(rows: Rows, tmp_path: Path) -> None:
    source = write(tmp_path / "in.tsv", rows)
    out = tmp_path / "out.tsv"
    for options, told in (
        (("--out", tmp_path / "out.jsonl"), "format of the input"),
        (("--out", out, "--top-n", 0), "--top-n 0"),
        (("--out", out, "--top-n", 1, "--no-rank"), "--no-rank"),
        (("--out", out, "--shard", "3/2"), "--shard 3/2"),
        (("--out", out, "--model", "x"), "--model x"),
        (("--out", out, "--concurrency", 2), "--concurrency 2"),
        (("--out", out, "--url", "http://x", "--bundle", "y"), "--bundle"),
        (("--out", out, "--columns", "title=x"), "title=x"),
        (("--out", source), "is there already"),
    ):
        ended = call(source, *options)
        assert ended.exit_code == 1
        assert told in ended.stderr
    for name in ("in.csv", "nothing.tsv"):
        ended = call(tmp_path / name, "--out", out)
        assert ended.exit_code == 1
        assert name in ended.stderr
    (tmp_path / "empty.tsv").write_text("query\tpassage\n")
    ended = call(tmp_path / "empty.tsv", "--out", out, *SCORING)
    assert ended.exit_code == 1
    assert "no pair" in ended.stderr


def test_the_help_loads_nothing() -> None:
    done = run_without([*EXTRA_OF_MODULE, "numpy", "fastapi", "tokenizers"], "rank", "--help")
    assert done.returncode == 0, done.stderr
    assert "--top-n" in done.stdout


def test_parquet_alone_needs_pyarrow(rows: Rows, tmp_path: Path) -> None:
    without = ["httpx", "pandas", "pyarrow", "scipy", "torch", "tqdm", "transformers"]
    source = write(tmp_path / "in.tsv", rows[:5])
    done = run_without(without, "rank", str(source), "--out", str(tmp_path / "out.tsv"), *SCORING)
    assert done.returncode == 0, done.stderr
    source = write(tmp_path / "in.parquet", rows[:5])
    done = run_without(without, "rank", str(source), "--out", str(tmp_path / "o.parquet"), *SCORING)
    assert done.returncode == 1
    assert "the extra `bulk`" in done.stderr


def test_what_is_read_stays_as_it_is_to_the_byte(tmp_path: Path) -> None:
    line = '{ "query":"who wrote hamlet","passage":"\\u0041 play" , "n": 1.50, "x": 1e400 }'
    line = line.replace(', "x": 1e400', "")
    (tmp_path / "in.jsonl").write_text(line + "  \n")
    rank(tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    found = (tmp_path / "out.jsonl").read_text()
    assert found.startswith(line.removesuffix(" }"))
    assert json.loads(found)["rank"] == 1


@pytest.mark.parametrize("module", [fields, progress, shards])
def test_the_examples_print_what_they_say(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted >= 1
    assert found.failed == 0


def test_progress_is_told_on_standard_error(rows: Rows, tmp_path: Path) -> None:
    code = (
        "import retort.bulk.progress as progress; progress.SECONDS_BETWEEN_LINES = 0\n"
        "from retort.cli import main; main()"
    )
    source = write(tmp_path / "in.tsv", rows)
    done = subprocess.run(
        [sys.executable, "-c", code, "rank", source, "--out", tmp_path / "out.tsv", *SCORING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("scoring")]
    assert f"{len(rows)} of {len(rows)} pairs (100%)" in line
    assert "pairs/s" in line
    assert "0:00:00 left" in line
