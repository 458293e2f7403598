"""Batches of figures for the losses: what a method is told, without a model."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retort.training.methods.method import Examples
from retort.training.nn.batching import TokenBatch
from retort.training.nn.loop import Progress

Floats = NDArray[np.float64]


def unread() -> TokenBatch:
    """A batch whose tokens no loss looks at."""
    nothing = torch.zeros((1, 1), dtype=torch.int64)
    return TokenBatch(nothing, nothing, nothing, nothing[0])


def examples(
    targets: Tensor,
    odds: Tensor | None = None,
    labels: Tensor | None = None,
    groups: Tensor | None = None,
    progress: Progress | None = None,
) -> Examples:
    """Examples of `targets` (batch, teachers); what is not given is zeros."""
    size = len(targets)
    return Examples(
        rows=torch.arange(size),
        targets=targets,
        odds=targets if odds is None else odds,
        labels=torch.zeros(size) if labels is None else labels,
        groups=torch.zeros(size, dtype=torch.int64) if groups is None else groups,
        progress=progress or Progress(0, 10, 1),
    )


class Drawn:
    """A batch of 14 pairs of five queries, one of which has a single passage, and two teachers."""

    def __init__(self, seed: int = 5) -> None:
        rng = np.random.default_rng(seed)
        self.groups = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 4, 4, 4])
        self.labels = np.array([1, 0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0], dtype=np.float64)
        self.scores: Floats = rng.normal(size=(14, 3))
        self.targets: Floats = rng.normal(size=(14, 2))
        self.odds: Floats = rng.normal(size=(14, 2)) * 2

    @property
    def logits(self) -> Tensor:
        """The student's (batch, 3), float64 as NumPy has it."""
        return torch.tensor(self.scores, dtype=torch.float64)

    def examples(self, step: int = 0, steps: int = 11, seed: int = 1) -> Examples:
        """What the methods are told."""
        return examples(
            torch.tensor(self.targets), torch.tensor(self.odds), torch.tensor(self.labels),
            torch.tensor(self.groups), Progress(step, steps, seed),
        )  # fmt: skip


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-z))."""
    result: Floats = 1.0 / (1.0 + np.exp(-values))
    return result


def cross_entropy(probability: Floats, logits: Floats) -> Floats:
    """Over the two classes, element by element."""
    own = sigmoid(logits)
    result: Floats = -(probability * np.log(own) + (1 - probability) * np.log(1 - own))
    return result
