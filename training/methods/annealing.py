"""Teacher annealing (Clark et al., BAM!, ACL 2019): from the teachers to the labels.

    l = lambda l_g + (1 - lambda) l_s,    lambda from 0 to 1 linearly over a stage

Early on the soft labels lead; at the end the labels alone do, so that a student may pass its
teachers. In TMKD's equation 5 that is alpha = 1 - lambda; a stage of alpha 1 has no labels and is
not annealed.
"""

from __future__ import annotations

from dataclasses import dataclass

from retort.training.methods.headed import Headed, head_options
from retort.training.methods.method import Examples
from retort.training.methods.tmkd import need_teachers
from retort.training.recipes.recipe import DistillRecipe, Stage


@dataclass(frozen=True)
class Annealing(Headed):
    """TMKD's loss with an alpha that falls to zero."""

    def alpha(self, stage: Stage, examples: Examples) -> float:
        """1 - lambda."""
        if stage.alpha == 1.0:
            return 1.0
        return 1.0 - examples.progress.share


def build(recipe: DistillRecipe) -> Annealing:
    """Option: heads."""
    need_teachers(recipe, 1)
    return Annealing(tuple(recipe.teachers), heads_of=head_options(recipe).heads)
