"""Teaching: every objective learns, and a finished teacher is found again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from retort.training.data.table import PairTable, write_table
from retort.training.recipes.recipe import TeacherRef
from retort.training.teachers.scorers import load_scorer
from tests.training.backbones import save_backbone
from tests.training.methods.test_distill import make_pairs, teach_ce


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pairs = make_pairs()
    write_table(tmp_path / "table.parquet", PairTable(tuple(pairs), ("made",) * len(pairs), {}))
    return tmp_path / "table.parquet"


@pytest.mark.parametrize(
    ("shape", "objective"),
    [("cross-encoder", "margin"), ("cross-encoder", "listwise"), ("bi-encoder", "infonce")],
)
@pytest.mark.slow
def test_a_teacher_of_every_objective_learns(
    tmp_path: Path, table: Path, shape: str, objective: str
) -> None:
    save_backbone(tmp_path / "backbone")
    folder = teach_ce(
        tmp_path, table, shape=shape, objective=objective,
    )  # fmt: skip
    curve = json.loads((folder / "student.json").read_text())["meta"]["curve"]
    assert len(curve) >= 1
    teacher = load_scorer(TeacherRef(name="t", path=str(folder), kind=shape))
    scores = teacher.score(make_pairs())
    labels = np.array([pair.label for pair in make_pairs()])
    assert scores[labels == 1].mean() > scores[labels == 0].mean()


def test_a_finished_teacher_is_not_taught_again_unless_its_recipe_changed(
    tmp_path: Path, table: Path
) -> None:
    save_backbone(tmp_path / "backbone")
    weights = teach_ce(tmp_path, table) / "model.safetensors"
    before = weights.read_bytes(), weights.stat().st_mtime_ns
    teach_ce(tmp_path, table)
    assert (weights.read_bytes(), weights.stat().st_mtime_ns) == before
    teach_ce(tmp_path, table, seed=5)
    assert weights.read_bytes() != before[0]
