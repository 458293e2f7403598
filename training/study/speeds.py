"""Speeds: pairs a second of a study's students and teachers, measured in turn in one process.

All run in the engine that labels (`training/engine.py`) on pairs of 128 tokens. They take turns, so
that whatever else the machine does meanwhile slows all of them alike: read the ratios.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from transformers import BertConfig

from retort.models.encoding import Batch, Truncation
from retort.training.data.pairs import Pair
from retort.training.methods import m_o_m
from retort.training.methods.distill import init_backbone, make_student
from retort.training.methods.registry import build_method
from retort.training.nn.bi_encoder import BiEncoder
from retort.training.nn.checkpoint import LoadedStudent, load_student
from retort.training.recipes.recipe import DistillRecipe, TeacherRef
from retort.training.recipes.study import StudyRecipe
from retort.training.study.files import SCHEMA, SPEEDS_FILE, Record, now, read_json, write_json
from retort.training.study.measure import fast_model
from retort.training.teachers.engine import compile_module, engine_name
from retort.training.teachers.scorers import HubCrossEncoder, load_teacher

TOKENS = 128
QUERY_TOKENS = 24
BATCH_PAIRS = 32
ROUNDS = 15
ROUND_SECONDS = 0.25

Ask = Callable[[], object]  # one batch of BATCH_PAIRS pairs
Facts = dict[str, float]


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides a student's speed, and one recipe that has it; `count` students are asked."""

    key: str
    recipe: DistillRecipe
    count: int


def measure_speeds(study: StudyRecipe, log: Callable[[str], None]) -> bool:
    """Write `speeds.json`; False if it has all rows and teachers already."""
    path = study.out / SPEEDS_FILE
    shapes = _shapes(study)
    teachers = {t.name: t for d in study.datasets for t in d.teachers}
    found = read_json(path) or {}
    if set(found.get("rows", {})) == set(shapes) and set(found.get("teachers", {})) >= set(
        teachers
    ):
        return False
    asks: dict[str, Ask] = {}
    facts: dict[str, Facts] = {}
    for key, recipe in {s.key: s.recipe for s in shapes.values()}.items():
        asks[key], facts[key] = _student(recipe)
    for name, teacher in teachers.items():
        asks[f"teacher {name}"], facts[f"teacher {name}"] = _teacher(teacher)
    log(f"speeds of {len(asks)} models, {ROUNDS} rounds")
    # A worker has its share of the cores; this job has the machine, and the engine takes all of it.
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    torch.set_num_threads(cores)
    speeds = in_turn(asks)
    torch.set_num_threads(threads)
    rows = {
        name: {
            **facts[shape.key],
            "pairs_per_second": speeds[shape.key] / shape.count,
            "students": shape.count,
        }
        for name, shape in shapes.items()
    }
    asked: Record = {
        name: {**facts[f"teacher {name}"], "pairs_per_second": speeds[f"teacher {name}"]}
        for name in teachers
    }
    ensembles = {
        d.name: 1 / sum(1 / speeds[f"teacher {t.name}"] for t in d.together)
        for d in study.datasets
        if d.teachers
    }
    record: Record = {
        "schema": SCHEMA,
        "measured": now(),
        "tokens": TOKENS,
        "batch_pairs": BATCH_PAIRS,
        "engine": engine_name(),
        "cores": cores,
        "rows": rows,
        "teachers": asked,
        "ensembles": ensembles,
    }
    write_json(path, record)
    return True


def in_turn(asks: Mapping[str, Ask]) -> dict[str, float]:
    """The median over rounds of each one's pairs a second."""
    for ask in asks.values():
        ask()
    rates: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(ROUNDS):
        for name, ask in asks.items():
            started, batches = time.perf_counter(), 0
            while time.perf_counter() - started < ROUND_SECONDS:
                ask()
                batches += 1
            rates[name].append(batches * BATCH_PAIRS / (time.perf_counter() - started))
    return {name: float(np.median(values)) for name, values in rates.items()}


def _shapes(study: StudyRecipe) -> dict[str, Shape]:
    """By row: the shape of its students, in the first dataset that it has."""
    first = {cell.row: cell for cell in reversed(study.cells())}
    shapes = {}
    for row in study.rows:
        if row.name not in first:
            continue
        recipe = study.compose(first[row.name])
        count = 1
        if recipe.method == "m-o-m":
            several = m_o_m.members(recipe)
            recipe, count = several[0], len(several)
        plan = recipe.student
        size = [len(plan.layers)] if plan.kind == "encoder" else [plan.lstm_layers, plan.lstm_units]
        key = f"student {plan.kind} {plan.init} {size}"
        shapes[row.name] = Shape(key, recipe, count)
    return shapes


def _student(recipe: DistillRecipe) -> tuple[Ask, Facts]:
    backbone = init_backbone(recipe.student.init)
    student = make_student(recipe, backbone, build_method(recipe)).eval()
    return _pairs(LoadedStudent(student, backbone.tokenizer_path, Truncation(), {}))


def _pairs(loaded: LoadedStudent) -> tuple[Ask, Facts]:
    model, config = fast_model(loaded), loaded.student.config
    batch = _batch(config, 0, TOKENS)
    return (lambda: model(batch)), _facts(loaded.student, config)


def _teacher(reference: TeacherRef) -> tuple[Ask, Facts]:
    if reference.kind == "cross-encoder":
        return _pairs(load_student(Path(reference.path)))
    if reference.kind == "bi-encoder":
        encoder = init_backbone(reference.path).encoder
        function = compile_module(BiEncoder(encoder), ("input_ids", "attention_mask"))
        # A new question's passages are in no cache: both texts are encoded.
        query = _batch(encoder.config, 0, QUERY_TOKENS)
        passage = _batch(encoder.config, QUERY_TOKENS, TOKENS)

        def both() -> None:
            function(query.input_ids, query.attention_mask)
            function(passage.input_ids, passage.attention_mask)

        return both, _facts(encoder, encoder.config)
    teacher = load_teacher(reference)
    assert isinstance(teacher, HubCrossEncoder)
    pairs = [Pair("what is it " * 8, "it is what it is " * 20)] * BATCH_PAIRS
    return (lambda: teacher.score(pairs)), _facts(
        teacher.model, cast(BertConfig, teacher.model.config)
    )


def _batch(config: BertConfig, start: int, end: int) -> Batch:
    """Random words at positions `start` to `end` of pairs of `TOKENS`, query first."""
    room = min(end, config.max_position_embeddings) - start
    draw = np.random.default_rng(0)
    words = draw.integers(config.vocab_size // 2, config.vocab_size, (BATCH_PAIRS, room))
    types = (np.arange(start, start + room) >= QUERY_TOKENS).astype(np.int64)
    return Batch(words, np.ones_like(words), np.tile(types, (BATCH_PAIRS, 1)))


def _facts(model: nn.Module, config: BertConfig) -> Facts:
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": config.num_hidden_layers,
    }
