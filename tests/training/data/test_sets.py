"""Evaluation sets: of sentence tasks, capped and apart; of one's own pairs, divided by query."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.training.data.evaluation_set import read_sets
from retort.training.data.leaks import LeakError, check_sources
from retort.training.data.pairs import Pair
from retort.training.data.readers.own import read_file
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.data.sets import TASKS, capped, divide, task_sets, write_parts


def write_rte(root: Path) -> None:
    folder = root / "glue/rte"
    folder.mkdir(parents=True)
    header = "index\tsentence1\tsentence2\tlabel\n"
    labels = ("entailment", "not_entailment")
    train = [f"{n}\tpremise {n // 2}\thypothesis {n}\t{labels[n % 2]}\n" for n in range(300)]
    dev = [f"{n}\tother {n // 2}\tasked {n}\t{labels[n % 2]}\n" for n in range(40)]
    # Every premise of the train split stands in the dev split too, but for a few.
    dev += [f"{n}\tpremise {n}\tasked {n}\t{labels[n % 2]}\n" for n in range(40, 140)]
    (folder / "glue_train.tsv").write_text(header + "".join(train))
    (folder / "glue_dev.tsv").write_text(header + "".join(dev))


def test_what_chooses_shares_no_text_with_what_is_measured(tmp_path: Path) -> None:
    write_rte(tmp_path)
    measure, choose = task_sets(tmp_path, TASKS[0])
    assert (measure.name, choose.name) == ("rte-dev", "rte-train-10")
    assert (measure.kind, measure.headline) == ("classification", "accuracy")
    assert len(measure.pairs) == 140
    assert choose.pairs
    assert {p.passage for p in choose.pairs}.isdisjoint(p.passage for p in measure.pairs)


def test_a_cap_takes_whole_queries_and_always_the_same() -> None:
    pairs = [Pair(f"h {n}", f"p {n // 3}", 1.0, f"id-{n // 3}") for n in range(300)]
    chosen = capped(pairs, 50)
    assert len(chosen) == 48
    assert set(chosen) == set(capped(pairs[150:] + pairs[:150], 50))
    assert chosen != pairs[:48]
    assert len({pair.query_id for pair in chosen}) == 16
    assert capped(pairs, 300) == pairs


def test_no_task_learns_from_what_it_is_measured_on() -> None:
    for task in TASKS:
        check_sources([task.train], [task.choose, task.measure])
    with pytest.raises(LeakError, match="rte/train holds the same text as rte/train-10"):
        check_sources(["rte/train"], ["rte/train-10", "rte/dev"])
    with pytest.raises(LeakError, match="qnli/dev-60 holds the same text as squad-reqa/test"):
        check_sources(["qnli/dev-60"], ["qnli/dev-30", "squad-reqa/test"])
    with pytest.raises(LeakError, match="qnli/dev-30 is a test split"):
        check_sources(["qnli/dev-30"], [])
    with pytest.raises(LeakError, match="the questions squad are those of qnli/dev-30"):
        check_sources(["qnli/dev-60"], ["qnli/dev-30"], ["squad"])


def test_the_command_writes_what_a_study_reads(tmp_path: Path) -> None:
    write_rte(tmp_path)
    out = tmp_path / "sets"
    command = ["data", "tasks", str(out), "--task", "rte", "--cap", "60", "--data", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    (measure,) = read_sets(out / "rte/measure")
    assert f"rte/measure/rte-dev: {len(measure.pairs)} pairs" in done.output
    assert 50 <= len(measure.pairs) <= 60
    assert [item.name for item in read_sets(out / "rte/choose")] == ["rte-train-10"]
    wrong = CliRunner().invoke(app, [*command[:4], "cola", *command[5:]])
    assert wrong.exit_code == 1
    assert "no task cola: there are rte, qnli, snli, mrpc, sst2" in wrong.output


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
    assert tuple(read_file(path, BadRows()).pairs) == parts.train
    assert read_sets(tmp_path / "mine" / "measure")[0].pairs == parts.measure.pairs
    assert read_sets(tmp_path / "mine" / "choose")[0].name == "mine-choose"


def test_one_passage_a_query_is_a_classification() -> None:
    single = [Pair(f"question {q}", f"passage {q}", float(q % 2)) for q in range(200)]
    assert divide(single, "mine", 0.1, 0.2).measure.kind == "classification"


def test_parts_of_graded_pairs_keep_the_scale(tmp_path: Path) -> None:
    given = [Pair(f"q {q}", f"p {p}", p / 4) for q in range(50) for p in range(5)]
    write_parts(tmp_path, divide(given, "mine", 0.2, 0.2, relevant=0.75, largest=4.0))
    (items,) = read_sets(tmp_path / "measure")
    assert (items.relevant, items.largest, items.kind) == (0.75, 4.0, "ranking")
    assert items.labels[:5].tolist() == [0, 0, 0, 1, 1]
    train = read_file(tmp_path / "train.jsonl", BadRows())
    assert {pair.label for pair in train.pairs} == {0.0, 0.25, 0.5, 0.75, 1.0}


@pytest.mark.parametrize(
    ("given", "shares", "message"),
    [
        ([*pairs(), Pair("a", "b")], (0.1, 0.2), "1 of 801 pairs have no label"),
        (pairs(), (0.5, 0.5), "leave nothing to learn from"),
        (pairs(), (0.0, 0.0), "leave nothing to learn from"),
        ([Pair(f"q {q}", "p", 1.0) for q in range(99)], (0.1, 0.2), "nothing wrong to tell"),
        (
            [Pair(f"q {q}", "p", 0.4) for q in range(99)],
            (0.1, 0.2),
            r"is 0\.4.*nothing right",
        ),
        ([Pair("q", f"p {p}", p % 2) for p in range(9)], (0.1, 0.2), "9 pairs of one query"),
        ([], (0.1, 0.2), "0 pairs"),
        (pairs(4), (0.0001, 0.2), "none of the 4 queries falls into the share that chooses"),
    ],
)
def test_what_cannot_measure_is_refused(
    given: list[Pair], shares: tuple[float, float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        divide(given, "mine", *shares)
