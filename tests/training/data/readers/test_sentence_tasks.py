"""Sentence tasks in each of their spellings; no text, and no copy of a review, is in two parts."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from retort.training.data.catalog import CATALOG, read_pairs
from retort.training.data.corpus import build_corpus
from retort.training.data.leaks import LeakError
from retort.training.data.pairs import REVIEW_QUERY, Pair, normalise
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.data.readers.sentence_tasks import AMAZON_DOMAINS
from retort.training.data.sets import TASKS, task_sets
from retort.training.recipes.corpus import CorpusRecipe, LabelledSource


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


PARTS = ("train", "dev", "test")
ENDING = "and it has been nothing but a joy to me ever since then"


def write_reviews(root: Path) -> None:
    for domain in AMAZON_DOMAINS:
        folder = root / "amazon_multidomain" / domain
        folder.mkdir(parents=True)
        for name in ("positive", "negative"):
            lines = [f"Review {n}. A {name} word on {domain} number {n}." for n in range(150)]
            # A copy in another spelling, one with another title, and one in every domain.
            lines += [lines[0].upper(), f"Title {name}. {ENDING}", f"Other {name}! {ENDING}."]
            (folder / f"review_{name}").write_text("\n".join(lines) + "\n")


def parts_of(root: Path, domain: str) -> dict[str, list[Pair]]:
    return {part: read_pairs(root, f"amazon/{domain}-{part}") for part in PARTS}


def test_every_review_stands_in_one_part_once(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    parts = parts_of(tmp_path, "dvd")
    texts = {part: [normalise(pair.passage) for pair in pairs] for part, pairs in parts.items()}
    assert sum(map(len, texts.values())) == 304
    assert len({text for part in texts.values() for text in part}) == 304
    assert 0.7 < len(texts["train"]) / 304 < 0.9
    assert min(len(texts["dev"]), len(texts["test"])) > 15
    pairs = [pair for part in parts.values() for pair in part]
    assert {pair.query for pair in pairs} == {REVIEW_QUERY}
    assert len({pair.query_id for pair in pairs}) == 304
    assert sum(pair.label or 0.0 for pair in pairs) == 152
    assert all(("positive" in pair.passage.lower()) == bool(pair.label) for pair in pairs)


def test_copies_under_other_titles_and_in_other_domains_meet_in_one_part(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    found = {
        part
        for domain in AMAZON_DOMAINS
        for part, pairs in parts_of(tmp_path, domain).items()
        for pair in pairs
        if ENDING in pair.passage
    }
    assert len(found) == 1
    everything = {
        part: {
            normalise(pair.passage)
            for domain in AMAZON_DOMAINS
            for pair in read_pairs(tmp_path, f"amazon/{domain}-{part}")
        }
        for part in PARTS
    }
    for one, other in combinations(PARTS, 2):
        assert everything[one].isdisjoint(everything[other])


def test_a_line_without_words_is_a_bad_row(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    path = tmp_path / "amazon_multidomain/books/review_negative"
    path.write_text("fine words here\n...!\n")
    with pytest.raises(DataError, match=r"review_negative, line 2: expected a review in words"):
        read_pairs(tmp_path, "amazon/books-train")
    with pytest.raises(DataError, match="amazon has no split 'music-train'"):
        read_pairs(tmp_path, "amazon/music-train")


def test_a_corpus_keeps_its_reviews_though_all_are_asked_one_query(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    plan = [LabelledSource(source=f"amazon/{name}-train", queries=50) for name in AMAZON_DOMAINS]
    held = [f"amazon/{name}-{part}" for name in AMAZON_DOMAINS for part in ("dev", "test")]
    recipe = CorpusRecipe(kind="corpus", out=tmp_path / "t.parquet", labelled=plan, held_out=held)
    table = build_corpus(recipe, tmp_path, BadRows(), lambda text: None)
    assert set(table.sources) == {f"amazon/{name}-train" for name in AMAZON_DOMAINS}
    # Four reviews of this test stand in every domain; the table has a pair once.
    counts = [table.sources.count(f"amazon/{name}-train") for name in AMAZON_DOMAINS]
    assert counts[0] == 50
    assert min(counts) >= 46
    wrong = LabelledSource(source="amazon/dvd-test")
    with pytest.raises(LeakError, match="amazon/dvd-test is a test split"):
        build_corpus(
            recipe.model_copy(update={"labelled": [wrong], "held_out": []}), tmp_path, BadRows()
        )


def test_a_domain_is_a_task_with_sets_of_its_own(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    task = next(task for task in TASKS if task.name == "amazon-books")
    measure, choose = task_sets(tmp_path, task)
    assert (measure.name, choose.name) == ("amazon-books-test", "amazon-books-dev")
    assert {pair.passage for pair in measure.pairs}.isdisjoint(p.passage for p in choose.pairs)
