"""The basis: what a run rests on, kept in its folder, so that it never goes on as another run.

A basis is plain values, as JSON has them: recipes, digests of tables and of a backbone's weights,
who the teachers are and what they say. A checkpoint goes on, and a finished stage or teacher
counts, under the same basis alone: half of a run under one learning rate and half under another
is a result that nothing records.

What changes no outcome is not compared: `name`, `out`, `store`, `checkpoint_steps`, and where a
table lies, since its content is compared. Device, threads and logs are no part of a recipe.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from retort.training.nn.loop import CHECKPOINTS, PROGRESS_FILE
from retort.training.nn.processes import processes
from retort.training.recipes.parts.stage import Stage
from retort.training.recipes.parts.student import StudentPlan
from retort.training.recipes.teacher import TeacherRecipe

BASIS_FILES = ("basis.json", "basis.json.tmp")  # the second is one that is being written
FORMAT = 1  # how pairs are read, laid out and drawn into batches; raise it when that changes

Basis = Mapping[str, Any]

_NEUTRAL = frozenset(
    {"recipe.kind", "recipe.name", "recipe.out", "recipe.table", "recipe.checkpoint_steps"}
)
_NEUTRAL_OF_STAGE = "plan.table"
# The parts of recipes in a basis, by the name of their field. A part that an older version wrote
# has fewer fields: those that are missing have their defaults.
_PARTS: dict[str, type[BaseModel]] = {
    "recipe": TeacherRecipe,
    "plan": Stage,
    "student": StudentPlan,
}
_WRAPPERS = ("recipe", "basis", "plan")  # parts of a basis that no recipe has
_DIGEST = 64  # hexadecimal digits of a sha256


class ChangedRunError(ValueError):
    """A folder holds what was made from something else than what is asked for now."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which two bases differ; None where it has no value."""

    field: str
    before: object
    now: object

    def __str__(self) -> str:
        return f"{self.field}: {_in_words(self.before)}, now {_in_words(self.now)}"


def differences(found: Basis, wanted: Basis) -> list[Difference]:
    """In which fields a basis that was found differs from the one that is wanted.

    A whole part that an older version did not write, such as `backbone_weights`, is not compared.
    """
    known = {name: value for name, value in wanted.items() if name in found}
    before, now = dict(_fields(found)), dict(_fields(known))
    return [
        Difference(field, before.get(field), now.get(field))
        for field in dict.fromkeys([*now, *before])
        if before.get(field) != now.get(field)
    ]


def refuse(place: Path | str, found: Sequence[Difference]) -> None:
    """Raise `ChangedRunError` that lists the differences, if there are any."""
    if found:
        raise ChangedRunError(refusal(place, found))


def refusal(place: Path | str, found: Sequence[Difference], again: str = "--fresh") -> str:
    """What to tell of a place that was made with those differences, and what to do about it."""
    listed = "\n".join(f"  {difference}" for difference in found)
    return (
        f"{place} was made by another recipe, from other data or from other teachers: set out= to "
        f"a new folder, give the old values back, or start anew with {again}. What differs:\n"
        f"{listed}"
    )


def claim(folder: Path, basis: Basis, *, fresh: bool = False) -> None:
    """Let the run in `folder` rest on `basis`, before its first step.

    A checkpoint that is there goes on only under the same basis; with `fresh` it is removed.
    Raises `ChangedRunError`.
    """
    state = processes()
    if fresh and state.is_main_process:
        for name in CHECKPOINTS:
            shutil.rmtree(folder / name, ignore_errors=True)
    state.wait_for_everyone()
    basis = _of_run(basis)
    path, temporary = (folder / name for name in BASIS_FILES)
    checkpoint = _checkpoint(folder)
    if checkpoint is not None:
        if not path.is_file():
            raise ChangedRunError(
                f"{checkpoint} does not say what it was made from: set out= to a new folder, or "
                "start anew with --fresh"
            )
        refuse(checkpoint, differences(json.loads(path.read_text()), basis))
    state.wait_for_everyone()
    if state.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(basis, indent=1) + "\n")
        temporary.replace(path)


def is_under_way(folder: Path, basis: Basis) -> bool:
    """Whether the folder holds a checkpoint of a run that rests on `basis`."""
    path = folder / BASIS_FILES[0]
    if _checkpoint(folder) is None or not path.is_file():
        return False
    return not differences(json.loads(path.read_text()), _of_run(basis))


def _of_run(basis: Basis) -> Basis:
    # A checkpoint has the state of each process's random numbers.
    return {**basis, "processes": processes().num_processes}


def _checkpoint(folder: Path) -> Path | None:
    places = (folder / name for name in CHECKPOINTS)
    return next((place for place in places if (place / PROGRESS_FILE).is_file()), None)


def _fields(value: object, field: str = "") -> Iterator[tuple[str, object]]:
    """Every field that counts, under its dotted name."""
    value = _filled(value, field)
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _fields(item, f"{field}.{name}".removeprefix("."))
    elif isinstance(value, list | tuple) and any(
        isinstance(item, Mapping | list) for item in value
    ):
        for number, item in enumerate(value):
            yield from _fields(item, f"{field}.{number}")
    elif value is not None and not _is_neutral(field):
        # As it is written on the command line, where it can be.
        parts = [part for part in field.split(".") if part not in _WRAPPERS]
        yield ".".join(parts), list(value) if isinstance(value, tuple) else value


def _filled(value: object, field: str) -> object:
    part = _PARTS.get(field.rpartition(".")[2])
    if part is None:
        return value
    try:
        return part.model_validate(value).model_dump(mode="json")
    except ValidationError:
        return value


def _is_neutral(field: str) -> bool:
    return field in _NEUTRAL or (field.startswith("stages.") and field.endswith(_NEUTRAL_OF_STAGE))


def _in_words(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str) and len(value) == _DIGEST:
        return f"content {value[:12]}"
    return json.dumps(value, ensure_ascii=False)
