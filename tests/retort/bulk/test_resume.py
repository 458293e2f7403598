"""Runs that were killed, changed or shared out: what comes out is the same to the byte."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retort.bulk.formats.parquet import ParquetFiles
from retort.bulk.formats.tsv import TsvFile
from retort.bulk.parts import FINISHED, Parts
from tests.retort.bulk.files import (
    BACKEND,
    ROOT,
    SCORING,
    SMALL_BLOCKS,
    Rows,
    call,
    make_rows,
    rank,
    write,
)
from tests.service.running import PATIENCE_SECONDS

QUERIES = 25


@pytest.fixture(scope="module")
def rows() -> Rows:
    return make_rows(QUERIES, most=30, seed=2)


def parts_of(out: Path) -> list[Path]:
    return sorted(out.with_name(f"{out.name}.partial").glob("block-*.npz"))


def start(source: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SMALL_BLOCKS, "rank", str(source), "--out", str(out), *SCORING, *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, told


def kill_after(process: subprocess.Popen[str], out: Path, parts: int) -> None:
    """Kill a run when it has kept so many parts."""
    stop = time.monotonic() + PATIENCE_SECONDS
    while len(parts_of(out)) < parts:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < stop
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("form", [".tsv", ".parquet"])
def test_a_killed_run_goes_on_and_writes_the_same(form: str, rows: Rows, tmp_path: Path) -> None:
    source = write(tmp_path / f"in{form}", rows)
    whole, out = tmp_path / f"whole{form}", tmp_path / f"out{form}"
    end(start(source, whole))
    done: list[tuple[Path, float]] = []
    for parts in (1, 4, 7):
        kill_after(start(source, out), out, parts)
        # What was done before is not done again.
        assert [(path, path.stat().st_mtime_ns) for path, _ in done] == done
        done = [(path, path.stat().st_mtime_ns) for path in parts_of(out)]
    assert 7 <= len(done) < len(rows) // 40
    end(start(source, out))
    assert out.read_bytes() == whole.read_bytes()
    assert not parts_of(out)


def test_a_run_that_ends_while_writing_goes_on(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write(tmp_path / "in.tsv", rows[:50]), tmp_path / "out.tsv"
    rank(source, tmp_path / "whole.tsv")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(out))

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "finish", full)
        ended = call(source, "--out", out, *SCORING)
        assert ended.exit_code == 1
        assert "No space left" in ended.stderr
    # A part that a loss of power left behind is scored again.
    parts_of(out)[0].write_bytes(b"")
    # Other rows of the best may be kept: scores do not depend on it.
    rank(source, out, "--top-n", 1)
    assert len(out.read_text().splitlines()) < len(rows[:50])
    out.unlink()
    rank(source, out)
    assert out.read_bytes() == (tmp_path / "whole.tsv").read_bytes()


def test_a_run_that_was_killed_at_its_end_is_complete(rows: Rows, tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.tsv", rows[:20]), tmp_path / "out.tsv"
    rank(source, out)
    content = out.read_bytes()
    folder = out.with_name("out.tsv.partial")
    folder.mkdir()
    (folder / FINISHED).touch()
    rank(source, out)
    assert out.read_bytes() == content


def test_an_output_of_others_is_not_taken_for_complete(rows: Rows, tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.tsv", rows[:20]), tmp_path / "out.tsv"
    shard = ("--out", out, "--shard", "2/2", *SCORING)
    assert call(source, *shard).exit_code == 0
    parts = parts_of(out)
    # A run that was killed just before the output was there.
    (parts[0].parent / FINISHED).touch()
    assert call(source, *shard).exit_code == 0
    out.write_text("mine")
    ended = call(source, *shard)
    assert ended.exit_code == 1
    assert str(out) in ended.stderr
    assert parts_of(out) == parts


@pytest.mark.parametrize("form", [".tsv", ""])
def test_what_counts_is_on_the_disk(
    form: str, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[Path] = []
    sync = os.fsync

    def noting(place: int) -> None:
        settled.append(Path(os.readlink(f"/proc/self/fd/{place}")))
        sync(place)

    monkeypatch.setattr(os, "fsync", noting)
    source = write(tmp_path / ("in/a.parquet" if not form else "in.tsv"), rows[:20])
    rank(source if form else source.parent, tmp_path / f"out{form}")
    names = [path.name.split("-")[0].split(".")[0] for path in settled]
    written = ["output"] if form else ["output", "a"]
    assert names == ["basis", "block", *written, tmp_path.name.split("-")[0]]


@pytest.mark.parametrize("form", [".jsonl", ".parquet"])
def test_nothing_goes_on_under_another_basis(form: str, rows: Rows, tmp_path: Path) -> None:
    source, out = write(tmp_path / f"in{form}", rows), tmp_path / f"out{form}"
    first = (source, "--out", out, "--shard", "2/2", *BACKEND)
    own = ("--bundle", SCORING[1])
    assert call(*first, *own).exit_code == 0
    other = shutil.copytree(SCORING[1], tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "version": "0.0.2"}))
    for options, told in (
        (("--bundle", other), "another bundle: tiny 0.0.1"),
        ((*own, "--columns", "query=query"), "another columns"),
    ):
        ended = call(*first, *options)
        assert ended.exit_code == 1
        assert told in ended.stderr
    # A row more, and a text of the same length.
    for changed in (
        [*rows, rows[-1]],
        [{**rows[0], "passage": rows[0]["passage"][::-1]}, *rows[1:]],
    ):
        write(source, changed)
        ended = call(*first, *own)
        assert ended.exit_code == 1
        assert "input" in ended.stderr
    write(source, rows)
    assert call(*first, *own).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("form", [".tsv", ".jsonl", ".parquet"])
def test_shards_make_the_same_file(form: str, rows: Rows, tmp_path: Path) -> None:
    source = write(tmp_path / f"in{form}", rows)
    whole, out = tmp_path / f"whole{form}", tmp_path / f"out{form}"
    # All but the first have folders of their own, as on machines that share none.
    shards = [start(source, out, "--shard", "1/3")]
    shards += [start(source, tmp_path / f"{n}" / out.name, "--shard", f"{n}/3") for n in (2, 3)]
    for process in (*shards, start(source, whole)):
        end(process)
    folder = out.with_name(f"{out.name}.partial")
    merging = [*SMALL_BLOCKS, "rank", str(source), "--out", str(out), "--merge", "3"]
    for lacking, copied in (("2/3, 3/3", 3), ("2/3", 2)):
        ended = subprocess.run(merging, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert f"incomplete: {lacking}" in ended.stderr
        shutil.copytree(tmp_path / f"{copied}" / folder.name, folder, dirs_exist_ok=True)
    subprocess.run(merging, cwd=ROOT, check=True)
    assert out.read_bytes() == whole.read_bytes()


def test_parts_of_two_bases_are_not_merged(rows: Rows, tmp_path: Path) -> None:
    source = write(tmp_path / "in.tsv", rows[:20])
    outs = [tmp_path / "out.tsv", tmp_path / "other" / "out.tsv"]
    for out, options in zip(outs, ((), ("--columns", "query=query")), strict=True):
        assert call(source, "--out", out, *SCORING, "--shard", "2/2", *options).exit_code == 0
    (own,), (other,) = map(parts_of, outs)
    shutil.copy(other, own)
    ended = call(source, "--out", outs[0], "--merge", 2)
    assert ended.exit_code == 1
    assert "Remove it" in ended.stderr


def test_shards_of_partitions(rows: Rows, tmp_path: Path) -> None:
    source = tmp_path / "in"
    table = pa.Table.from_pylist([{**row, "half": row["price"] % 2} for row in rows])
    pq.write_to_dataset(table, source, partition_cols=["half"])
    rank(source, tmp_path / "whole")
    for number in (1, 2, 3):
        # The second of three has no block.
        ended = call(source, "--out", tmp_path / "out", *SCORING, "--shard", f"{number}/3")
        assert ended.exit_code == 0, ended.stderr
    assert call(source, "--out", tmp_path / "out", "--merge", 3).exit_code == 0
    files = [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        same = tmp_path / "out" / path.relative_to(tmp_path / "whole")
        assert same.read_bytes() == path.read_bytes()
    assert os.listdir(tmp_path / "out") == os.listdir(tmp_path / "whole")


def test_an_output_within_the_input_is_refused(rows: Rows, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.parquet", rows[:20])
    out = tmp_path / "in" / "scored"
    ended = call(tmp_path / "in", "--out", out, *SCORING)
    assert ended.exit_code == 1
    assert str(out) in ended.stderr
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.parquet"]


def test_what_changes_before_the_output_is_there_is_told(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write(tmp_path / "in.tsv", rows[:50]), tmp_path / "out.tsv"
    written = TsvFile.write

    def then(change: Path) -> None:
        def write_and_change(*given: Any) -> None:
            written(*given)
            change.touch()

        monkeypatch.setattr(TsvFile, "write", write_and_change)

    for changed in (source, out):
        then(changed)
        ended = call(source, "--out", out, *SCORING)
        assert ended.exit_code == 1
        assert str(changed) in ended.stderr
        # All scores are kept.
        assert parts_of(out)
        out.unlink(missing_ok=True)
    monkeypatch.undo()
    rank(source, out)


def test_a_folder_that_changes_is_told_by_what_is_read_of_it(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    write(source / "a.parquet", rows[:20])
    written = ParquetFiles.write

    def then(change: Path) -> None:
        def write_and_change(*given: Any) -> None:
            written(*given)
            change.parent.mkdir(exist_ok=True)
            change.touch()

        monkeypatch.setattr(ParquetFiles, "write", write_and_change)

    then(source / "b.parquet")
    ended = call(source, "--out", tmp_path / "out", *SCORING)
    assert ended.exit_code == 1
    assert str(source) in ended.stderr
    (source / "b.parquet").unlink()
    # What another program has not finished is no part of it.
    then(source / "_temporary" / "b.parquet")
    rank(source, tmp_path / "out")


def test_a_basis_that_was_cut_off_is_told(rows: Rows, tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.tsv", rows[:20]), tmp_path / "out.tsv"
    assert call(source, "--out", out, "--shard", "1/2", *SCORING).exit_code == 0
    basis = tmp_path / "out.tsv.partial" / "basis.json"
    for content in ("", '{"input": ['):
        basis.write_text(content)
        ended = call(source, "--out", out, *SCORING)
        assert ended.exit_code == 1
        assert "basis.json" in ended.stderr
        assert "Traceback" not in ended.output


def test_parts_need_no_links(rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    rank(write(tmp_path / "in.tsv", rows[:20]), tmp_path / "out.tsv")


@pytest.mark.parametrize(
    "option",
    [
        ("--url", "http://127.0.0.1:1"),
        ("--bundle", "x"),
        ("--shard", "1/2"),
        ("--concurrency", "2"),
        ("--ray",),
        ("--address", "host:6379"),
        ("--gpus", "1"),
    ],
)
def test_a_merge_takes_nothing_that_scores(
    rows: Rows, tmp_path: Path, option: tuple[str, ...]
) -> None:
    source = write(tmp_path / "in.tsv", rows[:20])
    ended = call(source, "--out", tmp_path / "out.tsv", "--merge", 2, *option)
    assert ended.exit_code == 1
    assert f"{option[0]}: --merge 2" in ended.stderr
