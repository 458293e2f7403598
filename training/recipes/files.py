"""What a recipe reads: which places its fields name, which are not there, and what makes them.

All of it is read from the recipe's plain values, so that it works for a recipe with other mistakes
too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml

from retort.training.recipes.kinds import (
    CHECKPOINT_FILE,
    CONFIG_FILE,
    PACKAGE,
    URLS,
    depth_of,
    find_kind,
    kind_fault,
    option_fault,
    package_of,
)
from retort.training.recipes.parts.student import StudentPlan
from retort.training.recipes.syntax import read_yaml

INDEX_FILE = "sets.json"  # of a folder of evaluation sets

What = Literal["table", "source", "measured", "questions", "teacher", "backbone", "sets"]

# By kind of recipe, the fields that name what is read; `*` is any key of a mapping or a list.
_FIELDS: dict[str, dict[str, What]] = {
    "corpus": {
        "labelled.*.source": "source",
        "positives.*.source": "source",
        "questions.lists.*": "questions",
        "questions.passages.*": "source",
        "questions.queries_of.*": "source",
        "dense_teacher": "backbone",
        "held_out.*": "measured",
    },
    "teacher": {"table": "table", "backbone": "backbone"},
    "distill": {
        "stages.*.table": "table",
        "teachers.*.path": "teacher",
        "student.init": "backbone",
    },
    "study": {
        "datasets.*.stages.*.table": "table",
        "datasets.*.teachers.*.path": "teacher",
        "datasets.*.measure": "sets",
        "datasets.*.measure.*": "sets",
        "datasets.*.choose": "sets",
        "datasets.*.choose.*": "sets",
        "student.init": "backbone",
        "datasets.*.student.init": "backbone",
        "rows.*.student.init": "backbone",
    },
}

# What makes such a thing under `runs/`, unless a recipe of the same folder does.
_MAKERS: dict[What, str] = {
    "table": "retort data build",
    "source": "retort data divide",
    "measured": "retort data divide",
    "questions": "",
    "teacher": "retort teach",
    "backbone": "retort teach or retort distill",
    "sets": "retort data sets, retort data tasks or retort data divide",
}

# What is said where there is nothing.
_NOTHING: dict[What, str] = {
    "table": "no such file",
    "source": "no such file",
    "measured": "no such file or folder",
    "questions": "no such file",
    "teacher": "no such folder; put your teacher there, or name a model on the hub",
    "backbone": "no such folder; put an encoder there, or name a model on the hub",
    "sets": "no such folder",
}
_NO_TEACHER = {
    "given": "no such file",
    "cross-encoder": "no such folder; make it with `retort teach`, or write its kind: "
    "hub-cross-encoder for a model of Hugging Face, bundle for the name of one",
    "hub-cross-encoder": "no such folder; put your cross-encoder there, or name a model on the hub",
}

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
# Folders of one's own, which no owner of models on the hub is named like.
_OWN_FOLDERS = ("models", "runs")


@dataclass(frozen=True, slots=True)
class Place:
    """What a field of a recipe names, the fields around that one, and a teacher's kind."""

    field: str
    path: str
    what: What
    kind: str = ""
    around: Mapping[str, Any] | None = None

    @property
    def own(self) -> bool:
        """Whether it is a file or folder, and nothing of a catalog, of a package or of the hub."""
        if self.what in ("table", "sets") or self.kind == "cross-encoder":
            return True
        if self.path.startswith(("hub:", PACKAGE, *URLS)):
            return False
        if self.what in ("source", "questions") or self.kind == "given":
            return bool(Path(self.path.removesuffix(".gz")).suffix)
        if self.what == "measured":
            path = Path(self.path.removesuffix(".gz"))
            return bool(path.suffix) or path.is_dir() or path.parts[0] in _OWN_FOLDERS
        return not self.hub_name

    @property
    def package(self) -> str:
        """The Python package that holds it; "" where none does."""
        return package_of(self.path) if self.what in ("teacher", "backbone") else ""

    @property
    def hub_name(self) -> bool:
        """Whether a model of the hub could be meant, should there be no such folder."""
        return (
            self.what in ("teacher", "backbone")
            and self.kind not in ("cross-encoder", "given")
            and _HUB_NAME.fullmatch(self.path) is not None
            and Path(self.path).parts[0] not in _OWN_FOLDERS
        )

    def exists(self) -> bool:
        """Whether something is there."""
        return Path(self.path).exists()

    def fault(self) -> str:
        """Why what is there cannot be read as what it has to be; "" if nothing speaks against it.

        >>> Place("teachers.0.path", "models/mine", "teacher", "hub-cross-encoder").fault()
        'no such folder; put your cross-encoder there, or name a model on the hub'
        """
        if self.package and find_spec(self.package) is None:
            return f"the package {self.package} is not installed"
        if self.package or (not self.own and not self.exists()):
            return self._shape_fault()
        if not self.exists():
            return _NO_TEACHER.get(self.kind) or _NOTHING[self.what]
        path = Path(self.path)
        if self.what in ("table", "source", "questions"):
            return "" if path.is_file() else "a folder, and not a file"
        if self.what == "measured" and path.is_file():
            return ""
        if self.what in ("sets", "measured"):
            return "" if (path / INDEX_FILE).is_file() else f"no evaluation sets: no {INDEX_FILE}"
        if self.what == "teacher":
            lacks = {"cross-encoder": CHECKPOINT_FILE, "hub-cross-encoder": CONFIG_FILE}
            lack = lacks.get(self.kind)
            if fault := kind_fault(self.kind, self.path):
                return fault
            if lack and not (path / lack).is_file():
                return f"no {self.kind}: no {lack}"
        return self._shape_fault()

    def _shape_fault(self) -> str:
        """Why the fields around it do not fit what is there."""
        around = self.around or {}
        layers = around.get("layers")
        if self.what == "backbone" and isinstance(layers, list):
            depth = depth_of(self.path)
            if depth and not all(layer in range(depth) for layer in layers):
                return f"layers {layers} of an encoder with {depth}: use 0 to {depth - 1}"
        if self.what == "teacher":
            return option_fault(self.kind, around)
        return ""


