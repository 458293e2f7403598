"""Joint rows, rows of several students, and rows by figures of others, run for real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retort.training.data.table import read_table
from retort.training.study.files import read_json
from retort.training.study.filled import MissingFiguresError
from retort.training.study.run import StaleRunError, run_cell
from retort.training.study.teacher_scores import score_teachers
from tests.training.study.tiny_study import dataset, load_study, save_study

pytestmark = pytest.mark.slow


def quiet(text: str) -> None:
    return None


def test_one_distillation_serves_several_datasets(tmp_path: Path) -> None:
    datasets = [dataset(tmp_path, "one"), dataset(tmp_path, "two")]
    datasets[0]["stages"]["labelled"]["limit"] = 20
    rows = [
        {"name": "all", "method": "mkd", "stages": ["labelled"], "joint": True, "teachers": "best"}
    ]
    study = load_study(save_study(tmp_path, datasets=datasets, rows=rows, baseline=None, seeds=[1]))
    (cell,) = study.cells()
    assert not run_cell(study, cell, quiet).kept
    table = read_table(tmp_path / "out/joint/all/seed-1/tables/labelled.parquet")
    assert [table.sources.count(name) for name in ("one", "two")] == [20, 64]
    for name in ("one", "two"):
        record = read_json(tmp_path / f"out/{name}/all/seed-1/run.json")
        assert record is not None
        assert record["dataset"] == name
        assert record["pairs_trained"] == 3 * 84
    assert run_cell(study, cell, quiet).kept
    # Of a run that has lost one dataset's figures, the training is not repeated.
    before = (tmp_path / "out/joint/all/seed-1/stage-1/model.safetensors").stat().st_mtime_ns
    (tmp_path / "out/two/all/seed-1/run.json").unlink()
    assert not run_cell(study, cell, quiet).kept
    after = (tmp_path / "out/joint/all/seed-1/stage-1/model.safetensors").stat().st_mtime_ns
    assert after == before


def test_the_students_of_m_o_m_are_averaged(tmp_path: Path) -> None:
    rows = [{"name": "m", "method": "m-o-m", "stages": ["labelled"]}]
    study = load_study(save_study(tmp_path, rows=rows, baseline=None, seeds=[1]))
    (cell,) = study.cells()
    run_cell(study, cell, quiet)
    record = read_json(tmp_path / "out/one/m/seed-1/run.json")
    assert record is not None
    assert len(record["curve"]) == 2
    assert record["pairs_trained"] == 2 * 3 * 64
    with np.load(tmp_path / "out/one/m/seed-1/scores.npz") as arrays:
        assert arrays["words/logits"].shape == (64, 4)


def test_a_half_made_run_of_another_recipe_is_not_gone_on_with(tmp_path: Path) -> None:
    path = save_study(tmp_path, seeds=[1])
    study = load_study(path)
    cell = study.cells()[0]
    run_cell(study, cell, quiet)
    (tmp_path / "out/one/none/seed-1/run.json").unlink()
    changed = load_study(path, "rows.0.stage={listwise: 1.0}")
    with pytest.raises(StaleRunError, match="run with --redo"):
        run_cell(changed, cell, quiet)
    assert not run_cell(changed, cell, quiet, redo=True).kept


def test_skd_draws_by_what_the_study_has_found(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"name": f"1-o-1-{t}", "method": "1-o-1", "stages": ["labelled"], "teachers": [t]}
        for t in ("ce", "bi")
    ]
    for name, figures in (("teacher", "teachers"), ("student", "1-o-1-{teacher}")):
        options = {"distribution": f"{name}-rank", "form": "softmax"}
        rows.append(
            {"name": f"skd-{name}", "method": "skd", "stages": ["labelled"], "options": options,
             "figures": figures}
        )  # fmt: skip
    study = load_study(save_study(tmp_path, rows=rows, baseline=None, seeds=[1]))
    *ones, teacher, student = study.cells()
    with pytest.raises(MissingFiguresError, match="no figures of ce, bi yet"):
        run_cell(study, teacher, quiet)
    with pytest.raises(MissingFiguresError, match="1-o-1-ce/seed-1, which has none"):
        run_cell(study, student, quiet)
    score_teachers(study, study.datasets[0], quiet)
    for cell in (*ones, teacher, student):
        run_cell(study, cell, quiet)
    found = {
        cell.row: read_json(study.results(cell)[0] / "run.json") or {} for cell in study.cells()
    }
    teachers = read_json(tmp_path / "out/one/teachers/run.json") or {}
    for name in ("ce", "bi"):
        given = found["skd-teacher"]["recipe"]["options"]["figures"][name]
        assert given == teachers["choose"][name]["words-dev"]["AUC"]
        given = found["skd-student"]["recipe"]["options"]["figures"][name]
        assert given == found[f"1-o-1-{name}"]["choose"]["words-dev"]["AUC"]
