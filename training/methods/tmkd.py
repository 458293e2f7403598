"""TMKD: two-stage multi-teacher knowledge distillation (Yang et al., WSDM 2020).

Each teacher i has a soft head of its own, so that early in training no average washes out where
teachers differ. With z_i the head's logit and t_i the teacher's standardised logit,

    l_s = 1/N sum_i mean (z_i - t_i)^2                       (4)   stage 1: soft heads alone
    l_g = cross-entropy of the golden head with the label    (2)
    l   = (1 - alpha) l_g + alpha l_s                        (5)   stage 2

No temperature, logits and not probabilities, every parameter trained in both stages. Inference
is equation 6, in `student.probability`.

The paper's labels say right or wrong of one pair. Where a query has several candidates, a stage's
`listwise` adds that weight of InfoNCE on the golden head, which the paper does not have.

MKD (m-o-1) is the same without stage 1: its recipe has no stage of soft heads alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from retort.training.methods.headed import Headed, Options
from retort.training.methods.method import MethodError
from retort.training.recipes.recipe import DistillRecipe


@dataclass(frozen=True)
class Tmkd(Headed):
    """Golden head and one soft head a teacher. Without teachers it is plain fine-tuning."""


def build_tmkd(recipe: DistillRecipe) -> Tmkd:
    """TMKD has no options. Raises `MethodError` without a teacher."""
    Options.model_validate(recipe.options)
    need_teachers(recipe, 1)
    return Tmkd(tuple(recipe.teachers))


def build_mkd(recipe: DistillRecipe) -> Tmkd:
    """As TMKD; raises `MethodError` for a stage 1."""
    no_stage_one(recipe)
    return build_tmkd(recipe)


def build_none(recipe: DistillRecipe) -> Tmkd:
    """The golden head alone, on labels; teachers in the recipe are not asked."""
    Options.model_validate(recipe.options)
    wrong = [stage.alpha for stage in recipe.stages if stage.alpha > 0]
    if wrong:
        raise MethodError(f"method none with alpha {wrong[0]}: without a teacher set alpha to 0")
    return Tmkd(())


def need_teachers(recipe: DistillRecipe, least: int) -> None:
    """Raises `MethodError` when the recipe has fewer teachers than the method needs."""
    if len(recipe.teachers) < least:
        raise MethodError(
            f"{recipe.method} needs at least {least} teacher{'s' * (least > 1)}, the recipe has "
            f"{len(recipe.teachers)}: add them under teachers"
        )


def no_stage_one(recipe: DistillRecipe) -> None:
    """Raises `MethodError` for a stage of soft heads alone."""
    if any(stage.alpha == 1.0 for stage in recipe.stages):
        raise MethodError(
            f"{recipe.method} has no stage 1, and a stage has alpha 1: take that stage out, or "
            "use tkd or tmkd"
        )


def need_stage_one(recipe: DistillRecipe) -> None:
    """Raises `MethodError` unless the first stage is one of soft heads alone."""
    if recipe.stages[0].alpha != 1.0:
        raise MethodError(
            f"{recipe.method} begins with soft heads alone, and the first stage has alpha "
            f"{recipe.stages[0].alpha}: set it to 1"
        )
