"""TMKD: two-stage multi-teacher knowledge distillation (Yang et al., WSDM 2020).

Each teacher i has a soft head of its own, so that early in training no average washes out where
teachers differ. With z_i the head's logit and t_i the teacher's standardised logit,

    l_s = 1/N sum_i mean (z_i - t_i)^2                       (4)   stage 1: soft heads alone
    l_g = cross-entropy of the golden head with the label    (2)
    l   = (1 - alpha) l_g + alpha l_s                        (5)   stage 2

No temperature, logits and not probabilities, every parameter trained in both stages. Inference
is equation 6, in `student.probability`.

The paper's labels say right or wrong of one pair. Where a query has several candidates,
`listwise` adds that weight of InfoNCE on the golden head, which the paper does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.objectives import listwise, pointwise
from training.recipe import TeacherRef
from training.student import Head


@dataclass(frozen=True, slots=True)
class Tmkd:
    """Golden head and one soft head a teacher. Without teachers it is plain fine-tuning."""

    teachers: tuple[TeacherRef, ...]

    def heads(self) -> list[Head]:
        """The head bank this method needs, golden head first."""
        soft = [Head(f"soft-{t.name}", t.head, t.name) for t in self.teachers]
        return [Head("golden"), *soft]

    def loss(
        self,
        logits: Tensor,
        targets: Tensor,
        labels: Tensor,
        groups: Tensor,
        alpha: float,
        list_weight: float,
    ) -> Tensor:
        """`logits` (batch, 1 + N), `targets` (batch, N), `labels` and `groups` (batch,)."""
        soft = logits.new_zeros(())
        if self.teachers and alpha > 0:
            soft = (logits[:, 1:] - targets).pow(2).mean()
        if alpha == 1.0:
            return soft
        golden = pointwise(logits[:, 0], labels, groups)
        if list_weight:
            golden = golden + list_weight * listwise(logits[:, 0], labels, groups)
        return (1 - alpha) * golden + alpha * soft
