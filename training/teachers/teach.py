"""Teaching: fine-tune a backbone into a teacher with one objective on labelled pairs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.pairs import RIGHT, Pair
from retort.training.data.table import read_table, table_digest
from retort.training.nn.backbone import Backbone, load_backbone
from retort.training.nn.batching import (
    Rows,
    TokenBatch,
    TokenTable,
    group_numbers,
    query_units,
    single_units,
)
from retort.training.nn.encoders import BiEncoder, in_batch_loss, split_segments
from retort.training.nn.loop import Objective, Progress, fit, set_dropout
from retort.training.nn.losses import OBJECTIVES, hard_labels
from retort.training.nn.student import (
    Head,
    Student,
    check_length,
    load_student,
    narrow,
    save_student,
    take_layers,
)
from retort.training.recipes.files import is_checkpoint
from retort.training.recipes.recipe import TeacherRecipe, same_origin
from retort.training.teachers.meta_teacher import MetaTeacher, meta_objective, save_knowledge


def teach(recipe: TeacherRecipe) -> Path:
    """Train the teacher of a recipe and return its folder.

    Resumes after a kill; a teacher that this recipe made of this table is not trained again. Raises
    `ValueError` if there is nothing to learn, `DomainError` for a meta-teacher of one source.
    """
    table = read_table(recipe.table)
    if finished(recipe):
        return recipe.out
    chosen = table.of_sources(recipe.sources).labelled()
    pairs = chosen.pairs
    if not pairs:
        raise ValueError(f"{recipe.table}: no labelled pairs of {recipe.sources}: nothing to learn")
    torch.manual_seed(recipe.seed)
    backbone = load_backbone(recipe.backbone)
    truncation = Truncation(recipe.length.max_length, recipe.length.max_query_tokens)
    tokens = TokenTable(PairEncoder.from_file(backbone.tokenizer_path, truncation), pairs)
    labels = hard_labels(pairs)
    student = untaught(recipe, backbone)
    check_length(student, truncation)
    model: nn.Module
    meta_teacher: MetaTeacher | None = None
    units: Sequence[Rows] = single_units(len(pairs))
    if recipe.objective == "meta":
        meta_teacher, prototypes, objective = meta_objective(
            recipe.meta, student, backbone.encoder, tokens, chosen.sources, labels
        )
        model = meta_teacher
    else:
        bi = recipe.shape == "bi-encoder"
        model = BiEncoder(student.encoder) if bi else student
        objective = _objective(recipe, tokens, pairs, labels)
        if recipe.objective != "pointwise":
            units = query_units(pairs, mixed=not bi)
    set_dropout(model, recipe.dropout)
    curve = fit(
        model, tokens, units, objective, recipe.optimiser,
        folder=recipe.out, seed=recipe.seed, checkpoint_steps=recipe.checkpoint_steps,
        title=recipe.name,
    )  # fmt: skip
    meta: dict[str, object] = {
        "name": recipe.name,
        "recipe": recipe.model_dump(mode="json"),
        "table": table_digest(recipe.table),
        "facts": table.facts.get("recipe"),
        "pairs": len(pairs),
        "curve": curve,
    }
    if meta_teacher is None:
        save_student(recipe.out, student.eval(), backbone.tokenizer_path, truncation, meta)
        return recipe.out
    meta["domains"] = list(prototypes.domains)
    # Both files are there before the folder has its name: half a meta-teacher is never found.
    whole = recipe.out.with_name(recipe.out.name + "-whole")
    save_student(whole, student.eval(), backbone.tokenizer_path, truncation, meta)
    save_knowledge(whole, prototypes, meta_teacher.corruption)
    shutil.rmtree(recipe.out, ignore_errors=True)
    whole.rename(recipe.out)
    return recipe.out


def finished(recipe: TeacherRecipe) -> bool:
    """Whether the folder holds what this recipe makes of the table as it now is."""
    if not is_checkpoint(recipe.out):
        return False
    meta = load_student(recipe.out).meta
    wanted = {"recipe": recipe.model_dump(), "table": table_digest(recipe.table)}
    return same_origin({name: meta.get(name) for name in wanted}, wanted)


def _objective(
    recipe: TeacherRecipe, tokens: TokenTable, pairs: Sequence[Pair], labels: Tensor
) -> Objective:
    """The loss of a batch: InfoNCE between texts for a bi-encoder, else the recipe's objective."""
    groups = group_numbers(pairs)
    cls_id = int(tokens.gather(np.array([0])).input_ids[0, 0])

    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        rows, device = batch.rows.cpu(), batch.rows.device
        target = labels[rows].to(device)
        if recipe.shape == "bi-encoder":
            query, passage = split_segments(*batch.inputs, cls_id)
            return in_batch_loss(module(*query), module(*passage), target >= RIGHT, recipe.scale)
        scores = module(*batch.inputs)[:, 0]
        return OBJECTIVES[recipe.objective](scores.float(), target, groups[rows].to(device))

    return objective


def untaught(recipe: TeacherRecipe, backbone: Backbone) -> Student:
    """The teacher before its first step: the backbone's layers, cut to the recipe's width."""
    depth = backbone.encoder.config.num_hidden_layers
    student = take_layers(backbone.encoder, recipe.layers or list(range(depth)), [Head("golden")])
    return student if recipe.width is None else narrow(student, recipe.width)
