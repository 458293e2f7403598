"""The registry: the code of every method, by the names of `recipes/methods.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from retort.training.methods.meta_kd import MetaKd
from retort.training.methods.method import Headed, Method
from retort.training.methods.mt_dnn_kd import MtDnnKd
from retort.training.methods.rank_losses import SOFT_LOSSES, InfoNce, RankDistilled
from retort.training.methods.skd import Skd
from retort.training.methods.tinybert import TinyBert
from retort.training.methods.weighted import Annealing, MtBert
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.methods import METHODS, HeadOptions
from retort.training.recipes.parts.teacher import TeacherRef

# m-o-m is not among them: each of its members is a recipe of another method.
BUILDERS: dict[str, Callable[[tuple[TeacherRef, ...], Any], Method]] = {
    **dict.fromkeys(("none", "tmkd", "mkd", "tkd", "1-o-1"), Headed),
    "1avg-o-1": lambda teachers, _: Headed(teachers, HeadOptions(heads="average")),
    "skd": Skd,
    "mt-dnn-kd": MtDnnKd,
    "meta-kd": MetaKd,
    "tinybert": TinyBert,
    "mt-bert": MtBert,
    "annealing": Annealing,
    **{name: partial(RankDistilled, rank_loss=loss) for name, loss in SOFT_LOSSES.items()},
    "infonce": InfoNce,
}


def build_method(recipe: DistillRecipe) -> Method:
    """The method of one of a recipe's `members()`."""
    options = METHODS[recipe.method].options.model_validate(recipe.options)
    return BUILDERS[recipe.method](tuple(recipe.read_teachers), options)
