"""Distilling: a student through the stages of a recipe, from labels and the score store."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.encoding import PairEncoder, Truncation
from training.backbone import Backbone, load_backbone
from training.batching import Rows, single_units
from training.checkpoint import load_student, save_student
from training.data.pairs import Pair
from training.data.table import read_table, table_digest
from training.hidden import HiddenStates, hidden_loss, variance
from training.loop import fit, set_dropout
from training.recipe import DistillRecipe, Stage
from training.store import ScoreStore, pair_keys
from training.student import Student, WithHidden, take_layers
from training.teach import group_numbers, query_units
from training.teachers import load_teacher
from training.tmkd import Tmkd
from training.tokens import TokenBatch, TokenTable

Log = Callable[[str], None]
Record = dict[str, Any]  # a stage in a student's meta: plan, table, curve


def distill(recipe: DistillRecipe, log: Log = print) -> Path:
    """Run all stages and return the student's folder.

    Each finished stage leaves `stage-N` beside the result, and a killed run goes on from there.
    Raises `StoreError` when a pair lacks a teacher's score, and `ValueError` when a stage that is
    there was made from other stages, tables or teachers.
    """
    torch.manual_seed(recipe.seed)
    backbone = init_backbone(recipe.student.init)
    method = Tmkd(tuple(recipe.teachers) if recipe.method == "tmkd" else ())
    student = take_layers(backbone.encoder, recipe.student.layers, method.heads())
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
    return result


def _basis(recipe: DistillRecipe, method: Tmkd, identities: dict[str, str]) -> dict[str, object]:
    """What every stage rests on: seed, student, method and who the teachers are."""
    return {
        "method": recipe.method,
        "seed": recipe.seed,
        "student": json.loads(recipe.student.model_dump_json()),
        "teachers": [[t.name, t.head, identities[t.name]] for t in method.teachers],
    }


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
    same = [(r.get("plan"), r.get("table")) for r in kept] == [
        (r["plan"], r["table"]) for r in records
    ]
    if loaded.meta.get("basis") != basis or not same:
        raise ValueError(
            f"{folder} was made by another recipe, from other tables or from other teachers; set "
            f"out= to a new folder, or remove {folder}"
        )
    return loaded.student, kept[-1].get("curve", [])


def select(stage: Stage) -> list[Pair]:
    """The pairs of a stage: of the named sources, those with labels where labels count.

    The samples of `limit` and `skip` depend on their size alone. Raises `ValueError` for no pairs.
    """
    table = read_table(stage.table)
    pairs = [
        pair
        for pair, source in zip(table.pairs, table.sources, strict=True)
        if (stage.sources is None or source in stage.sources)
        and (stage.alpha == 1.0 or pair.label is not None)
    ]
    if stage.skip is not None:
        left_out = set(_sample(len(pairs), stage.skip))
        pairs = [pair for row, pair in enumerate(pairs) if row not in left_out]
    if stage.limit is not None:
        pairs = [pairs[row] for row in _sample(len(pairs), stage.limit)]
    if not pairs:
        raise ValueError(f"{stage.table}: no pairs of {stage.sources} are left for this stage")
    return pairs


def _sample(count: int, size: int) -> list[int]:
    """Rows drawn from `count`, in order: a table stands in the order of its sources."""
    return sorted(random.Random(size).sample(range(count), min(size, count)))


def run_stage(
    recipe: DistillRecipe,
    stage: Stage,
    student: Student,
    method: Tmkd,
    identities: dict[str, str],
    backbone: Backbone,
    folder: Path,
    number: int,
    log: Log,
) -> list[tuple[int, float]]:
    """Train `student` in place through one stage; returns its learning curve."""
    pairs = select(stage)
    truncation = Truncation(stage.length.max_length, stage.length.max_query_tokens)
    tokens = TokenTable(PairEncoder.from_file(backbone.tokenizer_path, truncation), pairs)
    targets = gather_targets(recipe.store, method, identities, pairs)
    labels = torch.tensor([float(pair.label or 0.0) for pair in pairs])
    groups = group_numbers(pairs)
    units: Sequence[Rows] = single_units(len(pairs))
    if stage.listwise:
        units = query_units(pairs, mixed=False)
    set_dropout(student, recipe.student.dropout)
    log(f"{recipe.name}: stage {number}, {len(pairs)} pairs, {len(method.teachers)} teachers")
    vectors: Tensor | None = None
    scale = 1.0
    if stage.hidden and recipe.hidden_teacher is not None:
        name = recipe.hidden_teacher.name
        folder_of_states = recipe.store / identities[name] / "hidden"
        vectors = HiddenStates(folder_of_states, name).lookup(pair_keys(pairs))
        scale = variance(vectors)

    def objective(module: nn.Module, batch: TokenBatch) -> Tensor:
        logits, states = module(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        rows = batch.rows.cpu()
        device = logits.device
        loss = method.loss(
            logits.float(), targets[rows].to(device), labels[rows].to(device),
            groups[rows].to(device), stage.alpha, stage.listwise,
        )  # fmt: skip
        if vectors is not None:
            loss = loss + stage.hidden * hidden_loss(states, vectors[rows].to(device), scale)
        return loss

    return fit(
        WithHidden(student), tokens, units, objective, stage.optimiser,
        folder=folder.with_name(folder.name + "-run"), seed=recipe.seed + number,
        checkpoint_steps=recipe.checkpoint_steps, title=f"{recipe.name} stage {number}",
    )  # fmt: skip


def gather_targets(
    store: Path, method: Tmkd, identities: dict[str, str], pairs: Sequence[Pair]
) -> Tensor:
    """Standardised teacher logits (pairs, teachers)."""
    scores = ScoreStore(store)
    columns = [scores.teacher(t.name, identities[t.name]).targets(pairs) for t in method.teachers]
    empty = np.empty((len(pairs), 0), dtype=np.float32)
    return torch.from_numpy(np.stack(columns, axis=1) if columns else empty)
