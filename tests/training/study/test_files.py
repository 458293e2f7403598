"""The files of a study: a run is recognised by what it rests on and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retort.training.data.table import PairTable, read_table, write_table
from retort.training.recipes.recipe import DistillRecipe
from retort.training.recipes.study import Cell
from retort.training.study.files import (
    basis,
    code_version,
    read_json,
    table_digests,
    write_arrays,
    write_json,
)
from tests.training.study.tiny_study import load_study, save_study

TEACHERS = {"ce": "c0", "bi": "b0"}


@pytest.fixture
def recipe(tmp_path: Path) -> DistillRecipe:
    return load_study(save_study(tmp_path)).compose(Cell("tmkd", 1, ("one",)))


def basis_of(recipe: DistillRecipe, teachers: dict[str, str] = TEACHERS) -> dict[str, Any]:
    return basis(recipe, table_digests(recipe), teachers)


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


def test_files_are_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    assert read_json(path) is None
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    path.write_text('{"a": ')
    assert read_json(path) is None
    write_arrays(tmp_path / "scores.npz", {"set": np.array([0.5]), "set/logits": np.ones((1, 2))})
    with np.load(tmp_path / "scores.npz") as arrays:
        assert set(arrays.files) == {"set", "set/logits"}
    assert {item.name for item in tmp_path.iterdir()} == {"deep", "scores.npz"}


def test_the_code_has_a_version() -> None:
    assert code_version()
