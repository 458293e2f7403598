"""The reference of recipes: every field of every kind, from the models that check them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from retort.markdown import section, table
from retort.training.recipes.corpus import CorpusRecipe
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.methods import METHODS, Options
from retort.training.recipes.study import StudyRecipe
from retort.training.recipes.teacher import TeacherRecipe

BEGIN = "<!-- written by `retort recipes --page docs/recipes.md` -->"
END = "<!-- end of what it writes -->"
REQUIRED = "required"
HEADER = ("field", "type", "default", "meaning")

# By kind: its heading, its model, and what becomes of such a recipe.
KINDS: dict[str, tuple[str, type[BaseModel], str]] = {
    "corpus": ("Corpus", CorpusRecipe, "`retort data build` makes a table of pairs."),
    "teacher": ("Teacher", TeacherRecipe, "`retort teach` trains a teacher."),
    "distill": (
        "Distillation",
        DistillRecipe,
        "`retort label` lets the teachers score the pairs, `retort distill` trains the student.",
    ),
    "study": ("Study", StudyRecipe, "`retort study` runs every row on every data set, per seed."),
}
_WORDS = {
    str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path",
    NoneType: "none", Any: "any value",
}  # fmt: skip
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


@dataclass(frozen=True, slots=True)
class Field:
    """A field in words. `default` is `REQUIRED` where there is none."""

    name: str
    type: str
    default: str
    meaning: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """As a row of `HEADER`."""
        return f"`{self.name}`", self.type, self.default, self.meaning


@dataclass(frozen=True, slots=True)
class Part:
    """A kind of recipe, or what one of its fields holds, by its heading."""

    heading: str
    about: str
    fields: tuple[Field, ...]


def kinds(only: str | None = None) -> dict[str, list[Part]]:
    """The parts of each kind of recipe; one that several kinds have is named in the first.

    Raises `ValueError` for a kind that is not known.
    """
    if only is not None and only not in KINDS:
        raise ValueError(f"no kind of recipe {only!r}: there are {', '.join(KINDS)}")
    chosen = KINDS if only is None else {only: KINDS[only]}
    headings = _headings(model for _, model, _ in chosen.values())
    seen: set[type[BaseModel]] = set()
    found = {}
    for kind, (title, model, about) in chosen.items():
        seen.add(model)
        inner = [m for m in _inside(model) if m not in seen]
        seen.update(inner)
        found[kind] = [
            Part(title, about, _fields(model, headings)),
            *(Part(headings[m], "", _fields(m, headings)) for m in inner),
        ]
    return found


def options() -> list[Part]:
    """The options of methods; methods that have the same ones share a part."""
    methods: dict[type[Options], list[str]] = {}
    for spec in METHODS.values():
        if spec.options.model_fields:
            methods.setdefault(spec.options, []).append(f"`{spec.name}`")
    headings = _headings(methods)
    found = []
    for model, names in methods.items():
        found.append(Part(f"Options of {', '.join(names)}", "", _fields(model, headings)))
        found += [Part(headings[m], "", _fields(m, headings)) for m in _inside(model)]
    return found


def to_text(parts: Iterable[Part]) -> str:
    """The fields of these parts, for a terminal."""
    blocks = []
    for part in parts:
        lines = [part.heading.replace("`", "") + (f": {part.about}" if part.about else "")]
        for field in part.fields:
            kind = _LINK.sub(r"\1", field.type).replace("`", "")
            default = field.default if field.default == REQUIRED else f"default {field.default}"
            lines.append(f"  {field.name}: {kind}; {default}".replace("`", ""))
            lines.append(f"      {field.meaning}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def to_markdown() -> str:
    """Every field of every kind of recipe, and of every method's options, as Markdown."""
    blocks: list[str] = []
    for first, *rest in kinds().values():
        blocks += [f"## {first.heading}", first.about, *_block(first)]
        for part in rest:
            blocks += [f"### {part.heading}", *_block(part)]
    blocks += ["## Options of methods", "`retort methods` says what each method is."]
    for part in options():
        blocks += [f"### {part.heading}", *_block(part)]
    return "\n" + "\n\n".join(blocks) + "\n\n"


def write_page(page: Path) -> None:
    """Put the reference between the markers of `page`. Raises `ValueError` without them."""
    section(page, to_markdown(), BEGIN, END, "Recipes")


def _block(part: Part) -> Iterator[str]:
    yield "\n".join(table(HEADER, [field.cells for field in part.fields]))


def _fields(model: type[BaseModel], headings: Mapping[type[BaseModel], str]) -> tuple[Field, ...]:
    return tuple(
        Field(name, _type(field, headings), _default(field), field.description or "")
        for name, field in model.model_fields.items()
    )


def _headings(models: Any) -> dict[type[BaseModel], str]:
    """What the parts of these models are called: by the first field that holds one."""
    found: dict[type[BaseModel], str] = {}
    waiting = [*models]
    for model in waiting:
        for name, field in model.model_fields.items():
            for inner, many in _models(field.annotation):
                if inner not in found:
                    found[inner] = f"One of `{name}`" if many else f"`{name}`"
                    waiting.append(inner)
    return found


def _inside(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The models of a model's fields, and of theirs, in order."""
    found: list[type[BaseModel]] = []
    for field in model.model_fields.values():
        for inner, _ in _models(field.annotation):
            if inner not in found:
                found += [m for m in (inner, *_inside(inner)) if m not in found]
    return found


def _models(kind: Any, many: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    """The models in a type, and whether there may be several of each."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind, many
    for inner in get_args(kind):
        several = get_origin(kind) in (list, tuple, set, frozenset, dict)
        yield from _models(inner, many or several)


def _type(field: FieldInfo, headings: Mapping[type[BaseModel], str]) -> str:
    bounds = [
        f"{words} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, words in _BOUNDS.items()
        if isinstance(getattr(bound, name, None), int | float)
    ]
    return ", ".join([_words(field.annotation, headings), *bounds])


def _words(kind: Any, headings: Mapping[type[BaseModel], str]) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if kind in headings:
        heading = headings[kind]
        anchor = heading.lower().replace(" ", "-").replace("`", "")
        return f"[{heading.removeprefix('One of ')}](#{anchor})"
    if origin is Annotated:
        return _words(inner[0], headings)
    if origin is Literal:
        return _either([f"`{value}`" for value in inner])
    if origin in (Union, UnionType):
        return _either([_words(part, headings) for part in inner])
    if origin is dict:
        of = inner[1]
        return "fields" if of is Any else f"{_words(of, headings)} by name"
    if origin in (list, tuple, set, frozenset):
        of = _words(inner[0], headings)
        return f"list of {of}s" if inner[0] in _WORDS else f"list of {of}"
    return _WORDS.get(kind, str(getattr(kind, "__name__", kind)))


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return REQUIRED
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "none"
    if isinstance(default, BaseModel):
        return "its defaults"
    if isinstance(default, tuple | list) and any(isinstance(one, BaseModel) for one in default):
        return "see there"
    return (
        f"`{default}`"
        if isinstance(default, str) and default
        else f"`{json.dumps(default, default=str)}`"
    )
