"""Speeds: how fast the teachers score and the student learns here, tried on a few pairs.

It is the first thing that is done with a teacher, so that one that cannot be used says so before
anything is built for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from retort.models.encoding import PairEncoder
from retort.training.data.pairs import Pair, spread_sample
from retort.training.evaluate.measures import auc
from retort.training.fit.plan import FitPlan
from retort.training.fit.recipes import spread
from retort.training.nn.backbone import Backbone, load_backbone
from retort.training.nn.inference import encode_pairs
from retort.training.nn.student import Head, take_layers
from retort.training.recipes.parts.common import Length
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.scoring.constant import is_constant

SAMPLE = 64
BATCH = 32
# Below this, over a sample with right and wrong passages, a teacher ranks as chance would.
CHANCE = 0.5


class Speeds(BaseModel):
    """Pairs per second: of each teacher's scoring, and of the student's training.

    `layers` are those of the encoder that the student starts from, `length` is what it reads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    teachers: dict[str, float] = {}
    student: float
    layers: int
    length: Length

    def label_seconds(self, pairs: int) -> float:
        """How long all teachers take for so many pairs."""
        return sum(pairs / speed for speed in self.teachers.values())

    def train_seconds(self, pairs: float) -> float:
        """How long the student takes to learn so many pairs once."""
        return pairs / self.student


def measure_speeds(plan: FitPlan, pairs: Sequence[Pair], log: Callable[[str], None]) -> Speeds:
    """Try teachers and student on some of `pairs`.

    Raises `ValueError` for a teacher that gives all pairs one score, and as `load_scorer` and
    `load_backbone` do for one that cannot be loaded.
    """
    sample = spread_sample(pairs, SAMPLE)
    teachers = {teacher.name: _teacher(teacher, sample, log) for teacher in plan.teachers}
    backbone = load_backbone(plan.init)
    length = length_of(backbone)
    return Speeds(
        teachers=teachers,
        student=_student(backbone, length, sample),
        length=length,
        layers=backbone.encoder.config.num_hidden_layers,
    )


def length_of(backbone: Backbone) -> Length:
    """As much as the encoder read before, or as it has positions for."""
    known = backbone.truncation
    if known is not None:
        return Length(max_length=known.max_length, max_query_tokens=known.max_query_tokens)
    usual, positions = Length(), backbone.encoder.config.max_position_embeddings
    longest = min(usual.max_length, positions)
    return Length(max_length=longest, max_query_tokens=min(usual.max_query_tokens, longest // 2))


def _teacher(reference: TeacherRef, sample: Sequence[Pair], log: Callable[[str], None]) -> float:
    scorer = load_scorer(reference)
    scorer.score(sample[:2])  # compiles it
    started = time.monotonic()
    scores = np.asarray(scorer.score(sample), np.float64)
    speed = len(sample) / max(time.monotonic() - started, 1e-6)
    if not np.isfinite(scores).all() or is_constant(scores, scorer.engine):
        raise ValueError(
            f"the teacher {reference.name} ({reference.kind}:{reference.path}) gives {len(sample)} "
            f"pairs scores from {scores.min():.6g} to {scores.max():.6g}: nothing can be learned "
            "from it. Is it of another kind, or without its tokenizer?"
        )
    labels = np.array([pair.right for pair in sample])
    log(f"{reference.name}: a {reference.kind}, {speed:.0f} pairs/s")
    if 0 < labels.sum() < len(labels):
        area = auc(labels.astype(int), scores)
        if area < CHANCE:
            log(
                f"warning: {reference.name} puts a right passage above a wrong one in {area:.0%} "
                f"of cases, on {len(sample)} pairs: chance would do better. Is it the right model?"
            )
    return speed


def _student(backbone: Backbone, length: Length, sample: Sequence[Pair]) -> float:
    layers = spread(backbone.encoder.config.num_hidden_layers)
    student = take_layers(backbone.encoder, layers, [Head("golden")]).train()
    encoder = PairEncoder.from_file(backbone.tokenizer_path, length.truncation)
    rows = (list(sample) * BATCH)[:BATCH]
    batch = encoder.collate(encode_pairs(encoder, rows))
    inputs = [
        torch.from_numpy(array)
        for array in (batch.input_ids, batch.attention_mask, batch.token_type_ids)
    ]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    student.to(device)
    inputs = [tensor.to(device) for tensor in inputs]

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = student(*inputs).pow(2).mean()
        loss.backward()
        student.zero_grad()

    step()
    started = time.monotonic()
    for _ in range(2):
        step()
    return 2 * BATCH / max(time.monotonic() - started, 1e-6)
