"""ADR-MSE: approximate, discounted ranks (Schlatt et al., Rank-DistiLLM, ECIR 2025).

    r^_i = 1 + sum_{j != i} sigmoid((s_j - s_i) / tau)         the rank that a score is near to
    l_s  = mean over i of (r^_i - r_i)^2 / log2(1 + r_i)       r_i the teacher's rank, 1 is best

over the passages of one query, so that places near the top count most. Like RankNet it needs an
order alone. Passages that the teacher ties share the mean of their ranks; a query with one passage
is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from retort.training.methods.headed import Headed, HeadOptions
from retort.training.methods.method import Examples
from retort.training.methods.tmkd import need_teachers
from retort.training.recipes.recipe import DistillRecipe


def adr_mse(scores: Tensor, targets: Tensor, groups: Tensor, tau: float) -> Tensor:
    """All (batch,); 0 where no query has two passages."""
    same = groups[:, None] == groups[None, :]
    several = same.sum(1) > 1
    if not bool(several.any()):
        return scores.sum() * 0.0
    near = torch.sigmoid((scores[None, :] - scores[:, None]) / tau)
    # A passage beside itself adds sigmoid(0) = 1/2, which the formula leaves out.
    approximate = 0.5 + (near * same).sum(1)
    above = (same & (targets[None, :] > targets[:, None])).sum(1)
    tied = (same & (targets[None, :] == targets[:, None])).sum(1)
    ranks = above + (tied + 1) / 2
    losses = (approximate - ranks).pow(2) / torch.log2(1 + ranks)
    return losses[several].mean()


class AdrOptions(HeadOptions):
    """`tau` says how sharply a difference of scores becomes a rank."""

    tau: float = Field(1.0, gt=0)


@dataclass(frozen=True)
class AdrMse(Headed):
    """ADR-MSE as the soft loss."""

    together: bool = True
    tau: float = 1.0

    def soft_loss(self, scores: Tensor, targets: Tensor, examples: Examples) -> Tensor:
        """See `adr_mse`."""
        return adr_mse(scores, targets, examples.groups, self.tau)


def build(recipe: DistillRecipe) -> AdrMse:
    """Options: heads, tau."""
    need_teachers(recipe, 1)
    options = AdrOptions.model_validate(recipe.options)
    return AdrMse(tuple(recipe.teachers), heads_of=options.heads, tau=options.tau)
