"""MT-BERT's weighting: listen less to a teacher where it is wrong (Wu et al., ACL Findings 2021).

    l_s = sum_i CE(y_i / T, y_s / T) / (1 + CE(y, y_i))

for teacher i's probability y_i and label y, pair by pair. Where there is no label (stage 1) nothing
says who is wrong, and all weigh 1. `heads: each` gives each term the head of its teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from retort.training.methods.headed import Headed, HeadOptions
from retort.training.methods.method import Examples
from retort.training.methods.soft_cross_entropy import soft_cross_entropy
from retort.training.methods.tmkd import need_teachers
from retort.training.nn.tokens import TokenBatch
from retort.training.recipes.recipe import DistillRecipe, Stage


class MtBertOptions(HeadOptions):
    """`temperature` is T."""

    temperature: float = Field(1.0, gt=0)


def teacher_weights(odds: Tensor, labels: Tensor) -> Tensor:
    """1 / (1 + CE(y, y_i)), (batch, teachers); `odds` (batch, teachers), `labels` (batch,)."""
    wide = labels[:, None].expand_as(odds)
    return 1 / (1 + F.binary_cross_entropy_with_logits(odds, wide, reduction="none"))


@dataclass(frozen=True)
class MtBert(Headed):
    """Soft cross-entropy with every teacher, weighed by how right it is."""

    temperature: float = 1.0
    labelled: bool = True

    def soft(self, scores: Tensor, examples: Examples) -> Tensor:
        """The sum over teachers; `scores` is (batch, soft heads)."""
        odds = examples.odds.nan_to_num(0.0)
        known = (~examples.odds.isnan()).to(scores.dtype)
        weights = known
        if self.labelled:
            weights = known * teacher_weights(odds, examples.labels)
        wide = scores.expand(-1, odds.shape[1]) if scores.shape[1] == 1 else scores
        losses = soft_cross_entropy(wide, odds, self.temperature)
        return (weights * losses).sum(1).mean()

    def loss(self, outputs: object, batch: TokenBatch, examples: Examples, stage: Stage) -> Tensor:
        """Equation 5 with this soft loss; a stage of alpha 1 has no labels to weigh by."""
        method = self
        if stage.alpha == 1.0:
            method = replace(self, labelled=False)
        loss: Tensor = Headed.loss(method, outputs, batch, examples, stage)
        return loss


def build(recipe: DistillRecipe) -> MtBert:
    """Options: heads, temperature."""
    need_teachers(recipe, 1)
    options = MtBertOptions.model_validate(recipe.options)
    return MtBert(tuple(recipe.teachers), heads_of=options.heads, temperature=options.temperature)
