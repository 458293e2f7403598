"""RankNet on the teacher's order (Burges et al., ICML 2005; for rankers: Rank-DistiLLM, 2024).

    l_s = mean over (i, j) of one query, i above j for the teacher, of log(1 + exp(-(s_i - s_j)))

Ranks alone count, so a teacher that gives an order and no scores will do.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from retort.training.methods.headed import Headed, head_options
from retort.training.methods.method import Examples
from retort.training.methods.tmkd import need_teachers
from retort.training.recipes.recipe import DistillRecipe


def ranknet(scores: Tensor, targets: Tensor, groups: Tensor) -> Tensor:
    """All (batch,); 0 where the teacher puts no passage above another."""
    above = (groups[:, None] == groups[None, :]) & (targets[:, None] > targets[None, :])
    if not bool(above.any()):
        return scores.sum() * 0.0
    return F.softplus(-(scores[:, None] - scores[None, :])[above]).mean()


@dataclass(frozen=True)
class RankNet(Headed):
    """RankNet as the soft loss."""

    together: bool = True

    def soft_loss(self, scores: Tensor, targets: Tensor, examples: Examples) -> Tensor:
        """See `ranknet`."""
        return ranknet(scores, targets, examples.groups)


def build(recipe: DistillRecipe) -> RankNet:
    """Option: heads."""
    need_teachers(recipe, 1)
    return RankNet(tuple(recipe.teachers), heads_of=head_options(recipe).heads)
