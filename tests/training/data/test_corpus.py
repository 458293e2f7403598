"""The corpus: negatives are wrong, candidates are near, and nothing held out gets in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retort.training.data.corpus import build_corpus, reranking_pairs
from retort.training.data.evaluation_set import EvaluationSet, write_pairs, write_sets
from retort.training.data.leaks import LeakError
from retort.training.data.pairs import Pair
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.data.table import read_table, write_table
from retort.training.recipes.corpus import CorpusRecipe
from retort.training.recipes.load import RecipeError, parse_recipe

CITIES = ["Paris", "Rome", "Oslo", "Lima", "Cairo", "Delhi", "Tokyo", "Quito"]
POSITIVES = [
    Pair(f"what river flows through {city}", f"{city} lies on a river of its own.", 1.0, city)
    for city in CITIES
]


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


def own_recipe(tmp_path: Path, pairs: list[Pair], **fields: object) -> CorpusRecipe:
    write_pairs(tmp_path / "mine.jsonl", pairs)
    plan = parse_recipe({"kind": "corpus", "out": str(tmp_path / "t.parquet"), **fields})
    assert isinstance(plan, CorpusRecipe)
    return plan


def test_no_negative_is_labelled_right_anywhere_however_few_queries_are_drawn(
    tmp_path: Path,
) -> None:
    """40 of 200 positives are drawn; a second source knows one more answer of each query."""
    pairs, more = [], []
    for number in range(50):
        query = f"where is the lake number{number}"
        for place in range(4):
            label = (1.0, 1.0, 0.9, 0.3)[place]
            text = f"The lake number{number} is in the valley {place} of the lake"
            pairs.append(Pair(query, text, label, f"q{number}"))
        pairs.append(Pair(query, f"No lake number{number} here", 0.0, f"q{number}"))
        pairs.append(Pair("another", f"A lake, number{number}, that is elsewhere", 0.0, "z"))
        more.append(Pair(query.upper(), f"a LAKE number{number} that is elsewhere!", 1.0, "r"))
    other = tmp_path / "other.jsonl"
    write_pairs(other, more)
    mine = str(tmp_path / "mine.jsonl")
    plan = own_recipe(
        tmp_path,
        pairs,
        labelled=[{"source": str(other), "queries": 1}],
        positives=[{"source": mine, "queries": 40, "negatives": 3, "positive": False}],
    )
    table = build_corpus(plan, None, BadRows(), lambda text: None)
    negatives = [p for p, source in zip(table.pairs, table.sources, strict=True) if source == mine]
    assert len(negatives) > 80
    wrong = {(p.query, p.passage) for p in pairs if not p.label}
    own_number = [p for p in negatives if p.query.rpartition(" ")[2] in p.passage.split()]
    assert {(p.query, p.passage) for p in own_number} <= wrong
    assert not [p for p in negatives if f"{p.query.rpartition(' ')[2]}, that is" in p.passage]


def test_what_is_measured_is_left_out_by_the_path_of_a_file_and_of_a_folder(
    tmp_path: Path,
) -> None:
    kept, measured = POSITIVES[:4], POSITIVES[4:]
    measured = [*measured, Pair(measured[0].query, "Nothing of the kind.", 0.0)]
    write_sets(tmp_path / "measure", [EvaluationSet("clicks-measure", tuple(measured))])
    (tmp_path / "asked.txt").write_text("".join(f"{p.query}?\n" for p in POSITIVES))
    mine = str(tmp_path / "mine.jsonl")
    for held_out in ("measure", "measure/clicks-measure.jsonl"):
        plan = own_recipe(
            tmp_path,
            POSITIVES,
            labelled=[{"source": mine}],
            questions={"lists": [str(tmp_path / "asked.txt")], "passages": [mine]},
            held_out=[str(tmp_path / held_out)],
        )
        said: list[str] = []
        table = build_corpus(plan, None, BadRows(), said.append)
        assert {p.query.rstrip("?") for p in table.pairs} == {p.query for p in kept}
        assert table.facts["dropped"] == 4
        assert "stage 1: 4 questions left out because they are held out" in said


def test_passages_that_questions_share_can_stay(tmp_path: Path) -> None:
    """One handbook answers what is trained on and what is measured."""
    pairs = [Pair(p.query, q.passage, float(p is q)) for p in POSITIVES for q in POSITIVES]
    write_sets(tmp_path / "measure", [EvaluationSet("clicks", tuple(pairs[-8:]))])
    mine = str(tmp_path / "mine.jsonl")
    plan = own_recipe(
        tmp_path,
        pairs[:-8],
        labelled=[{"source": mine}],
        questions={"queries_of": [mine], "passages": [mine], "near": 7, "deep": 0},
        held_out=[str(tmp_path / "measure")],
        held_out_passages=False,
    )
    table = build_corpus(plan, None, BadRows(), lambda text: None)
    assert len(table) == 7 * 8
    plan = plan.model_copy(update={"held_out_passages": True})
    with pytest.raises(DataError, match="no passages are left, of 8 read"):
        build_corpus(plan, None, BadRows(), lambda text: None)


def test_a_measured_file_that_is_trained_on_is_refused_however_its_path_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sets(tmp_path / "measure", [EvaluationSet("clicks", (*POSITIVES, Pair("q", "p", 0.0)))])
    for held_out in ("measure", "./measure/clicks.jsonl"):
        plan = own_recipe(
            tmp_path,
            POSITIVES,
            labelled=[{"source": str(tmp_path / "measure" / "clicks.jsonl")}],
            held_out=[held_out],
        )
        with pytest.raises(LeakError, match="both trained on and measured on"):
            build_corpus(plan, None, BadRows(), lambda text: None)


def test_a_table_without_a_pair_is_refused(tmp_path: Path) -> None:
    mine = str(tmp_path / "mine.jsonl")
    write_sets(tmp_path / "measure", [EvaluationSet("all", (*POSITIVES, Pair("q", "p", 0.0)))])
    plan = own_recipe(
        tmp_path, POSITIVES, labelled=[{"source": mine}], held_out=[str(tmp_path / "measure")]
    )
    with pytest.raises(DataError, match="no pairs, 8 dropped"):
        build_corpus(plan, None, BadRows(), lambda text: None)
