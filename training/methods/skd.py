"""SKD: stochastic knowledge distillation (Ding et al., SKDBERT, AAAI 2023).

Each step draws one teacher k from a fixed distribution and distils from it alone:

    k ~ Cat(p_1 .. p_N),    l_s = CE(z_T,k / T, z_S / T)

so that the target of a step keeps one teacher's shape and is no average. Three distributions:

    uniform        p_i = 1/N
    teacher-rank   by how good teacher i is on validation data
    student-rank   by how good a student of teacher i alone is on validation data

The paper's formulas for the last two could not be read. Both forms that suggest themselves are
here, `form: linear` and `form: softmax`, with r_i the rank (1 is best) and m_i the figure:

    linear    p_i = (N + 1 - r_i) / (N (N + 1) / 2)
    softmax   p_i = softmax(m_i / tau)

The figures m_i come from the recipe (`figures: {teacher: figure}`): of the teachers, or of N
students made by 1-o-1. Whether the paper adds hard labels is not known either: a stage's alpha
says, 1 for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.special import softmax
from scipy.stats import rankdata
from torch import Tensor

from retort.training.methods.method import Examples, Headed
from retort.training.nn.loop import Progress
from retort.training.nn.losses import soft_cross_entropy
from retort.training.nn.student import Head
from retort.training.recipes.methods import SkdOptions
from retort.training.recipes.parts.stage import Stage


def teacher_probabilities(
    figures: Sequence[float], form: Literal["linear", "softmax"], tau: float
) -> list[float]:
    """p (teachers,) from figures (teachers,), higher is better; ties share their ranks' mean."""
    values, count = np.asarray(figures, dtype=np.float64), len(figures)
    if form == "softmax":
        return [float(p) for p in softmax(values / tau)]
    # Ranks from the worst: N + 1 - r_i.
    return [float(rank) / (count * (count + 1) / 2) for rank in rankdata(values)]


def drawn(probabilities: Sequence[float], progress: Progress) -> int:
    """The teacher of a step; follows from seed and step alone."""
    generator = np.random.default_rng([progress.seed, progress.step, 0x5D])
    return int(generator.choice(len(probabilities), p=probabilities))


@dataclass(frozen=True)
class Skd(Headed):
    """One teacher per step."""

    options: SkdOptions = field(default_factory=SkdOptions)

    @property
    def probabilities(self) -> list[float]:
        """p (teachers,)."""
        if self.options.distribution == "uniform":
            return [1.0 / len(self.teachers)] * len(self.teachers)
        figures = [self.options.figures[teacher.name] for teacher in self.teachers]
        return teacher_probabilities(figures, self.options.form, self.options.tau)

    def heads(self) -> list[Head]:
        """Golden head and one soft head for whichever teacher was drawn, or one for each."""
        if self.options.heads == "each":
            return super().heads()
        return [Head("golden"), Head("soft-drawn", "linear", "drawn")]

    def soft(self, scores: Tensor, examples: Examples, stage: Stage) -> Tensor:
        """The loss of this step's teacher; `scores` is (batch, soft heads)."""
        teacher = drawn(self.probabilities, examples.progress)
        odds = examples.odds[:, teacher]
        known = ~odds.isnan()
        if not bool(known.any()):
            return scores.sum() * 0.0
        head = scores[:, teacher if self.options.heads == "each" else 0]
        return soft_cross_entropy(head[known], odds[known], self.options.temperature).mean()
