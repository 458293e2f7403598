"""The method: what a way of distilling adds to the one loop; and the headed method of most papers.

A method says which teachers it reads from the score store, which heads the student has, what is
trained, and what the loss of a batch is. Stages, batches, precision, checkpoints and resume are the
loop's. A method must draw whatever it draws at random from `Progress` alone, so that a resumed run
takes the same steps as an uninterrupted one.

Most methods have the heads of TMKD (two-stage multi-teacher knowledge distillation, Yang et al.,
WSDM 2020). Each teacher i has a soft head of its own, so that early in training no average washes
out where teachers differ. With z_i the head's logit, z_0 the golden head's, and t_i the teacher's
logit, standardised unless its `scale` says raw,

    l_s = 1/N sum_i mean (z_i - t_i)^2                       (4)   stage 1: soft heads alone
    l_g = cross-entropy of the golden head with the label    (2)
    l   = (1 - alpha) l_g + alpha l_s                        (5)   stage 2

No temperature, logits and not probabilities, every parameter trained in both stages. Inference
is equation 6, in `models/scores.py`. Later papers' losses take the place of (z_i - t_i)^2 alone, so
that a study of losses compares nothing else.

The paper's labels say right or wrong of one pair. Where a query has several candidates, a stage's
`listwise` adds that weight of InfoNCE on the golden head, which the paper does not have.

MKD (m-o-1) is the same without stage 1: its recipe has no stage of soft heads alone. The other
baselines differ from it in the number of heads alone:

    1-o-1      one student from one teacher                 R_t = R_t1
    1avg-o-1   one student from the teachers' average       R_t = 1/N sum_i R_ti
    TKD        1-o-1 with a stage 1 before it
    m-o-m      one 1-o-1 student per teacher, averaged at inference ("late calibration"), which
               costs one forward pass per teacher (`DistillRecipe.members`)

The average is of standardised logits: the paper's teachers share a scale, a cosine and a logit do
not. `heads: each` is m-o-1's bank and `heads: average` that of 1avg-o-1. What targets and odds are
is said in `labels/targets.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from retort.training.data.pairs import Pair
from retort.training.nn.batching import Rows, TokenBatch, TokenTable, query_units, single_units
from retort.training.nn.loop import Progress
from retort.training.nn.losses import listwise, pointwise
from retort.training.nn.student import Head, HeadKind, Student, WithFirst
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.methods import HeadOptions, Options
from retort.training.recipes.parts.stage import Stage
from retort.training.recipes.parts.teacher import TeacherRef


class MethodError(ValueError):
    """A method cannot do what its recipe asks."""


@dataclass(frozen=True, slots=True)
class Examples:
    """What a batch knows besides its tokens; all on the model's device.

    `rows` (batch,) are rows of the stage's pairs; `targets` and `odds` (batch, teachers) are NaN
    where a teacher does not score that pair, nowhere if `whole`; `labels` (batch,) are 0 to 1,
    0 where there is none; `groups` (batch,) number the query.
    """

    rows: Tensor
    targets: Tensor
    odds: Tensor
    labels: Tensor
    groups: Tensor
    progress: Progress
    whole: bool = False

    def only(self, chosen: Tensor) -> Examples:
        """The examples where `chosen` (batch,) is true."""
        return Examples(
            self.rows[chosen], self.targets[chosen], self.odds[chosen], self.labels[chosen],
            self.groups[chosen], self.progress,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Material:
    """A stage before it begins: its pairs, where each came from, and their tokens."""

    pairs: Sequence[Pair]
    sources: Sequence[str]
    tokens: TokenTable
    stage: Stage
    tokenizer_path: Path
    seed: int
    folder: Path


@dataclass(frozen=True)
class Method:
    """The base of all methods; `teachers` are those whose logits are read from the store."""

    teachers: tuple[TeacherRef, ...]
    options: Options = field(default_factory=Options)

    def heads(self) -> list[Head]:
        """The student's head bank, golden head first."""
        return [Head("golden")]

    def asked(self, stage: Stage) -> tuple[TeacherRef, ...]:
        """The teachers whose logits this stage reads."""
        return self.teachers

    def module(self, student: Student) -> nn.Module:
        """What is trained; called with input ids, attention mask and token types of a batch."""
        return WithFirst(student)

    def prepare(self, material: Material) -> Self:
        """Called once per stage; returns a method that has what it needs of the stage's pairs."""
        return self

    def divisions(self, material: Material) -> Rows | None:
        """A number for each row; a batch never mixes numbers. None: all may meet."""
        return None

    def units(self, material: Material) -> Sequence[Rows]:
        """Rows that stay together in a batch."""
        return single_units(len(material.pairs))

    def loss(self, outputs: Any, batch: TokenBatch, examples: Examples, stage: Stage) -> Tensor:
        """The loss of a batch, a scalar; `outputs` is what the module gave."""
        raise NotImplementedError

    def finish(
        self, student: Student, recipe: DistillRecipe, meta: dict[str, object], tokenizer_path: Path
    ) -> None:
        """Called once the student is saved, for what else the method leaves in the recipe's out."""


@dataclass(frozen=True)
class Headed(Method):
    """Golden head, soft heads, equation 5; `soft_loss` is what a subclass adds."""

    together: ClassVar[bool] = False  # whether all passages of a query must meet in a batch

    @property
    def average(self) -> bool:
        """Whether one soft head learns the teachers' mean."""
        return isinstance(self.options, HeadOptions) and self.options.heads == "average"

    def heads(self) -> list[Head]:
        """Golden head first, then one soft head per teacher or one for their mean."""
        if not self.teachers:
            return [Head("golden")]
        if self.average:
            return [Head("golden"), Head("soft-mean", _common(self.teachers), "mean")]
        return [Head("golden"), *(Head(f"soft-{t.name}", t.head, t.name) for t in self.teachers)]

    def units(self, material: Material) -> Sequence[Rows]:
        """A query's passages together where a loss compares them."""
        if self.together or material.stage.listwise:
            return query_units(material.pairs, mixed=False)
        return single_units(len(material.pairs))

    def soft_loss(self, scores: Tensor, targets: Tensor, examples: Examples) -> Tensor:
        """One soft head's loss; `scores` and `targets` are (batch,)."""
        return (scores - targets).pow(2).mean()

    def soft(self, scores: Tensor, examples: Examples, stage: Stage) -> Tensor:
        """The soft loss over all soft heads; `scores` is (batch, heads)."""
        targets = examples.targets
        if self.average:
            targets = targets.nanmean(dim=1, keepdim=True)
        total = scores.new_zeros(())
        for head in range(scores.shape[1]):
            known = ~targets[:, head].isnan()
            # Not asked where the answer is known: to ask is to wait for the device.
            if examples.whole or bool(known.all()):
                total = total + self.soft_loss(scores[:, head], targets[:, head], examples)
            elif bool(known.any()):
                some = examples.only(known)
                total = total + self.soft_loss(scores[known, head], targets[known, head], some)
        return total / scores.shape[1]

    def golden(self, scores: Tensor, examples: Examples, stage: Stage) -> Tensor:
        """The golden head's loss: cross-entropy, and `stage.listwise` times InfoNCE."""
        loss = pointwise(scores, examples.labels, examples.groups)
        if stage.listwise:
            loss = loss + stage.listwise * listwise(scores, examples.labels, examples.groups)
        return loss

    def alpha(self, stage: Stage, examples: Examples) -> float:
        """The soft loss's weight at this step."""
        return stage.alpha

    def loss(self, outputs: Any, batch: TokenBatch, examples: Examples, stage: Stage) -> Tensor:
        """Equation 5."""
        logits = outputs[0].float()
        alpha = self.alpha(stage, examples)
        total: Tensor = logits.new_zeros(())
        if self.teachers and alpha > 0:
            total = total + alpha * self.soft(logits[:, 1:], examples, stage)
        if alpha < 1:
            total = total + (1 - alpha) * self.golden(logits[:, 0], examples, stage)
        return total


def _common(teachers: Sequence[TeacherRef]) -> HeadKind:
    """The shape of a mean's head: the teachers' own where they agree."""
    kinds = {teacher.head for teacher in teachers}
    return kinds.pop() if len(kinds) == 1 else "linear"
