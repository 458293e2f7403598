"""The corpus: negatives are wrong, candidates are near, and nothing held out gets in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retort.training.data.corpus import (
    bm25,
    build_corpus,
    mine_negatives,
    reranking_pairs,
    windows,
)
from retort.training.data.pairs import Pair, normalise
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.data.table import read_table, write_table
from retort.training.recipes.load import RecipeError, parse_recipe
from retort.training.recipes.recipe import CorpusRecipe, PositiveSource

CITIES = ["Paris", "Rome", "Oslo", "Lima", "Cairo", "Delhi", "Tokyo", "Quito"]
POSITIVES = [
    Pair(f"what river flows through {city}", f"{city} lies on a river of its own.", 1.0, city)
    for city in CITIES
]


@pytest.mark.slow
def test_bm25_finds_the_nearest_and_survives_empty_queries() -> None:
    passages = ["red apples", "green pears", "blue plums"]
    found, scores = bm25(passages, ["pears", "the", "zebra"], 2)
    assert found.shape == (3, 2)
    assert found[0, 0] == 1
    assert scores[0, 0] > 0
    assert (scores[1:] == 0).all()


def test_negatives_are_near_but_never_right() -> None:
    plan = PositiveSource(source="squad-reqa/train", negatives=2, depth=5)
    twice = [*POSITIVES, Pair(POSITIVES[0].query, "PARIS lies on a river, of its own", 1.0, "b")]
    mined = mine_negatives(twice, plan, seed=1)
    right = {normalise(pair.passage) for pair in twice if pair.query == POSITIVES[0].query}
    wrong = [p for p in mined if p.query == POSITIVES[0].query and p.label == 0.0]
    assert wrong
    assert not right & {normalise(pair.passage) for pair in wrong}
    assert all("river" in pair.passage for pair in mined)
    assert mined == mine_negatives(twice, plan, seed=1)
    assert mined != mine_negatives(twice, plan, seed=2)


def test_windows_are_whole_sentences() -> None:
    text = "One two three. Four five. Six seven eight nine."
    assert windows(text, 5, 2) == ["One two three. Four five.", "Six seven eight nine."]
    assert windows(text, 5, 1) == ["One two three. Four five."]


def test_a_reranking_set_holds_bm25s_candidates_and_the_answer() -> None:
    pairs = reranking_pairs(POSITIVES, [pair.passage for pair in POSITIVES], 3, 4, seed=1)
    assert len(pairs) == 12
    assert sum(pair.label or 0 for pair in pairs) == 4


def write_data(root: Path) -> None:
    (root / "squad_reqa").mkdir(parents=True)
    (root / "selqa").mkdir()
    (root / "question_lists").mkdir()
    train = {
        "questions": [pair.query for pair in POSITIVES],
        "answers": [pair.passage for pair in POSITIVES],
        "question_ids": list(range(len(POSITIVES))),
    }
    test = {
        "questions": ["What river flows through Oslo?"],
        "candidates": ["Nothing of the kind."],
        "ground_truths": [[0]],
    }
    (root / "squad_reqa/train.json").write_text(json.dumps(train))
    (root / "squad_reqa/test.json").write_text(json.dumps(test))
    (root / "selqa/selqa-ass-dev.tsv").write_text("who ?\tshe\t1\nwho ?\tit\t0\nwho ?\tno\t0\n")
    questions = "1\tis Rome on a river\n2\twhat river flows through oslo\n"
    (root / "question_lists/topics.beir-v1.0.0-quora.test.tsv").write_text(questions)


def recipe(out: Path) -> CorpusRecipe:
    plan = parse_recipe(
        {
            "kind": "corpus",
            "out": str(out),
            "labelled": [{"source": "selqa/dev", "negatives": 1}],
            "positives": [{"source": "squad-reqa/train", "negatives": 1}],
            "questions": {"lists": ["quora"], "passages": ["squad-reqa/train"], "near": 2},
            "held_out": ["squad-reqa/test"],
        }
    )
    assert isinstance(plan, CorpusRecipe)
    return plan


def test_a_corpus_is_built_whole_and_twice_the_same(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    plan = recipe(tmp_path / "table.parquet")
    table = build_corpus(plan, tmp_path / "data", BadRows(), lambda text: None)
    by_source = {source: table.sources.count(source) for source in set(table.sources)}
    assert by_source["selqa/dev"] == 2
    assert by_source["squad-reqa/train"] == 2 * (len(CITIES) - 1)  # Oslo's question is held out
    assert by_source["candidates"] == 3
    assert all("oslo" not in pair.query.lower() for pair in table.pairs)
    assert table == build_corpus(plan, tmp_path / "data", BadRows(), lambda text: None)
    write_table(plan.out, table)
    again = read_table(plan.out)
    assert [(p.query, p.passage) for p in again.pairs] == [
        (p.query, p.passage) for p in table.pairs
    ]
    assert again.sources == table.sources
    assert again.facts == table.facts


def test_a_teams_own_files_make_a_corpus_without_any_public_set(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("query\tpassage\tlabel\nwho is it\tit is Ada\t1\n")
    (tmp_path / "asked.txt").write_text("is it Ada\nwhat is ada\n")
    plan = parse_recipe(
        {
            "kind": "corpus",
            "out": "unused",
            "labelled": [{"source": str(tmp_path / "mine.tsv")}],
            "questions": {
                "lists": [str(tmp_path / "asked.txt")],
                "passages": [str(tmp_path / "mine.tsv")],
            },
        }
    )
    assert isinstance(plan, CorpusRecipe)
    table = build_corpus(plan, None, BadRows(), lambda text: None)
    assert [pair.query for pair in table.pairs] == ["who is it", "is it Ada", "what is ada"] or [
        pair.query for pair in table.pairs
    ] == ["who is it", "what is ada", "is it Ada"]


def test_labels_that_contradict_each_other_are_settled_and_told(tmp_path: Path) -> None:
    (tmp_path / "one.tsv").write_text("who\tAda\t1\nwho\tBob\t1\nwho\tCid\t0\n")
    (tmp_path / "two.csv").write_text("Frage,Antwort,Note\nwho,Bob,0\nwhat,Ada,4\n")
    columns = {"query": "Frage", "passage": "Antwort", "label": "Note"}
    values = {
        "kind": "corpus",
        "out": "table",
        "labelled": [{"source": str(tmp_path / name)} for name in ("one.tsv", "two.csv")],
        "files": {str(tmp_path / "two.csv"): {"columns": columns, "largest": 5}},
    }
    plan = parse_recipe(values)
    assert isinstance(plan, CorpusRecipe)
    told: list[str] = []
    table = build_corpus(plan, None, BadRows(), told.append)
    labels = {(pair.query, pair.passage): pair.label for pair in table.pairs}
    assert labels == {
        ("who", "Ada"): 1.0, ("who", "Bob"): 0.5, ("who", "Cid"): 0.0, ("what", "Ada"): 0.8,
    }  # fmt: skip
    assert "1 pairs have contradictory labels: settled by mean" in told
    assert any("grades from 0 to 5" in line for line in told)
    plan = parse_recipe({**values, "contradictions": "refuse"})
    assert isinstance(plan, CorpusRecipe)
    with pytest.raises(DataError, match="1 pairs have contradictory labels"):
        build_corpus(plan, None, BadRows(), told.append)


def test_a_layout_of_a_file_that_is_no_source_is_a_mistake() -> None:
    values = {"kind": "corpus", "out": "table", "files": {"mine.csv": {"largest": 5}}}
    with pytest.raises(RecipeError, match=r"files\.mine\.csv.*no source of this recipe"):
        parse_recipe(values)


def test_no_label_that_reaches_the_threshold_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("who\tAda\t0.8\nwho\tBob\t0\n")
    values = {"kind": "corpus", "out": "table", "positives": [{"source": str(path)}]}
    plan = parse_recipe(values)
    assert isinstance(plan, CorpusRecipe)
    with pytest.raises(DataError, match=r"no pair of 2 is labelled 1 or more .*highest is 0\.8"):
        build_corpus(plan, None, BadRows(), lambda text: None)


def test_a_mined_negative_that_has_a_label_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text(
        "where does ada live\tada lives in rome\t1\n"
        "where does ada live\tada lives near rome\t0.4\n"
        "where does bob live\tbob lives in oslo\t1\n"
    )
    source = str(tmp_path / "mine.tsv")
    plan = parse_recipe(
        {"kind": "corpus", "out": "table", "positives": [{"source": source, "negatives": 2}]}
    )
    assert isinstance(plan, CorpusRecipe)
    table = build_corpus(plan, None, BadRows(), lambda text: None)
    labels = {pair.passage: pair.label for pair in table.pairs if "ada" in pair.query}
    assert labels["ada lives in rome"] == 1.0
    assert labels.get("ada lives near rome", 0.4) == 0.4
