"""Recipes: sound ones are read, all mistakes of the others are named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.training.recipes.recipe import (
    CorpusRecipe,
    DistillRecipe,
    RecipeError,
    load_recipe,
    parse_recipe,
)

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_of_the_repository_is_sound(path: Path) -> None:
    load_recipe(path)


def test_three_mistakes_are_named_together(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "kind: distill\nname: x\nout: o\nstore: s\nsede: 3\n"
        "student: {layers: []}\nstages: [{table: t, alpha: 2}]\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert "has 3 mistakes" in message
    assert "sede: Extra inputs are not permitted, found 3" in message
    assert "student.layers" in message
    assert "stages.0.alpha" in message
    assert "found 2" in message


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


@pytest.mark.parametrize("override", ["seed", "=3", "stages.5.alpha=1"])
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
    from retort.training.data.catalog import QUESTION_LISTS, parse_source
    from retort.training.data.leaks import check_sources

    shipped = load_recipe(next(path for path in RECIPES if path.stem == "retort-small"))
    assert isinstance(shipped, DistillRecipe)
    assert {stage.table.stem for stage in shipped.stages} == {"stage1", "labelled"}
    for stem in ("stage1", "labelled"):
        recipe = load_recipe(Path(__file__).parents[2] / "recipes" / f"{stem}.yaml")
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


def test_a_hidden_loss_needs_one_cross_encoder_that_keeps_its_states() -> None:
    stage = {"table": "t.parquet", "hidden": 1.0}
    plan = {"kind": "distill", "name": "s", "out": "o", "store": "x", "stages": [stage]}
    cross = {"name": "ce", "path": "p"}
    with pytest.raises(RecipeError, match="no teacher says `hidden: true`"):
        parse_recipe({**plan, "teachers": [cross]})
    with pytest.raises(RecipeError, match="ce is a bi-encoder; only a cross-encoder has them"):
        parse_recipe({**plan, "teachers": [{**cross, "kind": "bi-encoder", "hidden": True}]})
    kept = {**cross, "hidden": True}
    with pytest.raises(RecipeError, match="one teacher's can be matched"):
        parse_recipe({**plan, "teachers": [kept, {**kept, "name": "other"}]})
    parse_recipe({**plan, "teachers": [kept]})
