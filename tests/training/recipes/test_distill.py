"""Recipes of kind `distill`: which mistakes they are told, and what is read off them."""

from __future__ import annotations

from typing import Any

import pytest

from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.load import RecipeError, find_mistakes, parse_recipe

PLAN: dict[str, Any] = {
    "kind": "distill", "name": "s", "out": "o", "store": "x",
    "stages": [{"table": "t", "alpha": 0.5}],
    "teachers": [{"name": "a", "path": "a"}, {"name": "b", "path": "b"}],
}  # fmt: skip


def distill(**changes: object) -> DistillRecipe:
    recipe = parse_recipe({**PLAN, **changes})
    assert isinstance(recipe, DistillRecipe)
    return recipe


def test_a_hidden_loss_needs_one_cross_encoder_that_keeps_its_states() -> None:
    stage = {"table": "t.parquet", "hidden": 1.0}
    plan = {**PLAN, "stages": [stage]}
    cross = {"name": "ce", "path": "p"}
    with pytest.raises(RecipeError, match="no teacher says `hidden: true`"):
        parse_recipe({**plan, "teachers": [cross]})
    with pytest.raises(RecipeError, match="ce is a bi-encoder; only a cross-encoder has hidden"):
        parse_recipe({**plan, "teachers": [{**cross, "kind": "bi-encoder", "hidden": True}]})
    kept = {**cross, "hidden": True}
    with pytest.raises(RecipeError, match="one teacher's can be matched"):
        parse_recipe({**plan, "teachers": [kept, {**kept, "name": "other"}]})
    parse_recipe({**plan, "teachers": [kept]})


def test_m_o_m_is_one_recipe_per_teacher_and_any_other_is_itself() -> None:
    assert distill(method="mkd").members() == [distill(method="mkd")]
    first, second = distill(method="m-o-m").members()
    assert (first.name, first.method, str(first.out)) == ("s-a", "1-o-1", "o/members/a")
    assert [teacher.name for teacher in second.teachers] == ["b"]
    stages = [{"table": "t"}, {"table": "t", "alpha": 0.5}]
    assert {m.method for m in distill(method="m-o-m", stages=stages).members()} == {"tkd"}
    with pytest.raises(RecipeError, match=r"stages\.1\.alpha: m-o-m has no stage 1"):
        distill(method="m-o-m", stages=stages[::-1])


@pytest.mark.parametrize(
    ("method", "changes", "read"),
    [
        ("1-o-1", {}, ["a"]),
        ("1-o-1", {"options": {"teacher": "b"}}, ["b"]),
        ("1avg-o-1", {}, ["a", "b"]),
        ("none", {"stages": [{"table": "t", "alpha": 0.0}]}, []),
        ("infonce", {"stages": [{"table": "t", "alpha": 0.0}]}, []),
        ("infonce", {"stages": [{"table": "t", "alpha": 0.5}]}, ["a", "b"]),
    ],
)
def test_which_teachers_a_method_reads(
    method: str, changes: dict[str, object], read: list[str]
) -> None:
    assert [t.name for t in distill(method=method, **changes).read_teachers] == read


@pytest.mark.parametrize(
    ("longest", "query", "right"), [(96, 92, True), (96, 93, False), (8, 8, False)]
)
def test_a_query_leaves_its_passage_room(longest: int, query: int, right: bool) -> None:
    length = {"max_length": longest, "max_query_tokens": query}
    values = {"kind": "teacher", "name": "t", "table": "t.parquet", "out": "t", "length": length}
    fields = [mistake.partition(":")[0] for mistake in find_mistakes(values)]
    assert fields == ([] if right else ["length.max_query_tokens"])
