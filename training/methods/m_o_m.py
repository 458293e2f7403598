"""m-o-m: a student a teacher, averaged when asked: "late calibration", TMKD's baseline.

Each member is made by 1-o-1 and has its teacher's bias already; the average of their probabilities
costs as many forward passes as there are teachers. `distill` makes the members one after another.
"""

from __future__ import annotations

from retort.training.methods.headed import Headed, Options
from retort.training.methods.tmkd import need_teachers
from retort.training.recipes.recipe import DistillRecipe


def build(recipe: DistillRecipe) -> Headed:
    """What is checked of the whole; the members are recipes of their own."""
    Options.model_validate(recipe.options)
    need_teachers(recipe, 2)
    return Headed(tuple(recipe.teachers))


def members(recipe: DistillRecipe) -> list[DistillRecipe]:
    """One recipe a teacher, in `out/members/<teacher>`."""
    plain = [stage.alpha == 1.0 for stage in recipe.stages]
    method = "tkd" if plain[0] else "1-o-1"
    return [
        recipe.model_copy(
            update={
                "name": f"{recipe.name}-{teacher.name}",
                "method": method,
                "options": {},
                "teachers": [teacher],
                "out": recipe.out / "members" / teacher.name,
            }
        )
        for teacher in recipe.teachers
    ]
