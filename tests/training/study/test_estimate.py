"""The estimate: it counts as the stages do, and learns from what has run."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.training.data.table import PairTable, select, write_table
from retort.training.recipes.parts.stage import Stage
from retort.training.study.estimate import Estimator, in_words, nominal_seconds, stage_pairs
from retort.training.study.records import RunRecord, write_record
from tests.training.study.tiny_study import load_study, make_pairs, save_study


@pytest.mark.parametrize(
    "fields",
    [{}, {"alpha": 0.5}, {"sources": ["b"]}, {"limit": 9}, {"skip": 9}, {"alpha": 0, "limit": 999}],
)
def test_pairs_are_counted_as_a_stage_selects_them(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    pairs = [*make_pairs("is"), *(make_pairs("was")[:20])]
    pairs[3] = type(pairs[3])(pairs[3].query, "no label")
    path = tmp_path / "table.parquet"
    write_table(path, PairTable(tuple(pairs), ("a",) * 64 + ("b",) * 20, {}))
    stage = Stage.model_validate({"table": path, **fields})
    assert stage_pairs(stage) == len(select(stage).pairs)


def test_what_has_run_corrects_what_is_left(tmp_path: Path) -> None:
    study = load_study(save_study(tmp_path))
    first, second = study.cells()[:2]
    before = Estimator(study)
    nominal = before.seconds(first.name)
    assert nominal == nominal_seconds(study, first)
    assert nominal is not None
    assert (before.seconds(second.name) or 0.0) > nominal
    before.learn(second.name, 10 * (before.seconds(second.name) or 0.0))
    assert before.seconds(first.name) == pytest.approx(10 * nominal)
    assert before.total([first.name, first.name], jobs=2) == pytest.approx(10 * nominal)
    # What an earlier sitting took is read from its files, but not what an interrupted run took.
    seconds = {"train": 3 * nominal, "measure": nominal}
    record = RunRecord(row=first.row, seed=first.seed, seconds=seconds)
    write_record(study.results(first)[0] / "run.json", record)
    assert Estimator(study).seconds(first.name) == pytest.approx(4 * nominal)
    resumed = record.model_copy(update={"resumed": True})
    write_record(study.results(first)[0] / "run.json", resumed)
    assert Estimator(study).seconds(first.name) == pytest.approx(nominal)


def test_a_table_that_is_not_there_cannot_be_estimated(tmp_path: Path) -> None:
    study = load_study(save_study(tmp_path))
    (tmp_path / "one.parquet").rename(tmp_path / "gone.parquet")
    assert nominal_seconds(study, study.cells()[0]) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "?"), (39.7, "40 s"), (240, "4 min"), (12_000, "3 h 20 min"), (7_500, "2 h 05 min")],
)
def test_times_are_told_in_words(seconds: float | None, words: str) -> None:
    assert in_words(seconds) == words
