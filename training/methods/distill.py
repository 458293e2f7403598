"""Distilling: a student through the stages of a recipe, from labels and the score store."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.contrast import Contrast
from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, labelled_pairs, select_all, table_digest
from retort.training.labels.store import (
    HIDDEN_FOLDER,
    HiddenStates,
    hidden_loss,
    pair_keys,
    variance,
)
from retort.training.labels.targets import Targets, gather_targets
from retort.training.methods.method import Examples, Headed, Material, Method
from retort.training.methods.registry import build_method
from retort.training.nn.backbone import Backbone, load_backbone
from retort.training.nn.basis import FORMAT, Basis, claim, differences, refuse
from retort.training.nn.batching import TokenBatch, TokenTable, group_numbers
from retort.training.nn.loop import Objective, Progress, fit, set_dropout
from retort.training.nn.losses import hard_labels
from retort.training.nn.processes import on_main, processes
from retort.training.nn.student import (
    Student,
    check_length,
    load_student,
    make_bi_lstm,
    save_student,
    take_layers,
)
from retort.training.nn.vocabulary import unknown_in_pairs, unknown_warning
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.kinds import is_checkpoint
from retort.training.recipes.parts.stage import Stage
from retort.training.teachers.scorers import identity_of
from retort.training.teachers.scoring.identity import content_identity
from retort.wording import counted

Record = dict[str, Any]  # a stage in a student's meta: plan, table, curve


def distill(
    recipe: DistillRecipe, log: Callable[[str], None] = print, *, fresh: bool = False
) -> Path:
    """Run all stages and return the student's folder; for m-o-m the folder of its members.

    Each finished stage leaves `stage-N` in the recipe's `out`, and a killed run continues there.
    With `fresh` nothing that is there counts. Raises `StoreError` when a pair lacks a teacher's
    score, and `ChangedRunError` when a stage that is there, or was under way, was made from other
    stages, tables or teachers.
    """
    log, members = on_main(log), recipe.members()
    if members == [recipe]:
        return _distill(recipe, log, fresh)
    for member in members:
        _distill(member, log, fresh)
    return recipe.out / "members"


def _distill(recipe: DistillRecipe, log: Callable[[str], None], fresh: bool) -> Path:
    state = processes()
    torch.manual_seed(recipe.seed)
    if fresh and state.is_main_process:
        for number in range(1, len(recipe.stages) + 1):
            for old in (f"stage-{number}", f"stage-{number}-run"):
                shutil.rmtree(recipe.out / old, ignore_errors=True)
    state.wait_for_everyone()
    run = _Run(recipe, load_backbone(recipe.student.init), build_method(recipe), log)
    student = make_student(recipe, run.backbone, run.method)
    records: list[Record] = []
    for number, stage in enumerate(recipe.stages, start=1):
        folder = recipe.out / f"stage-{number}"
        record: Record = {"plan": stage.model_dump(mode="json"), "table": table_digest(stage.table)}
        records.append(record)
        done = done_stage(folder, run.rests_on(records))
        if done is not None:
            student, record["curve"] = done
            log(f"{recipe.name}: stage {number} was finished before")
            continue
        record["curve"] = run.stage(number, student, records)
        if state.is_main_process:
            run.save(folder, student, number, records)
    result = recipe.out / "student"
    student.eval()
    if state.is_main_process:
        meta = run.save(result, student, len(recipe.stages), records)
        run.method.finish(student, recipe, meta, run.backbone.tokenizer_path)
    state.wait_for_everyone()
    return result


def make_student(recipe: DistillRecipe, backbone: Backbone, method: Method) -> Student:
    """The student before its first step."""
    plan = recipe.student
    if plan.kind == "bi-lstm":
        return make_bi_lstm(backbone.encoder, plan.lstm_layers, plan.lstm_units, method.heads())
    return take_layers(backbone.encoder, plan.layers, method.heads())


def done_stage(folder: Path, wanted: Basis) -> tuple[Student, object] | None:
    """Student and learning curve as a finished stage left them, or None.

    `wanted` is what the stages up to this one rest on. Raises `ChangedRunError` for a stage that
    came from something else.
    """
    if not is_checkpoint(folder):
        return None
    loaded = load_student(folder)
    kept = loaded.meta.get("stages") or []
    found = {"basis": None, **{name: loaded.meta[name] for name in wanted if name in loaded.meta}}
    refuse(folder, differences({**found, "stages": [_origin(one) for one in kept]}, wanted))
    return loaded.student, kept[-1].get("curve", [])


def _origin(record: Record) -> Record:
    return {"plan": record.get("plan"), "table": record.get("table")}


def _check_contrast(name: str, method: Method, stage: Stage, pairs: Sequence[Pair]) -> None:
    """Raise `NothingToLearnError` where the pairs leave a loss of the stage nothing to compare."""
    contrast = Contrast.of(pairs)
    if stage.alpha < 1:
        contrast.need_two_labels(stage.table)
        if name == "infonce" or stage.listwise:
            contrast.need_mixed_queries(stage.table, "infonce" if name == "infonce" else "listwise")
    if isinstance(method, Headed) and method.together:
        contrast.need_lists(stage.table, name)


def _digest(known: Targets) -> str:
    """sha256 of what the teachers say of the pairs."""
    digest = hashlib.sha256()
    for values in (known.targets, known.odds):
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Run:
    """A distillation under way."""

    recipe: DistillRecipe
    backbone: Backbone
    method: Method
    log: Callable[[str], None]

    @cached_property
    def identities(self) -> dict[str, str]:
        """The content hash of each teacher, by name."""
        return {t.name: identity_of(t) for t in self.method.teachers}

    @cached_property
    def basis(self) -> dict[str, object]:
        """What every stage rests on: seed, student, method and who the teachers are."""
        basis: dict[str, object] = {
            "method": self.recipe.method,
            "seed": self.recipe.seed,
            "student": self.recipe.student.model_dump(mode="json"),
            "teachers": [[t.name, t.head, self.identities[t.name]] for t in self.method.teachers],
            "options": self.recipe.options,
            "sources": {t.name: t.sources for t in self.method.teachers},
        }
        hidden = self.recipe.hidden_teacher
        if hidden is not None and any(stage.hidden for stage in self.recipe.stages):
            basis["hidden"] = hidden.name
        return basis

    @cached_property
    def backbone_identity(self) -> str:
        """What the student is cut from."""
        return content_identity(self.backbone.encoder, table_digest(self.backbone.tokenizer_path))

    def rests_on(self, records: Sequence[Record]) -> Basis:
        """What the stages of `records` rest on."""
        return {
            "format": FORMAT,
            "basis": self.basis,
            "backbone_weights": self.backbone_identity,
            "stages": [_origin(record) for record in records],
        }

    @cached_property
    def chosen(self) -> list[PairTable]:
        """The pairs of all stages, read once, if any stage is to be trained."""
        return select_all(self.recipe.stages)

    def truncation(self, number: int) -> Truncation:
        """How long a pair of stage `number`, from 1, may be."""
        return self.recipe.stages[number - 1].length.truncation

    def save(
        self, folder: Path, student: Student, number: int, records: list[Record]
    ) -> dict[str, object]:
        """Write the student after stage `number`; what it carries of its making is returned."""
        recipe = self.recipe.model_dump(mode="json")
        meta: dict[str, object] = {
            **self.rests_on(records),
            "name": self.recipe.name,
            "recipe": recipe,
            "stages": records,
        }
        path = self.backbone.tokenizer_path
        save_student(folder, student, path, self.truncation(number), meta)
        return meta

    def stage(
        self, number: int, student: Student, records: Sequence[Record]
    ) -> list[tuple[int, float]]:
        """Train `student` in place through stage `number`, from 1; returns its learning curve.

        `records` are those of the stages up to this one. Raises `ChangedRunError` where a run of
        this stage is under way that rests on something else, and `NothingToLearnError`.
        """
        recipe, method = self.recipe, self.method
        stage, own = recipe.stages[number - 1], self.chosen[number - 1]
        folder, seed = recipe.out / f"stage-{number}-run", recipe.seed + number
        check_length(student, self.truncation(number))
        _check_contrast(recipe.method, method, stage, own.pairs)
        encoder = PairEncoder.from_file(self.backbone.tokenizer_path, self.truncation(number))
        unknown = unknown_in_pairs(self.backbone.tokenizer_path, own.pairs)
        if warning := unknown_warning(recipe.student.init, unknown):
            self.log(f"{warning} (student.init)")
        tokens = TokenTable(encoder, own.pairs)
        asked = method.asked(stage)
        # The labelled pairs of all stages calibrate the teachers.
        labelled = labelled_pairs(self.chosen) if asked else PairTable([], [])
        known = gather_targets(recipe.store, asked, self.identities, own, labelled)
        # What the store says depends on its scales too, which it fixed when it was first filled.
        claim(folder, {**self.rests_on(records), "targets": _digest(known)})
        material = Material(
            own.pairs, own.sources, tokens, stage, self.backbone.tokenizer_path, seed, folder
        )
        ready = method.prepare(material)
        set_dropout(student, recipe.student.dropout)
        self.log(
            f"{recipe.name}: stage {number}, {counted(len(own), 'pair')}, "
            f"{counted(len(method.teachers), 'teacher')}"
        )
        return fit(
            ready.module(student), tokens, ready.units(material),
            self._objective(ready, material, known), stage.optimiser,
            folder=folder, seed=seed,
            checkpoint_steps=recipe.checkpoint_steps, title=f"{recipe.name} stage {number}",
            divisions=ready.divisions(material),
        )  # fmt: skip

    def _objective(self, method: Method, material: Material, known: Targets) -> Objective:
        """The loss of a batch: the method's, and the hidden-state loss where the stage has one."""
        stage, pairs = material.stage, material.pairs
        vectors: Tensor | None = None
        scale = 1.0
        if stage.hidden and self.recipe.hidden_teacher is not None:
            name = self.recipe.hidden_teacher.name
            states = HiddenStates(self.recipe.store / self.identities[name] / HIDDEN_FOLDER, name)
            vectors = states.lookup(pair_keys(pairs))
            scale = variance(vectors)
        whole = not bool(known.targets.isnan().any())
        kept: dict[torch.device, tuple[Tensor, ...]] = {}

        def columns(device: torch.device) -> tuple[Tensor, ...]:
            """What is known of all pairs, moved to the device that trains once."""
            if device not in kept:
                facts = known.targets, known.odds, hard_labels(pairs), group_numbers(pairs)
                kept[device] = tuple(fact.to(device) for fact in facts)
            return kept[device]

        def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
            outputs = module(*batch.inputs)
            rows = batch.rows
            targets, odds, labels, groups = columns(rows.device)
            examples = Examples(
                rows, targets[rows], odds[rows], labels[rows], groups[rows], progress, whole
            )
            loss = method.loss(outputs, batch, examples, stage)
            if vectors is not None:
                wanted = vectors[rows.cpu()].to(rows.device)
                loss = loss + stage.hidden * hidden_loss(outputs[1], wanted, scale)
            return loss

        return objective
