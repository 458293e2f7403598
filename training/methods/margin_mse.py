"""Margin-MSE (Hofstätter et al., 2020): learn how far apart, not where.

    l_s = mean over (+, -) of one query of ((s+ - s-) - (t+ - t-))^2

A teacher's offset cancels, so teachers of other shapes and scales can be imitated. Where the pairs
have labels, + and - are right and wrong passages of a query; in a stage without labels every two
passages of a query are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from retort.training.methods.headed import Headed, head_options
from retort.training.methods.method import Examples
from retort.training.methods.tmkd import need_teachers
from retort.training.nn.losses import POSITIVE
from retort.training.recipes.recipe import DistillRecipe


def margin_mse(scores: Tensor, targets: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """All (batch,); 0 where no query has two passages to compare."""
    same = groups[:, None] == groups[None, :]
    pairs = same & (labels[:, None] > POSITIVE) & (labels[None, :] <= POSITIVE)
    if not bool((labels > POSITIVE).any()):
        pairs = same.triu(1)
    if not bool(pairs.any()):
        return scores.sum() * 0.0
    student = scores[:, None] - scores[None, :]
    teacher = targets[:, None] - targets[None, :]
    return (student - teacher)[pairs].pow(2).mean()


@dataclass(frozen=True)
class MarginMse(Headed):
    """Margin-MSE as the soft loss."""

    together: bool = True

    def soft_loss(self, scores: Tensor, targets: Tensor, examples: Examples) -> Tensor:
        """See `margin_mse`."""
        return margin_mse(scores, targets, examples.labels, examples.groups)


def build(recipe: DistillRecipe) -> MarginMse:
    """Option: heads."""
    need_teachers(recipe, 1)
    return MarginMse(tuple(recipe.teachers), heads_of=head_options(recipe).heads)
