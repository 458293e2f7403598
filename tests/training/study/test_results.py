"""Reading a study: what is wrong with a file is told with the file and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retort.training.recipes.study import StudyRecipe
from retort.training.study.records import StudyFileError
from retort.training.study.results import read_results
from tests.training.study.made import ROWS, Made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small study."""
    return Made(tmp_path, rows=ROWS[:2], seeds=(1,), queries=30).write()


def test_the_plan_of_the_tests_is_one_that_a_study_has(folder: Path) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    StudyRecipe.model_validate(plan)
    # As a study writes it: with every field.
    whole = StudyRecipe.model_validate(plan).model_dump_json()
    (folder / "plan.json").write_text(whole)
    assert read_results(folder).done == 2


def test_no_plan(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match=r"plan\.json: not there: run `retort study`"):
        read_results(tmp_path)


def test_a_plan_that_is_none(folder: Path) -> None:
    (folder / "plan.json").write_text('{"name": "x"}')
    with pytest.raises(StudyFileError, match=r"plan\.json: kind: Field required"):
        read_results(folder)


def test_a_run_of_another_schema(folder: Path) -> None:
    path = folder / "qa" / "none" / "seed-1" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))
    with pytest.raises(StudyFileError, match="schema 2, this version reads 1"):
        read_results(folder)


def test_scores_of_a_set_that_was_rewritten(folder: Path) -> None:
    path = folder / "qa" / "none" / "seed-1" / "scores.npz"
    arrays: dict[str, Any] = {"qa-judged": np.zeros(5), "qa-ranked": np.zeros(180)}
    np.savez(path, **arrays)
    with pytest.raises(StudyFileError, match=r"shape \(5,\), expected \(180,\).*rewritten since"):
        read_results(folder)


def test_scores_without_a_set(folder: Path) -> None:
    path = folder / "qa" / "none" / "seed-1" / "scores.npz"
    arrays: dict[str, Any] = {"qa-judged": np.zeros(180)}
    np.savez(path, **arrays)
    with pytest.raises(StudyFileError, match="no scores of qa-ranked, there are those of qa-judg"):
        read_results(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04cut", b"text"])
def test_scores_that_are_none(folder: Path, content: bytes) -> None:
    (folder / "qa" / "none" / "seed-1" / "scores.npz").write_bytes(content)
    with pytest.raises(StudyFileError, match=r"scores\.npz: cannot be read"):
        read_results(folder)


def test_a_run_without_scores_has_not_finished(folder: Path) -> None:
    (folder / "qa" / "none" / "seed-1" / "scores.npz").unlink()
    study = read_results(folder)
    assert study.done == 1
    assert study.missing == ("`none` on qa: seed 1",)
