"""What a fit runs stands in recipes, in one place, and an edited one is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retort.training.data.sets import divide
from retort.training.fit.material import Material
from retort.training.fit.plan import FitPlan
from retort.training.fit.recipes import corpus_recipes, spread, student_recipes, write_recipes
from retort.training.fit.run import Amount, within
from retort.training.fit.speeds import Speeds
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.load import load_recipe
from retort.training.recipes.parts.common import Length
from tests.training.fit.made import make_pairs
from tests.training.fit.plans import make_plan

TEACHERS = [{"name": "ce", "path": "models/ce"}]


def students(own: FitPlan, limit: int | None = None) -> dict[str, dict[str, Any]]:
    return student_recipes(own, 6, Length(), limit, 2.0)


def test_with_a_teacher_candidates_come_first_and_labels_after(tmp_path: Path) -> None:
    own = make_plan(tmp_path, teachers=TEACHERS)
    found = students(own)
    assert found["distilled"]["method"] == "tmkd"
    assert [stage["alpha"] for stage in found["distilled"]["stages"]] == [1.0, 0.7]
    assert found["distilled"]["student"] == {"init": "retort-small", "layers": [1, 3, 5]}
    assert found["labels-alone"]["method"] == "none"
    assert [stage["alpha"] for stage in found["labels-alone"]["stages"]] == [0.0]
    assert found["labels-alone"]["out"] != found["distilled"]["out"]
    assert list(students(own.model_copy(update={"labels_alone": False}))) == ["distilled"]
    short = students(own, limit=0)["distilled"]
    assert (short["method"], len(short["stages"])) == ("mkd", 1)
    assert students(own, limit=300)["distilled"]["stages"][0]["limit"] == 300


def test_without_a_teacher_labels_are_all_there_is(tmp_path: Path) -> None:
    found = students(make_plan(tmp_path))
    assert list(found) == ["labels-alone"]
    assert found["labels-alone"]["method"] == "none"
    assert [stage["alpha"] for stage in found["labels-alone"]["stages"]] == [0.0]


def test_each_question_gets_a_dozen_candidates(tmp_path: Path) -> None:
    material = Material(divide(make_pairs(100), "mine", 0.1, 0.3), (), (), ())
    found = corpus_recipes(make_plan(tmp_path, teachers=TEACHERS), material)
    asked = found["candidates"]["questions"]
    assert 8 <= asked["near"] + asked["deep"] <= 16
    assert list(corpus_recipes(make_plan(tmp_path), material)) == ["pairs"]


def test_the_files_are_recipes_and_one_that_was_edited_is_not_written_over(tmp_path: Path) -> None:
    own = make_plan(tmp_path, teachers=TEACHERS)
    own.work.mkdir()
    write_recipes(own.work, students(own))
    path = own.work / "distilled.yaml"
    loaded = load_recipe(path, [])
    assert isinstance(loaded, DistillRecipe)
    assert loaded.teachers[0].path == "models/ce"
    assert loaded.out == own.students["distilled"].parent
    write_recipes(own.work, students(own))
    path.write_text(path.read_text().replace("alpha: 0.7", "alpha: 0.5"))
    with pytest.raises(ValueError, match=r"distilled\.yaml is not as"):
        write_recipes(own.work, students(own))
    assert "alpha: 0.5" in path.read_text()


def test_layers_are_spread_up_to_the_last() -> None:
    assert [spread(layers) for layers in (1, 2, 3, 6, 12)] == [
        [0], [0, 1], [0, 1, 2], [1, 3, 5], [3, 7, 11],
    ]  # fmt: skip


def test_minutes_go_to_labelled_pairs_first_and_to_candidates_with_what_is_left(
    tmp_path: Path,
) -> None:
    speeds = Speeds(teachers={"ce": 100.0}, student=50.0, layers=3, length=Length())
    # One labelled pair: 0.01 s to score, 2 epochs of 0.02 s to learn. A candidate: 0.03 s.
    own = make_plan(tmp_path, teachers=TEACHERS, minutes=2.0, labels_alone=False)
    assert within(own, speeds, 1000, 5000) == Amount(int(70 / 0.03), 2.0)
    assert within(own, speeds, 1000, 1000) == Amount(None, 2.0)
    assert within(own, speeds, 2300, 5000) == Amount(0, 2.0)
    assert within(own, speeds, 4000, 5000) == Amount(0, 1.0)
    both = make_plan(tmp_path, teachers=TEACHERS, minutes=2.0)
    assert within(both, speeds, 1000, 5000) == Amount(int(30 / 0.03), 2.0)
    assert within(make_plan(tmp_path), speeds, 4000, 0) == Amount(0, 2.0)
