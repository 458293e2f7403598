"""The basis: what differs is named, what changes no outcome is not, and older records count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retort.training.nn.basis import (
    BASIS_FILES,
    Basis,
    ChangedRunError,
    claim,
    differences,
    is_under_way,
)
from retort.training.nn.loop import CHECKPOINTS, PROGRESS_FILE
from retort.training.recipes.load import parse_recipe

TEACHER: dict[str, Any] = {"kind": "teacher", "name": "t", "table": "t.parquet", "out": "o"}


def basis(table: str = "a" * 64, **changes: object) -> Basis:
    recipe = parse_recipe({**TEACHER, **changes})
    return {"format": 1, "recipe": recipe.model_dump(mode="json"), "table": table}


def in_words(found: Basis, wanted: Basis) -> list[str]:
    return [str(difference) for difference in differences(found, wanted)]


def save_checkpoint(folder: Path, name: str = CHECKPOINTS[0]) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / PROGRESS_FILE).write_text("{}")
    return folder / name


def test_every_field_that_differs_is_named_with_both_values() -> None:
    optimiser = {"lr": 3e-4, "epochs": 2}
    changed = basis("b" * 64, seed=9, objective="listwise", optimiser=optimiser, sources=["qed"])
    assert in_words(basis(), changed) == [
        "seed: 1, now 9",
        'objective: "pointwise", now "listwise"',
        'sources: nothing, now ["qed"]',
        "optimiser.lr: 5e-05, now 0.0003",
        "optimiser.epochs: 1.0, now 2.0",
        "table: content aaaaaaaaaaaa, now content bbbbbbbbbbbb",
    ]


def test_what_changes_no_outcome_is_not_compared() -> None:
    elsewhere = basis(name="u", out="p", table="a" * 64, checkpoint_steps=7)
    moved = {**elsewhere, "recipe": {**elsewhere["recipe"], "table": "elsewhere.parquet"}}
    assert in_words(basis(), moved) == []


def test_a_basis_of_an_older_version_has_its_missing_fields_by_default() -> None:
    older = {
        "basis": {"seed": 1, "student": {"layers": [1]}},
        "stages": [{"plan": {"table": "t"}, "table": "abc"}],
    }
    wanted = {
        "format": 1,
        "basis": {"seed": 1, "student": {"layers": [1], "dropout": 0.0}, "options": {}},
        "stages": [{"plan": {"table": "u", "alpha": 1.0, "match": "scores"}, "table": "abc"}],
        "backbone_weights": "0123",
    }
    assert in_words(older, wanted) == []
    (weights,) = differences({**older, "backbone_weights": "4567"}, wanted)
    assert str(weights) == 'backbone_weights: "4567", now "0123"'
    assert {d.field for d in differences({**older, "stages": []}, wanted)} >= {"stages.0.alpha"}
    other = {"plan": {"table": "t", "alpha": 0.9}, "table": "abc"}
    assert in_words({**older, "stages": [other]}, wanted) == ["stages.0.alpha: 0.9, now 1.0"]
    assert in_words({**older, "stages": [*older["stages"], other]}, wanted)
    record = dict(basis()["recipe"])
    del record["meta"]
    assert in_words({"recipe": record}, basis()) == []
    assert in_words({"recipe": None}, basis())


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_goes_on_under_its_basis_alone(tmp_path: Path, name: str) -> None:
    claim(tmp_path, basis())
    checkpoint = save_checkpoint(tmp_path, name)
    claim(tmp_path, basis(checkpoint_steps=5))
    with pytest.raises(ChangedRunError, match="seed: 1, now 2"):
        claim(tmp_path, basis(seed=2))
    assert checkpoint.exists()
    claim(tmp_path, basis(seed=2), fresh=True)
    assert not checkpoint.exists()
    assert json.loads((tmp_path / BASIS_FILES[0]).read_text())["recipe"]["seed"] == 2


def test_a_checkpoint_of_more_processes_goes_on_under_as_many(tmp_path: Path) -> None:
    claim(tmp_path, basis())
    save_checkpoint(tmp_path)
    path = tmp_path / BASIS_FILES[0]
    path.write_text(json.dumps({**json.loads(path.read_text()), "processes": 2}))
    assert not is_under_way(tmp_path, basis())
    with pytest.raises(ChangedRunError, match="processes: 2, now 1"):
        claim(tmp_path, basis())


def test_without_a_checkpoint_any_run_may_begin(tmp_path: Path) -> None:
    claim(tmp_path, basis())
    claim(tmp_path, basis(seed=2))


def test_a_checkpoint_without_a_basis_is_not_taken_over(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    with pytest.raises(ChangedRunError, match="--fresh"):
        claim(tmp_path, basis())
    claim(tmp_path, basis(), fresh=True)
