"""The registry: every method is built, refuses what it cannot do, and resumes bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.training.data.table import PairTable, write_table
from retort.training.labels.label import label_recipe
from retort.training.methods.distill import distill
from retort.training.methods.registry import BUILDERS
from retort.training.nn.student import load_student
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.load import RecipeError
from retort.training.recipes.methods import METHODS
from tests.training.methods.test_distill import (
    LENGTH,
    OPTIMISER,
    make_pairs,
    make_recipe,
    quiet,
    teach_ce,
)

STAGE = {"optimiser": {**OPTIMISER, "epochs": 2}, "length": LENGTH}
WITH_STAGE_ONE = ("tmkd", "tkd")
OPTIONS: dict[str, dict[str, object]] = {
    "skd": {"distribution": "teacher-rank", "figures": {"ce": 0.8, "bi": 0.7}}
}
# Methods whose recipes need more than two plain teachers have resume tests of their own.
ELSEWHERE = {"m-o-m", "mt-dnn-kd", "meta-kd", "tinybert"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a teacher, and what both teachers say of every pair."""
    folder = tmp_path_factory.mktemp("home")
    pairs = make_pairs()
    write_table(folder / "table.parquet", PairTable(tuple(pairs), ("made",) * len(pairs), {}))
    recipe = recipe_of(folder, folder, "tmkd")
    teach_ce(folder, folder / "table.parquet", optimiser={**OPTIMISER, "epochs": 4})
    label_recipe(recipe, (), quiet)
    return folder


def recipe_of(home: Path, out: Path, method: str, **changes: object) -> DistillRecipe:
    table = home / "table.parquet"
    alphas = [1.0, 0.5] if method in WITH_STAGE_ONE else [0.0 if method == "none" else 0.5]
    stages = [{**STAGE, "table": str(table), "alpha": alpha} for alpha in alphas]
    values: dict[str, object] = {
        "method": method, "options": OPTIONS.get(method, {}), "stages": stages,
        "name": method, "out": str(out / method), **changes,
    }  # fmt: skip
    return make_recipe(home, table, **values)


def test_every_method_of_the_recipes_has_its_code() -> None:
    assert {*BUILDERS} == {name for name, spec in METHODS.items() if not spec.member_per_teacher}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(METHODS) - ELSEWHERE))
def test_a_killed_run_ends_where_an_uninterrupted_one_ends(
    tmp_path: Path, home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(home, tmp_path, name, checkpoint_steps=5)
    whole = load_student(distill(recipe, quiet))
    again = recipe_of(home, tmp_path / "killed", name, checkpoint_steps=5)
    killed_in_step(again, 12, monkeypatch)
    resumed = load_student(distill(again, quiet))
    assert resumed.meta["stages"] == whole.meta["stages"]
    found, wanted = resumed.student.state_dict(), whole.student.state_dict()
    assert all(found[key].equal(value) for key, value in wanted.items())


class Killed(Exception):
    """What a power cut looks like from inside."""


def killed_in_step(recipe: DistillRecipe, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until `step` of the last stage and die there; a checkpoint of before is left."""
    from retort.training.nn import loop

    whole = loop.linear_schedule
    last = len(recipe.stages)

    def dying(place: int, steps: int, warmup: float) -> float:
        before = (recipe.out / f"stage-{last - 1}" / "student.json").is_file() or last == 1
        if before and place == step:
            raise Killed
        return whole(place, steps, warmup)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "linear_schedule", dying)
        with pytest.raises(Killed):
            distill(recipe, quiet)
    assert (recipe.out / f"stage-{last}-run" / "checkpoint" / "progress.json").is_file()


def test_every_member_of_m_o_m_is_made_and_found_again(tmp_path: Path, home: Path) -> None:
    recipe = recipe_of(home, tmp_path, "m-o-m")
    folder = distill(recipe, quiet)
    students = [load_student(folder / name / "student").student for name in ("ce", "bi")]
    assert [[head.teacher for head in s.heads] for s in students] == [[None, "ce"], [None, "bi"]]
    stages = [folder / name / "stage-1" / "model.safetensors" for name in ("ce", "bi")]
    before = [path.stat().st_mtime_ns for path in stages]
    distill(recipe, quiet)
    assert [path.stat().st_mtime_ns for path in stages] == before


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("skdd", {}, "unknown method 'skdd': known are none, tmkd"),
        ("skd", {"options": {"distribution": "teacher-rank"}}, "no figure for ce, bi"),
        ("skd", {"options": {"tau": -1}}, "options.tau: Input should be greater than 0, found -1"),
        ("skd", {"teachers": []}, "skd needs at least 2 teachers, the recipe has 0"),
        ("tmkd", {"options": {"heads": "each"}}, "options.heads: there is no such field"),
        ("1-o-1", {"options": {"teacher": "nobody"}}, "no teacher 'nobody' in the recipe"),
        ("none", {"stages": [{"table": "t", "alpha": 0.5}]}, "set alpha to 0"),
        ("mkd", {"stages": [{"table": "t", "alpha": 1.0}]}, "mkd has no stage 1"),
        ("tkd", {"stages": [{"table": "t", "alpha": 0.5}]}, "begins with soft heads alone"),
    ],
)
def test_a_recipe_that_a_method_cannot_follow(
    tmp_path: Path, method: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_of(tmp_path, tmp_path, method, **changes)
