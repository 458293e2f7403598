"""Whether teachers, stages and options fit a method of distillation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from retort.training.recipes.methods import METHODS, MethodSpec, OneOptions, SkdOptions
from retort.training.recipes.mistakes import Mistake, problem_of
from retort.training.recipes.parts.stage import Stage
from retort.training.recipes.parts.student import StudentPlan
from retort.training.recipes.parts.teacher import TeacherRef
from retort.wording import counted


def method_mistakes(
    method: str,
    options: Mapping[str, Any],
    teachers: Sequence[TeacherRef],
    stages: Sequence[Stage],
    student: StudentPlan,
) -> Iterator[Mistake]:
    """What the method does not allow, by the fields of a recipe of kind `distill`."""
    spec = METHODS.get(method)
    if spec is None:
        yield "method", f"unknown method {method!r}: known are {', '.join(METHODS)}"
        return
    yield from _teacher_mistakes(spec, teachers)
    yield from _stage_mistakes(spec, stages)
    if spec.one_cross_encoder and student.kind != "encoder":
        yield from _state_mistakes(spec, stages, student.kind)
    yield from _option_mistakes(spec, options, [teacher.name for teacher in teachers])


def _teacher_mistakes(spec: MethodSpec, teachers: Sequence[TeacherRef]) -> Iterator[Mistake]:
    if spec.one_cross_encoder:
        if [teacher.kind or "cross-encoder" for teacher in teachers] != ["cross-encoder"]:
            found = ", ".join(f"{t.name} ({t.kind})" for t in teachers) or "none"
            yield (
                "teachers",
                f"{spec.name} learns from one cross-encoder of ours, found {found}; name one "
                "that `retort teach` made",
            )
    elif len(teachers) < spec.teachers:
        yield (
            "teachers",
            f"{spec.name} needs at least {counted(spec.teachers, 'teacher')}, "
            f"the recipe has {len(teachers)}: add them under teachers",
        )


def _stage_mistakes(spec: MethodSpec, stages: Sequence[Stage]) -> Iterator[Mistake]:
    first = stages[0].alpha
    if spec.stage_one == "needed" and first != 1.0:
        yield (
            "stages.0.alpha",
            f"{spec.name} begins with soft heads alone, and the first stage has alpha "
            f"{first}: set it to 1",
        )
    late = spec.member_per_teacher and first != 1.0
    for number, stage in enumerate(stages):
        if stage.alpha == 1.0 and (spec.stage_one == "none" or late):
            yield (
                f"stages.{number}.alpha",
                f"{spec.name} has no stage 1, and this stage has alpha 1: take it out, or "
                "use tkd or tmkd",
            )
        if spec.labels_alone and stage.alpha > 0:
            yield (
                f"stages.{number}.alpha",
                f"method {spec.name} with alpha {stage.alpha}: without a teacher set alpha to 0",
            )


def _state_mistakes(spec: MethodSpec, stages: Sequence[Stage], kind: str) -> Iterator[Mistake]:
    for number, stage in enumerate(stages):
        if stage.match == "states":
            yield (
                f"stages.{number}.match",
                f"{spec.name}: a {kind} has no layers to match; set student.kind=encoder, or "
                "leave out the stage that has match: states",
            )


def _option_mistakes(
    spec: MethodSpec, given: Mapping[str, Any], teachers: Sequence[str]
) -> Iterator[Mistake]:
    try:
        options = spec.options.model_validate(given)
    except ValidationError as error:
        for fault in error.errors():
            yield ".".join(str(part) for part in ("options", *fault["loc"])), problem_of(fault)
        return
    if isinstance(options, OneOptions) and options.teacher not in (None, *teachers) and teachers:
        yield (
            "options.teacher",
            f"no teacher {options.teacher!r} in the recipe: there are {', '.join(teachers)}",
        )
    if isinstance(options, SkdOptions) and options.distribution != "uniform":
        missing = [name for name in teachers if name not in options.figures]
        if missing:
            yield (
                "options.figures",
                f"skd by {options.distribution}: no figure for {', '.join(missing)}; give each "
                "teacher's, measured on validation data",
            )
