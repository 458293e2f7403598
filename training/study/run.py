"""A job of a study, in its own process: mostly a cell, from missing scores to figures on disk.

A cell is finished when every dataset that it serves has a `run.json` with the same basis: recipe,
tables and teachers. Until then `basis.json` says what the folder is being made from, so a run that
was killed goes on, and runs of different recipes never mix.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, select, table_digest, write_table
from retort.training.evaluate.measures import check_scores, expected_calibration_error
from retort.training.labels.label import label_recipe
from retort.training.labels.store import ScoreStore, StoreError, pair_keys
from retort.training.labels.targets import scored_by
from retort.training.methods.distill import distill
from retort.training.methods.registry import build_method
from retort.training.nn.basis import differences, refusal
from retort.training.nn.student import load_student
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.parts.dataset import Dataset
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.recipes.study import PLACE, TEACHERS, Cell, StudyRecipe
from retort.training.study.measure import (
    figures,
    has_scores,
    identity,
    opinions,
    score_teachers,
    sets_of,
    spread_error,
)
from retort.training.study.records import (
    BASIS_FILE,
    LOCK_FILE,
    RUN_FILE,
    SCORES_FILE,
    SPEEDS,
    RunRecord,
    TeachersRecord,
    code_version,
    find_record,
    locked,
    now,
    write_arrays,
    write_record,
)
from retort.training.study.speeds import has_speeds, measure_speeds

Log = Callable[[str], None]
Basis = dict[str, Any]

# Where a run stands and how often it saves has no influence on what it finds.
_ELSEWHERE = {"name", "out", "store", "checkpoint_steps"}


class StaleRunError(ValueError):
    """A folder holds a run of another recipe, of other tables or of other teachers."""


class MissingFiguresError(ValueError):
    """A row needs figures that the study has not found yet."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A cell's recipe and what it rests on: digests by table, identities by teacher."""

    recipe: DistillRecipe
    teachers: Sequence[TeacherRef]
    tables: Mapping[str, str]
    identities: Mapping[str, str]

    @property
    def basis(self) -> Basis:
        """Two runs with one basis find the same."""
        return basis(self.recipe, self.tables, self.identities)


def do_job(study: StudyRecipe, name: str, log: Log, *, redo: bool = False) -> bool:
    """Do the job of that name; False if there was nothing to do. Raises what the job raises."""
    if name == SPEEDS:
        return measure_speeds(study, log)
    cells = {cell.name: cell for cell in study.cells()}
    if name in cells:
        return run_cell(study, cells[name], log, redo=redo)
    return score_teachers(study, study.dataset(name.partition("/")[0]), log)


def is_done(study: StudyRecipe, name: str) -> bool:
    """Whether that job has nothing to do."""
    if name == SPEEDS:
        return has_speeds(study)
    cells = {cell.name: cell for cell in study.cells()}
    if name not in cells:
        return has_scores(study, study.dataset(name.partition("/")[0]))
    try:
        return _is_finished(study.results(cells[name]), prepare(study, cells[name]).basis)
    except (MissingFiguresError, OSError):
        return False


def prepare(study: StudyRecipe, cell: Cell) -> Prepared:
    """Raises `MissingFiguresError` where a row that this one needs has no figures."""
    recipe = cell_recipe(study, cell)
    # A row of labels alone asks none.
    teachers = [t for member in recipe.members() for t in build_method(member).teachers]
    tables = {str(path): _digest(path) for path in dict.fromkeys(s.table for s in recipe.stages)}
    return Prepared(recipe, teachers, tables, {t.name: identity(t) for t in teachers})


