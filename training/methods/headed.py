"""A golden head and soft heads: what TMKD's head bank is for any soft loss.

With z_0 the golden head's logit, z_i that of soft head i and t_i its target,

    l_s = 1/N sum_i soft_loss(z_i, t_i)
    l   = (1 - alpha) l_g + alpha l_s                     (TMKD equation 5)

`heads: each` gives a soft head to every teacher (m-o-1), `heads: average` one to the mean of their
standardised logits (1avg-o-1). Later losses differ in `soft_loss` alone, so that a study of losses
compares nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from retort.training.methods.method import Examples, Material, Method
from retort.training.nn.batching import Rows, single_units
from retort.training.nn.groups import query_units
from retort.training.nn.losses import listwise, pointwise
from retort.training.nn.student import Head
from retort.training.nn.tokens import TokenBatch
from retort.training.recipes.recipe import DistillRecipe, Stage

Heads = Literal["each", "average"]


class Options(BaseModel):
    """What a recipe may say under `options`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HeadOptions(Options):
    """`each` teacher has a soft head of its own, or their `average` has one."""

    heads: Heads = "average"


@dataclass(frozen=True)
class Headed(Method):
    """Golden head, soft heads, equation 5; `soft_loss` is what a subclass adds."""

    heads_of: Heads = "each"
    together: bool = False  # whether all passages of a query must meet in a batch

    def heads(self) -> list[Head]:
        """Golden head first, then one soft head a teacher or one for their mean."""
        if not self.teachers:
            return [Head("golden")]
        if self.heads_of == "average":
            return [Head("golden"), Head("soft-mean", _common(self.teachers), "mean")]
        return [Head("golden"), *(Head(f"soft-{t.name}", t.head, t.name) for t in self.teachers)]

    def units(self, material: Material) -> Sequence[Rows]:
        """A query's passages together where a loss compares them."""
        if self.together or material.stage.listwise:
            return query_units(material.pairs, mixed=False)
        return single_units(len(material.pairs))

    def targets(self, examples: Examples) -> Tensor:
        """The soft heads' targets (batch, heads)."""
        if self.heads_of == "average":
            return examples.targets.nanmean(dim=1, keepdim=True)
        return examples.targets

    def soft_loss(self, scores: Tensor, targets: Tensor, examples: Examples) -> Tensor:
        """One soft head's loss; `scores` and `targets` are (batch,)."""
        return (scores - targets).pow(2).mean()

    def soft(self, scores: Tensor, examples: Examples) -> Tensor:
        """The soft loss over all soft heads; `scores` is (batch, heads)."""
        targets = self.targets(examples)
        total = scores.new_zeros(())
        for head in range(scores.shape[1]):
            known = ~targets[:, head].isnan()
            if bool(known.all()):
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
            total = total + alpha * self.soft(logits[:, 1:], examples)
        if alpha < 1:
            total = total + (1 - alpha) * self.golden(logits[:, 0], examples, stage)
        return total


def _common(teachers: Sequence[Any]) -> Any:
    """The shape of a mean's head: the teachers' own where they agree."""
    kinds = {teacher.head for teacher in teachers}
    return kinds.pop() if len(kinds) == 1 else "linear"


def head_options(recipe: DistillRecipe) -> HeadOptions:
    """The recipe's options as a headed method reads them."""
    return HeadOptions.model_validate(recipe.options)
