"""Processes: two real ones find what one finds, and only the main one writes and speaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retort.training.data.table import PairTable, write_table
from retort.training.labels.label import label_recipe
from retort.training.methods.distill import distill
from retort.training.nn.inference import run, student_model
from retort.training.nn.processes import shares
from retort.training.nn.student import load_student
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.teacher import TeacherRecipe
from retort.training.teachers.teach import teach
from tests.training.backbones import save_backbone
from tests.training.methods.test_distill import (
    LENGTH,
    make_pairs,
    make_recipe,
    quiet,
    teach_ce,
    teacher_recipe,
)

# A batch of 7 leaves one of 1 at the end, for two processes.
OPTIMISER = {"lr": 1e-3, "epochs": 5, "batch_pairs": 7, "precision": "no", "freeze_words": False}
RUN = """
import sys
from retort.cli import app
for recipe in sys.argv[1:]:
    app([recipe.rpartition("/")[2].partition(".")[0], recipe], standalone_mode=False)
"""


@pytest.mark.parametrize(("rows", "count"), [(8, 2), (7, 2), (1, 2), (5, 4), (3, 8)])
def test_every_row_is_one_process_s(rows: int, count: int) -> None:
    parts = shares(rows, count)
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) == count
    assert max(sizes) - min(sizes) <= 1


def torchrun(folder: Path, recipes: list[TeacherRecipe | DistillRecipe]) -> list[str]:
    """Run the recipes' commands in two processes; the lines of their standard output."""
    script = folder / "run.py"
    script.write_text(RUN)
    paths = []
    for recipe in recipes:
        paths.append(folder / f"{'teach' if recipe.kind == 'teacher' else recipe.kind}.yaml")
        paths[-1].write_text(recipe.model_dump_json())
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         str(script), *map(str, paths)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def logits(folder: Path) -> NDArray[np.float32]:
    loaded = load_student(folder)
    return run(student_model(loaded.student), loaded.encoder(), make_pairs())


def curve(folder: Path) -> list[tuple[int, float]]:
    meta: dict[str, Any] = load_student(folder).meta
    found = meta["curve"] if "curve" in meta else [p for s in meta["stages"] for p in s["curve"]]
    return [(step, loss) for step, loss in found]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    pairs = make_pairs()
    table = tmp_path / "table.parquet"
    write_table(table, PairTable(tuple(pairs), ("made",) * len(pairs), {}))
    save_backbone(tmp_path / "backbone")
    teach_ce(tmp_path, table)
    teacher = teacher_recipe(
        tmp_path, table, out=str(tmp_path / "one"), optimiser=OPTIMISER, listwise=1.0,
        list_passages=3, checkpoint_steps=20,
    )  # fmt: skip
    # The first stage's outputs are states and attention, the second's losses are all there are.
    stage = {"table": str(table), "optimiser": {**OPTIMISER, "epochs": 3}, "length": LENGTH}
    student = make_recipe(
        tmp_path, table, method="tinybert", teachers=[{"name": "ce", "path": str(tmp_path / "ce")}],
        stages=[{**stage, "match": "states"}, {**stage, "alpha": 0.5}], out=str(tmp_path / "alone"),
    )  # fmt: skip
    label_recipe(student, (), quiet)
    teach(teacher)
    distill(student, quiet)
    both = torchrun(
        tmp_path,
        [
            teacher.model_copy(update={"out": tmp_path / "two"}),
            student.model_copy(update={"out": tmp_path / "together"}),
        ],
    )
    assert [line.partition(";")[0] for line in both] == [
        f"teacher in {tmp_path / 'two'}",
        f"student in {tmp_path / 'together/student'}",
    ]
    for one, two in (("one", "two"), ("alone/student", "together/student")):
        steps = curve(tmp_path / one)
        assert steps[-1][0] > 25
        np.testing.assert_allclose(curve(tmp_path / two), steps, atol=1e-5)
        np.testing.assert_allclose(logits(tmp_path / two), logits(tmp_path / one), atol=1e-5)
    assert not (tmp_path / "two/checkpoint").exists()