def run_cell(study: StudyRecipe, cell: Cell, log: Log, *, redo: bool = False) -> bool:
    """Label, distil, calibrate, measure and write; False for a finished run, which is kept.

    Raises `StaleRunError` for a folder made from something else, unless `redo` allows to make it
    again; `MissingFiguresError` where a row that this one needs has no figures.
    """
    started = time.monotonic()
    ready = prepare(study, cell)
    folder, made_from = study.folder(cell), ready.basis
    if not _is_wanted(folder, study.results(cell), made_from, redo):
        return False
    # With `redo`, the tables of a joint cell went with what was made before.
    recipe = cell_recipe(study, cell) if cell.joint and redo else ready.recipe
    resumed = any(folder.glob("stage-*")) or any(folder.glob("members/*/stage-*"))
    write_record(folder / BASIS_FILE, made_from)
    if _unlabelled(recipe, ready.teachers):
        with locked(study.store / LOCK_FILE):
            if _unlabelled(recipe, ready.teachers):
                label_recipe(recipe, [teacher.name for teacher in ready.teachers], log)
    labelled = time.monotonic()
    distill(recipe, log)
    trained = time.monotonic()
    loaded = [load_student(path) for path in student_folders(recipe.out, None)]
    students = [one.student for one in loaded]
    record = RunRecord(
        study=study.name,
        row=cell.row,
        seed=cell.seed,
        method=recipe.method,
        resumed=resumed,
        pairs_trained=_pairs_trained(recipe),
        parameters=sum(p.numel() for student in students for p in student.parameters()),
        layers=students[0].config.num_hidden_layers,
        recipe=json.loads(recipe.model_dump_json()),
        code=code_version(),
        tables=dict(ready.tables),
        teachers=dict(ready.identities),
        curves=tuple(
            tuple((float(step), float(loss)) for step, loss in stage.get("curve", []))
            for one in loaded
            for stage in one.meta.get("stages", [])
        ),
        basis=made_from,
        seconds={"label": labelled - started, "train": trained - labelled},
    )
    for name, results in zip(cell.datasets, study.results(cell), strict=True):
        _measure(study.dataset(name), recipe.out, results, record)
    return True


def cell_recipe(study: StudyRecipe, cell: Cell) -> DistillRecipe:
    """The recipe of a cell, with the figures that its row takes from the study.

    Writes the tables of a joint cell. Raises `MissingFiguresError`.
    """
    recipe, row = study.compose(cell), study.row(cell.row)
    if cell.joint:
        return _joint(study, cell, recipe)
    if row.figures is None:
        return recipe
    names = [teacher.name for teacher in recipe.teachers]
    if row.figures == TEACHERS:
        found = _figures_of_teachers(study, cell.datasets[0], names)
    else:
        rows = {name: row.figures.replace(PLACE, name) for name in names}
        found = {name: _figure_of_row(study, cell, source) for name, source in rows.items()}
    options = {**recipe.options, "figures": found}
    return DistillRecipe.model_validate({**recipe.model_dump(), "options": options})


def _joint(study: StudyRecipe, cell: Cell, recipe: DistillRecipe) -> DistillRecipe:
    """One table per stage, with the pairs of all datasets.

    A stage's `sources`, `limit` and `skip` select in each dataset before the tables are put
    together. Optimiser, length and weights are those of the first dataset.
    """
    row = study.row(cell.row)
    stages = []
    for number, stage in enumerate(recipe.stages):
        pairs: list[Pair] = []
        sources: list[str] = []
        for name in cell.datasets:
            chosen = select(study.stages(row, study.dataset(name))[number])
            pairs += chosen.pairs
            sources += chosen.sources
        path = study.folder(cell) / "tables" / f"{row.stages[number]}.parquet"
        write_table(path, PairTable(tuple(pairs), tuple(sources), {"datasets": cell.datasets}))
        everything = {"table": path, "sources": None, "limit": None, "skip": None}
        stages.append(stage.model_copy(update=everything))
    return recipe.model_copy(update={"stages": stages})


def _figures_of_teachers(
    study: StudyRecipe, dataset: str, names: Sequence[str]
) -> dict[str, float]:
    path = study.out / dataset / TEACHERS / RUN_FILE
    record = find_record(TeachersRecord, path)
    if record is None or set(names) - set(record.choose):
        raise MissingFiguresError(f"{path}: no figures of {', '.join(names)} yet; run again")
    return {name: fmean(record.headlines(name, "choose").values()) for name in names}


def _figure_of_row(study: StudyRecipe, cell: Cell, row: str) -> float:
    (folder,) = study.results(Cell(row, cell.seed, cell.datasets))
    record = find_record(RunRecord, folder / RUN_FILE)
    if record is None:
        raise MissingFiguresError(
            f"{cell.name} needs the figures of {folder}, which has none: see why, and run again"
        )
    return fmean(record.headlines("choose").values())


