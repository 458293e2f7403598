"""Distilling: a student through the stages of a recipe, from labels and the score store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.selection import Selection, labelled_pairs, select
from retort.training.data.table import table_digest
from retort.training.labels.hidden import HiddenStates, hidden_loss, variance
from retort.training.labels.store import pair_keys
from retort.training.labels.targets import gather_targets
from retort.training.methods import m_o_m
from retort.training.methods.method import Examples, Material, Method
from retort.training.methods.registry import build_method
from retort.training.nn.backbone import Backbone, load_backbone
from retort.training.nn.checkpoint import load_student, save_student
from retort.training.nn.groups import group_numbers
from retort.training.nn.loop import Progress, fit, set_dropout
from retort.training.nn.losses import hard_labels
from retort.training.nn.student import Student, make_bi_lstm, take_layers
from retort.training.nn.tokens import TokenBatch, TokenTable
from retort.training.recipes.recipe import DistillRecipe, Stage, StudentPlan
from retort.training.teachers.scorers import load_teacher

Log = Callable[[str], None]
Record = dict[str, Any]  # a stage in a student's meta: plan, table, curve


def distill(recipe: DistillRecipe, log: Log = print) -> Path:
    """Run all stages and return the student's folder; for m-o-m the folder of its members.

    Each finished stage leaves `stage-N` beside the result, and a killed run goes on from there.
    Raises `StoreError` when a pair lacks a teacher's score, and `ValueError` when a stage that is
    there was made from other stages, tables or teachers.
    """
    if recipe.method == "m-o-m":
        for member in m_o_m.members(recipe):
            distill(member, log)
        return recipe.out / "members"
    torch.manual_seed(recipe.seed)
    backbone = init_backbone(recipe.student.init)
    method = build_method(recipe)
    student = make_student(recipe, backbone, method)
    identities = {t.name: load_teacher(t).identity for t in method.teachers}
    basis = _basis(recipe, method, identities)
    records: list[Record] = []
    truncation = Truncation()
    for number, stage in enumerate(recipe.stages, start=1):
        folder = recipe.out / f"stage-{number}"
        truncation = Truncation(stage.length.max_length, stage.length.max_query_tokens)
        records.append({"plan": json.loads(stage.model_dump_json())})
        records[-1]["table"] = table_digest(stage.table)
        done = done_stage(folder, basis, records)
        if done is not None:
            student, records[-1]["curve"] = done
            log(f"{recipe.name}: stage {number} was finished before")
            continue
        curve = run_stage(recipe, stage, student, method, identities, backbone, folder, number, log)
        records[-1]["curve"] = curve
        meta = _meta(recipe, basis, records)
        save_student(folder, student, backbone.tokenizer_path, truncation, meta)
    result = recipe.out / "student"
    meta = _meta(recipe, basis, records)
    save_student(result, student.eval(), backbone.tokenizer_path, truncation, meta)
    method.finish(student, recipe, meta, backbone.tokenizer_path)
    return result


def make_student(recipe: DistillRecipe, backbone: Backbone, method: Method) -> Student:
    """The student before its first step."""
    plan = recipe.student
    if plan.kind == "bi-lstm":
        return make_bi_lstm(backbone.encoder, plan.lstm_layers, plan.lstm_units, method.heads())
    return take_layers(backbone.encoder, plan.layers, method.heads())


def _basis(recipe: DistillRecipe, method: Method, identities: dict[str, str]) -> dict[str, object]:
    """What every stage rests on: seed, student, method and who the teachers are."""
    basis: dict[str, object] = {
        "method": recipe.method,
        "seed": recipe.seed,
        "student": json.loads(recipe.student.model_dump_json()),
        "teachers": [[t.name, t.head, identities[t.name]] for t in method.teachers],
    }
    return {**basis, "options": recipe.options} if recipe.options else basis


def _meta(
    recipe: DistillRecipe, basis: dict[str, object], records: list[Record]
) -> dict[str, object]:
    """What a student carries of its making."""
    whole = json.loads(recipe.model_dump_json())
    return {"name": recipe.name, "recipe": whole, "basis": basis, "stages": records}


def init_backbone(name: str) -> Backbone:
    """The encoder to cut layers from: a checkpoint of ours, or any backbone."""
    folder = Path(name)
    if (folder / "student.json").is_file():
        loaded = load_student(folder)
        return Backbone(loaded.student.encoder, loaded.tokenizer_path)
    return load_backbone(name)


def done_stage(
    folder: Path, basis: dict[str, object], records: Sequence[Record]
) -> tuple[Student, object] | None:
    """Student and learning curve as a finished stage left them, or None.

    `records` are those of the stages up to this one, without this one's curve. Raises `ValueError`
    for a stage that came from something else.
    """
    if not (folder / "student.json").is_file():
        return None
    loaded = load_student(folder)
    found = loaded.meta.get("stages")
    kept = [record for record in found if isinstance(record, dict)] if found else []
    same = [(_filled(Stage, r.get("plan")), r.get("table")) for r in kept] == [
        (_filled(Stage, r["plan"]), r["table"]) for r in records
    ]
    if not same or _filled_basis(loaded.meta.get("basis")) != _filled_basis(basis):
        raise ValueError(
            f"{folder} was made by another recipe, from other tables or from other teachers; set "
            f"out= to a new folder, or remove {folder}"
        )
    return loaded.student, kept[-1].get("curve", [])


def _filled(kind: type[Stage] | type[StudentPlan], found: object) -> object:
    """A plan with its defaults: one that an older version wrote has fewer fields."""
    try:
        return kind.model_validate(found)
    except ValidationError:
        return found


def _filled_basis(basis: object) -> object:
    if not isinstance(basis, dict):
        return basis
    return {**basis, "student": _filled(StudentPlan, basis.get("student"))}


def run_stage(
    recipe: DistillRecipe,
    stage: Stage,
    student: Student,
    method: Method,
    identities: dict[str, str],
    backbone: Backbone,
    folder: Path,
    number: int,
    log: Log,
) -> list[tuple[int, float]]:
    """Train `student` in place through one stage; returns its learning curve."""
    chosen = select(stage)
    pairs = chosen.pairs
    truncation = Truncation(stage.length.max_length, stage.length.max_query_tokens)
    tokens = TokenTable(PairEncoder.from_file(backbone.tokenizer_path, truncation), pairs)
    asked = method.asked(stage)
    labelled = labelled_pairs(recipe.stages) if asked else Selection([], [])
    known = gather_targets(recipe.store, asked, identities, chosen, labelled)
    labels = hard_labels(pairs)
    groups = group_numbers(pairs)
    seed = recipe.seed + number
    material = Material(pairs, chosen.sources, tokens, stage, backbone.tokenizer_path, seed, folder)
    ready = method.prepare(material)
    set_dropout(student, recipe.student.dropout)
    log(f"{recipe.name}: stage {number}, {len(pairs)} pairs, {len(method.teachers)} teachers")
    vectors: Tensor | None = None
    scale = 1.0
    if stage.hidden and recipe.hidden_teacher is not None:
        name = recipe.hidden_teacher.name
        folder_of_states = recipe.store / identities[name] / "hidden"
        vectors = HiddenStates(folder_of_states, name).lookup(pair_keys(pairs))
        scale = variance(vectors)

    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        outputs = module(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        rows, device = batch.rows.cpu(), batch.rows.device
        examples = Examples(
            batch.rows, known.targets[rows].to(device), known.odds[rows].to(device),
            labels[rows].to(device), groups[rows].to(device), progress,
        )  # fmt: skip
        loss = ready.loss(outputs, batch, examples, stage)
        if vectors is not None:
            loss = loss + stage.hidden * hidden_loss(outputs[1], vectors[rows].to(device), scale)
        return loss

    return fit(
        ready.module(student), tokens, ready.units(material), objective, stage.optimiser,
        folder=folder.with_name(folder.name + "-run"), seed=seed,
        checkpoint_steps=recipe.checkpoint_steps, title=f"{recipe.name} stage {number}",
        divisions=ready.divisions(material),
    )  # fmt: skip
