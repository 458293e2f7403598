"""Checkpoints as scorers: a teacher of ours by its logits, a student by its probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retort.models.encoding import PairEncoder
from retort.models.scores import combine
from retort.training.data.pairs import Pair
from retort.training.nn.inference import (
    BACKENDS,
    Model,
    backend_name,
    compiled_model,
    run,
    student_model,
)
from retort.training.nn.student import Student, load_student
from retort.training.teachers.scoring.identity import Weights, tokenizer_rules
from retort.training.teachers.scoring.scorer import Reference, Scorer


class _LogitAndState(nn.Module):
    """A checkpoint's mean logit and its `[CLS]` vector side by side, (batch, 1 + width)."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        logits, first = self.student.forward_first(input_ids, attention_mask, token_type_ids)
        return torch.cat([logits.mean(-1, keepdim=True), first], dim=-1)


@dataclass(frozen=True)
class CrossEncoder(Scorer):
    """A checkpoint of ours: the mean of its logits, and its `[CLS]` vector where it is wanted."""

    module: Student
    encoder: PairEncoder
    model: Model = field(repr=False)

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float32]:
        """Logits (pairs,)."""
        return self.represent(pairs, progress)[0]

    def represent(
        self, pairs: Sequence[Pair], progress: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (pairs,) and `[CLS]` vectors (pairs, width)."""
        rows = run(self.model, self.encoder, pairs, progress=self.name if progress else "")
        return rows[:, 0], rows[:, 1:]


def load_cross_encoder(reference: Reference) -> CrossEncoder:
    """A checkpoint's folder as a teacher. Raises `CheckpointError`."""
    loaded = load_student(Path(reference.path))
    weights, length = Weights(loaded.student.state_dict()), loaded.truncation
    return CrossEncoder(
        reference.name,
        weights.identity(length, tokenizer_rules(loaded.tokenizer_path)),
        loaded.student,
        loaded.encoder(),
        compiled_model(_LogitAndState(loaded.student)),
        engine=backend_name(),
        about=f"the mean of its logits, {length.max_length} tokens",
        former=tuple(weights.identity(length, backend) for backend in BACKENDS),
    )


@dataclass(frozen=True)
class StudentScorer(Scorer):
    """A student's checkpoint in float32: its probabilities (TMKD equation 6)."""

    model: Model
    encoder: PairEncoder

    @property
    def probabilities(self) -> bool:
        """Yes."""
        return True

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float64]:
        """Probabilities (pairs,)."""
        logits = run(self.model, self.encoder, pairs, progress=self.name if progress else "")
        return combine(logits).score


def load_student_scorer(reference: Reference) -> StudentScorer:
    """A checkpoint's folder as a student. Raises `CheckpointError`."""
    loaded = load_student(Path(reference.path))
    return StudentScorer(reference.name, "", student_model(loaded.student), loaded.encoder())