@dataclass(frozen=True, slots=True)
class Absent:
    """A place where what is wanted is not, and why; `maker` makes it, "" where that is the user."""

    place: Place
    maker: str
    fault: str

    def __str__(self) -> str:
        where = f"{self.place.field}: {self.place.path}"
        return f"{where}: missing; run `{self.maker}`" if self.maker else f"{where}: {self.fault}"


def places(values: dict[str, Any]) -> Iterator[Place]:
    """What the fields of a recipe name, in the order of its kind's fields."""
    for pattern, what in _FIELDS.get(str(values.get("kind")), {}).items():
        for path, value, parent in _matches(values, pattern.split("."), "", {}):
            if isinstance(value, str):
                kind = _kind(parent, value) if what == "teacher" else ""
                yield Place(path, value, what, kind, _around(parent, what))


def _around(fields: dict[str, Any], what: What) -> dict[str, Any]:
    """The fields next to one; the layers of a student that are not written are the usual ones."""
    if what != "backbone" or "init" not in fields:
        return fields
    plan = StudentPlan.model_fields
    shape = fields.get("kind", "encoder")
    return {"layers": fields.get("layers", plan["layers"].default) if shape == "encoder" else None}


def _kind(teacher: dict[str, Any], place: str) -> str:
    """A teacher's kind, as written or as found; what is not there yet is taken for one of ours."""
    return str(teacher.get("kind") or find_kind(place) or "cross-encoder")


def absent(values: dict[str, Any], folder: Path) -> list[Absent]:
    """What a recipe reads that is not there; `folder` holds the recipes that may make it.

    Each place is named once, by the first field that has it. Models that may be on the hub are not
    among them (`Place.hub_name`).
    """
    lacking = {p.path: (p, f) for p in reversed([*places(values)]) if (f := p.fault())}
    if not lacking:
        return []
    makers = dict(_makers(folder))
    return [
        Absent(place, _maker(place, makers), fault)
        for place, fault in sorted(lacking.values(), key=lambda found: found[0].field)
    ]


def not_yet(values: dict[str, Any], lacking: Sequence[Absent], origin: object) -> str:
    """Why a recipe cannot run: what it lacks and what stands in its way; "" where nothing does."""
    lines = "".join(f"\n  {line}" for line in (*lacking, *obstacles(values)))
    return lines and f"{origin} cannot run yet:{lines}"


def obstacles(values: dict[str, Any]) -> list[str]:
    """What stands where a recipe is to write, each with its field."""
    found = []
    for field in ("out", "store"):
        value = values.get(field)
        if not isinstance(value, str):
            continue
        path, file = Path(value), values.get("kind") == "corpus"
        if path.exists() and path.is_dir() == file:
            what = ("a folder", "a file") if file else ("a file", "a folder")
            found.append(f"{field}: {value}: {what[0]} is there, where {what[1]} is to be written")
            continue
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            found.append(f"{field}: {value}: nothing can be written in {above}")
    return found


def _maker(place: Place, makers: dict[Path, str]) -> str:
    if place.package:
        return f"pip install {place.package}"
    if made := makers.get(Path(place.path).absolute()):
        return made
    # What is there, but is something else, is not made once more.
    return _MAKERS[place.what] if _under_runs(place.path) and not place.exists() else ""


def _makers(folder: Path) -> Iterator[tuple[Path, str]]:
    """By place: the command that makes it, for the recipes in `folder`."""
    for path in sorted(folder.glob("*.yaml")):
        try:
            values = read_yaml(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        if not isinstance(values, dict) or not isinstance(values.get("out"), str):
            continue
        out = Path(values["out"]).absolute()
        match values.get("kind"):
            case "corpus":
                yield out, f"retort data build {path}"
            case "teacher":
                yield out, f"retort teach {path}"
            case "distill":
                yield out / "student", f"retort distill {path}"


def _under_runs(path: str) -> bool:
    return Path(path).absolute().is_relative_to(Path("runs").absolute())


def _matches(
    node: Any, pattern: list[str], path: str, parent: dict[str, Any]
) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Path, value and surrounding mapping of each field that a pattern matches."""
    if not pattern:
        yield path, node, parent
        return
    first, *rest = pattern
    items: dict[Any, Any] = {}
    if isinstance(node, dict):
        items, parent = node, node
    elif isinstance(node, list):
        items = dict(enumerate(node))
    for key, value in items.items():
        if first in ("*", str(key)):
            yield from _matches(value, rest, f"{path}.{key}".removeprefix("."), parent)