def basis(recipe: DistillRecipe, tables: Mapping[str, str], teachers: Mapping[str, str]) -> Basis:
    """What a run rests on: two runs with one basis find the same.

    Fields that have their default stay out, so a field that a later version adds changes nothing.
    `tables` are digests by path, `teachers` identities by name.
    """
    plan = json.loads(recipe.model_dump_json(exclude_defaults=True, exclude=_ELSEWHERE))
    for stage in plan["stages"]:
        # A table is known by its content, wherever it lies.
        stage["table"] = tables[stage["table"]]
    # A teacher is known by its identity; one that the method does not ask plays no part.
    asked = [t for t in plan.pop("teachers", []) if t["name"] in teachers]
    plan["teachers"] = [{**t, "path": teachers[t["name"]]} for t in asked]
    return {"plan": plan}


def _digest(path: Path) -> str:
    facts = path.stat()
    return _digest_of(path, facts.st_mtime_ns, facts.st_size)


@cache
def _digest_of(path: Path, changed: int, size: int) -> str:
    return table_digest(path)


def _is_finished(results: Sequence[Path], made_from: Basis) -> bool:
    found = [find_record(RunRecord, path / RUN_FILE) for path in results]
    return all(record is not None and record.basis == made_from for record in found)


def _is_wanted(folder: Path, results: Sequence[Path], made_from: Basis, redo: bool) -> bool:
    """Whether there is work: False for a finished run of this basis. Raises `StaleRunError`."""
    if _is_finished(results, made_from):
        return False
    found = [find_record(RunRecord, path / RUN_FILE) for path in results]
    others = [record.basis for record in found if record is not None]
    path = folder / BASIS_FILE
    if path.is_file():
        others.append(json.loads(path.read_text(encoding="utf-8")))
    changed = next((other for other in others if other != made_from), None)
    if changed is not None:
        if not redo:
            raise StaleRunError(refusal(folder, differences(changed, made_from), "--redo"))
        for place in {folder, *results}:
            shutil.rmtree(place, ignore_errors=True)
    return True


def _unlabelled(recipe: DistillRecipe, teachers: Sequence[TeacherRef]) -> bool:
    """Whether a teacher's scores, or possibly its hidden states, are missing for any pair."""
    if not teachers:
        return False
    if any(stage.hidden for stage in recipe.stages):
        return True
    store = ScoreStore(recipe.store)
    chosen = [select(stage) for stage in recipe.stages]
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


def _measure(dataset: Dataset, out: Path, results: Path, record: RunRecord) -> None:
    started = time.monotonic()
    sets = sets_of(dataset)
    found = opinions(student_folders(out, dataset.task), sets.all)
    scores = {
        item.name: check_scores(found[item.name].scores.score, len(item.pairs), item.name)
        for item in sets.all
    }
    arrays: dict[str, Any] = {}
    for item in sets.measure:
        arrays[item.name] = scores[item.name]
        arrays[f"{item.name}/logits"] = found[item.name].logits.astype(np.float16)
    write_arrays(results / SCORES_FILE, arrays)
    measured = {
        "dataset": dataset.name,
        "finished": now(),
        "headline": {item.name: item.headline for item in sets.all},
        "figures": figures(sets.measure, scores),
        "choose": figures(sets.choose, scores),
        "calibration_error": {
            item.name: expected_calibration_error(item.labels, scores[item.name])
            for item in sets.measure
        },
        "spread_error": {i.name: spread_error(i, found[i.name]) for i in sets.measure},
        "seconds": {**record.seconds, "measure": time.monotonic() - started},
    }
    write_record(results / RUN_FILE, record.model_copy(update=measured))


def student_folders(out: Path, task: str | None) -> list[Path]:
    """The student of a run, that of one of its tasks, or all those of m-o-m."""
    if task is not None and (out / f"student-{task}").is_dir():
        return [out / f"student-{task}"]
    return sorted((out / "members").glob("*/student")) or [out / "student"]


def _pairs_trained(recipe: DistillRecipe) -> int:
    """Pairs seen in training, over epochs and students."""
    once = sum(round(len(select(s).pairs) * s.optimiser.epochs) for s in recipe.stages)
    return once * len(recipe.members())
