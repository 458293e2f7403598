"""What a recipe reads: which places its fields name, which are not there, and what makes them.

All of it is read from the recipe's plain values, so that it works for a recipe with other mistakes
too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

CHECKPOINT_FILE = "student.json"

What = Literal["table", "source", "questions", "teacher", "backbone", "sets"]

# By kind of recipe, the fields that name what is read; `*` is any key of a mapping or a list.
_FIELDS: dict[str, dict[str, What]] = {
    "corpus": {
        "labelled.*.source": "source",
        "positives.*.source": "source",
        "questions.lists.*": "questions",
        "questions.passages.*": "source",
        "questions.queries_of.*": "source",
        "held_out.*": "source",
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
    "questions": "",
    "teacher": "retort teach",
    "backbone": "retort teach or retort distill",
    "sets": "retort data sets, retort data tasks or retort data divide",
}

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True, slots=True)
class Place:
    """What a field of a recipe names; `kind` is a teacher's."""

    field: str
    path: str
    what: What
    kind: str = ""

    @property
    def own(self) -> bool:
        """Whether it is a file or folder, and nothing of a catalog, of a package or of the hub."""
        if self.what in ("table", "sets") or self.kind == "cross-encoder":
            return True
        if self.path.startswith(("hub:", "package:")):
            return False
        if self.what in ("source", "questions") or self.kind == "given":
            return bool(Path(self.path.removesuffix(".gz")).suffix)
        return not self.hub_name

    @property
    def hub_name(self) -> bool:
        """Whether a model of the hub could be meant, should there be no such folder."""
        return (
            self.what in ("teacher", "backbone")
            and self.kind not in ("cross-encoder", "given")
            and _HUB_NAME.fullmatch(self.path) is not None
            and not _under_runs(self.path)
        )

    def exists(self) -> bool:
        """Whether it is there, as what it has to be."""
        if self.kind == "cross-encoder":
            return is_checkpoint(self.path)
        return Path(self.path).exists()


@dataclass(frozen=True, slots=True)
class Absent:
    """A place where nothing is; `maker` is the command that makes it, "" where that is the user."""

    place: Place
    maker: str

    def __str__(self) -> str:
        where = f"{self.place.field}: {self.place.path}"
        return (
            f"{where}: made by `{self.maker}`" if self.maker else f"{where}: there is no such file"
        )


def read_yaml(text: str) -> Any:
    """Plain values of YAML, by the fast loader where PyYAML was built with it."""
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def is_checkpoint(place: str | Path) -> bool:
    """Whether the folder holds a student, or a teacher of a student's shape."""
    return (Path(place) / CHECKPOINT_FILE).is_file()


def places(values: dict[str, Any]) -> Iterator[Place]:
    """What the fields of a recipe name, in the order of its kind's fields."""
    for pattern, what in _FIELDS.get(str(values.get("kind")), {}).items():
        for path, value, parent in _matches(values, pattern.split("."), "", {}):
            if isinstance(value, str):
                kind = str(parent.get("kind", "cross-encoder")) if what == "teacher" else ""
                yield Place(path, value, what, kind)


def absent(values: dict[str, Any], folder: Path) -> list[Absent]:
    """What a recipe reads that is not there; `folder` holds the recipes that may make it.

    Each place is named once, by the first field that has it. Models that may be on the hub are not
    among them (`Place.hub_name`).
    """
    lacking = {p.path: p for p in reversed([*places(values)]) if p.own and not p.exists()}
    if not lacking:
        return []
    makers = dict(_makers(folder))
    return [
        Absent(place, _maker(place, makers))
        for place in sorted(lacking.values(), key=lambda place: place.field)
    ]


def _maker(place: Place, makers: dict[Path, str]) -> str:
    made = makers.get(Path(place.path).absolute())
    if made or not _under_runs(place.path):
        return made or ""
    return _MAKERS[place.what]


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
