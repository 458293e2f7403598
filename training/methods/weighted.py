"""Weighted losses: TMKD's equation 5 with weights that differ by time, or by teacher and pair.

Teacher annealing (Clark et al., BAM!, ACL 2019) goes from the teachers to the labels:

    l = lambda l_g + (1 - lambda) l_s,    lambda from 0 to 1 linearly over a stage

Early on the soft labels lead; at the end the labels alone do, so that a student may pass its
teachers. In TMKD's equation 5 that is alpha = 1 - lambda; a stage of alpha 1 has no labels and is
not annealed.

MT-BERT (Wu et al., ACL Findings 2021) listens less to a teacher where it is wrong:

    l_s = sum_i CE(y_i / T, y_s / T) / (1 + CE(y, y_i))

for teacher i's probability y_i and label y, pair by pair. Where there is no label (stage 1) nothing
says who is wrong, and all weigh 1. `heads: each` gives each term the head of its teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional as F

from retort.training.methods.method import Examples, Headed
from retort.training.nn.losses import soft_cross_entropy
from retort.training.recipes.methods import MtBertOptions
from retort.training.recipes.parts.stage import Stage


@dataclass(frozen=True)
class Annealing(Headed):
    """TMKD's loss with an alpha that falls to zero."""

    def alpha(self, stage: Stage, examples: Examples) -> float:
        """1 - lambda."""
        if stage.alpha == 1.0:
            return 1.0
        return 1.0 - examples.progress.share


def teacher_weights(odds: Tensor, labels: Tensor) -> Tensor:
    """1 / (1 + CE(y, y_i)), (batch, teachers); `odds` (batch, teachers), `labels` (batch,)."""
    wide = labels[:, None].expand_as(odds)
    return 1 / (1 + F.binary_cross_entropy_with_logits(odds, wide, reduction="none"))


@dataclass(frozen=True)
class MtBert(Headed):
    """Soft cross-entropy with every teacher, weighed by how right it is."""

    options: MtBertOptions = field(default_factory=MtBertOptions)

    def soft(self, scores: Tensor, examples: Examples, stage: Stage) -> Tensor:
        """The sum over teachers; `scores` is (batch, soft heads).

        A stage of alpha 1 has no labels to weigh by.
        """
        odds = examples.odds.nan_to_num(0.0)
        weights = (~examples.odds.isnan()).to(scores.dtype)
        if stage.alpha < 1.0:
            weights = weights * teacher_weights(odds, examples.labels)
        losses = soft_cross_entropy(scores.expand_as(odds), odds, self.options.temperature)
        return (weights * losses).sum(1).mean()
