"""The recommendation: the best in time, or the fastest that is good enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.training.recipes.study import StudyRecipe
from retort.training.study.recommend import (
    RecommendError,
    frontier,
    read_options,
    recommend,
    render,
)
from retort.training.study.records import RunRecord, write_record
from tests.training.study.tiny_study import dataset, load_study, save_study

ROWS = {  # quality on each set, pairs a second
    "none": (0.6, 1000.0),
    "mkd": (0.7, 1000.0),
    "deep": (0.8, 500.0),
    "worse": (0.65, 400.0),
    "slow": (0.9, 100.0),
}


def save_finished(folder: Path) -> StudyRecipe:
    """A study that has all its figures, written by hand."""
    rows: list[dict[str, Any]] = [
        {"name": name, "method": "none" if name == "none" else "mkd", "stages": ["labelled"]}
        for name in ROWS
    ]
    datasets = [dataset(folder, "one"), dataset(folder, "two")]
    study = load_study(save_study(folder, rows=rows, datasets=datasets))
    write_record(study.out / "plan.json", study)
    headline = {"words": "AUC", "ranks": "nDCG@10"}

    def figures(value: float) -> dict[str, dict[str, float]]:
        return {"words": {"AUC": value, "accuracy": 0.1}, "ranks": {"nDCG@10": value, "AP": 0.1}}

    for cell in study.cells():
        value = ROWS[cell.row][0] + (0.01 if cell.seed == 1 else -0.01)
        record = RunRecord(
            row=cell.row, seed=cell.seed, headline=headline, figures=figures(value), parameters=5,
            layers=2, seconds={"train": 60.0 if cell.seed == 1 else 1.0}, resumed=cell.seed == 2,
        )  # fmt: skip
        write_record(study.results(cell)[0] / "run.json", record)
    for name in ("one", "two"):
        ensemble = {"headline": headline, "figures": {"ensemble": figures(1.0)}}
        write_record(study.out / name / "teachers" / "run.json", ensemble)
    speeds = {name: {"pairs_per_second": speed, "students": 1} for name, (_, speed) in ROWS.items()}
    write_record(study.out / "speeds.json", {"rows": speeds})
    return study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_finished(tmp_path).out


def test_the_best_in_time(folder: Path) -> None:
    options = read_options(folder, pairs=100)
    assert recommend(options, latency_ms=100).best.row == "mkd"
    choice = recommend(options, latency_ms=250)
    assert choice.best.row == "deep"
    assert choice.best.quality == pytest.approx(0.8)
    assert choice.best.retained == pytest.approx(0.8)
    assert choice.best.latency_ms == pytest.approx(200)
    # A run that was interrupted knows only what its last sitting took.
    assert choice.best.training_seconds == 60.0
    assert choice.lacking is None
    late = recommend(options, latency_ms=99)
    assert late.best.latency_ms == pytest.approx(100)
    assert late.lacking == "no student scores 100 pairs within 99 ms: mkd is the nearest"


def test_the_fastest_that_is_good_enough(folder: Path) -> None:
    options = read_options(folder, pairs=100)
    assert recommend(options, quality=0.5).best.row == "mkd"  # as fast as none, and better
    assert recommend(options, quality=0.75).best.row == "deep"
    assert recommend(options, quality=0.85).best.row == "slow"
    assert recommend(options, latency_ms=5000, quality=0.6).best.row == "slow"
    near = recommend(options, quality=0.95)
    assert near.best.row == "slow"
    assert near.lacking == "no student keeps 95.0%: slow is the nearest"
    assert "to come nearer" in render(near)
    late = recommend(options, latency_ms=300, quality=0.85)
    assert late.best.row == "slow"
    assert (
        late.lacking == "no student that good scores 100 pairs within 300 ms: slow is the nearest"
    )
    both = recommend(options, latency_ms=300, quality=0.95)
    assert (both.best.row, both.lacking) == ("slow", near.lacking)
    with pytest.raises(RecommendError, match="give --latency-ms"):
        recommend(options)


def test_the_way_from_fast_to_good_leaves_out_what_is_neither(folder: Path) -> None:
    assert [o.row for o in frontier(read_options(folder, 100))] == ["mkd", "deep", "slow"]


def test_what_is_said_names_method_depth_and_cost(folder: Path) -> None:
    text = render(recommend(read_options(folder, 100), latency_ms=250))
    for part in ("deep (method mkd, 2 layers)", "80.0% of the teachers", "200.0 ms for 100 pairs",
                 "60 s of training", "2 teachers", "2 seeds: indicative"):  # fmt: skip
        assert part in text


def test_the_command(folder: Path) -> None:
    run = CliRunner().invoke
    words = ["recommend", str(folder), "--latency-ms", "250", "--dataset", "one", "--json"]
    result = run(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["best"]["row"] == "deep"
    assert json.loads(result.stdout)["datasets"] == ["one"]
    result = run(app, ["recommend", str(folder), "--quality", "0.99"])
    assert result.exit_code == 1  # a script is not to take what was not asked
    assert "slow is the nearest" in result.stdout
    result = run(app, ["recommend", str(folder.parent), "--quality", "0.9"])
    assert result.exit_code == 1
    assert "plan.json: not there: run `retort study`" in result.stderr
    (folder / "speeds.json").rename(folder / "gone.json")
    result = run(app, ["recommend", str(folder), "--quality", "0.9"])
    assert "no speeds yet" in result.stderr
