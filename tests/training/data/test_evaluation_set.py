"""Evaluation sets: what they refuse, and that they come back from disk as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.training.commands.pairs import read_measured
from retort.training.data.evaluation_set import (
    EvaluationSet,
    EvaluationSetError,
    read_sets,
    write_pairs,
    write_sets,
)
from retort.training.data.pairs import Pair
from retort.training.data.readers.rows import DataError
from retort.training.recipes.corpus import FileLayout

PAIRS = (Pair("who?", "he\u2028did", 1.0, "1", "a"), Pair("who?", "ä", 0.0, "1", "b"))


def test_sets_come_back_as_they_were(tmp_path: Path) -> None:
    sets = [
        EvaluationSet("near", PAIRS, "classification"),
        EvaluationSet("far", PAIRS, cutoffs=(1, 100), headline="AP", missed={"1": 2}),
    ]
    write_sets(tmp_path, sets)
    assert read_sets(tmp_path) == sets
    assert read_sets(tmp_path, ["far"]) == sets[1:]


def test_an_unknown_set_is_named(tmp_path: Path) -> None:
    write_sets(tmp_path, [EvaluationSet("near", PAIRS)])
    with pytest.raises(EvaluationSetError, match="no set nowhere: there are near"):
        read_sets(tmp_path, ["nowhere"])


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    write_sets(tmp_path, [EvaluationSet("x", PAIRS)])
    path = tmp_path / "x.jsonl"
    path.write_text('{"query": "q", "passage": "p"}\n{"query": "q", "body": "p"}\n')
    with pytest.raises(DataError, match=r"x\.jsonl, line 2"):
        read_sets(tmp_path)


def test_pairs_without_labels_are_refused() -> None:
    with pytest.raises(EvaluationSetError, match="1 of 2 pairs have no label"):
        EvaluationSet("set", (*PAIRS[:1], Pair("q", "p")))


def test_a_headline_that_the_set_does_not_measure_is_refused() -> None:
    with pytest.raises(EvaluationSetError, match="headline is 'AP': use one of AUC, accuracy"):
        EvaluationSet("set", PAIRS, "classification", headline="AP")


def test_a_published_score_counts_as_relevant_from_one_half() -> None:
    pairs = tuple(Pair("q", str(label), label) for label in (0.49, 0.5, 1.0))
    assert EvaluationSet("set", pairs).labels.tolist() == [0, 1, 1]


def test_the_pairs_of_a_set_may_be_of_any_format(tmp_path: Path) -> None:
    write_sets(tmp_path, [EvaluationSet("near", PAIRS)])
    (tmp_path / "near.jsonl").unlink()
    with pytest.raises(EvaluationSetError, match=r"none of near\.tsv"):
        read_sets(tmp_path)
    (tmp_path / "near.csv").write_text("question,answer,grade\nwho?,a,2\nwho?,b,1\nwho?,c,0\n")
    (items,) = read_sets(tmp_path)
    assert items.gains.tolist() == [1.0, 0.5, 0.0]
    assert items.largest == 2.0
    assert items.labels.tolist() == [1, 1, 0]
    (tmp_path / "near.tsv").write_text("q\tp\t1\n")
    with pytest.raises(EvaluationSetError, match=r"near\.tsv, near\.csv"):
        read_sets(tmp_path)


def test_graded_sets_refuse_what_has_no_grade(tmp_path: Path) -> None:
    pairs = (Pair("q", "a", 0.5), Pair("q", "b", 1.0))
    with pytest.raises(EvaluationSetError, match="missed have no grade"):
        EvaluationSet("set", pairs, missed={"q": 1})
    with pytest.raises(
        EvaluationSetError, match="relevant from 4: give a label above 0 and up to 3"
    ):
        EvaluationSet("set", pairs, relevant=4 / 3, largest=3.0)


@pytest.mark.parametrize(("labels", "side"), [((1.0, 0.5), "at or above"), ((0.0, 0.4), "below")])
def test_labels_on_one_side_are_told_before_anything_is_scored(
    labels: tuple[float, ...], side: str, tmp_path: Path
) -> None:
    pairs = tuple(Pair("q", str(label), label) for label in labels)
    write_sets(tmp_path / "sets", [EvaluationSet("set", pairs)])
    write_pairs(tmp_path / "mine.jsonl", [Pair("q", pair.passage, pair.label) for pair in pairs])
    for place in (tmp_path / "sets", tmp_path / "mine.jsonl"):
        with pytest.raises(EvaluationSetError, match=f"2 labels are {side} 0.5"):
            read_measured(place, None, FileLayout(), "mean", None)
    # Another threshold has something on each side.
    threshold = max(labels)
    found = read_measured(tmp_path / "mine.jsonl", None, FileLayout(), "mean", threshold)
    assert sorted(found[0].labels.tolist()) == [0, 1]
