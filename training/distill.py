"""Distilling: a student through the stages of a recipe, from labels and the score store."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.encoding import PairEncoder, Truncation
from training.backbone import Backbone, load_backbone
from training.batching import Rows, single_units
from training.checkpoint import load_student, save_student
from training.data.pairs import Pair
from training.data.table import read_table, table_digest
from training.loop import fit, set_dropout
from training.recipe import DistillRecipe, Stage
from training.store import ScoreStore
from training.student import Student, take_layers
from training.teach import group_numbers, query_units
from training.teachers import load_teacher
from training.tmkd import Tmkd
from training.tokens import TokenBatch, TokenTable

Log = Callable[[str], None]


def distill(recipe: DistillRecipe, log: Log = print) -> Path:
    """Run all stages and return the student's folder.

    Each finished stage leaves `stage-N` beside the result, and a killed run goes on from there.
    Raises `StoreError` when a pair lacks a teacher's score.
    """
    torch.manual_seed(recipe.seed)
    backbone = init_backbone(recipe.student.init)
    method = Tmkd(tuple(recipe.teachers) if recipe.method == "tmkd" else ())
    student = take_layers(backbone.encoder, recipe.student.layers, method.heads())
    identities = {t.name: load_teacher(t).identity for t in method.teachers}
    meta: dict[str, object] = {
        "name": recipe.name,
        "recipe": json.loads(recipe.model_dump_json()),
        "teachers": identities,
        "tables": [],
        "curves": [],
    }
    truncation = Truncation()
    for number, stage in enumerate(recipe.stages, start=1):
        folder = recipe.out / f"stage-{number}"
        truncation = Truncation(stage.length.max_length, stage.length.max_query_tokens)
        done = done_stage(folder, recipe)
        if done is not None:
            student = done
            log(f"{recipe.name}: stage {number} was finished before")
            continue
        curve = run_stage(recipe, stage, student, method, identities, backbone, folder, number, log)
        meta["tables"] = [*_listed(meta["tables"]), table_digest(stage.table)]
        meta["curves"] = [*_listed(meta["curves"]), curve]
        save_student(folder, student, backbone.tokenizer_path, truncation, meta)
    result = recipe.out / "student"
    save_student(result, student.eval(), backbone.tokenizer_path, truncation, meta)
    return result


def init_backbone(name: str) -> Backbone:
    """The encoder to cut layers from: a checkpoint of ours, or any backbone."""
    folder = Path(name)
    if (folder / "student.json").is_file():
        loaded = load_student(folder)
        return Backbone(loaded.student.encoder, loaded.tokenizer_path)
    return load_backbone(name)


def done_stage(folder: Path, recipe: DistillRecipe) -> Student | None:
    """The student as a finished stage left it, or None. A stage of another recipe is not taken."""
    if not (folder / "student.json").is_file():
        return None
    loaded = load_student(folder)
    if loaded.meta.get("recipe") != json.loads(recipe.model_dump_json()):
        raise ValueError(
            f"{folder} was made by another recipe; set out= to a new folder, or remove {folder}"
        )
    return loaded.student


def select(stage: Stage) -> list[Pair]:
    """The pairs of a stage: of the named sources, those with labels where labels count.

    `limit` draws a sample that depends on its size alone. Raises `ValueError` for no pairs.
    """
    table = read_table(stage.table)
    pairs = [
        pair
        for pair, source in zip(table.pairs, table.sources, strict=True)
        if (stage.sources is None or source in stage.sources)
        and (stage.alpha == 1.0 or pair.label is not None)
    ]
    if stage.limit is not None and stage.limit < len(pairs):
        # A sample and not a head: a table stands in the order of its sources.
        chosen = sorted(random.Random(stage.limit).sample(range(len(pairs)), stage.limit))
        pairs = [pairs[row] for row in chosen]
    if not pairs:
        raise ValueError(f"{stage.table}: no pairs of {stage.sources} for this stage")
    return pairs


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

    def objective(module: nn.Module, batch: TokenBatch) -> Tensor:
        logits = module(batch.input_ids, batch.attention_mask, batch.token_type_ids).float()
        rows = batch.rows.cpu()
        device = logits.device
        return method.loss(
            logits, targets[rows].to(device), labels[rows].to(device), groups[rows].to(device),
            stage.alpha, stage.listwise,
        )  # fmt: skip

    return fit(
        student, tokens, units, objective, stage.optimiser,
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


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []
