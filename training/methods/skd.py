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
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from retort.training.methods.headed import Headed, Options
from retort.training.methods.method import Examples, MethodError
from retort.training.methods.soft_cross_entropy import soft_cross_entropy
from retort.training.methods.tmkd import need_teachers
from retort.training.nn.loop import Progress
from retort.training.nn.student import Head
from retort.training.recipes.recipe import DistillRecipe

Distribution = Literal["uniform", "teacher-rank", "student-rank"]
Form = Literal["linear", "softmax"]


class SkdOptions(Options):
    """How a step's teacher is drawn; `heads: each` trains the drawn teacher's own head."""

    distribution: Distribution = "uniform"
    form: Form = "linear"
    tau: float = Field(0.05, gt=0)
    temperature: float = Field(1.0, gt=0)
    figures: dict[str, float] = Field({})
    heads: Literal["one", "each"] = "one"


def teacher_probabilities(figures: Sequence[float], form: Form, tau: float) -> list[float]:
    """p (teachers,) from figures (teachers,), higher is better; ties share their ranks' mean."""
    values = np.asarray(figures, dtype=np.float64)
    count = len(values)
    if form == "softmax":
        raised = np.exp((values - values.max()) / tau)
        return [float(p) for p in raised / raised.sum()]
    above = (values[None, :] > values[:, None]).sum(1)
    tied = (values[None, :] == values[:, None]).sum(1)
    ranks = above + (tied + 1) / 2
    return [float(p) for p in (count + 1 - ranks) / (count * (count + 1) / 2)]


def drawn(probabilities: Sequence[float], progress: Progress) -> int:
    """The teacher of a step; follows from seed and step alone."""
    generator = np.random.default_rng([progress.seed, progress.step, 0x5D])
    return int(generator.choice(len(probabilities), p=probabilities))


@dataclass(frozen=True)
class Skd(Headed):
    """One teacher a step."""

    probabilities: tuple[float, ...] = ()
    temperature: float = 1.0
    each: bool = False

    def heads(self) -> list[Head]:
        """Golden head and one soft head for whichever teacher was drawn, or one for each."""
        if self.each:
            return super().heads()
        return [Head("golden"), Head("soft-drawn", "linear", "drawn")]

    def soft(self, scores: Tensor, examples: Examples) -> Tensor:
        """The loss of this step's teacher; `scores` is (batch, soft heads)."""
        teacher = drawn(self.probabilities, examples.progress)
        odds = examples.odds[:, teacher]
        known = ~odds.isnan()
        if not bool(known.any()):
            return scores.sum() * 0.0
        head = scores[:, teacher if self.each else 0]
        return soft_cross_entropy(head[known], odds[known], self.temperature).mean()


def build(recipe: DistillRecipe) -> Skd:
    """Options as in `SkdOptions`. Raises `MethodError` for a figure that is missing."""
    need_teachers(recipe, 2)
    options = SkdOptions.model_validate(recipe.options)
    names = [teacher.name for teacher in recipe.teachers]
    if options.distribution == "uniform":
        shares = [1.0 / len(names)] * len(names)
    else:
        missing = [name for name in names if name not in options.figures]
        if missing:
            raise MethodError(
                f"skd by {options.distribution}: no figure for {', '.join(missing)}; give each "
                "teacher's under options.figures, measured on validation data"
            )
        figures = [options.figures[name] for name in names]
        shares = teacher_probabilities(figures, options.form, options.tau)
    return Skd(
        tuple(recipe.teachers), probabilities=tuple(shares), temperature=options.temperature,
        each=options.heads == "each",
    )  # fmt: skip
