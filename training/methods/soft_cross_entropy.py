"""Soft cross-entropy: a student's logit against a teacher's probability, at a temperature.

    CE(t / T, s / T) = - sum_c P_t(c) log P_s(c)

With one logit z the two classes have logits 0 and z, so P(1) = sigmoid(z / T), and the sum is over
both classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_cross_entropy(scores: Tensor, odds: Tensor, temperature: float) -> Tensor:
    """Student logits and teacher log-odds (batch,) to losses (batch,)."""
    target = torch.sigmoid(odds / temperature)
    return F.binary_cross_entropy_with_logits(scores / temperature, target, reduction="none")
