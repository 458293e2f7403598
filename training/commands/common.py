"""What the commands of training share: arguments, recipes, progress."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

RecipeT = TypeVar("RecipeT")

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value, as in seed=7 or optimiser.lr=2e-5.")
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of data sets; without it that is RETORT_DATA."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def log(text: str) -> None:
    """A line of progress, on standard error."""
    typer.echo(text, err=True)


def answer(facts: object, text: str, as_json: bool) -> None:
    """Print what a command found: `facts` as JSON, or `text`."""
    typer.echo(json.dumps(facts, ensure_ascii=False) if as_json else text)


def write(path: Path, text: str) -> None:
    """Write `text` to `path`, making its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def load_plan(path: Path, overrides: list[str] | None, kind: type[RecipeT]) -> RecipeT:
    """The recipe at `path`. Raises `RecipeError`, for a recipe of another kind too."""
    from retort.training.recipes.load import RecipeError, load_recipe

    plan = load_recipe(path, overrides or [])
    if not isinstance(plan, kind):
        wanted = kind.__name__.removesuffix("Recipe").lower()
        raise RecipeError(f"{path}: a {plan.kind} recipe; this command takes a {wanted} recipe")
    return plan


def check_places(plan: BaseModel, recipe: Path, teachers: Collection[str] | None = None) -> None:
    """Check what a plan reads and writes, before anything heavy is imported.

    `teachers` are the names of those that are asked, by default all. Raises `RecipeError`.
    """
    from retort.training.recipes.files import absent, not_yet
    from retort.training.recipes.load import RecipeError

    values = plan.model_dump(mode="json")
    asked = [
        item
        for item in absent(values, recipe.parent)
        if teachers is None
        or item.place.what != "teacher"
        or values["teachers"][int(item.place.field.split(".")[1])]["name"] in teachers
    ]
    if problem := not_yet(values, asked, recipe):
        raise RecipeError(problem)


def name_and_value(item: str, option: str) -> tuple[str, str]:
    """The two parts of NAME=VALUE. Raises `ValueError` that names the option."""
    name, equals, value = item.partition("=")
    if not (name and equals and value):
        raise ValueError(f"{option} {item!r}: write NAME=VALUE")
    return name, value
