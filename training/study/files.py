"""The files of a study: how what was found is written, and how it is recognised again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from retort.training.data.table import table_digest
from retort.training.recipes.recipe import DistillRecipe

SCHEMA = 1
RUN_FILE = "run.json"
SCORES_FILE = "scores.npz"
BASIS_FILE = "basis.json"
PLAN_FILE = "plan.json"
SPEEDS_FILE = "speeds.json"

Record = dict[str, Any]

# Where a run stands and how often it saves is no part of what it finds.
_ELSEWHERE = {"name", "out", "store", "checkpoint_steps"}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write, then rename: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> Record | None:
    """None where there is no such file, or where it is no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike]) -> None:
    """Write a compressed .npz, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name("tmp-" + path.name)
    np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # none is `allow_pickle`
    temporary.replace(path)


def basis(recipe: DistillRecipe, tables: Mapping[str, str], teachers: Mapping[str, str]) -> Record:
    """What a run rests on: two runs of one basis find the same.

    Fields that have their default stay out, so that a field that a later version adds changes
    nothing.
    """
    text = recipe.model_dump_json(exclude_defaults=True, exclude=_ELSEWHERE)
    plan = json.loads(text)
    for stage in plan["stages"]:
        # A table is known by its content, wherever it lies.
        stage["table"] = tables[stage["table"]]
    # A teacher is known by its identity; one that the method does not ask plays no part.
    asked = [t for t in plan.pop("teachers", []) if t["name"] in teachers]
    plan["teachers"] = [{**t, "path": teachers[t["name"]]} for t in asked]
    return {"plan": plan}


def table_digests(recipe: DistillRecipe) -> dict[str, str]:
    """sha256 by path of the tables of all stages."""
    return {str(path): _digest(path) for path in dict.fromkeys(s.table for s in recipe.stages)}


def _digest(path: Path) -> str:
    facts = path.stat()
    return _digest_of(path, facts.st_mtime_ns, facts.st_size)


@cache
def _digest_of(path: Path, changed: int, size: int) -> str:
    return table_digest(path)


def now() -> str:
    """The time, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def code_version() -> str:
    """The checkout's commit as git describes it, or the installed version."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--tags"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        pass
    try:
        return version("retort")
    except PackageNotFoundError:
        return "unknown"
