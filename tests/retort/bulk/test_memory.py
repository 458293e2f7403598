"""Memory does not grow with the file, and no core waits for the last pair of a block."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retort.bulk.scoring import Prepared, pipelined
from tests.retort.bulk.files import ROOT

# All of `retort rank` but the model: scores are the passages' lengths.
PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from retort.bulk.file_ranking import FileRanking
from retort.bulk.scoring import PairScores
from retort.parallel.shards import Shard

class Lengths:
    identity = {}
    def stream(self, jobs, pairs_of):
        for job in jobs:
            lengths = np.array([len(passage) for _, passage in pairs_of(job)]) / 1e4
            yield job, PairScores(lengths, lengths)
    def close(self): pass

source = Path(sys.argv[1])
FileRanking(source, source.with_stem("out")).score(Lengths, Shard(), print)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
GROUP = 10_000


def tables(rows: int) -> Iterator[pa.Table]:
    """So many rows, a part at a time."""
    for start in range(0, rows, GROUP):
        numbers = range(start, start + GROUP)
        passages = [f"passage {number} " + "and so on " * 40 for number in numbers]
        queries = [f"query {number // 10}" for number in numbers]
        yield pa.table({"query": queries, "passage": passages})


def write_large(path: Path, rows: int) -> None:
    """Write so many rows without having them in memory, which a process begun here would count."""
    schema = pa.schema({"query": pa.string(), "passage": pa.string()})
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, schema) as out:
            for table in tables(rows):
                out.write_table(table)
        return
    with path.open("w", encoding="utf-8") as file:
        file.write("query\tpassage\n")
        for table in tables(rows):
            columns = (column.to_pylist() for column in table.columns)
            file.writelines(f"{q}\t{p}\n" for q, p in zip(*columns, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("form", [".tsv", ".parquet"])
def test_memory_does_not_grow_with_the_file(form: str, tmp_path: Path) -> None:
    peaks = []
    for rows in (10 * GROUP, 30 * GROUP):
        source = tmp_path / f"{rows}" / f"in{form}"
        source.parent.mkdir()
        write_large(source, rows)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, source],
            cwd=ROOT,
            env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"{rows} pairs of {rows} written" in done.stdout
        peaks.append(int(done.stdout.splitlines()[-1]))
    # 200,000 more passages have 84 MB. Allocators keep some of what was freed.
    assert peaks[1] - peaks[0] < 30e6


def test_blocks_overlap_and_few_are_in_memory() -> None:
    """A block's tasks begin before the last of the one before has ended; order stays."""
    prepared: list[int] = []
    ahead: list[int] = []
    second = threading.Event()
    running = most = 0
    lock = threading.Lock()

    def jobs() -> Iterator[int]:
        for job in range(1, 9):
            ahead.append(job - len(done))
            yield job

    def prepare(job: int) -> Prepared[tuple[int, int], tuple[int, int], Sequence[tuple[int, int]]]:
        prepared.append(job)
        return Prepared([(job, task) for task in range(5)], lambda results: results)

    def run(task: tuple[int, int]) -> tuple[int, int]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if task == (2, 0):
            second.set()
        if task == (1, 4):
            assert second.wait(60)
        with lock:
            running -= 1
        return task

    done: list[int] = []
    for job, results in pipelined(jobs(), prepare, run, workers=2):
        done.append(job)
        assert results == [(job, task) for task in range(5)]
    assert done == prepared == [1, 2, 3, 4, 5, 6, 7, 8]
    assert most == 2
    # Two are scored, and one is prepared.
    assert max(ahead) <= 3


def test_a_failure_ends_all() -> None:
    def run(task: int) -> int:
        raise RuntimeError(f"task {task}")

    def prepare(job: int) -> Prepared[int, int, Sequence[int]]:
        return Prepared([job], lambda results: results)

    with pytest.raises(RuntimeError, match="task 1"):
        list(pipelined(iter((1, 2, 3)), prepare, run, workers=2))

    def broken() -> Iterator[int]:
        yield 1
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        list(pipelined(broken(), prepare, abs, workers=2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("retort-")]
