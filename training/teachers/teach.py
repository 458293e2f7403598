"""Teaching: fine-tune a backbone into a teacher with one objective on labelled pairs.

What is trained is a `Pupil`. One that is cut from BERT becomes a checkpoint, which has a student's
shape; one of any other architecture becomes a folder of the hub's (`hub_pupil.py`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retort.models.encoding import PairEncoder
from retort.training.data.contrast import Contrast, NothingToLearnError
from retort.training.data.pairs import RIGHT, Pair
from retort.training.data.table import PairTable, read_table, table_digest
from retort.training.nn.backbone import Backbone, load_backbone
from retort.training.nn.basis import (
    BASIS_FILES,
    FORMAT,
    Basis,
    ChangedRunError,
    claim,
    differences,
    is_under_way,
    refuse,
)
from retort.training.nn.batching import (
    Rows,
    TokenBatch,
    TokenTable,
    dealt,
    query_units,
    single_units,
)
from retort.training.nn.encoders import BiEncoder, in_batch_loss, split_segments
from retort.training.nn.loop import CHECKPOINTS, Objective, Progress, fit, set_dropout
from retort.training.nn.losses import OBJECTIVES, hard_labels
from retort.training.nn.processes import on_main, processes
from retort.training.nn.student import (
    Head,
    Student,
    check_length,
    load_student,
    narrow,
    save_student,
    take_layers,
)
from retort.training.nn.vocabulary import place_warning
from retort.training.recipes.kinds import is_checkpoint
from retort.training.recipes.teacher import TeacherRecipe
from retort.training.teachers.hub_pupil import TAUGHT_FILE, is_for_hub, load_hub_pupil
from retort.training.teachers.meta_teacher import meta_objective, save_knowledge
from retort.training.teachers.pupil import Pupil
from retort.training.teachers.scoring.identity import content_identity


def teach(
    recipe: TeacherRecipe, log: Callable[[str], None] = print, *, fresh: bool = False
) -> Path:
    """Train the teacher of a recipe and return its folder.

    Resumes after a kill; a teacher that this recipe made of this table is not trained again. A
    folder that was made from something else is refused with the differences, unless `fresh` allows
    to train anew. Raises `ChangedRunError`, `NothingToLearnError`, `BackboneError`, and
    `DomainError` for a meta-teacher of one source.
    """
    state, log = processes(), on_main(log)
    table = read_table(recipe.table)
    chosen = table.of_sources(recipe.sources).labelled()
    check_contrast(recipe, chosen.pairs)
    if warning := place_warning(recipe.backbone, chosen.pairs):
        log(f"{warning} (backbone)")
    torch.manual_seed(recipe.seed)
    pupil = load_hub_pupil(recipe) if is_for_hub(recipe) else _load_pupil(recipe)
    basis: Basis = {
        "format": FORMAT,
        "recipe": recipe.model_dump(mode="json"),
        "table": table_digest(recipe.table),
        "backbone_weights": pupil.identity,
    }
    found = _record(recipe.out)
    if found is not None and not fresh and not is_under_way(recipe.out, basis):
        refuse(recipe.out, differences({n: v for n, v in found.items() if n in basis}, basis))
        log(f"{recipe.name}: was finished before")
        return recipe.out
    claim(recipe.out, basis, fresh=fresh)
    tokens = TokenTable(pupil.encoder, chosen.pairs)
    log(f"{recipe.name}: {pupil.about}, {len(chosen)} pairs")
    meta: dict[str, object] = {
        **basis,
        "name": recipe.name,
        "facts": table.facts.get("recipe"),
        "pairs": len(chosen),
    }
    if recipe.objective == "meta":
        _teach_meta(recipe, pupil, tokens, chosen, meta)
    else:
        objective = _objective(recipe, tokens, chosen.pairs)
        meta["curve"] = _fit(recipe, pupil.module, tokens, _units(recipe, chosen.pairs), objective)
        if state.is_main_process:
            pupil.save(recipe.out, meta)
    state.wait_for_everyone()
    return recipe.out


def _record(folder: Path) -> dict[str, Any] | None:
    """What a teacher in the folder says of its making; None where there is none.

    Raises `ChangedRunError` for a folder that holds anything else than a teacher or its run.
    """
    others = {path.name for path in folder.glob("*")} - {*CHECKPOINTS, *BASIS_FILES}
    if not others:
        return None
    found: dict[str, Any] = {}
    if is_checkpoint(folder):
        found = load_student(folder).meta
    elif TAUGHT_FILE in others:
        found = json.loads((folder / TAUGHT_FILE).read_text())
    if "recipe" not in found or "table" not in found:
        raise ChangedRunError(
            f"{folder} holds {min(others)} and no teacher of `retort teach`, which takes the whole "
            "folder: set out= to a new one"
        )
    return found


def check_contrast(recipe: TeacherRecipe, pairs: Sequence[Pair]) -> None:
    """Raise `NothingToLearnError` where the labels of `pairs` leave the objective nothing."""
    place = recipe.table if recipe.sources is None else f"{recipe.table}, {recipe.sources}"
    if not pairs:
        raise NothingToLearnError(f"{place}: no labelled pairs: nothing to learn")
    contrast = Contrast.of(pairs)
    if recipe.objective == "infonce":
        contrast.need_right(place, "infonce")
    elif recipe.objective in ("margin", "listwise"):
        contrast.need_mixed_queries(place, recipe.objective)
    else:
        contrast.need_two_labels(place)
    if recipe.listwise:
        contrast.need_mixed_queries(place, "listwise")


def _teach_meta(
    recipe: TeacherRecipe,
    pupil: Pupil,
    tokens: TokenTable,
    chosen: PairTable,
    meta: dict[str, object],
) -> None:
    student, backbone = pupil.module, load_backbone(recipe.backbone)
    assert isinstance(student, Student)  # the recipe has been checked
    teacher, prototypes, objective = meta_objective(
        recipe.meta, student, backbone.encoder, tokens, chosen.sources, hard_labels(chosen.pairs)
    )
    meta["curve"] = _fit(recipe, teacher, tokens, single_units(len(chosen)), objective)
    meta["domains"] = list(prototypes.domains)
    if not processes().is_main_process:
        return
    # Both files are there before the folder has its name: half a meta-teacher is never found.
    whole = recipe.out.with_name(recipe.out.name + "-whole")
    pupil.save(whole, meta)
    save_knowledge(whole, prototypes, teacher.corruption)
    shutil.rmtree(recipe.out, ignore_errors=True)
    whole.rename(recipe.out)


def _fit(
    recipe: TeacherRecipe,
    module: nn.Module,
    tokens: TokenTable,
    units: Sequence[Rows],
    objective: Objective,
) -> list[tuple[int, float]]:
    set_dropout(module, recipe.dropout)
    return fit(
        module, tokens, units, objective, recipe.optimiser,
        folder=recipe.out, seed=recipe.seed, checkpoint_steps=recipe.checkpoint_steps,
        title=recipe.name,
    )  # fmt: skip


def _units(recipe: TeacherRecipe, pairs: Sequence[Pair]) -> list[Rows]:
    """What must meet in a batch: the passages of a query, for whatever compares them."""
    right = np.array([pair.right for pair in pairs])
    if recipe.objective in ("margin", "listwise"):
        lists = dealt(query_units(pairs, mixed=True), right, recipe.list_passages)
        return [rows for rows in lists if 0 < right[rows].sum() < len(rows)]
    if recipe.compares or recipe.objective == "infonce":
        return dealt(query_units(pairs, mixed=False), right, recipe.list_passages)
    return single_units(len(pairs))


def _objective(recipe: TeacherRecipe, tokens: TokenTable, pairs: Sequence[Pair]) -> Objective:
    """The loss of a batch: InfoNCE between texts for a bi-encoder, else the recipe's objective."""
    labels = hard_labels(pairs)
    lists = torch.zeros(len(pairs), dtype=torch.int64)
    for number, rows in enumerate(_units(recipe, pairs)):
        lists[torch.from_numpy(rows)] = number
    cls_id = int(tokens.gather(np.array([0])).input_ids[0, 0])

    kept: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        rows, device = batch.rows, batch.rows.device
        if device not in kept:
            kept[device] = labels.to(device), lists.to(device)
        target, groups = (column[rows] for column in kept[device])
        if recipe.shape == "bi-encoder":
            query, passage = split_segments(*batch.inputs, cls_id)
            return in_batch_loss(module(*query), module(*passage), target >= RIGHT, recipe.scale)
        scores = module(*batch.inputs)[:, 0].float()
        loss = OBJECTIVES[recipe.objective](scores, target, groups)
        if recipe.listwise:
            loss = loss + recipe.listwise * OBJECTIVES["listwise"](scores, target, groups)
        return loss

    return objective


def _load_pupil(recipe: TeacherRecipe) -> Pupil:
    """A cross-encoder of a student's shape, or the encoder of a bi-encoder."""
    backbone = load_backbone(recipe.backbone)
    truncation = recipe.length.truncation
    student = untaught(recipe, backbone)
    check_length(student, truncation)

    def save(folder: Path, meta: dict[str, object]) -> None:
        save_student(folder, student.eval(), backbone.tokenizer_path, truncation, meta)

    bi = recipe.shape == "bi-encoder"
    return Pupil(
        BiEncoder(student.encoder) if bi else student,
        PairEncoder.from_file(backbone.tokenizer_path, truncation),
        content_identity(backbone.encoder, table_digest(backbone.tokenizer_path)),
        f"{recipe.backbone} as a {recipe.shape}{'' if bi else ' with a new head'}",
        save,
    )


def untaught(recipe: TeacherRecipe, backbone: Backbone) -> Student:
    """The teacher before its first step: the backbone's layers, cut to the recipe's width."""
    depth = backbone.encoder.config.num_hidden_layers
    student = take_layers(backbone.encoder, recipe.layers or list(range(depth)), [Head("golden")])
    return student if recipe.width is None else narrow(student, recipe.width)
