"""InfoNCE, or localized cross-entropy (Gao et al., ECIR 2021): a query's right passage among all.

    l_g = - mean over right passages of log ( exp(s+) / sum_d exp(s_d) )   over the query's passages

A loss on hard labels: the strongest baseline without a teacher. With teachers it takes the place of
the golden head's cross-entropy in TMKD's equation 5, and each teacher keeps its soft head.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from retort.training.methods.headed import Headed, HeadOptions, Heads
from retort.training.methods.method import Examples
from retort.training.nn.losses import listwise
from retort.training.recipes.recipe import DistillRecipe, Stage


class InfoNceOptions(HeadOptions):
    """With teachers each has a soft head unless the recipe says otherwise."""

    heads: Heads = "each"


@dataclass(frozen=True)
class InfoNce(Headed):
    """InfoNCE as the golden loss."""

    together: bool = True

    def golden(self, scores: Tensor, examples: Examples, stage: Stage) -> Tensor:
        """See `objectives.listwise`."""
        return listwise(scores, examples.labels, examples.groups)


def build(recipe: DistillRecipe) -> InfoNce:
    """Option: heads. Without teachers alpha has to be 0."""
    heads = InfoNceOptions.model_validate(recipe.options).heads
    teachers = () if all(s.alpha == 0 for s in recipe.stages) else tuple(recipe.teachers)
    return InfoNce(teachers, heads_of=heads)
