"""Teaching: fine-tune a backbone into a teacher with one objective on labelled pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.selection import labelled_of
from retort.training.data.table import PairTable, read_table, table_digest
from retort.training.nn.backbone import Backbone, load_backbone
from retort.training.nn.batching import single_units
from retort.training.nn.bi_encoder import BiEncoder, in_batch_loss, split_segments
from retort.training.nn.checkpoint import load_student, save_student
from retort.training.nn.groups import group_numbers, query_units
from retort.training.nn.loop import Progress, fit, set_dropout
from retort.training.nn.losses import OBJECTIVES, POSITIVE, hard_labels
from retort.training.nn.student import Head, Student, narrow, take_layers
from retort.training.nn.tokens import TokenBatch, TokenTable
from retort.training.recipes.recipe import TeacherRecipe


def finished(recipe: TeacherRecipe) -> bool:
    """Whether the folder holds what this recipe makes of the table as it now is."""
    if not (recipe.out / "student.json").is_file():
        return False
    meta = load_student(recipe.out).meta
    try:
        made_by = TeacherRecipe.model_validate(meta.get("recipe"))
    except ValidationError:
        return False
    return made_by == recipe and meta.get("table") == table_digest(recipe.table)


def teach(recipe: TeacherRecipe) -> Path:
    """Train the teacher of a recipe and return its folder.

    Resumes after a kill; a teacher that this recipe made of this table is not trained again.
    """
    table = read_table(recipe.table)
    if finished(recipe):
        return recipe.out
    if recipe.objective == "meta":
        from retort.training.teachers.meta_teacher import teach_meta

        return teach_meta(recipe, table)
    pairs = labelled_of(table, recipe.table, recipe.sources).pairs
    torch.manual_seed(recipe.seed)
    backbone = load_backbone(recipe.backbone)
    truncation = Truncation(recipe.length.max_length, recipe.length.max_query_tokens)
    encoder = PairEncoder.from_file(backbone.tokenizer_path, truncation)
    tokens = TokenTable(encoder, pairs)
    labels = hard_labels(pairs)
    groups = group_numbers(pairs)
    student = untaught(recipe, backbone)
    bi = recipe.shape == "bi-encoder"
    model: nn.Module = BiEncoder(student.encoder) if bi else student
    set_dropout(model, recipe.dropout)
    if recipe.objective == "pointwise":
        units = single_units(len(pairs))
    else:
        units = query_units(pairs, mixed=not bi)
    cls_id = int(tokens.gather(np.array([0])).input_ids[0, 0])

    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        target, group = labels.to(batch.rows.device)[batch.rows], groups.to(batch.rows.device)
        inputs = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
        if bi:
            query, passage = split_segments(*inputs, cls_id)
            loss = in_batch_loss(module(*query), module(*passage), target > POSITIVE, recipe.scale)
            return loss
        scores = module(*inputs)[:, 0]
        return OBJECTIVES[recipe.objective](scores.float(), target, group[batch.rows])

    curve = fit(
        model, tokens, units, objective, recipe.optimiser,
        folder=recipe.out, seed=recipe.seed, checkpoint_steps=recipe.checkpoint_steps,
        title=recipe.name,
    )  # fmt: skip
    meta = teacher_meta(recipe, table, len(pairs), curve)
    save_student(recipe.out, student.eval(), backbone.tokenizer_path, truncation, meta)
    return recipe.out


def untaught(recipe: TeacherRecipe, backbone: Backbone) -> Student:
    """The teacher before its first step: the backbone's layers, cut to the recipe's width."""
    depth = backbone.encoder.config.num_hidden_layers
    student = take_layers(backbone.encoder, recipe.layers or list(range(depth)), [Head("golden")])
    return student if recipe.width is None else narrow(student, recipe.width)


def teacher_meta(
    recipe: TeacherRecipe, table: PairTable, pairs: int, curve: Sequence[tuple[int, float]]
) -> dict[str, object]:
    """What a teacher carries of its making."""
    return {
        "name": recipe.name,
        "recipe": json.loads(recipe.model_dump_json()),
        "table": table_digest(recipe.table),
        "facts": table.facts.get("recipe"),
        "pairs": pairs,
        "curve": curve,
    }
