"""The plan of a study: which distillations it is made of, in which order, and its mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from retort.training.recipes.load import RecipeError
from retort.training.recipes.study import Cell, StudyRecipe, merged
from tests.training.study.tiny_study import dataset, load_study, recipe_values


def study_of(folder: Path, **changes: Any) -> StudyRecipe:
    """Nothing of what the recipe names has to be there."""
    path = folder / "study.yaml"
    path.write_text(
        yaml.safe_dump({**recipe_values(folder), "baseline": None, **changes}, sort_keys=False)
    )
    return load_study(path)


def row(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "method": "mkd", "stages": ["labelled"], **fields}


def test_every_row_comes_once_before_any_comes_twice(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        datasets=[dataset(tmp_path, "one"), dataset(tmp_path, "two")],
        rows=[row("a"), row("b", datasets=["two"]), row("c", seeds=[2, 9])],
    )
    assert [cell.name for cell in study.cells()] == [
        "one/a/seed-1", "two/a/seed-1", "two/b/seed-1",
        "one/a/seed-2", "two/a/seed-2", "two/b/seed-2", "one/c/seed-2", "two/c/seed-2",
        "one/c/seed-9", "two/c/seed-9",
    ]  # fmt: skip


def test_a_cell_is_a_distillation_of_its_row(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        rows=[
            row(
                "a", teachers="best", stage={"alpha": 0.5, "optimiser": {"epochs": 7}},
                student={"layers": [0, 1]},
            )
        ],
    )  # fmt: skip
    recipe = study.compose(Cell("a", 2, ("one",)))
    assert recipe.out == tmp_path / "out/one/a/seed-2"
    assert (recipe.seed, recipe.method, recipe.student.layers) == (2, "mkd", [0, 1])
    assert [teacher.name for teacher in recipe.teachers] == ["ce"]
    (stage,) = recipe.stages
    assert (stage.alpha, stage.optimiser.epochs, stage.optimiser.lr) == (0.5, 7, 3e-3)


def test_a_row_without_teachers_learns_from_labels_alone(tmp_path: Path) -> None:
    recipe = study_of(tmp_path).compose(Cell("none", 1, ("one",)))
    assert recipe.teachers == []
    assert [stage.alpha for stage in recipe.stages] == [0.0]


def test_all_mistakes_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        study_of(
            tmp_path,
            baseline="nobody",
            rows=[
                row("a", stages=["third"]),
                row("b", teachers=["ghost"]),
                row("c", method="alchemy"),
                row("f", stage={"alpha": 3}),
                row("d"),
                row("d", datasets=["nowhere"]),
                row("e", options={"colour": 1}),
            ],
        )
    message = str(caught.value)
    for part in (
        "baseline nobody: there is no such row",
        "a, one: row a: one has no stage third: there are unlabelled, labelled",
        "b, one: one: no teacher ghost: there are ce, bi",
        "unknown method 'alchemy'",
        "alpha: Input should be less than or equal to 1, found 3",
        "row d is there twice",
        "row d: no dataset nowhere",
        "options.colour",
    ):
        assert part in message


def test_names_of_folders_are_kept_free(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a row is named teachers"):
        study_of(tmp_path, rows=[row("teachers")])
    with pytest.raises(RecipeError, match="a dataset is named joint"):
        study_of(tmp_path, datasets=[dataset(tmp_path, "joint")])


def test_a_joint_row_is_one_cell_with_the_teachers_of_all(tmp_path: Path) -> None:
    datasets = [dataset(tmp_path, "one"), dataset(tmp_path, "two")]
    for item in datasets:
        item["teachers"][0]["sources"] = [item["name"]]
        item["teachers"][1] |= {"name": f"bi-{item['name']}", "sources": [item["name"]]}
    study = study_of(tmp_path, datasets=datasets, rows=[row("all", joint=True)])
    first = study.cells()[0]
    assert first == Cell("all", 1, ("one", "two"), joint=True)
    assert study.folder(first) == tmp_path / "out/joint/all/seed-1"
    assert study.results(first) == [tmp_path / f"out/{n}/all/seed-1" for n in ("one", "two")]
    teachers = {t.name: t.sources for t in study.compose(first).teachers}
    assert teachers == {"ce": ["one", "two"], "bi-one": ["one"], "bi-two": ["two"]}
    # A teacher of one of them has to say which pairs are its own.
    del datasets[0]["teachers"][1]["sources"]
    with pytest.raises(RecipeError, match=r"bi-one belongs to 1 of 2 datasets"):
        study_of(tmp_path, datasets=datasets, rows=[row("all", joint=True)])


def test_changes_are_laid_over_what_is_there() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": 4}
    assert merged(base, {"a": {"c": 3}}, {"d": {"e": 5}}) == {"a": {"b": 1, "c": 3}, "d": {"e": 5}}
    assert base == {"a": {"b": 1, "c": 2}, "d": 4}


def test_figures_come_from_rows_that_stand_before(tmp_path: Path) -> None:
    skd = row("skd", method="skd", figures="1-o-1-{teacher}",
              options={"distribution": "student-rank"})  # fmt: skip
    ones = [row(f"1-o-1-{name}", method="1-o-1", teachers=[name]) for name in ("ce", "bi")]
    study = study_of(tmp_path, rows=[*ones, skd])
    assert study.compose(study.cells()[2]).options["figures"] == {"ce": 0.0, "bi": 0.0}
    assert study.needs(study.cells()[2]) == ["one/1-o-1-ce/seed-1", "one/1-o-1-bi/seed-1"]
    with pytest.raises(RecipeError, match="figures need a row 1-o-1-bi before it"):
        study_of(tmp_path, rows=[ones[0], skd])
    with pytest.raises(RecipeError, match="give teachers, or a row's name"):
        study_of(tmp_path, rows=[row("skd", method="skd", figures="somebody")])


@pytest.mark.parametrize("name", ["amazon", "qa", "tasks"])
def test_a_plan_on_disk_is_the_study_that_was_ordered(name: str) -> None:
    # Jobs read plan.json, which has every field: those left out of the recipe must not matter.
    study = load_study(Path(f"recipes/study-{name}.yaml"))
    read = StudyRecipe.model_validate_json(study.model_dump_json())
    assert [read.compose(cell) for cell in read.cells()] == [
        study.compose(cell) for cell in study.cells()
    ]
