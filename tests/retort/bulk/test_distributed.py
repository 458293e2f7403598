"""`retort rank --ray`: what a cluster writes is what one process writes, to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ray_cluster import ray_nodes
from tests.retort.bulk.files import SCORING, call, make_rows, rank, write
from tests.retort.bulk.test_resume import end, kill_after, parts_of, start


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, ray_nodes(3, patch) as cluster:
        yield cluster


def test_a_run_goes_on_when_it_was_killed_and_a_node_is_lost(nodes: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", make_rows(25, seed=2))
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    end(start(source, whole))
    on_ray = ("--ray", "--address", nodes.address)
    kill_after(start(source, out, *on_ray), out, 2)
    done = {path: path.stat().st_mtime_ns for path in parts_of(out)}
    nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
    kill_after(start(source, out, *on_ray), out, len(done) + 1)
    # What was done before is not done again.
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    # One process finishes what a cluster has begun.
    end(start(source, out))
    assert out.read_bytes() == whole.read_bytes()


def test_a_cluster_writes_what_one_process_writes(nodes: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "in.tsv", make_rows(5, seed=3))
    rank(source, tmp_path / "whole.tsv")
    rank(source, tmp_path / "out.tsv", "--ray")
    assert (tmp_path / "out.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--address", "host:6379"), "--address"),
        (("--cpus", 2), "--cpus"),
        (("--ray", "--url", "http://127.0.0.1:1"), "--ray"),
        (("--ray", "--cpus", 64), "--cpus"),
    ],
)
def test_options_that_do_not_fit_are_told(
    nodes: Any, tmp_path: Path, options: tuple[object, ...], told: str
) -> None:
    source = write(tmp_path / "in.tsv", make_rows(2))
    scoring = () if "--url" in options else SCORING
    ended = call(source, "--out", tmp_path / "out.tsv", *scoring, *options)
    assert ended.exit_code == 1
    assert told in ended.stderr
