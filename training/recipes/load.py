"""Loading: a recipe of any kind from its YAML file, every mistake reported at once.

Any field can be set from the command line with `key=value` (dotted for nested fields).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from retort.training.recipes.corpus import CorpusRecipe
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.mistakes import Mistakes, problem_of
from retort.training.recipes.study import StudyRecipe
from retort.training.recipes.syntax import fault_of, read_yaml
from retort.training.recipes.teacher import TeacherRecipe
from retort.wording import counted

Recipe = CorpusRecipe | TeacherRecipe | DistillRecipe | StudyRecipe

_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Field(discriminator="kind")])
_STAND_IN = "-"  # for a field that is missing, while the rest is checked


class RecipeError(ValueError):
    """A recipe cannot be read or has mistakes; the message lists all of them."""


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and check a recipe. Raises `RecipeError`."""
    return parse_recipe(read_values(path, overrides), str(path))


def parse_recipe(values: dict[str, Any], origin: str = "recipe") -> Recipe:
    """Check plain values. Raises `RecipeError` that lists every mistake with its field."""
    mistakes = find_mistakes(values)
    if mistakes:
        raise RecipeError(in_words(mistakes, origin))
    return _ADAPTER.validate_python(values)


def in_words(mistakes: Sequence[str], origin: str) -> str:
    """All mistakes under one heading."""
    return f"{origin} has {counted(len(mistakes), 'mistake')}:\n" + "\n".join(
        f"  {mistake}" for mistake in mistakes
    )


def find_mistakes(values: dict[str, Any]) -> list[str]:
    """Every mistake in a recipe's plain values: its field, the problem, and the value found.

    pydantic checks a recipe as a whole only once all its fields are right. So wrong fields are
    taken out, and missing ones get a stand-in, until it does.
    """
    found: list[str] = []
    repaired: set[str] = set()  # fields whose mistake has been found
    values = deepcopy(values)
    while True:
        try:
            _ADAPTER.validate_python(values)
        except ValidationError as error:
            faults = [(_place(fault["loc"], values), fault) for fault in error.errors()]
        else:
            return found
        new = [(place, fault) for place, fault in faults if _field(place) not in repaired]
        lines = [line for place, fault in new for line in _lines(place, fault)]
        found += [line for line in lines if line.partition(":")[0] not in repaired]
        whole = any(not place or fault["type"].startswith("union_tag") for place, fault in new)
        if whole or not new:
            return list(dict.fromkeys(found))
        for place, fault in reversed(faults):  # the last of a list first, so that none moves
            repaired.add(_field(place))
            _repair(values, place, fault["type"] == "missing")


def read_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A recipe's plain values, overridden. Raises `RecipeError`."""
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: {fault_of(error)}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected fields, found {type(values).__name__}")
    for override in overrides:
        _override(values, override)
    return values


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"{override!r} is no override: write key=value, as in seed=7")
    *path, last = key.split(".")
    node: Any = values
    for part in path:
        index = _index(node, part, override)
        node = node.setdefault(index, {}) if isinstance(node, dict) else node[index]
    try:
        node[_index(node, last, override)] = read_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{override!r}: the value: {fault_of(error)}") from error


def _index(node: Any, part: str, override: str) -> int | str:
    if isinstance(node, dict):
        return part
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return int(part)
    raise RecipeError(f"{override!r}: there is no field {part!r}")


def _field(place: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in place)


def _lines(place: tuple[int | str, ...], fault: Any) -> list[str]:
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, Mistakes):
        return [f"{_field((*place, path))}: {problem}" for path, problem in cause.mistakes]
    return [f"{_field(place) or 'recipe'}: {problem_of(fault)}"]


def _place(loc: tuple[int | str, ...], values: dict[str, Any]) -> tuple[int | str, ...]:
    """Where a fault is in the values. pydantic names the alternatives of a union on the way."""
    if not loc:
        return ("kind",)  # none, or one that is not known
    place: list[int | str] = []
    node: Any = values
    for part in loc[1:]:
        inside = isinstance(node, list) and part in range(len(node))
        if inside or (isinstance(node, dict) and part in node):
            node = node[part]
            place.append(part)
        elif isinstance(node, dict) and part == loc[-1]:
            place.append(part)  # it is missing
    return tuple(place)


def _repair(values: dict[str, Any], place: tuple[Any, ...], missing: bool) -> None:
    node: Any = values
    for part in place[:-1]:
        if not isinstance(node, dict | list) or (isinstance(node, dict) and part not in node):
            return
        node = node[part]
    if missing:
        node[place[-1]] = _STAND_IN
    elif isinstance(node, dict):
        node.pop(place[-1], None)
    elif isinstance(node, list):
        del node[place[-1]]
