"""One teacher, or the average of several: the baselines of TMKD (Yang et al., WSDM 2020).

    1-o-1      one student from one teacher                 R_t = R_t1
    1avg-o-1   one student from the teachers' average       R_t = 1/N sum_i R_ti
    TKD        1-o-1 with a stage 1 before it

The loss is TMKD's (equations 4 and 5) with one soft head, so that what differs from TMKD is the
number of heads alone. The average is of standardised logits: the paper's teachers share a scale,
a cosine and a logit do not.
"""

from __future__ import annotations

from pydantic import Field

from retort.training.methods.headed import Headed, Options
from retort.training.methods.method import MethodError
from retort.training.methods.tmkd import need_stage_one, need_teachers, no_stage_one
from retort.training.recipes.recipe import DistillRecipe, TeacherRef


class OneOptions(Options):
    """`teacher` names the one to learn from; the first of the recipe where it is not given."""

    teacher: str | None = Field(None)


def build_one(recipe: DistillRecipe) -> Headed:
    """1-o-1. Raises `MethodError` for a stage 1 or a teacher that is not there."""
    no_stage_one(recipe)
    return Headed((chosen(recipe),))


def build_tkd(recipe: DistillRecipe) -> Headed:
    """TKD: 1-o-1 after a stage 1. Raises `MethodError` without one."""
    need_stage_one(recipe)
    return Headed((chosen(recipe),))


def build_average(recipe: DistillRecipe) -> Headed:
    """1avg-o-1, with or without a stage 1."""
    Options.model_validate(recipe.options)
    need_teachers(recipe, 1)
    return Headed(tuple(recipe.teachers), heads_of="average")


def chosen(recipe: DistillRecipe) -> TeacherRef:
    """The one teacher. Raises `MethodError`."""
    need_teachers(recipe, 1)
    name = OneOptions.model_validate(recipe.options).teacher or recipe.teachers[0].name
    for teacher in recipe.teachers:
        if teacher.name == name:
            return teacher
    known = ", ".join(teacher.name for teacher in recipe.teachers)
    raise MethodError(f"{recipe.method}: no teacher {name!r} in the recipe: there are {known}")
