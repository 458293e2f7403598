"""Objectives on hard labels: how a teacher, or a golden head, learns from labelled pairs.

`scores` and `labels` are (batch,); `groups` (batch,) numbers the query of each row, so that losses
over the candidates of one query need no padding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

POSITIVE = 0.5


def pointwise(scores: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """Binary cross-entropy; a label between 0 and 1 is a published teacher's probability."""
    return F.binary_cross_entropy_with_logits(scores, labels)


def margin(scores: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """mean log(1 + exp(-(s+ - s-))) over all positive-negative pairs of a query (RankNet)."""
    same = groups[:, None] == groups[None, :]
    pairs = same & (labels[:, None] > POSITIVE) & (labels[None, :] <= POSITIVE)
    if not pairs.any():
        return scores.sum() * 0.0
    return F.softplus(-(scores[:, None] - scores[None, :])[pairs]).mean()


def listwise(scores: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """Cross-entropy of the softmax over a query's candidates against its positives (InfoNCE)."""
    same = groups[:, None] == groups[None, :]
    log_total = torch.logsumexp(scores[None, :].masked_fill(~same, -torch.inf), dim=1)
    positive = labels > POSITIVE
    mixed = (same & ~positive[None, :]).any(1) & positive
    if not mixed.any():
        return scores.sum() * 0.0
    return (log_total - scores)[mixed].mean()


OBJECTIVES = {"pointwise": pointwise, "margin": margin, "listwise": listwise}
