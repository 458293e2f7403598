"""Speeds: pairs per second of a study's students and teachers, measured in turn in one process.

All run in the backend that labels, on pairs of 128 tokens. They take turns, so that whatever else
the machine does meanwhile slows all of them alike: read the ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from torch import nn
from transformers import BertConfig, BertModel, PretrainedConfig

from retort.models.encoding import Batch, Truncation
from retort.models.runtime.cores import usable_cores
from retort.training.data.pairs import Pair
from retort.training.methods.distill import make_student
from retort.training.methods.registry import build_method
from retort.training.nn.backbone import BackboneError, load_backbone
from retort.training.nn.encoders import BiEncoder
from retort.training.nn.inference import backend_name, compile_module
from retort.training.nn.student import LoadedStudent, load_student
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.recipes.study import StudyRecipe
from retort.training.study.measure import fast_model
from retort.training.study.records import (
    SPEEDS_FILE,
    Speed,
    SpeedsRecord,
    find_record,
    now,
    write_record,
)
from retort.training.teachers.scorers import kind_of, load_scorer
from retort.training.teachers.scoring.bi_encoder import BiEncoderScorer
from retort.training.teachers.scoring.hub import HubCrossEncoder, SentenceCrossEncoder

TOKENS = 128
QUERY_TOKENS = 24
BATCH_PAIRS = 32
ROUNDS = 15
ROUND_SECONDS = 0.25

Ask = Callable[[], object]  # one batch of BATCH_PAIRS pairs


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides a student's speed, and one recipe that has it, for `count` students."""

    key: str
    recipe: DistillRecipe
    count: int


@dataclass(frozen=True, slots=True)
class Timed:
    """A model to time: `ask` scores one batch."""

    ask: Ask
    parameters: int
    layers: int


def measure_speeds(study: StudyRecipe, log: Callable[[str], None]) -> bool:
    """Write `speeds.json`; False if it has all rows and teachers already."""
    if has_speeds(study):
        return False
    shapes, teachers = _shapes(study), _teachers(study)
    recipes = {shape.key: shape.recipe for shape in shapes.values()}
    models = {key: _student(recipe) for key, recipe in recipes.items()}
    models |= {f"teacher {name}": _teacher(teacher) for name, teacher in teachers.items()}
    log(f"speeds of {len(models)} models, {ROUNDS} rounds")
    rates = in_turn({key: model.ask for key, model in models.items()})

    def speed(key: str, students: int = 1) -> Speed:
        return Speed(
            pairs_per_second=rates[key] / students,
            parameters=models[key].parameters,
            layers=models[key].layers,
            students=students,
        )

    record = SpeedsRecord(
        measured=now(),
        tokens=TOKENS,
        batch_pairs=BATCH_PAIRS,
        engine=backend_name(),
        cores=usable_cores(),
        rows={name: speed(shape.key, shape.count) for name, shape in shapes.items()},
        teachers={name: speed(f"teacher {name}") for name in teachers},
        ensembles={
            d.name: 1 / sum(1 / rates[f"teacher {t.name}"] for t in d.together)
            for d in study.datasets
            if d.teachers
        },
    )
    write_record(study.out / SPEEDS_FILE, record)
    return True


def has_speeds(study: StudyRecipe) -> bool:
    """Whether all rows and teachers have been measured."""
    found = find_record(SpeedsRecord, study.out / SPEEDS_FILE)
    wanted = _shapes(study).keys(), _teachers(study).keys()
    return (
        found is not None and found.rows.keys() == wanted[0] and found.teachers.keys() >= wanted[1]
    )


def _teachers(study: StudyRecipe) -> dict[str, TeacherRef]:
    return {teacher.name: teacher for dataset in study.datasets for teacher in dataset.teachers}


def in_turn(asks: Mapping[str, Ask]) -> dict[str, float]:
    """The median over rounds of each one's pairs per second."""
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
        several = recipe.members()
        recipe, count = several[0], len(several)
        plan = recipe.student
        size = [len(plan.layers)] if plan.kind == "encoder" else [plan.lstm_layers, plan.lstm_units]
        key = f"student {plan.kind} {plan.init} {size}"
        shapes[row.name] = Shape(key, recipe, count)
    return shapes


def _student(recipe: DistillRecipe) -> Timed:
    backbone = load_backbone(recipe.student.init)
    student = make_student(recipe, backbone, build_method(recipe)).eval()
    return _pairs(LoadedStudent(student, backbone.tokenizer_path, Truncation(), {}))


def _pairs(loaded: LoadedStudent) -> Timed:
    model, config = fast_model(loaded), loaded.student.config
    batch = _batch(config, 0, TOKENS)
    return _timed(lambda: model(batch), loaded.student, config)


def _teacher(reference: TeacherRef) -> Timed:
    kind = kind_of(reference)
    if kind == "cross-encoder":
        return _pairs(load_student(Path(reference.path)))
    if kind == "bi-encoder":
        try:
            return _texts(load_backbone(reference.path).encoder)
        except BackboneError:  # no BERT: by its own library, as any other
            pass
    teacher = load_scorer(reference)
    asked = count()

    def score() -> None:
        # New texts, so that no bi-encoder finds them among those that it knows.
        pairs = [Pair(f"{next(asked)} " * 24, f"{next(asked)} " * 100) for _ in range(BATCH_PAIRS)]
        teacher.score(pairs)

    module = nn.Module()
    if isinstance(teacher, HubCrossEncoder | SentenceCrossEncoder | BiEncoderScorer):
        module = teacher.module
    return _timed(score, module, getattr(module, "config", None))


def _texts(encoder: BertModel) -> Timed:
    function = compile_module(BiEncoder(encoder), ("input_ids", "attention_mask"))
    # A new question's passages are in no cache: both texts are encoded.
    query = _batch(encoder.config, 0, QUERY_TOKENS)
    passage = _batch(encoder.config, QUERY_TOKENS, TOKENS)

    def both() -> None:
        function(query.input_ids, query.attention_mask)
        function(passage.input_ids, passage.attention_mask)

    return _timed(both, encoder, encoder.config)


def _timed(ask: Ask, model: nn.Module, config: PretrainedConfig | None) -> Timed:
    """Parameters and layers are 0 of a teacher that is elsewhere."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Timed(ask, parameters, getattr(config, "num_hidden_layers", 0))


def _batch(config: BertConfig, start: int, end: int) -> Batch:
    """Random words at positions `start` to `end` of pairs of `TOKENS`, query first."""
    room = min(end, config.max_position_embeddings) - start
    draw = np.random.default_rng(0)
    words = draw.integers(config.vocab_size // 2, config.vocab_size, (BATCH_PAIRS, room))
    types = (np.arange(start, start + room) >= QUERY_TOKENS).astype(np.int64)
    return Batch(words, np.ones_like(words), np.tile(types, (BATCH_PAIRS, 1)))
