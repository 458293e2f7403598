"""The sentence tasks' readers: every official format in small."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.training.data.catalog import CATALOG, read_pairs
from retort.training.data.pairs import REVIEW_QUERY
from retort.training.data.readers.rows import BadRows, DataError


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


RTE = (
    "index\tsentence1\tsentence2\tlabel\n"
    '0\t"Rain is due," said the man.\tIt may rain.\tentailment\n'
    '1\t"Rain is due," said the man.\tIt is dry.\tnot_entailment\n'
    "2\tA dog ran.\tA cat ran.\tnot_entailment\n"
)


def test_rte_asks_whether_the_premise_entails_the_hypothesis(tmp_path: Path) -> None:
    write(tmp_path / "glue/rte/glue_dev.tsv", RTE)
    pairs = read_pairs(tmp_path, "rte/dev")
    assert [(pair.query, pair.label) for pair in pairs] == [
        ("It may rain.", 1.0), ("It is dry.", 0.0), ("A cat ran.", 0.0),
    ]  # fmt: skip
    assert pairs[0].passage == '"Rain is due," said the man.'
    assert pairs[0].query_id == pairs[1].query_id != pairs[2].query_id
    assert len({pair.passage_id for pair in pairs}) == 3
    # GLUE's own name for the file comes first.
    write(tmp_path / "glue/rte/dev.tsv", RTE.splitlines()[0] + "\n0\ta\tb\tentailment\n")
    assert len(read_pairs(tmp_path, "rte/dev")) == 1


def test_qnli(tmp_path: Path) -> None:
    header = "index\tquestion\tsentence\tlabel\n"
    rows = '0\tWho?\t" This is raw.\tentailment\n1\twho ?\tNo.\tnot_entailment\n'
    write(tmp_path / "glue/qnli/dev.tsv", header + rows)
    first, second = read_pairs(tmp_path, "qnli/dev")
    assert (first.query, first.passage, first.label) == ("Who?", '" This is raw.', 1.0)
    assert first.query_id == second.query_id
    assert second.label == 0.0


def test_snli_has_two_classes_here_and_leaves_out_what_annotators_did_not_settle(
    tmp_path: Path,
) -> None:
    rows = (
        '"A sign says ""HI""."\tIt says HI.\t0\nA dog.\tAn old dog.\t1\n'
        "A dog.\tA cat.\t2\nA dog.\tIt barks.\t-1\n"
    )
    write(tmp_path / "glue/snli/test.tsv", "premise\thypothesis\tlabel\n" + rows)
    pairs = read_pairs(tmp_path, "snli/test")
    assert [pair.label for pair in pairs] == [1.0, 0.0, 0.0]
    assert pairs[0].passage == 'A sign says "HI".'
    assert pairs[1].query_id == pairs[2].query_id
    write(tmp_path / "glue/snli/test.tsv", "premise\thypothesis\tlabel\na\tb\t3\n")
    with pytest.raises(DataError, match=r"test\.tsv, line 2: expected a label of 0, 1, 2, found"):
        read_pairs(tmp_path, "snli/test")


def test_mrpc_quoted_by_a_csv_writer_or_not(tmp_path: Path) -> None:
    rows = '0\t1\t"He said "" no "" ."\t""" No "" , he said ."\n1\t0\t"No" , "no"\tYes\n'
    write(tmp_path / "glue/mrpc/validation.tsv", "index\tlabel\tsentence1\tsentence2\n" + rows)
    first, second = read_pairs(tmp_path, "mrpc/dev")
    assert (first.query, first.passage) == ('He said " no " .', '" No " , he said .')
    assert (second.query, second.label) == ('"No" , "no"', 0.0)


def test_sst2_is_read_from_glue_or_from_its_parts(tmp_path: Path) -> None:
    folder = tmp_path / "glue/sst2"
    write(folder / "alps_train.tsv", "sentence\tlabel\nfine \t1\n")
    write(folder / "alps_dev.tsv", "sentence\tlabel\ndull \t0\n")
    write(folder / "alps_test.tsv", "sentence\tlabel\nso so \t0\n")
    pairs = read_pairs(tmp_path, "sst2/train")
    assert [(pair.query, pair.passage, pair.label) for pair in pairs] == [
        (REVIEW_QUERY, "fine", 1.0), (REVIEW_QUERY, "dull", 0.0),
    ]  # fmt: skip
    assert len({pair.query_id for pair in pairs}) == 2
    assert read_pairs(tmp_path, "sst2/dev")[0].passage == "so so"
    write(folder / "train.tsv", "sentence\tlabel\ngood\t1\n")
    assert len(read_pairs(tmp_path, "sst2/train")) == 1


