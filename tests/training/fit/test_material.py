"""Own pairs are put apart by query, whatever they have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retort.training.data.catalog import read_any
from retort.training.data.pairs import Pair
from retort.training.data.readers.own import SourcePairs
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.fit.material import Material, read_material
from retort.training.fit.verdict import MIN_QUERIES
from retort.training.recipes.parts.teacher import TeacherRef
from tests.training.fit.made import make_pairs, save_pairs
from tests.training.fit.plans import make_plan

TEACHER = TeacherRef(name="ce", path="ce")


def read(tmp_path: Path, pairs: list[Pair], *teachers: TeacherRef, **fields: object) -> Material:
    source = save_pairs(tmp_path / "mine.jsonl", pairs)
    plan = make_plan(tmp_path, source=str(source), teachers=teachers, **fields)
    return read_material(plan, read_pairs, lambda text: None)


def read_pairs(source: str) -> SourcePairs:
    return read_any(source, None, BadRows())


def queries(pairs: tuple[Pair, ...]) -> set[str]:
    return {pair.query for pair in pairs}


def test_no_query_is_in_two_parts_and_about_three_in_ten_are_measured(tmp_path: Path) -> None:
    found = read(tmp_path, make_pairs(200)).parts
    parts = [queries(p) for p in (found.train, found.choose.pairs, found.measure.pairs)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    everything = queries(tuple(make_pairs(200)))
    assert set.union(*parts) == everything
    assert len(parts[2]) / len(everything) == pytest.approx(0.3, abs=0.1)
    assert found.measure.kind == "ranking"


def test_pairs_without_a_label_stay_away_from_what_is_measured(tmp_path: Path) -> None:
    labelled = make_pairs(100)
    blank = [replace(pair, label=None, passage=f"and {pair.passage}") for pair in labelled]
    found = read(tmp_path, [*labelled, *blank], TEACHER)
    assert found.unlabelled
    assert not queries(found.unlabelled) & queries(found.held_out)
    assert queries(found.unlabelled) == queries(found.parts.train)
    with pytest.raises(DataError, match="without a --teacher"):
        read(tmp_path, [*labelled, *blank])


def test_questions_that_are_measured_are_not_asked_in_training(tmp_path: Path) -> None:
    pairs = make_pairs(100)
    path = tmp_path / "questions.txt"
    asked = sorted(queries(tuple(pairs)))
    path.write_text("\n".join([*asked, "how old is the city"]) + "\n")
    found = read(tmp_path, pairs, TEACHER, questions=(str(path),))
    assert set(found.questions) == queries(found.parts.train) | {"how old is the city"}


def test_a_file_to_measure_by_is_measured_whole_and_never_learned_from(tmp_path: Path) -> None:
    pairs = make_pairs(100)
    measured = save_pairs(tmp_path / "test.jsonl", pairs[:150])
    found = read(tmp_path, pairs, measure=str(measured)).parts
    assert found.measure.pairs == tuple(pairs[:150])
    assert not queries(found.train) & queries(found.measure.pairs)
    assert not queries(found.choose.pairs) & queries(found.measure.pairs)


def test_right_passages_alone_get_wrong_ones(tmp_path: Path) -> None:
    right = [pair for pair in make_pairs(100) if pair.label == 1.0]
    found = read(tmp_path, right).parts
    labels = found.measure.labels
    assert 0 < labels.sum() < len(labels) / 2
    assert {pair.passage for pair in found.measure.pairs} <= {pair.passage for pair in right}


def test_what_cannot_be_judged_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pair has a label"):
        read(tmp_path, [replace(pair, label=None) for pair in make_pairs(40)], TEACHER)
    with pytest.raises(DataError, match="64 that its student never saw"):
        read(tmp_path, make_pairs(24))
    with pytest.raises(DataError, match="queries have two passages or more"):
        read(tmp_path, make_pairs(30, passages=12))


def test_the_sample_that_ships_is_enough_for_a_verdict(tmp_path: Path) -> None:
    sample = Path(__file__).parents[3] / "recipes" / "mine" / "sample.tsv"
    plan = make_plan(tmp_path, source=str(sample))
    found = read_material(plan, read_pairs, lambda text: None).parts
    assert len(queries(found.measure.pairs)) >= MIN_QUERIES
    assert sample.stat().st_size < 300_000


def test_grades_are_right_from_where_the_user_says(tmp_path: Path) -> None:
    graded = [
        replace(pair, label=[3.0, 1.0, 0.0, 0.0, 2.0][i % 5])
        for i, pair in enumerate(make_pairs(100))
    ]
    half = read(tmp_path, graded).parts.measure
    assert half.labels.mean() == pytest.approx(0.4)
    assert half.largest == 3.0
    strict = read(tmp_path, graded, relevant=3.0).parts.measure
    assert strict.labels.mean() == pytest.approx(0.2)


def test_passages_come_one_per_line_too(tmp_path: Path) -> None:
    path = tmp_path / "handbook.txt"
    path.write_text("The tower is old.\n\nParis is in France.\n")
    found = read(tmp_path, make_pairs(100), TEACHER, passages=(str(path),))
    assert [pair.passage for pair in found.passages] == ["The tower is old.", "Paris is in France."]
