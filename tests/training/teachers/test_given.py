"""A student learns from scores on file, for the pairs that are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, write_table
from retort.training.labels.label import label_recipe
from retort.training.labels.store import StoreError
from retort.training.labels.targets import gather_targets
from retort.training.methods.distill import distill
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.load import RecipeError, parse_recipe
from retort.training.teachers.given import load_given
from tests.training.backbones import save_backbone

PAIRS = [Pair(f"who is {n // 4}", f"it is {n}", float(n % 2), f"q{n // 4}") for n in range(12)]
KNOWN = 8  # of the pairs
SCORES = np.linspace(-3, 3, KNOWN).astype(np.float32)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    write_table(path, PairTable(PAIRS, ("made",) * len(PAIRS), {}))
    save_backbone(tmp_path / "backbone")
    known = PAIRS[:KNOWN]
    columns = {
        "query": [pair.query for pair in known],
        "passage": [pair.passage for pair in known],
        "ce": SCORES,
    }
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    return path


def recipe(tmp_path: Path, table: Path, **teacher: object) -> DistillRecipe:
    optimiser = {"lr": 1e-3, "epochs": 2, "batch_pairs": 4, "precision": "no"}
    length = {"max_length": 64, "max_query_tokens": 16}
    plan = parse_recipe(
        {
            "kind": "distill",
            "name": "small",
            "out": str(tmp_path / "out"),
            "store": str(tmp_path / "store"),
            "teachers": [
                {
                    "name": "far",
                    "kind": "given",
                    "path": str(tmp_path / "scores.parquet"),
                    "column": "ce",
                    **teacher,
                }
            ],
            "student": {"init": str(tmp_path / "backbone"), "layers": [0]},
            "stages": [
                {"table": str(table), "alpha": alpha, "optimiser": optimiser, "length": length}
                for alpha in (1.0, 0.5)
            ],
        }
    )
    assert isinstance(plan, DistillRecipe)
    return plan


def test_pairs_that_are_not_on_file_have_no_target(tmp_path: Path, table: Path) -> None:
    plan = recipe(tmp_path, table)
    assert label_recipe(plan, [], log=lambda text: None) == {"far": KNOWN}
    own = PairTable(PAIRS, ("made",) * len(PAIRS))
    identities = {"far": load_given(plan.teachers[0]).identity}
    found = gather_targets(plan.store, plan.teachers, identities, own, own)
    expected = (SCORES - SCORES.mean()) / SCORES.std()
    np.testing.assert_allclose(found.targets[:KNOWN, 0], expected, atol=1e-5)
    assert found.targets[KNOWN:].isnan().all()
    assert found.odds.isnan().equal(found.targets.isnan())


def test_a_student_learns_from_them(tmp_path: Path, table: Path) -> None:
    plan = recipe(tmp_path, table)
    label_recipe(plan, [], log=lambda text: None)
    folder = distill(plan, log=lambda text: None)
    assert (folder / "model.safetensors").is_file()


def test_other_scores_are_another_teacher(tmp_path: Path, table: Path) -> None:
    teacher = recipe(tmp_path, table).teachers[0]
    before = load_given(teacher).identity
    assert load_given(teacher).identity == before
    path = tmp_path / "scores.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.set_column(2, "ce", pa.array(SCORES + np.float32(0.001))), path)
    assert load_given(teacher).identity != before


def test_a_file_of_other_pairs_is_refused(tmp_path: Path, table: Path) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"query": ["x"], "passage": ["y"], "ce": [1.0]}), path)
    with pytest.raises(StoreError, match="none of the 12 pairs is among the 1"):
        label_recipe(recipe(tmp_path, table), [], log=lambda text: None)


@pytest.mark.parametrize("teacher", [{"column": None}, {"kind": "bi-encoder"}])
def test_a_column_belongs_to_given_scores(
    tmp_path: Path, table: Path, teacher: dict[str, object]
) -> None:
    with pytest.raises(RecipeError, match=r"teachers\.0\.column"):
        recipe(tmp_path, table, **teacher)
