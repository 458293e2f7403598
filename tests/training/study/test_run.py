"""Joint rows, rows of several students, and rows by figures of others, run for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retort.training.data.table import PairTable, read_table, table_digest, write_table
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.study import Cell
from retort.training.study.measure import score_teachers
from retort.training.study.run import (
    MissingFiguresError,
    StaleRunError,
    basis,
    is_done,
    run_cell,
)
from tests.training.study.tiny_study import dataset, load_study, save_study


def quiet(text: str) -> None:
    return None


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.slow
def test_one_distillation_serves_several_datasets(tmp_path: Path) -> None:
    datasets = [dataset(tmp_path, "one"), dataset(tmp_path, "two")]
    datasets[0]["stages"]["labelled"]["limit"] = 20
    rows = [
        {"name": "all", "method": "mkd", "stages": ["labelled"], "joint": True, "teachers": "best"}
    ]
    study = load_study(save_study(tmp_path, datasets=datasets, rows=rows, baseline=None, seeds=[1]))
    (cell,) = study.cells()
    assert run_cell(study, cell, quiet)
    table = read_table(tmp_path / "out/joint/all/seed-1/tables/labelled.parquet")
    assert [table.sources.count(name) for name in ("one", "two")] == [20, 64]
    for name in ("one", "two"):
        record = read_json(tmp_path / f"out/{name}/all/seed-1/run.json")
        assert record["dataset"] == name
        assert record["pairs_trained"] == 3 * 84
    assert not run_cell(study, cell, quiet)
    # Of a run that has lost one dataset's figures, the training is not repeated.
    before = (tmp_path / "out/joint/all/seed-1/stage-1/model.safetensors").stat().st_mtime_ns
    (tmp_path / "out/two/all/seed-1/run.json").unlink()
    assert run_cell(study, cell, quiet)
    after = (tmp_path / "out/joint/all/seed-1/stage-1/model.safetensors").stat().st_mtime_ns
    assert after == before


@pytest.mark.slow
def test_the_students_of_m_o_m_are_averaged(tmp_path: Path) -> None:
    rows = [{"name": "m", "method": "m-o-m", "stages": ["labelled"]}]
    study = load_study(save_study(tmp_path, rows=rows, baseline=None, seeds=[1]))
    (cell,) = study.cells()
    run_cell(study, cell, quiet)
    record = read_json(tmp_path / "out/one/m/seed-1/run.json")
    assert len(record["curve"]) == 2
    assert record["pairs_trained"] == 2 * 3 * 64
    with np.load(tmp_path / "out/one/m/seed-1/scores.npz") as arrays:
        assert arrays["words/logits"].shape == (64, 4)


@pytest.mark.slow
def test_a_half_made_run_of_another_recipe_is_not_gone_on_with(tmp_path: Path) -> None:
    path = save_study(tmp_path, seeds=[1])
    study = load_study(path)
    cell = study.cells()[0]
    run_cell(study, cell, quiet)
    (tmp_path / "out/one/none/seed-1/run.json").unlink()
    changed = load_study(path, "rows.0.stage={listwise: 1.0}")
    with pytest.raises(StaleRunError, match=r"--redo.*\n  stages\.0\.listwise: nothing, now 1\.0"):
        run_cell(changed, cell, quiet)
    assert not is_done(changed, cell.name)
    assert run_cell(changed, cell, quiet, redo=True)
    assert is_done(changed, cell.name)


@pytest.mark.slow
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
    found = {cell.row: read_json(study.results(cell)[0] / "run.json") for cell in study.cells()}
    teachers = read_json(tmp_path / "out/one/teachers/run.json")
    for name in ("ce", "bi"):
        given = found["skd-teacher"]["recipe"]["options"]["figures"][name]
        assert given == teachers["choose"][name]["words-dev"]["AUC"]
        given = found["skd-student"]["recipe"]["options"]["figures"][name]
        assert given == found[f"1-o-1-{name}"]["choose"]["words-dev"]["AUC"]


TEACHERS = {"ce": "c0", "bi": "b0"}


@pytest.fixture
def recipe(tmp_path: Path) -> DistillRecipe:
    return load_study(save_study(tmp_path)).compose(Cell("tmkd", 1, ("one",)))


def basis_of(recipe: DistillRecipe, teachers: dict[str, str] = TEACHERS) -> dict[str, Any]:
    return basis(recipe, {str(s.table): table_digest(s.table) for s in recipe.stages}, teachers)


def test_where_a_run_stands_is_no_part_of_its_basis(recipe: DistillRecipe, tmp_path: Path) -> None:
    before = basis_of(recipe)
    elsewhere = {"out": tmp_path / "x", "store": tmp_path / "y", "name": "z"}
    assert basis_of(recipe.model_copy(update=elsewhere)) == before
    # Neither is where its table and its teachers lie.
    (tmp_path / "one.parquet").rename(tmp_path / "moved.parquet")
    stages = [s.model_copy(update={"table": tmp_path / "moved.parquet"}) for s in recipe.stages]
    moved = [t.model_copy(update={"path": "there"}) for t in recipe.teachers]
    assert basis_of(recipe.model_copy(update={"stages": stages, "teachers": moved})) == before


def test_seed_teacher_and_table_are(recipe: DistillRecipe, tmp_path: Path) -> None:
    before = basis_of(recipe)
    assert basis_of(recipe.model_copy(update={"seed": 2})) != before
    assert basis_of(recipe, TEACHERS | {"ce": "c1"}) != before
    table = read_table(tmp_path / "one.parquet")
    write_table(
        tmp_path / "one.parquet", PairTable(table.pairs[:-1], table.sources[:-1], table.facts)
    )
    assert basis_of(recipe) != before


def test_a_teacher_that_is_not_asked_plays_no_part(recipe: DistillRecipe) -> None:
    alone = recipe.model_copy(update={"teachers": recipe.teachers[:1]})
    assert basis_of(recipe, {"ce": "c0"}) == basis_of(alone, {"ce": "c0"})
