"""Recipes are YAML 1.2: words stay words, numbers are numbers, and nothing is there twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retort.training.recipes.load import RecipeError, load_recipe, read_values
from retort.training.recipes.syntax import read_yaml
from retort.training.recipes.teacher import TeacherRecipe


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("Off", "Off"), ("yes", "yes"), ("on", "on"), ("y", "y"),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("1e-4", 1e-4), ("5E-5", 5e-5), ("1e6", 1e6), (".5", 0.5), ("-1.", -1.0),
        ("7", 7), ("-3", -3), ("010", 10), ("0o10", 8), ("0x10", 16), ("1_000", "1_000"),
        ("2024-01-02", "2024-01-02"), ("12:30", "12:30"), ("1.0.0", "1.0.0"), ("e5", "e5"),
        ("{a: &x {b: no}, c: {<<: *x, d: 1}}", {"a": {"b": "no"}, "c": {"b": "no", "d": 1}}),
    ],
)  # fmt: skip
def test_values(text: str, value: Any) -> None:
    found = read_yaml(text)
    assert found == value
    assert type(found) is type(value)


RECIPE = "kind: teacher\nname: t\ntable: t.parquet\nout: o\n"


def test_words_and_numbers_are_read_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "teacher.yaml"
    path.write_text(RECIPE + "optimiser: {precision: no, lr: 1e-4, freeze_words: no}\n")
    plan = load_recipe(path)
    assert isinstance(plan, TeacherRecipe)
    assert (plan.optimiser.precision, plan.optimiser.lr) == ("no", 1e-4)
    assert plan.optimiser.freeze_words is False
    words = ["optimiser.precision=no", "optimiser.lr=3e-5", "meta.weighted=off", "seed=1e3"]
    plan = load_recipe(path, words)
    assert isinstance(plan, TeacherRecipe)
    assert (plan.optimiser.precision, plan.optimiser.lr) == ("no", 3e-5)
    assert (plan.meta.weighted, plan.seed) == (False, 1000)


def test_a_wrong_value_is_told_with_its_field_and_what_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "teacher.yaml"
    path.write_text(RECIPE)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, ["optimiser.precision=fp8", "optimiser.lr=-1", "layers=[]"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert any(
        line.startswith("  optimiser.precision: ") and "'bf16'" in line and "'fp8'" in line
        for line in lines
    )
    assert any(line.startswith("  optimiser.lr: ") and "greater than 0" in line for line in lines)


def test_what_is_no_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "teacher.yaml"
    for text, said in [
        (b"kind: teacher\nseed: 1\nseed: 2\n", "line 3: not YAML: the field seed is there twice"),
        (b"kind: teacher\nlayers: [1\n", "line 3: not YAML"),
        (b"kind: teacher\nname: \xe9\n", "not UTF-8"),
        (b"{[1]: 2}", "line 1: not YAML: found unhashable key"),
        (b"seed: !!int abc", "not YAML: invalid literal for int"),
    ]:
        path.write_bytes(text)
        with pytest.raises(RecipeError) as caught:
            read_values(path)
        assert said in str(caught.value)
        assert str(path) in str(caught.value)
