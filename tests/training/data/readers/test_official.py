"""Readers: every official format, in small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retort.training.data.catalog import QUESTION_LISTS, read_pairs, read_questions
from retort.training.data.pairs import Pair
from retort.training.data.readers.own import read_file
from retort.training.data.readers.rows import BadRows, DataError


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_neuronblocks(tmp_path: Path) -> None:
    write(tmp_path / "neuronblocks_webqa/train_softlabel_10k.tsv", "a b\tc d\t0.25\t\n")
    write(tmp_path / "neuronblocks_webqa/test.tsv", "a b\tc d\t1\ne\tf\t0\n")
    (train,) = read_pairs(tmp_path, "neuronblocks/train")
    assert (train.query, train.passage, train.label) == ("a b", "c d", 0.25)
    assert [pair.label for pair in read_pairs(tmp_path, "neuronblocks/test")] == [1.0, 0.0]


def test_neuronblocks_demo_pairs_are_distinct(tmp_path: Path) -> None:
    folder = tmp_path / "neuronblocks_webqa"
    for sub in ("demo", "advanced_demo"):
        for name in ("train", "valid", "test"):
            write(folder / sub / f"{name}.tsv", f"q\tp\t1\nq\t{name}\t0\tNN\tNN\n")
    pairs = read_pairs(tmp_path, "neuronblocks/demo")
    assert sorted(pair.passage for pair in pairs) == ["p", "test", "train", "valid"]


def test_a_soft_score_where_a_label_belongs_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "neuronblocks_webqa/test.tsv", "a\tb\t1\nc\td\t0.5\n")
    with pytest.raises(
        DataError, match=r"test\.tsv, line 2: expected query<TAB>passage<TAB>0 or 1"
    ):
        read_pairs(tmp_path, "neuronblocks/test")


def test_wikiqa_with_and_without_header(tmp_path: Path) -> None:
    header = "QuestionID\tQuestion\tDocumentID\tDocumentTitle\tSentenceID\tSentence\tLabel\n"
    rows = (
        "Q1\twho\tD1\tT\tD1-0\tshe\t1\nQ1\twho\tD1\tT\tD1-1\tit\t0\nQ2\twhy\tD2\tT\tD2-0\tno\t0\n"
    )
    write(tmp_path / "wikiqa/WikiQA-test.tsv", header + rows)
    write(tmp_path / "wikiqa/WikiQA-train.txt", "who ?\tshe .\t1\n")
    assert len(read_pairs(tmp_path, "wikiqa/test")) == 3
    answered = read_pairs(tmp_path, "wikiqa/test-answered")
    assert {pair.query for pair in answered} == {"who"}
    assert read_pairs(tmp_path, "wikiqa/train")[0].label == 1.0
    write(tmp_path / "wikiqa/WikiQA-dev.tsv", "Question\tSentence\nx\ty\n")
    with pytest.raises(DataError, match=r"dev\.tsv, line 1: expected the header"):
        read_pairs(tmp_path, "wikiqa/dev")


def test_trecqa(tmp_path: Path) -> None:
    write(tmp_path / "trecqa/brmson_csv/dev.csv", 'qtext,label,atext\n"Who, then ?",1,"He , him"\n')
    write(
        tmp_path / "trecqa/train_all_pairs_1-2393.tsv",
        "qid\tquestion\tsentence\tlabel\n7\tq\ts\t0\n",
    )
    (pair,) = read_pairs(tmp_path, "trecqa/dev")
    assert (pair.query, pair.passage, pair.label) == ("Who, then ?", "He , him", 1.0)
    assert read_pairs(tmp_path, "trecqa/train-all")[0].query_id == "trec-7"


def test_squad_in_its_three_forms(tmp_path: Path) -> None:
    train = {"questions": ["q"], "answers": ["s"], "question_ids": [5]}
    test = {"questions": ["q1"], "candidates": ["s0", "s1"], "ground_truths": [[1]]}
    write(tmp_path / "squad_reqa/train.json", json.dumps(train))
    write(tmp_path / "squad_reqa/test.json", json.dumps(test))
    assert read_pairs(tmp_path, "squad-reqa/train")[0].passage == "s"
    assert read_pairs(tmp_path, "squad-reqa/test")[0].passage == "s1"
    rows = [{"id": "1", "question": "q", "is_impossible": True}, {"id": "2", "question": "r"}]
    official = {"data": [{"paragraphs": [{"context": "c", "qas": rows}]}]}
    write(tmp_path / "squad/dev-v2.0.json", json.dumps(official))
    assert [pair.label for pair in read_pairs(tmp_path, "squad/dev-v2.0")] == [0.0, 1.0]
    write(tmp_path / "squad_nqg/src-test.txt", "a -lrb- b -rrb- .\n")
    write(tmp_path / "squad_nqg/tgt-test.txt", "what ?\n")
    assert read_pairs(tmp_path, "squad-nqg/test")[0].passage == "a ( b ) ."
    write(tmp_path / "squad_nqg/tgt-test.txt", "what ?\nwho ?\n")
    with pytest.raises(DataError, match="must be in step"):
        read_pairs(tmp_path, "squad-nqg/test")


def test_qed_selqa_medquad(tmp_path: Path) -> None:
    row = {"example_id": 3, "question_text": "q", "paragraph_text": "p", "title_text": "t"}
    write(tmp_path / "qed_nq/qed-dev.jsonlines", json.dumps(row) + "\n")
    assert read_pairs(tmp_path, "qed/dev")[0].query_id == "qed-3"
    with pytest.raises(DataError, match="no file nq-train"):
        read_pairs(tmp_path, "qed/train")
    write(tmp_path / "selqa/selqa-ass-dev.tsv", "q\ts\t1\n")
    assert read_pairs(tmp_path, "selqa/dev")[0].label == 1.0
    header = "qid\tqtype\tcollection\tfocus\tquestion\tanswer\n"
    write(tmp_path / "medquad/medquad_qa.tsv", header + "1\tx\ty\tz\tq\ta\n1\tx\ty\tz\tq\t\n")
    with pytest.raises(DataError, match=r"medquad_qa\.tsv, line 3"):
        read_pairs(tmp_path, "medquad/all")
    bad = BadRows(skip=True)
    assert len(read_pairs(tmp_path, "medquad/all", bad)) == 1
    assert len(bad.places) == 1


@pytest.mark.parametrize(
    "line", ["who ?", '{"question": "who ?", "answer": ["x"]}', "12\twho ?", "who ?\t['him']"]
)
def test_lists_of_questions_in_all_forms(tmp_path: Path, line: str) -> None:
    write(tmp_path / "question_lists" / QUESTION_LISTS["quora"].file, line + "\n")
    assert read_questions(tmp_path, "quora") == ["who ?"]


def test_unknown_names_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set 'nope': there are .*wikiqa"):
        read_pairs(tmp_path, "nope/train")
    with pytest.raises(DataError, match=r"wikiqa has no split 'x': choose one of train"):
        read_pairs(tmp_path, "wikiqa/x")
    with pytest.raises(DataError, match=r"no list of questions 'nope'"):
        read_questions(tmp_path, "nope")


def test_a_users_own_pairs(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", "passage\tquery\tlabel\np\tq\t1\n")
    write(tmp_path / "b.tsv", "q\tp\n")
    write(tmp_path / "c.jsonl", '{"query": "q", "passage": "p", "label": 0.5}\n')
    assert read_file(tmp_path / "a.tsv", BadRows()).pairs == [Pair("q", "p", 1.0)]
    assert read_file(tmp_path / "b.tsv", BadRows()).pairs == [Pair("q", "p", None)]
    assert read_file(tmp_path / "c.jsonl", BadRows()).pairs == [Pair("q", "p", 0.5)]
    write(tmp_path / "d.jsonl", '{"query": "q", "pasage": "p"}\n')
    with pytest.raises(DataError, match=r"d\.jsonl, line 1: no column 'passage' among .*pasage"):
        read_file(tmp_path / "d.jsonl", BadRows())
