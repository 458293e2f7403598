"""Listwise KL: the teacher's distribution over a query's passages, at a temperature.

    p = softmax(t / tau),  q = softmax(s / tau)  over the passages of one query
    l_s = mean over queries of sum_d p_d (log p_d - log q_d)

The form that RocketQAv2 (Ren et al., EMNLP 2021) uses between re-ranker and retriever. Both sides
are computed as log-probabilities. A query with one passage has nothing to say and does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field
from torch import Tensor

from retort.training.methods.headed import Headed, HeadOptions
from retort.training.methods.method import Examples
from retort.training.methods.tmkd import need_teachers
from retort.training.nn.losses import log_softmax_within
from retort.training.recipes.recipe import DistillRecipe


def listwise_kl(scores: Tensor, targets: Tensor, groups: Tensor, tau: float) -> Tensor:
    """All (batch,); 0 where no query has two passages."""
    same = groups[:, None] == groups[None, :]
    several = same.sum(1) > 1
    if not bool(several.any()):
        return scores.sum() * 0.0
    log_p, log_q = (log_softmax_within(values / tau, groups) for values in (targets, scores))
    parts = log_p.exp() * (log_p - log_q)
    total: Tensor = parts.sum() / groups[several].unique().numel()
    return total


class ListwiseOptions(HeadOptions):
    """`tau` is the temperature of both sides."""

    tau: float = Field(1.0, gt=0)


@dataclass(frozen=True)
class ListwiseKl(Headed):
    """Listwise KL as the soft loss."""

    together: bool = True
    tau: float = 1.0

    def soft_loss(self, scores: Tensor, targets: Tensor, examples: Examples) -> Tensor:
        """See `listwise_kl`."""
        return listwise_kl(scores, targets, examples.groups, self.tau)


def build(recipe: DistillRecipe) -> ListwiseKl:
    """Options: heads, tau."""
    need_teachers(recipe, 1)
    options = ListwiseOptions.model_validate(recipe.options)
    return ListwiseKl(tuple(recipe.teachers), heads_of=options.heads, tau=options.tau)
