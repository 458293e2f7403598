"""Losses: on hard labels, as a teacher or a golden head learns, and against a teacher's odds.

`scores` and `labels` are (batch,); `groups` (batch,) numbers the query of each row, so that losses
over the candidates of one query need no padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from retort.training.data.pairs import RIGHT, Pair


def hard_labels(pairs: Sequence[Pair]) -> Tensor:
    """The labels of `pairs`, (pairs,); 0 where there is none."""
    return torch.tensor([float(pair.label or 0.0) for pair in pairs])


def log_softmax_within(values: Tensor, groups: Tensor) -> Tensor:
    """Log-softmax of `values` over the rows of each group; all (batch,)."""
    same = groups[:, None] == groups[None, :]
    return values - torch.logsumexp(values[None, :].masked_fill(~same, -torch.inf), dim=1)


def pointwise(scores: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """Binary cross-entropy; a label between 0 and 1 is a published teacher's probability."""
    return F.binary_cross_entropy_with_logits(scores, labels)


def margin(scores: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """mean log(1 + exp(-(s+ - s-))) over all positive-negative pairs of a query (RankNet)."""
    same = groups[:, None] == groups[None, :]
    pairs = same & (labels[:, None] >= RIGHT) & (labels[None, :] < RIGHT)
    if not pairs.any():
        return scores.sum() * 0.0
    return F.softplus(-(scores[:, None] - scores[None, :])[pairs]).mean()


def listwise(scores: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """Cross-entropy of the softmax over a query's candidates against its positives (InfoNCE)."""
    same = groups[:, None] == groups[None, :]
    positive = labels >= RIGHT
    mixed = (same & ~positive[None, :]).any(1) & positive
    # Weighted, not selected: to select is to wait for the device. Without any it is 0.
    own = torch.where(mixed, log_softmax_within(scores, groups), scores * 0.0)
    return -own.sum() / mixed.sum().clamp_min(1)


OBJECTIVES = {"pointwise": pointwise, "margin": margin, "listwise": listwise}


def soft_cross_entropy(scores: Tensor, odds: Tensor, temperature: float) -> Tensor:
    """A student's logits against a teacher's log-odds, (batch,) each, to losses (batch,).

        CE(t / T, s / T) = - sum_c P_t(c) log P_s(c)

    With one logit z the two classes have logits 0 and z, so P(1) = sigmoid(z / T), and the sum is
    over both classes.
    """
    target = torch.sigmoid(odds / temperature)
    return F.binary_cross_entropy_with_logits(scores / temperature, target, reduction="none")
