"""Mistakes in a recipe: where they are, and what they are in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

Mistake = tuple[str, str]  # a field, as in `stages.0.alpha`, and what is wrong with it


class Mistakes(ValueError):
    """What is wrong with a recipe as a whole."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(f"{path}: {problem}" for path, problem in self.mistakes))


def refuse(mistakes: Iterable[Mistake]) -> None:
    """Raise `Mistakes` if there are any."""
    if found := tuple(mistakes):
        raise Mistakes(found)


def problem_of(fault: Any) -> str:
    """What is wrong according to a fault of pydantic's, with the value found.

    A part that is missing, or wrong as a whole, has no value worth printing.
    """
    given = fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            problem = "there is no such field"
        case "model_type":
            problem = "expected fields, as name: value"
        case "union_tag_not_found":
            problem = "missing: say what the recipe makes (`retort recipes` lists the kinds)"
        case "union_tag_invalid":
            problem = f"there is no kind {given['tag']!r}: give one of {given['expected_tags']}"
        case _:
            problem = str(fault["msg"]).removeprefix("Value error, ")
    whole = fault["type"].startswith(("missing", "value_error", "union_tag"))
    return problem if whole else problem + f", found {fault['input']!r}"[:200]


def repeated(names: Sequence[str]) -> list[str]:
    """The names that are there more than once, each once."""
    return [name for name, count in Counter(names).items() if count > 1]
