"""Teaching: every objective learns, and a finished teacher is found again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.training.data.contrast import NothingToLearnError
from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, write_table
from retort.training.nn.basis import ChangedRunError
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.teachers.scorers import load_scorer
from tests.training.backbones import save_backbone
from tests.training.methods.test_distill import make_pairs, teach_ce, teacher_recipe


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


def test_a_finished_teacher_is_not_taught_again(tmp_path: Path, table: Path) -> None:
    save_backbone(tmp_path / "backbone")
    weights = teach_ce(tmp_path, table) / "model.safetensors"
    before = weights.read_bytes(), weights.stat().st_mtime_ns
    teach_ce(tmp_path, table, name="other", checkpoint_steps=7)
    assert (weights.read_bytes(), weights.stat().st_mtime_ns) == before
    with pytest.raises(ChangedRunError, match="seed: 1, now 5"):
        teach_ce(tmp_path, table, seed=5)
    save_backbone(tmp_path / "elsewhere", positions=65)
    with pytest.raises(ChangedRunError, match=r"backbone: .*\n  backbone_weights: "):
        teach_ce(tmp_path, table, backbone=str(tmp_path / "elsewhere"))
    assert (weights.read_bytes(), weights.stat().st_mtime_ns) == before
    teach_ce(tmp_path, table, fresh=True, seed=5)
    assert weights.read_bytes() != before[0]


def test_a_folder_of_anything_else_is_left_alone(tmp_path: Path, table: Path) -> None:
    backbone = save_backbone(tmp_path / "backbone")
    for fresh in (False, True):
        with pytest.raises(ChangedRunError, match=r"holds config\.json"):
            teach_ce(tmp_path, table, out=str(backbone), fresh=fresh)
    assert (backbone / "config.json").is_file()


KILLED: dict[str, Any] = {"dropout": 0.1, "checkpoint_steps": 10}


@pytest.mark.slow
def test_a_killed_run_goes_on_with_its_recipe_alone(tmp_path: Path, table: Path) -> None:
    save_backbone(tmp_path / "backbone")
    whole = teach_ce(tmp_path, table, out=str(tmp_path / "whole"), **KILLED)
    recipe = teacher_recipe(tmp_path, table, **KILLED)
    path = tmp_path / "teacher.yaml"
    path.write_text(recipe.model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-m", "retort", "teach", str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    while not (recipe.out / "checkpoint" / "progress.json").is_file():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    write_table(tmp_path / "other.parquet", PairTable(tuple(make_pairs()[:40]), ("made",) * 40, {}))
    for change, named in (
        ("seed=99", "  seed: 1, now 99\n"),
        ("optimiser.epochs=0.2", "  optimiser.epochs: 12.0, now 0.2\n"),
        ("length.max_length=32", "  length.max_length: 64, now 32\n"),
        (f"table={tmp_path / 'other.parquet'}", "  table: content "),
    ):
        result = CliRunner().invoke(app, ["teach", str(path), change])
        assert result.exit_code == 1, change
        assert named in result.stderr
    assert CliRunner().invoke(app, ["teach", str(path), "checkpoint_steps=50"]).exit_code == 0
    for name in ("model.safetensors", "tokenizer.json"):
        assert (recipe.out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("objective", "labels", "words"),
    [
        ("margin", [1.0, 1.0, 0.0], "none of the 3 queries"),
        ("listwise", [1.0, 1.0, 1.0], "3 have right ones alone"),
        ("pointwise", [1.0, 1.0, 1.0], "all have one label (1)"),
        ("pointwise", [], "no labelled pairs"),
    ],
)
def test_pairs_that_teach_nothing_are_refused(
    tmp_path: Path, objective: str, labels: list[float], words: str
) -> None:
    pairs = [Pair(f"q{n}", f"p{n}", label) for n, label in enumerate(labels)]
    write_table(tmp_path / "t.parquet", PairTable(tuple(pairs), ("made",) * len(pairs), {}))
    with pytest.raises(NothingToLearnError, match=re.escape(words)):
        teach_ce(tmp_path, tmp_path / "t.parquet", objective=objective)
