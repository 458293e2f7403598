"""The trace: sizes as they are in a file, or drawn for the extract."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.loadtest.texts import Request
from retort.loadtest.tune.trace import cut, read_trace
from retort.models.encoding import PairEncoder


def test_counts_are_drawn_around_the_mean(encoder: PairEncoder) -> None:
    found = read_trace(encoder, pairs=None, passages=10)
    counts = [len(request.passages) for request in found.requests]
    assert sum(counts) / len(counts) == pytest.approx(10, rel=0.25)
    assert min(counts) < 3
    assert max(counts) > 25
    assert found == read_trace(encoder, pairs=None, passages=10)
    assert found.described.startswith(f"{len(counts)} questions of extract.tsv with 1 to ")


def test_a_mean_of_one_is_one_each() -> None:
    requests = [Request("q", ("a", "b", "c"))] * 20
    assert {len(request.passages) for request in cut(requests, 1)} == {1}
    assert {len(request.passages) for request in cut(requests, 3)} == {1, 2, 3}


def test_a_file_keeps_its_own_sizes(encoder: PairEncoder, tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    file.write_text("q one\tgood ice\nq one\told home\nq two\tred fire\n", encoding="utf-8")
    found = read_trace(encoder, pairs=file, passages=10)
    assert [len(request.passages) for request in found.requests] == [2, 1]
    assert "2 questions of mine.tsv with 1 to 2 passages, mean 1.5" in found.described
