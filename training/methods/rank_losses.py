"""Losses on the ranking of a query's passages; each takes the place of a loss of TMKD's equation 5.

All are over the passages d of one query, with s the student's scores and t the teacher's targets:

    margin-mse   Hofstätter et al., 2020: learn how far apart, not where
                 mean over (+, -) of ((s+ - s-) - (t+ - t-))^2
    listwise-kl  RocketQAv2 (Ren et al., EMNLP 2021), between re-ranker and retriever there
                 sum_d p_d (log p_d - log q_d),   p = softmax(t / tau),  q = softmax(s / tau)
    ranknet      Burges et al., ICML 2005; for rankers Rank-DistiLLM, 2024
                 mean over (i, j), i above j for the teacher, of log(1 + exp(-(s_i - s_j)))
    adr-mse      Schlatt et al., Rank-DistiLLM, ECIR 2025: approximate, discounted ranks
                 r^_i = 1 + sum_{j != i} sigmoid((s_j - s_i) / tau)   the rank a score is near to
                 mean over i of (r^_i - r_i)^2 / log2(1 + r_i)        r_i the teacher's, 1 is best
    infonce      localized cross-entropy (Gao et al., ECIR 2021); the golden loss, on labels
                 - mean over right passages of log ( exp(s+) / sum_d exp(s_d) )

The first four are soft losses. In Margin-MSE a teacher's offset cancels, so teachers of other
shapes and scales can be imitated; in RankNet and ADR-MSE the order alone counts, so a teacher that
has no scores will do. InfoNCE is the strongest baseline without a teacher; with teachers each keeps
its soft head. A query with one passage says nothing and does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from retort.training.data.pairs import RIGHT
from retort.training.methods.method import Examples, Headed
from retort.training.nn.losses import listwise, log_softmax_within
from retort.training.recipes.methods import HeadOptions
from retort.training.recipes.parts.stage import Stage

# Scores and targets (batch,), labels (batch,), groups (batch,), and the method's options.
RankLoss = Callable[[Tensor, Tensor, Tensor, Tensor, Any], Tensor]


def margin_mse(
    scores: Tensor, targets: Tensor, labels: Tensor, groups: Tensor, options: HeadOptions
) -> Tensor:
    """All (batch,); 0 where no query has two passages to compare.

    Where the pairs have labels, + and - are right and wrong passages of a query; in a stage without
    labels every two passages of a query are compared.
    """
    same = groups[:, None] == groups[None, :]
    pairs = same & (labels[:, None] >= RIGHT) & (labels[None, :] < RIGHT)
    if not bool((labels >= RIGHT).any()):
        pairs = same.triu(1)
    if not bool(pairs.any()):
        return scores.sum() * 0.0
    student = scores[:, None] - scores[None, :]
    teacher = targets[:, None] - targets[None, :]
    return (student - teacher)[pairs].pow(2).mean()


def listwise_kl(
    scores: Tensor, targets: Tensor, labels: Tensor, groups: Tensor, options: Any
) -> Tensor:
    """All (batch,), the mean over queries; 0 where no query has two passages.

    Both sides are computed as log-probabilities.
    """
    several = (groups[:, None] == groups[None, :]).sum(1) > 1
    if not bool(several.any()):
        return scores.sum() * 0.0
    log_p, log_q = (log_softmax_within(v / options.tau, groups) for v in (targets, scores))
    total: Tensor = (log_p.exp() * (log_p - log_q)).sum() / groups[several].unique().numel()
    return total


def ranknet(
    scores: Tensor, targets: Tensor, labels: Tensor, groups: Tensor, options: HeadOptions
) -> Tensor:
    """All (batch,); 0 where the teacher puts no passage above another."""
    above = (groups[:, None] == groups[None, :]) & (targets[:, None] > targets[None, :])
    if not bool(above.any()):
        return scores.sum() * 0.0
    return F.softplus(-(scores[:, None] - scores[None, :])[above]).mean()


def adr_mse(
    scores: Tensor, targets: Tensor, labels: Tensor, groups: Tensor, options: Any
) -> Tensor:
    """All (batch,); 0 where no query has two passages.

    Passages that the teacher ties share the mean of their ranks.
    """
    same = groups[:, None] == groups[None, :]
    several = same.sum(1) > 1
    if not bool(several.any()):
        return scores.sum() * 0.0
    near = torch.sigmoid((scores[None, :] - scores[:, None]) / options.tau)
    # Against itself a passage adds sigmoid(0) = 1/2, which the formula leaves out.
    approximate = 0.5 + (near * same).sum(1)
    above = (same & (targets[None, :] > targets[:, None])).sum(1)
    tied = (same & (targets[None, :] == targets[:, None])).sum(1)
    ranks = above + (tied + 1) / 2
    losses = (approximate - ranks).pow(2) / torch.log2(1 + ranks)
    return losses[several].mean()


SOFT_LOSSES: dict[str, RankLoss] = {
    "margin-mse": margin_mse,
    "listwise-kl": listwise_kl,
    "ranknet": ranknet,
    "adr-mse": adr_mse,
}


@dataclass(frozen=True)
class RankDistilled(Headed):
    """TMKD's heads with a soft loss of `SOFT_LOSSES`."""

    together: ClassVar[bool] = True
    rank_loss: RankLoss = margin_mse

    def soft_loss(self, scores: Tensor, targets: Tensor, examples: Examples) -> Tensor:
        """See the loss's own function."""
        return self.rank_loss(scores, targets, examples.labels, examples.groups, self.options)


@dataclass(frozen=True)
class InfoNce(Headed):
    """InfoNCE as the golden loss."""

    together: ClassVar[bool] = True

    def golden(self, scores: Tensor, examples: Examples, stage: Stage) -> Tensor:
        """See `losses.listwise`."""
        return listwise(scores, examples.labels, examples.groups)
