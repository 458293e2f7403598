"""A run: one cell of a study, from missing scores to figures on disk.

It is finished when every dataset it serves has a `run.json` of the same basis: recipe, tables and
teachers. Until then `basis.json` says what the folder is being made from, so that a killed run goes
on, and a run of a changed recipe is never mixed with it.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from retort.training.data.selection import select
from retort.training.evaluate.measures import check_scores
from retort.training.labels.label_recipe import label_recipe
from retort.training.labels.store import ScoreStore, StoreError, pair_keys
from retort.training.labels.targets import scored_by
from retort.training.methods.distill import distill
from retort.training.methods.registry import build_method
from retort.training.nn.checkpoint import load_student
from retort.training.recipes.recipe import DistillRecipe, TeacherRef
from retort.training.recipes.study import Cell, Dataset, StudyRecipe
from retort.training.study.files import (
    BASIS_FILE,
    RUN_FILE,
    SCHEMA,
    SCORES_FILE,
    Record,
    basis,
    code_version,
    now,
    read_json,
    table_digests,
    write_arrays,
    write_json,
)
from retort.training.study.filled import with_figures
from retort.training.study.joint import assemble
from retort.training.study.measure import (
    calibration_errors,
    figures,
    opinions,
    read_folders,
    spread_error,
)
from retort.training.teachers.scorers import load_teacher

Log = Callable[[str], None]


class StaleRunError(ValueError):
    """A folder holds a run of another recipe, of other tables or of other teachers."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: whether it was there before, and what it took."""

    kept: bool
    seconds: float


def run_cell(study: StudyRecipe, cell: Cell, log: Log = print, *, redo: bool = False) -> Outcome:
    """Label, distil, calibrate, measure and write; a finished run is kept as it is.

    Raises `StaleRunError` for a folder made from something else, unless `redo` allows to make it
    anew.
    """
    started = time.monotonic()
    recipe = assemble(study, cell) if cell.joint else with_figures(study, cell)
    folder = study.folder(cell)
    teachers = build_method(recipe).teachers  # a row of labels alone asks none
    identities = {t.name: identity(t) for t in teachers}
    tables = table_digests(recipe)
    made_from = basis(recipe, tables, identities)
    if not _take(folder, study.results(cell), made_from, redo):
        return Outcome(True, 0.0)
    resumed = any(folder.glob("stage-*")) or any(folder.glob("members/*/stage-*"))
    write_json(folder / BASIS_FILE, made_from)
    if _wanting(recipe, teachers):
        with locked(study.store / ".labels.lock"):
            if _wanting(recipe, teachers):
                label_recipe(recipe, [teacher.name for teacher in teachers], log)
    labelled = time.monotonic()
    distill(recipe, log)
    trained = time.monotonic()
    students = [load_student(path).student for path in student_folders(recipe.out, None)]
    common: Record = {
        "schema": SCHEMA,
        "study": study.name,
        "row": cell.row,
        "seed": cell.seed,
        "method": recipe.method,
        "resumed": resumed,
        "pairs_trained": pairs_trained(recipe),
        "parameters": sum(p.numel() for student in students for p in student.parameters()),
        "layers": students[0].config.num_hidden_layers,
        "recipe": json.loads(recipe.model_dump_json()),
        "code": code_version(),
        "tables": tables,
        "teachers": identities,
        "curve": _curves(recipe.out),
        "basis": made_from,
    }
    seconds = {"label": labelled - started, "train": trained - labelled}
    for name, results in zip(cell.datasets, study.results(cell), strict=True):
        _measure(study.dataset(name), recipe.out, results, common, seconds)
    return Outcome(False, time.monotonic() - started)


def _take(folder: Path, results: list[Path], made_from: Record, redo: bool) -> bool:
    """Whether there is work: False for a finished run of this basis. Raises `StaleRunError`."""
    found = [read_json(path / RUN_FILE) for path in results]
    if all(record is not None and record.get("basis") == made_from for record in found):
        return False
    bases = [record.get("basis") for record in found if record is not None]
    begun = read_json(folder / BASIS_FILE)
    if any(other != made_from for other in [*bases, *([begun] if begun is not None else [])]):
        if not redo:
            raise StaleRunError(
                f"{folder} was made by another recipe, from other tables or by other teachers: run "
                "with --redo to make it anew, or set out= to a new folder"
            )
        for path in {folder, *results}:
            shutil.rmtree(path, ignore_errors=True)
    return True


def _measure(
    dataset: Dataset, out: Path, results: Path, common: Mapping[str, Any], seconds: dict[str, float]
) -> None:
    started = time.monotonic()
    sets = read_folders(dataset.measure_folders, dataset.choose_folders)
    found = opinions(student_folders(out, dataset.task), sets.all)
    arrays = {}
    for item in sets.measure:
        opinion = found[item.name]
        arrays[item.name] = check_scores(opinion.scores, len(item.pairs), item.name)
        arrays[f"{item.name}/logits"] = opinion.logits.astype(np.float16)
    write_arrays(results / SCORES_FILE, arrays)
    record = {
        **common,
        "dataset": dataset.name,
        "finished": now(),
        "seconds": {**seconds, "measure": time.monotonic() - started},
        "headline": {item.name: item.headline for item in sets.all},
        "figures": figures(sets.measure, found),
        "choose": figures(sets.choose, found),
        "calibration_error": calibration_errors(sets.measure, found),
        "spread_error": {i.name: spread_error(i, found[i.name]) for i in sets.measure},
    }
    write_json(results / RUN_FILE, record)


def student_folders(out: Path, task: str | None) -> list[Path]:
    """The student of a run, that of one of its tasks, or all of m-o-m's."""
    if task is not None and (out / f"student-{task}").is_dir():
        return [out / f"student-{task}"]
    return sorted((out / "members").glob("*/student")) or [out / "student"]


def _curves(out: Path) -> list[list[tuple[int, float]]]:
    """Learning curves, stage after stage, student after student."""
    return [
        stage.get("curve", [])
        for folder in student_folders(out, None)
        for stage in load_student(folder).meta.get("stages", [])
    ]


def pairs_trained(recipe: DistillRecipe) -> int:
    """Pairs seen in training, those of every epoch and every student."""
    once = sum(round(len(select(s).pairs) * s.optimiser.epochs) for s in recipe.stages)
    return once * (len(recipe.teachers) if recipe.method == "m-o-m" else 1)


@cache
def _identity(text: str) -> str:
    return load_teacher(TeacherRef.model_validate_json(text)).identity


def identity(teacher: TeacherRef) -> str:
    """A teacher's identity, found once a process: loading one takes seconds."""
    return _identity(teacher.model_copy(update={"sources": None}).model_dump_json())


def _wanting(recipe: DistillRecipe, teachers: Sequence[TeacherRef]) -> bool:
    """Whether any pair of any stage lacks a teacher's score, or its hidden states may be."""
    if not teachers:
        return False
    store = ScoreStore(recipe.store)
    chosen = [select(stage) for stage in recipe.stages]
    if any(stage.hidden for stage in recipe.stages):
        return True
    for teacher in teachers:
        scores = store.teacher(teacher.name, identity(teacher))
        try:
            scores.scale()
        except StoreError:
            return True
        for one in chosen:
            known = scored_by(teacher, one.sources)
            keys = pair_keys([p for p, hit in zip(one.pairs, known, strict=True) if hit])
            if np.isnan(scores.lookup(keys)).any():
                return True
    return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; runs at once must not label into one store at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