def test_boolq(tmp_path: Path) -> None:
    rows = '0\t"A ""B"" C"\tis it b\t1\n'
    write(tmp_path / "glue/boolq/validation.tsv", "index\tpassage\tquestion\tlabel\n" + rows)
    (pair,) = read_pairs(tmp_path, "boolq/dev")
    assert (pair.query, pair.passage, pair.label) == ("is it b", 'A "B" C', 1.0)


SICK = (
    "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\r\n"
    "1\tA dog runs\tAn animal runs\t4.5\tENTAILMENT\r\n"
    "2\tA dog runs\tNo dog runs\t1\tCONTRADICTION\r\n"
    "4\tA dog runs\tA cat sits\t5\tNEUTRAL\r\n"
)


def test_sick_as_entailment_and_as_relatedness(tmp_path: Path) -> None:
    write(tmp_path / "sick/SICK_test_annotated.txt", SICK)
    entailment = read_pairs(tmp_path, "sick/test")
    related = read_pairs(tmp_path, "sick-related/test")
    assert [pair.label for pair in entailment] == [1.0, 0.0, 0.0]
    assert [pair.label for pair in related] == [0.875, 0.0, 1.0]
    assert entailment[0].query == related[0].passage == "An animal runs"
    # One table can hold both tasks: it keeps one pair of the same query and passage.
    assert {pair.key for pair in entailment}.isdisjoint(pair.key for pair in related)
    write(tmp_path / "sick/SICK_trial.txt", SICK.replace("4.5", "5.5"))
    with pytest.raises(DataError, match="line 2: expected a relatedness_score from 1 to 5"):
        read_pairs(tmp_path, "sick-related/trial")
    bad = BadRows(skip=True)
    assert len(read_pairs(tmp_path, "sick-related/trial", bad)) == 2
    assert len(bad.places) == 1


def test_parts_of_a_split_make_it_up_and_share_no_text(tmp_path: Path) -> None:
    rows = "".join(f"{n}\tpremise {n % 80}\thypothesis {n}\tentailment\n" for n in range(200))
    write(tmp_path / "glue/rte/glue_train.tsv", RTE.splitlines()[0] + "\n" + rows)
    whole, most, rest = (
        read_pairs(tmp_path, f"rte/{name}") for name in ("train", "train-90", "train-10")
    )
    assert {p.key for p in most} | {p.key for p in rest} == {p.key for p in whole}
    assert len(most) + len(rest) == 200
    assert 5 <= len(rest) <= 40
    assert {p.passage for p in most}.isdisjoint(p.passage for p in rest)


def test_what_is_not_a_task_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "glue/rte/glue_dev.tsv", "sentence1\tlabel\na\tentailment\n")
    with pytest.raises(DataError, match=r"line 1: expected the columns sentence1, sentence2, lab"):
        read_pairs(tmp_path, "rte/dev")
    write(tmp_path / "glue/rte/glue_dev.tsv", RTE.replace("A dog ran.\t", ""))
    with pytest.raises(DataError, match="line 4: expected 4 columns, none of them empty"):
        read_pairs(tmp_path, "rte/dev")
    with pytest.raises(DataError, match=r"qnli/dev\.tsv: no such file"):
        read_pairs(tmp_path, "qnli/dev")


def test_every_part_in_the_catalog_has_a_family_and_a_reader() -> None:
    parts = [
        (d, s) for d in CATALOG.values() for s in d.splits if s.part and d.folder[:4] == "glue"
    ]
    assert {(d.name, s.name) for d, s in parts} == {
        ("rte", "train-90"), ("rte", "train-10"), ("qnli", "dev-60"), ("qnli", "dev-10"),
        ("qnli", "dev-30"), ("snli", "dev-90"), ("snli", "dev-10"), ("sst2", "train-90"),
        ("sst2", "train-10"),
    }  # fmt: skip
    assert all(split.family for _, split in parts)
