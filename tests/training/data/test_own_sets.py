"""A user's own pairs divided: by query, the same each time, and refused where it cannot measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.training.data.evaluation_set import read_sets
from retort.training.data.own_sets import divide, write_parts
from retort.training.data.pairs import Pair
from retort.training.data.readers.own_pairs import read_file
from retort.training.data.readers.rows import BadRows, DataError


def pairs(queries: int = 200, passages: int = 4) -> list[Pair]:
    return [
        Pair(f"question {q}", f"passage {q % 7} {p}", float(p == 0))
        for q in range(queries)
        for p in range(passages)
    ]


def test_whole_queries_and_the_shares_asked_for(tmp_path: Path) -> None:
    parts = divide(pairs(), "mine", 0.1, 0.2)
    every = (parts.train, parts.choose.pairs, parts.measure.pairs)
    asked = [{pair.query for pair in part} for part in every]
    assert sum(map(len, every)) == 800
    assert sum(map(len, asked)) == 200
    assert len(asked[1]) == pytest.approx(20, abs=10)
    assert len(asked[2]) == pytest.approx(40, abs=14)
    assert parts.measure.kind == "ranking"
    assert parts.measure.headline == "nDCG@10"
    # A query that was there before stays where it was, whatever comes with it.
    assert asked[2] < {pair.query for pair in divide(pairs(400), "mine", 0.1, 0.2).measure.pairs}
    path = write_parts(tmp_path / "mine", parts)
    assert tuple(read_file(path, BadRows())) == parts.train
    assert read_sets(tmp_path / "mine" / "measure")[0].pairs == parts.measure.pairs
    assert read_sets(tmp_path / "mine" / "choose")[0].name == "mine-choose"


def test_one_passage_a_query_is_a_classification() -> None:
    single = [Pair(f"question {q}", f"passage {q}", float(q % 2)) for q in range(200)]
    assert divide(single, "mine", 0.1, 0.2).measure.kind == "classification"


@pytest.mark.parametrize(
    ("given", "shares", "message"),
    [
        ([*pairs(), Pair("a", "b")], (0.1, 0.2), "1 of 801 pairs have no label"),
        (pairs(), (0.5, 0.5), "leave nothing to learn from"),
        (pairs(), (0.0, 0.0), "leave nothing to learn from"),
        ([Pair(f"q {q}", "p", 1.0) for q in range(99)], (0.1, 0.2), "are all of one label"),
    ],
)
def test_what_cannot_measure_is_refused(
    given: list[Pair], shares: tuple[float, float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        divide(given, "mine", *shares)
