"""Loading recipes: valid ones are read, all mistakes of the others are named at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retort.training.data.catalog import QUESTION_LISTS, parse_source, source_mistake
from retort.training.data.leaks import check_sources
from retort.training.recipes.corpus import CorpusRecipe
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.files import absent, places
from retort.training.recipes.load import (
    RecipeError,
    find_mistakes,
    load_recipe,
    parse_recipe,
    read_values,
)

ROOT = Path(__file__).parents[3]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
SMALL: dict[str, Any] = {
    "kind": "distill", "name": "x", "out": "o", "store": "s", "stages": [{"table": "t"}],
    "teachers": [{"name": "a", "path": "a"}],
}  # fmt: skip


def test_there_are_recipes_of_every_kind() -> None:
    kinds = {read_values(path)["kind"] for path in RECIPES}
    assert kinds == {"corpus", "teacher", "distill", "study"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_of_the_repository_is_valid_and_reads_what_can_be_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    load_recipe(path)
    values = read_values(path)
    assert [source_mistake(place) for place in places(values) if source_mistake(place)] == []
    theirs = {"models/my-cross-encoder"} if path.parent.name == "mine" else set()
    lacking = {item.place.path for item in absent(values, path.parent) if not item.maker}
    assert lacking <= theirs


@pytest.mark.parametrize("field", ["lr", "epochs", "clip", "weight_decay"])
def test_what_is_not_finite_is_no_number(field: str) -> None:
    for value in (float("inf"), float("nan")):
        stage = {"table": "t", "optimiser": {field: value}}
        found = find_mistakes(SMALL | {"stages": [stage]})
        assert [line.partition(":")[0] for line in found] == [f"stages.0.optimiser.{field}"]


def test_mistakes_of_fields_and_of_the_method_are_named_together(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "kind: distill\nname: x\nout: o\nstore: s\nsede: 3\nmethod: 1-o-1\n"
        "options: {teacher: nobody, form: linear}\n"
        "student: {layers: []}\nstages: [{table: t, alpha: 1.0}, {table: t, alpha: 2}]\n"
        "teachers: [{name: a, path: a, kind: bi-encoder, hidden: true}]\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).splitlines() == [
        f"{path} has 6 mistakes:",
        "  student.layers: List should have at least 1 item after validation, not 0, found []",
        "  stages.1.alpha: Input should be less than or equal to 1, found 2",
        "  sede: there is no such field, found 3",
        "  teachers.0.hidden: a is a bi-encoder; only a cross-encoder has hidden states",
        "  stages.0.alpha: 1-o-1 has no stage 1, and this stage has alpha 1: take it out, or use "
        "tkd or tmkd",
        "  options.form: there is no such field, found 'linear'",
    ]


def test_fields_that_are_missing_hide_no_other_mistake() -> None:
    found = find_mistakes({"kind": "distill", "name": "x", "method": "skd", "stages": [{}]})
    assert found == [
        "out: Field required",
        "store: Field required",
        "stages.0.table: Field required",
        "teachers: skd needs at least 2 teachers, the recipe has 0: add them under teachers",
    ]
    assert len(find_mistakes({"kind": "corpus", "seed": "x", "labeled": []})) == 3
    assert len(find_mistakes({**SMALL, "stages": "none", "seed": []})) == 2
    wrong = {**SMALL, "student": {"layers": ["a", 1, "b"], "lr": 1}, "method": "no"}
    assert [line.partition(":")[0] for line in find_mistakes(wrong)] == [
        "student.layers.0", "student.layers.2", "student.lr", "method",
    ]  # fmt: skip


def test_a_recipe_of_no_kind() -> None:
    for values in ({"kind": "nonsense"}, {"name": "x"}):
        (mistake,) = find_mistakes(values)
        assert mistake.startswith("kind: ")
        assert "kind" in mistake


def test_overrides_reach_nested_fields_and_lists(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "kind: distill\nname: x\nout: o\nstore: s\nstages: [{table: t}]\n"
        "teachers: [{name: a, path: a}]\n"
    )
    recipe = load_recipe(path, ["seed=7", "stages.0.optimiser.lr=2e-4", "stages.0.alpha=0.5"])
    assert isinstance(recipe, DistillRecipe)
    assert recipe.seed == 7
    assert recipe.stages[0].alpha == 0.5
    assert recipe.stages[0].optimiser.lr == 2e-4


@pytest.mark.parametrize("override", ["seed", "=3", "stages.5.alpha=1", "seed=["])
def test_a_malformed_override_is_refused(tmp_path: Path, override: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("kind: distill\nname: x\nout: o\nstore: s\nstages: [{table: t}]\n")
    with pytest.raises(RecipeError):
        load_recipe(path, [override])


def test_unreadable_recipes_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot be read"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(RecipeError, match="expected fields, found list"):
        load_recipe(tmp_path / "list.yaml")
    (tmp_path / "kind.yaml").write_text("kind: nonsense\n")
    with pytest.raises(RecipeError, match="corpus"):
        load_recipe(tmp_path / "kind.yaml")


def test_the_shipped_models_corpus_is_shippable_and_leaks_nothing() -> None:
    tables = {
        "retort-small": {"candidates", "labelled-wide"},
        "retort-base": {"candidates", "labelled-wide"},
    }
    for name, stems in tables.items():
        shipped = load_recipe(ROOT / "recipes" / f"{name}.yaml")
        assert isinstance(shipped, DistillRecipe)
        assert {stage.table.stem for stage in shipped.stages} == stems
    for stem in set().union(*tables.values()):
        recipe = load_recipe(ROOT / "recipes" / f"{stem}.yaml")
        assert isinstance(recipe, CorpusRecipe)
        plan = recipe.questions
        sources = [s.source for s in recipe.labelled] + [s.source for s in recipe.positives]
        sources += plan.passages if plan else []
        lists = plan.lists if plan else []
        check_sources(sources, recipe.held_out, lists)
        assert all(parse_source(source)[0].shippable for source in sources)
        assert all(QUESTION_LISTS[name].shippable for name in lists if name in QUESTION_LISTS)
        assert {"neuronblocks/test", "wikiqa/test", "squad-reqa/test", "qed/dev"} <= set(
            recipe.held_out
        )


def test_overrides_do_not_change_what_is_checked() -> None:
    recipe = parse_recipe(SMALL)
    assert isinstance(recipe, DistillRecipe)
    assert SMALL["stages"] == [{"table": "t"}]
